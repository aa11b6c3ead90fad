//! Outgoing calls of an attempt: the journal that its runs share, and the way outside (S2, S3).
//!
//! Owns: [`AttemptCalls`], which answers a run from the journal as long as it asks the same in the same order, and
//! otherwise asks the world; [`Line`], on which a script thread waits for the answer. Never does: open a socket (the
//! server does, behind [`Outgoing`]), commit, or decide what runs next.
//!
//! Invariants: **E152** a call leaves only after the attempt's claim and everything that the attempt read is durable
//! (S3); **E153** no call is made while the attempt holds its app's lock: it gives the lock up, calls, and runs
//! again (S2); **E154** what waits for an answer ends with its attempt's time or a shutdown, whatever the
//! world does.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use relive_log::events::CallOutcome;
use relive_log::{Durability, Lsn};

use super::seat::Seat;
use super::watches::{BriefWatch, RunClock};
use crate::script::{Asked, CallReply, CallRequest, CallStop, Calls, StopCause, Stopwatch};
use crate::seams::{CallBounds, Clock, Outgoing};

/// One answered question.
#[derive(Clone)]
struct Made {
    digest: [u8; 32],
    outcome: CallOutcome,
    took_ms: u64,
}

/// A question that a run under its app's lock may not ask itself.
struct Wanted {
    request: CallRequest,
    digest: [u8; 32],
    depends_on: Lsn,
}

/// Whether the attempt holds its app's lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lock {
    /// It does not: it may ask the world.
    #[default]
    Free,
    /// It does.
    Held,
}

#[derive(Default)]
struct Kept {
    journal: Vec<Made>,
    asked_outside: usize,
    lock: Lock,
    wanted: Option<Wanted>,
    /// Why no further call is made, once that is so.
    over: Option<CallStop>,
}

/// The calls of one attempt, over all of its runs.
pub(super) struct AttemptCalls {
    outgoing: Arc<dyn Outgoing>,
    durability: Durability,
    clock: Arc<dyn Clock>,
    stop: Arc<RunClock>,
    /// Given back while the attempt waits (D2).
    seat: Seat,
    /// The attempt's claim.
    claimed: Lsn,
    response_bytes_max: usize,
    calls_max: usize,
    kept: Mutex<Kept>,
}

/// What an [`AttemptCalls`] is made of.
pub(super) struct CallParts {
    pub outgoing: Arc<dyn Outgoing>,
    pub durability: Durability,
    pub clock: Arc<dyn Clock>,
    pub stop: Arc<RunClock>,
    pub seat: Seat,
    pub claimed: Lsn,
    pub response_bytes_max: usize,
    pub calls_max: usize,
}

impl AttemptCalls {
    pub(super) fn new(parts: CallParts) -> AttemptCalls {
        let CallParts { outgoing, durability, clock, stop, seat, claimed, response_bytes_max, calls_max } =
            parts;
        AttemptCalls {
            outgoing,
            durability,
            clock,
            stop,
            seat,
            claimed,
            response_bytes_max,
            calls_max,
            kept: Mutex::default(),
        }
    }

    /// From now on runs hold the app's lock: a question that the journal cannot answer ends them.
    pub(super) fn lock_taken(&self) {
        self.kept.lock().lock = Lock::Held;
    }

    /// Whether the last run ended because it needs a call that it could not make under the lock.
    pub(super) fn wants(&self) -> bool {
        self.kept.lock().wanted.is_some()
    }

    /// Makes the call that the last run needed; its app's lock was given up before.
    pub(super) fn make_wanted(&self) {
        let wanted = {
            let mut kept = self.kept.lock();
            kept.lock = Lock::Free;
            kept.wanted.take()
        };
        if let Some(wanted) = wanted
            && let Err(stop) = self.outside(&wanted.request, wanted.digest, wanted.depends_on)
        {
            self.kept.lock().over = Some(stop);
        }
    }

    /// The attempt is over: from now on only what was asked before is answered.
    pub(super) fn close(&self) {
        self.kept.lock().over = Some(CallStop::Aside("the attempt is over".into()));
    }

