//! Calls that run on their caller's thread while they are brief: most sync calls end within microseconds, and a hand-over to
//! another thread takes longer than that.
//!
//! Owns: the run of such a call and the way on for one that was not brief. Never does: wait.
//!
//! As a rule such a call runs before the sequencer knows of it, and is let in, claimed and ended in one visit under its lock
//! (`docs/adr/0017`): a run has no effect before its commit, so one that may not be let in then has never been. Calls with an
//! `Idempotency-Key` are known before they run: the next one with that key waits for them.
//!
//! Invariants: E93 a run on its caller's thread is bounded by `brief_operations` and never waits; E94; E164.

use std::sync::Arc;

use relive_log::events::{AttemptRecord, ErrorRecord, Event, ExecutionEvent, LogLine};
use relive_log::{Batch, ExecutionId, Lsn, Purpose, Urgency};

use super::admission::Opening;
use super::attempt::{Around, Program};
use super::calling::NotHere;
use super::core::{Job, NotAppended};
use super::sequencer::Held;
use super::settle::{IfLocked, Ran, Settled, Verdict};
use super::snapshot::{Leave, Settle};
use super::watches::BriefWatch;
use super::{Delivery, Node, Outcome, Reply, ReplyTo};
use crate::decide::Decision;
use crate::decide::commit::{Ending, Success, commit};
use crate::refusal::SubmitError;
use crate::script::{ContextInput, Stopwatch};

/// What became of a call that was to run before it is let in.
pub(super) enum Briefly {
    /// It ended: its outcome is on its way.
    Ended(ExecutionId),
    /// It did not run: it has to be let in first.
    NotTried(Opening, ReplyTo),
    /// It is not brief, or met a conflict: whatever it did here was for nothing.
    Elsewhere(Opening, ReplyTo),
}

impl Node {
    /// Runs a call on this thread before the sequencer knows of it, and lets it in with its end (E164).
    ///
    /// # Errors
    /// It is not admitted: nothing of it happened.
    pub(super) fn call_briefly(
        self: &Arc<Self>,
        mut opening: Opening,
        reply: ReplyTo,
    ) -> Result<Briefly, SubmitError> {
        if opening.job.keyed || self.settings.brief_operations == 0 {
            return Ok(Briefly::NotTried(opening, reply));
        }
        let job = &mut *opening.job;
        let program = self.program(job);
        if program.as_ref().is_ok_and(|program| !program.main.pace().try_brief()) {
            return Ok(Briefly::Elsewhere(opening, reply));
        }
        let Some(inside) = self.core.door().enter() else { return Ok(Briefly::NotTried(opening, reply)) };
        let input = job.live.clone();
        let ready = program.and_then(|program| Ok((program, self.input(job)?)));
        let tried = match ready {
            Ok((program, input)) => self.try_here(job, &program, input),
            Err(error) => Some((never_began(job, error), Vec::new())),
        };
        drop(inside);
        let ended = match tried {
            Some((Ran::Good { reply: answer, success, depends_on }, logs)) if success.only_read() => {
                let read = Read { answer, success, depends_on, logs };
                self.end_read(job, read, reply)?
            }
            Some((ran, logs)) => self.end_at_once(job, ran, logs, reply)?,
            None => {
                drop(self.lock_from_inside());
                AtOnce::Not(reply)
            }
        };
        match ended {
            AtOnce::Ended => Ok(Briefly::Ended(job.ending.execution)),
            AtOnce::Not(reply) => {
                job.live = input;
                Ok(Briefly::Elsewhere(opening, reply))
            }
        }
    }

