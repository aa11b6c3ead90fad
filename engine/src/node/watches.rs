//! What ends a run from outside: its time, a shutdown, and, on a caller's thread, that it is not brief.
//!
//! Owns: the two stopwatches of attempts. Never does: end anything itself; runs look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use relive_log::UnixMicros;

use super::calling::Line;
use super::snapshot::Leave;
use crate::script::{StopCause, Stopwatch};
use crate::seams::Clock;

/// The wall-clock limit of an attempt, and the switch that cuts it off.
pub(super) struct RunClock {
    clock: Arc<dyn Clock>,
    deadline: AtomicU64,
    cut: AtomicBool,
    /// Where the attempt waits for the world, if it does.
    line: Mutex<Option<Line>>,
}

impl RunClock {
    pub(super) fn new(clock: Arc<dyn Clock>, deadline: UnixMicros) -> RunClock {
        RunClock {
            clock,
            deadline: AtomicU64::new(deadline.0),
            cut: AtomicBool::new(false),
            line: Mutex::new(None),
        }
    }

    /// The attempt begins only now: its time runs from here on.
    pub(super) fn begin(&self, deadline: UnixMicros) {
        self.deadline.store(deadline.0, Ordering::Relaxed);
    }

    /// Ends the attempt at its next look: an orderly shutdown.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        if let Some(line) = self.line.lock().take() {
            line.cut();
        }
    }

    /// How much of the attempt's time is left at `now`, milliseconds, rounded up.
    pub(super) fn left_ms(&self, now: UnixMicros) -> u64 {
        self.deadline.load(Ordering::Relaxed).saturating_sub(now.0).div_ceil(1000)
    }

    /// The attempt waits there: a shutdown cuts it.
    pub(super) fn hold(&self, line: Line) {
        let mut held = self.line.lock();
        if self.cut.load(Ordering::Relaxed) {
            line.cut();
        } else {
            *held = Some(line);
        }
    }
}

impl Stopwatch for RunClock {
    fn expired(&self) -> Option<StopCause> {
        if self.cut.load(Ordering::Relaxed) {
            return Some(StopCause::ShuttingDown);
        }
        (self.clock.now().0 > self.deadline.load(Ordering::Relaxed)).then_some(StopCause::Timeout)
    }
}

/// Operations between two looks of a brief run: one native call may take a millisecond.
const BRIEF_LOOK_EVERY: u64 = 16;
/// How long a brief run may hold its caller's thread, microseconds.
const BRIEF_MICROS_MAX: u64 = 2_000;

/// A run on the thread of a caller (E93): handed over to a script thread once it is not brief.
pub(super) struct BriefWatch {
    clock: Arc<RunClock>,
    until: UnixMicros,
    looks_left: AtomicU64,
    late: AtomicBool,
}

impl BriefWatch {
    pub(super) fn new(clock: &Arc<RunClock>, operations: u64) -> BriefWatch {
        let looks = operations / BRIEF_LOOK_EVERY;
        let until = UnixMicros(clock.clock.now().0 + BRIEF_MICROS_MAX);
        BriefWatch {
            clock: Arc::clone(clock),
            until,
            looks_left: AtomicU64::new(looks),
            late: AtomicBool::new(false),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.looks_left.load(Ordering::Relaxed) == 0
    }

    /// Whether only the time was over: it had done little.
    pub(super) fn was_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    /// The run asks the world: never on the thread of a caller.
    pub(super) fn end(&self) {
        self.looks_left.store(0, Ordering::Relaxed);
    }
}

impl Leave for BriefWatch {
    fn elsewhere(&self) {
        self.end();
    }
}

impl Stopwatch for BriefWatch {
    fn expired(&self) -> Option<StopCause> {
        // Only the run's own thread comes here.
        let late = self.clock.clock.now() > self.until;
        self.late.store(late, Ordering::Relaxed);
        let left = if late { 0 } else { self.looks_left.load(Ordering::Relaxed).saturating_sub(1) };
        self.looks_left.store(left, Ordering::Relaxed);
        if left == 0 { Some(StopCause::NotBrief) } else { self.clock.expired() }
    }

    fn look_every(&self) -> u64 {
        BRIEF_LOOK_EVERY
    }
}