    /// Asks the world; what comes of it stands at the end of the journal.
    fn outside(&self, request: &CallRequest, digest: [u8; 32], depends_on: Lsn) -> Result<Made, CallStop> {
        if let Some(cause) = self.stop.expired() {
            return Err(CallStop::Ended(cause));
        }
        let mut kept = self.kept.lock();
        kept.asked_outside += 1;
        if kept.asked_outside > self.calls_max {
            return Err(CallStop::TooMany { limit: self.calls_max });
        }
        drop(kept);
        let since = self.clock.now();
        let outcome = self.seat.away(|| self.wait_outside(request, depends_on))?;
        let took_ms = self.clock.now().0.saturating_sub(since.0) / 1000;
        let made = Made { digest, outcome, took_ms };
        self.kept.lock().journal.push(made.clone());
        Ok(made)
    }
}

impl AttemptCalls {
    /// Waits for what the question depends on, then for the answer.
    fn wait_outside(&self, request: &CallRequest, depends_on: Lsn) -> Result<CallOutcome, CallStop> {
        self.durability
            .wait(self.claimed.max(depends_on))
            .map_err(|poisoned| CallStop::Aside(format!("the log failed: {poisoned}")))?;
        let left_ms = self.stop.left_ms(self.clock.now());
        let timeout_ms = request.timeout_ms.unwrap_or(u64::MAX).min(left_ms);
        let line = Line::open(&self.stop);
        let bounds = CallBounds { timeout_ms, response_bytes_max: self.response_bytes_max };
        self.outgoing.start(request.clone(), bounds, line.answerer());
        match line.wait() {
            Waited::Cut => Err(CallStop::Ended(StopCause::ShuttingDown)),
            Waited::Answered(Ok(answer)) => Ok(CallOutcome::Answered(answer)),
            Waited::Answered(Err(_)) if timeout_ms == left_ms && self.stop.left_ms(self.clock.now()) == 0 => {
                Err(CallStop::Ended(StopCause::Timeout))
            }
            Waited::Answered(Err(failed)) => Ok(CallOutcome::Failed(failed.message)),
        }
    }
}

impl Calls for AttemptCalls {
    fn ask(&self, asked: Asked<'_>) -> CallReply {
        let mut kept = self.kept.lock();
        if let Some(made) = kept.journal.get(asked.position)
            && made.digest == asked.digest
        {
            return CallReply::Outcome { outcome: made.outcome.clone(), took_ms: made.took_ms };
        }
        // It asks something else than before: what followed then is void.
        kept.journal.truncate(asked.position);
        if let Some(over) = &kept.over {
            return CallReply::Stop(over.clone());
        }
        if kept.lock == Lock::Held {
            kept.wanted = Some(Wanted {
                request: asked.request.clone(),
                digest: asked.digest,
                depends_on: asked.depends_on,
            });
            return CallReply::Stop(CallStop::Aside("the call is made first, without the app's lock".into()));
        }
        drop(kept);
        match self.outside(asked.request, asked.digest, asked.depends_on) {
            Ok(made) => CallReply::Outcome { outcome: made.outcome, took_ms: made.took_ms },
            Err(stop) => CallReply::Stop(stop),
        }
    }
}

/// Calls of a run on its caller's thread: it ends there, and starts again on a thread that may wait (E93).
pub(super) struct NotHere(Arc<BriefWatch>);

impl NotHere {
    pub(super) fn new(watch: Arc<BriefWatch>) -> NotHere {
        NotHere(watch)
    }
}

impl Calls for NotHere {
    fn ask(&self, _: Asked<'_>) -> CallReply {
        self.0.end();
        CallReply::Stop(CallStop::Ended(StopCause::NotBrief))
    }
}

/// What ended a wait.
enum Waited {
    Answered(crate::seams::CallResult),
    /// A shutdown.
    Cut,
}

/// Where one script thread waits for one answer.
#[derive(Clone)]
pub(super) struct Line(Arc<Slot>);

#[derive(Default)]
struct Slot {
    found: Mutex<Option<Waited>>,
    changed: Condvar,
}

impl Line {
    /// A line that a shutdown cuts.
    fn open(stop: &RunClock) -> Line {
        let line = Line(Arc::default());
        stop.hold(line.clone());
        line
    }

    fn answerer(&self) -> crate::seams::CallDone {
        let line = self.clone();
        Box::new(move |result| line.put(Waited::Answered(result)))
    }

    /// Ends the wait; nobody takes the answer any more.
    pub(super) fn cut(&self) {
        self.put(Waited::Cut);
    }

    fn put(&self, waited: Waited) {
        self.0.found.lock().get_or_insert(waited);
        self.0.changed.notify_all();
    }

    fn wait(&self) -> Waited {
        let mut found = self.0.found.lock();
        loop {
            match found.take() {
                Some(waited) => return waited,
                None => self.0.changed.wait(&mut found),
            }
        }
    }
}
