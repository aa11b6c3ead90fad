//! The place of an attempt under the execution gate, given back while it waits for the world (D2).
//!
//! Owns: [`Seat`], and how many script threads that takes. Never does: wait for the world itself.
//!
//! Invariant: E59 whoever was away goes on only with a place of its own, before anything else begins.

use std::sync::Arc;
use std::time::Duration;

use relive_log::ExecutionId;

use super::Node;
use super::watches::RunClock;
use crate::script::Stopwatch;

/// How long who waits for a place sleeps before it looks whether its time is over, milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// An attempt's place.
pub(super) struct Seat {
    node: Arc<Node>,
    execution: ExecutionId,
    stop: Arc<RunClock>,
}

impl Seat {
    pub(super) fn new(node: &Arc<Node>, execution: ExecutionId, stop: &Arc<RunClock>) -> Seat {
        Seat { node: Arc::clone(node), execution, stop: Arc::clone(stop) }
    }

    /// Gives the place back, waits, and takes a place again. An attempt whose time is over meanwhile goes on without
    /// one, to its end. Where no thread was lent (a loop that does not block) the place is kept: nobody could use it.
    pub(super) fn away<T>(&self, wait: impl FnOnce() -> T) -> T {
        if self.node.jobs.threads() == 0 {
            return wait();
        }
        {
            let mut core = self.node.core.lock();
            core.dispatch.leave_place(self.execution);
            self.node.jobs.want(self.node.settings.gate + core.dispatch.away());
            if !core.stopping {
                self.node.pump(&mut core);
            }
        }
        let waited = wait();
        let mut core = self.node.core.lock();
        core.dispatch.want_place(self.execution);
        if core.dispatch.give_places() {
            self.node.places.notify_all();
        }
        while core.dispatch.is_away(self.execution) && self.stop.expired().is_none() {
            core.wait_for(&self.node.places, LOOK_EVERY);
        }
        waited
    }
}
