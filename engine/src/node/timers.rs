//! What happens by itself as time goes by: due work, callers whose time is over before their work began, the
//! end of a time alone, the end of times to live.

use std::sync::Arc;
use std::time::Duration;

use relive_log::events::{AloneEnded, AttemptRecord, ErrorKind, ErrorRecord, Event, ExecutionEvent};
use relive_log::{ExecutionId, UnixMicros};

use super::core::Core;
use super::{Node, Outcome};
use crate::decide::failure::{FailedAttempt, fail};

/// The longest sleep: a clock that was stepped is noticed within it.
const SLEEP_MS_MAX: u64 = 5000;

impl Node {
    /// Waits for due times and deadlines until shutdown; on one thread.
    pub fn run_timers(self: &Arc<Self>) {
        let mut core = self.core.lock();
        while !core.stopping {
            let now = self.clock.now();
            self.tick_locked(&mut core, now);
            let longest = now.plus_millis(SLEEP_MS_MAX);
            let until = core.next_time().map_or(longest, |at| at.min(longest));
            if until <= now {
                // There is more to do: others get the lock in between.
                core.bump();
            } else {
                core.asleep_until = until;
                core.wait_for(&self.timers, Duration::from_micros(until.0 - now.0));
            }
        }
    }

    /// Wakes the timers if something is due before they would wake by themselves.
    pub(super) fn wake_timers(&self, core: &Core) {
        if core.next_time().is_some_and(|at| at < core.asleep_until) {
            self.timers.notify_one();
        }
    }

    /// Does what is due by now; for loops that do not block.
    pub fn tick(self: &Arc<Self>) {
        let mut core = self.core.lock();
        self.tick_locked(&mut core, self.clock.now());
        while self.expire_due(&mut core) {}
        self.pump(&mut core);
    }

    /// When something happens by itself next.
    pub fn next_time(&self) -> Option<UnixMicros> {
        self.core.lock().next_time()
    }

    fn tick_locked(self: &Arc<Self>, core: &mut Core, now: UnixMicros) {
        self.end_time_alone(core, now);
        self.tick_schedules(core, now);
        self.expire_records(core, now);
        while let Some(&(deadline, execution)) = core.waiting.first() {
            if deadline > now {
                break;
            }
            core.waiting.pop_first();
            let error = ErrorRecord::without_place(
                ErrorKind::Timeout,
                "the time was over before there was room to start",
            );
            self.end_waiting(core, execution, error);
        }
        self.expire_due(core);
        self.pump(core);
    }

    /// The execution that runs alone outlived its time: others join, and the log says so before they do (D3).
    fn end_time_alone(&self, core: &mut Core, now: UnixMicros) {
        let Some(execution) = core.dispatch.only() else { return };
        let Some(running) = core.running.get_mut(&execution) else { return };
        if running.alone_until.is_none_or(|until| until > now) {
            return;
        }
        running.alone_until = None;
        let (app, attempt) = (running.ending.app, running.ending.attempt);
        let mut decision = core.decision();
        decision.push(Event::Execution(ExecutionEvent::AloneEnded(AloneEnded { app, execution, attempt })));
        match core.append(&decision, &self.views, now) {
            Ok(appended) => {
                core.barrier = appended.last;
                core.dispatch.alone_ended(execution);
                tracing::info!(%execution, "outlived its time alone; others join");
            }
            // Nothing joins until the execution ends.
            Err(why) => tracing::error!(%execution, ?why, "the end of a time alone could not be recorded"),
        }
    }

    /// Ends reply-to work that has not started.
    pub(super) fn end_waiting(self: &Arc<Self>, core: &mut Core, execution: ExecutionId, error: ErrorRecord) {
        // Work that somebody waits for does not rest: its row is there without the log.
        let Ok(Some(row)) = self.views.executions().open_row(execution) else {
            core.inbox.remove(&execution);
            return;
        };
        let scene = self.scene();
        let Some(app) = scene.registry.app(row.app).map(Arc::clone) else { return };
        let mut ending = super::core::waiting(&row);
        ending.caller_gone = core.inbox.get(&execution).is_some_and(|caller| caller.gone);
        let record = Some(AttemptRecord::default());
        let mut decision = core.decision();
        let failed = FailedAttempt { error: error.clone(), record, counted: true };
        fail(&scene, &app, &row, &ending, failed, &mut decision);
        let lsn = match core.append(&decision, &self.views, scene.now) {
            Ok(appended) => appended.last,
            Err(why) => {
                tracing::error!(%execution, ?why, "the end of a waiting call could not be recorded");
                self.views.applied()
            }
        };
        let outcome = Outcome { execution, lsn, result: Err(error), logs: Vec::new() };
        self.tell_followers(core, lsn, &outcome);
        if let Some(caller) = core.inbox.remove(&execution) {
            let delivery = self.delivery(ending, caller.reply, outcome);
            self.waiters.hand_over_when_durable(lsn, delivery);
        }
    }
}