    /// The lock, for a call that was inside: what waited for it to leave starts first (E165).
    fn lock_from_inside(self: &Arc<Self>) -> Held<'_> {
        let mut core = self.core.lock();
        if core.dispatch.alone_waits() {
            self.pump(&mut core);
        }
        core
    }

    /// Runs an attempt that was let in on its caller's thread; one that is not brief, or meets a conflict, starts again
    /// on a script thread; nobody can tell, since a run has no effect before its commit (E93).
    ///
    /// # Errors
    /// It was brief or not, and there is no room for it in the log: it is not admitted.
    pub(super) fn attempt_here(self: &Arc<Self>, mut job: Box<Job>) -> Result<(), SubmitError> {
        if self.settings.brief_operations == 0 {
            self.record_opening(&mut job)?;
            self.jobs.push(job);
            return Ok(());
        }
        let Some((program, input)) = self.ready_or_finish(&mut job) else { return Ok(()) };
        if program.main.pace().try_brief()
            && let Some((ran, logs)) = self.try_here(&job, &program, input.clone())
        {
            match self.finish(&mut job, ran, logs, IfLocked::Leave) {
                Verdict::Ended => return Ok(()),
                Verdict::Conflict | Verdict::Blocked => {}
            }
        }
        self.record_opening(&mut job)?;
        job.live = Some(input);
        self.jobs.push(job);
        Ok(())
    }

    /// What a run on this thread comes to, with what it logged; `None`: it was not brief.
    fn try_here(
        self: &Arc<Self>,
        job: &Job,
        program: &Program,
        input: ContextInput,
    ) -> Option<(Ran, Vec<LogLine>)> {
        let watch = Arc::new(BriefWatch::new(&job.stop, self.settings.brief_operations));
        let around = Around {
            calls: Arc::new(NotHere::new(Arc::clone(&watch))),
            settle: Settle::Leave(self.durability.clone(), Arc::clone(&watch) as Arc<dyn Leave>),
            stopwatch: Arc::clone(&watch) as Arc<dyn Stopwatch>,
        };
        let snapshot = job.claim.snapshot;
        let (finished, suspect) = self.run_once(job, program, around, input, snapshot);
        if watch.is_over() {
            self.look_later(suspect);
            let pace = program.main.pace();
            if watch.was_late() {
                pace.was_late()
            } else {
                pace.was_long()
            }
            return None;
        }
        self.look_closely(suspect);
        let logs = finished.record.logs.clone();
        Some((self.judge(job, finished, snapshot, 0), logs))
    }

    /// As [`Node::end_at_once`], for a call that only read: what it leaves on record depends on nothing that the lock
    /// protects, so all but the append is done before the lock is taken.
    fn end_read(self: &Arc<Self>, job: &mut Job, read: Read, reply: ReplyTo) -> Result<AtOnce, SubmitError> {
        let Read { answer, success, depends_on, logs } = read;
        let (execution, snapshot) = (job.ending.execution, success.snapshot);
        let (Some(result), Some(enqueued)) = (answer, job.unrecorded.take()) else {
            return Ok(AtOnce::Not(reply));
        };
        let scene = self.scene();
        let mut decision = Decision::starting_at(Lsn::ZERO.plus(2));
        let committed = match scene.registry.app(job.app.id) {
            Some(app) => commit(&scene, app, &job.ending, *success, &mut decision).is_ok(),
            None => false,
        };
        decision
            .precede([enqueued, Event::Execution(ExecutionEvent::Claimed(job.claim.clone()))], Batch::new());
        if !committed {
            job.unrecorded = decision.take_opening();
            return Ok(AtOnce::Not(reply));
        }
        decision.encode();
        let mut core = self.lock_from_inside();
        self.admissible(&core, &job.app, &job.ending.source)?;
        decision.move_to(core.decision().first());
        // Nobody waits for the record of a call that only read (S3).
        match core.append_as(&decision, &self.views, scene.now, (Purpose::NewWork, Urgency::Later)) {
            Ok(_) => {}
            // Said in its record, on a script thread.
            Err(NotAppended::TooLarge { .. }) => {
                job.unrecorded = decision.take_opening();
                return Ok(AtOnce::Not(reply));
            }
            Err(why @ NotAppended::Failed(_)) => return Err(why.into()),
        }
        let outcome = Outcome { execution, lsn: snapshot, result: Ok(result), logs };
        self.deliver_after(core, depends_on, &job.ending, (reply, outcome));
        Ok(AtOnce::Ended)
    }

    /// Lets a call that ran in and ends it, in one visit under the lock.
    fn end_at_once(
        self: &Arc<Self>,
        job: &mut Job,
        ran: Ran,
        logs: Vec<LogLine>,
        reply: ReplyTo,
    ) -> Result<AtOnce, SubmitError> {
        let execution = job.ending.execution;
        job.encode_opening();
        let mut core = self.lock_from_inside();
        self.admissible(&core, &job.app, &job.ending.source)?;
        if !core.locks.is_empty() && core.locks.blocks(job.app.id, execution, ran.keys()) {
            return Ok(AtOnce::Not(reply));
        }
        let Settled::Ended { after, lsn, result } = self.settle(&mut core, job, ran) else {
            return Ok(AtOnce::Not(reply));
        };
        let outcome = Outcome { execution, lsn, result, logs };
        self.pump(&mut core);
        self.deliver_after(core, after, &job.ending, (reply, outcome));
        Ok(AtOnce::Ended)
    }

    /// Gives the lock up and hands an outcome over, once what it depends on is durable.
    fn deliver_after(
        self: &Arc<Self>,
        core: Held<'_>,
        after: Lsn,
        ending: &Ending,
        (reply, outcome): (ReplyTo, Outcome),
    ) {
        if self.durability.durable() < after {
            // Under the lock: a shutdown closes the queue only after that.
            self.waiters.hand_over_when_durable(after, self.delivery(ending.clone(), reply, outcome));
            return;
        }
        drop(core);
        if reply(outcome) == Delivery::Gone {
            self.record_gone(ending);
        }
    }
}

/// What a call that only read came to.
struct Read {
    answer: Option<Reply>,
    success: Box<Success>,
    depends_on: Lsn,
    logs: Vec<LogLine>,
}

/// Whether a call that ran was let in.
enum AtOnce {
    Ended,
    Not(ReplyTo),
}

/// What an attempt comes to that could not begin.
fn never_began(job: &Job, error: ErrorRecord) -> Ran {
    Ran::Bad { error, record: AttemptRecord { snapshot: job.claim.snapshot, ..AttemptRecord::default() } }
}
