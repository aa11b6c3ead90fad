//! An orderly end: no admissions, what runs finishes, what does not is cut off and released (D3).

use std::sync::Arc;
use std::time::Duration;

use relive_log::ExecutionId;
use relive_log::events::{ErrorKind, ErrorRecord};

use super::Node;

/// How long attempts that were cut off may take to notice it.
const CUT_WAIT_MAX: Duration = Duration::from_secs(5);

impl Node {
    /// No further admissions: calls and commands are refused with `shutting_down`. Running executions go on,
    /// callers that wait get their turn; no further background work starts.
    pub fn stop_admissions(&self) {
        let mut core = self.core.lock();
        core.admitting = false;
        core.dispatch.drain();
    }

    /// Whether nothing runs and no caller waits.
    pub fn is_idle(&self) -> bool {
        let core = self.core.lock();
        core.running.is_empty() && core.inbox.is_empty()
    }

    /// Cuts off what still runs (`released`, or the end for reply-to work) and ends the lent threads. Waits for
    /// attempts to notice, at most a few seconds; one that does not is settled by the next start as a crash.
    pub fn shut_down(self: &Arc<Self>) {
        let mut core = self.core.lock();
        core.admitting = false;
        core.dispatch.drain();
        core.stopping = true;
        let waiting: Vec<ExecutionId> = core.waiting.iter().map(|(_, execution)| *execution).collect();
        core.waiting.clear();
        for execution in waiting {
            let error = ErrorRecord::without_place(ErrorKind::ShuttingDown, "the instance is shutting down");
            self.end_waiting(&mut core, execution, error);
        }
        for running in core.running.values() {
            running.stop.cut();
        }
        // What was claimed ahead ends as released, like what was cut off.
        core.ahead.drain().for_each(|(_, job)| self.jobs.push(job));
        while !core.running.is_empty() {
            if core.wait_for(&self.idle, CUT_WAIT_MAX).timed_out() {
                tracing::warn!(running = core.running.len(), "attempts did not notice the shutdown in time");
                break;
            }
        }
        drop(core);
        self.timers.notify_all();
        self.unlocked.notify_all();
        self.jobs.close();
        self.waiters.close();
    }
}
