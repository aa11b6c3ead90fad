//! The end of an attempt: its commit, its outcome on the way to whoever waits.
//!
//! Owns: what a run came to, becoming events; the delivery of outcomes. Never does: run a script, decide what may start.
//!
//! Invariants: E90 an attempt that was claimed ends exactly once; E92 an outcome leaves only after what it depends on
//! is durable (S3); E94 the enqueue and the claim of a call that ran on its caller's thread are recorded with its end,
//! in one batch, or before it moves to a script thread.

use std::sync::Arc;

use relive_log::Lsn;
use relive_log::events::{AttemptRecord, ErrorKind, ErrorRecord, Event, ExecutionEvent, LogLine, Released};
use relive_log::{Appended, Purpose, UnixMicros, Urgency};
use relive_projections::App;

use super::attempt::Lock;
use super::core::{Core, Job, NotAppended, Taker};
use super::locks::Touched;
use super::waiters::{Action, HandOver};
use super::{Delivery, Node, Outcome, Reply, ReplyTo};
use crate::decide::Decision;
use crate::decide::commit::{Ending, NotCommitted, Success, commit, push_client_gone};
use crate::decide::failure::{FailedAttempt, fail};
use crate::refusal::Failure;

/// What an attempt that has to commit does while another execution holds a lock on what it writes.
pub(super) enum IfLocked<'a> {
    /// Waits, unless it holds a lock itself; what it touched is noted for the next one.
    Wait(&'a mut Lock),
    /// Runs again elsewhere.
    Leave,
}

/// What a run came to, ready to be committed.
pub(super) enum Ran {
    Good { reply: Option<Reply>, success: Box<Success>, depends_on: Lsn },
    Bad { error: ErrorRecord, record: AttemptRecord },
}

impl Ran {
    /// The keys that its commit writes, times to live that it ends included.
    pub(super) fn keys(&self) -> Vec<(&str, &str)> {
        match self {
            Ran::Good { success, .. } => {
                let ends = success.lapsed.iter().map(|it| (it.collection.as_str(), it.key.as_str()));
                success.writes.keys().map(|(c, k)| (c.as_str(), k.as_str())).chain(ends).collect()
            }
            Ran::Bad { .. } => Vec::new(),
        }
    }

    /// What the run read and wanted to write.
    pub(super) fn touched(&self, into: &mut Touched) {
        if let Ran::Good { success, .. } = self {
            success.touched(into);
        }
    }
}

impl Success {
    /// What the run read and wanted to write.
    pub(super) fn touched(&self, into: &mut Touched) {
        into.add(&[&self.record.reads, &self.unrecorded_reads], &self.writes);
    }
}

/// How an attempt goes on.
pub(super) enum Verdict {
    Ended,
    /// Something that it read was written meanwhile.
    Conflict,
    /// It holds a lock, and another one keeps it from writing (E114).
    Blocked,
}

/// What leaves after the lock is given up.
struct Leaving {
    after: Lsn,
    outcome: Outcome,
}

impl Node {
    /// Commits what a run came to and lets the outcome leave when it may (E90, E92).
    pub(super) fn finish(
        self: &Arc<Self>,
        job: &mut Job,
        ran: Ran,
        logs: Vec<LogLine>,
        mut if_locked: IfLocked<'_>,
    ) -> Verdict {
        let mut core = self.core.lock();
        while !core.locks.is_empty() && core.locks.blocks(job.app.id, job.ending.execution, ran.keys()) {
            match &mut if_locked {
                IfLocked::Leave => return Verdict::Blocked,
                IfLocked::Wait(lock) if lock.ticket.is_some() => {
                    ran.touched(&mut lock.touched);
                    return Verdict::Blocked;
                }
                IfLocked::Wait(_) => {}
            }
            core.wait(&self.unlocked);
        }
        let leaving = match self.settle(&mut core, job, ran) {
            Settled::Conflict(success) => {
                if let IfLocked::Wait(lock) = if_locked {
                    success.touched(&mut lock.touched);
                }
                return Verdict::Conflict;
            }
            Settled::Ended { after, lsn, result } => {
                Leaving { after, outcome: Outcome { execution: job.ending.execution, lsn, result, logs } }
            }
        };
        let execution = job.ending.execution;
        let Leaving { after, outcome } = leaving;
        self.tell_followers(&mut core, after, &outcome);
        let delivery = core
            .inbox
            .remove(&execution)
            .map(|caller| self.delivery(job.ending.clone(), caller.reply, outcome));
        // A delivery that has to wait is queued before the execution leaves `running`: a shutdown closes the queue
        // only after that. For the same reason one that need not wait goes first then.
        let mut now = match delivery {
            Some(delivery) if self.durability.durable() < after => {
                self.waiters.hand_over_when_durable(after, delivery);
                None
            }
            other => other,
        };
        if core.stopping
            && let Some(delivery) = now.take()
        {
            drop(core);
            deliver(delivery);
            core = self.core.lock();
        }
        let ran = core.running.remove(&execution);
        if let Some(begun) = ran.filter(|_| !job.ending.source.reply_to()).and_then(|running| running.begun) {
            core.pace.note(self.clock.now().0.saturating_sub(begun.0));
        }
        core.dispatch.ended(execution);
        if !core.stopping {
            // Background work runs on script threads only: this one takes the next job when this returns.
            core.taker = if job.ending.source.reply_to() { Taker::Nobody } else { Taker::ThisThread };
            self.pump(&mut core);
            core.taker = Taker::Nobody;
        }
        drop(core);
        self.idle.notify_all();
        if let Some(delivery) = now {
            deliver(delivery);
        }
        Verdict::Ended
    }

    /// What hands over an outcome; if nobody was there, what is left to do is to record that. A log that failed has no
    /// outcomes: the caller sees its connection end with the process.
    pub(super) fn delivery(self: &Arc<Self>, ending: Ending, reply: ReplyTo, outcome: Outcome) -> HandOver {
        let node = Arc::clone(self);
        Box::new(move |durable| {
            if durable.is_err() || reply(outcome) == Delivery::Delivered {
                return None;
            }
            let record: Action = Box::new(move |_| node.record_gone(&ending));
            Some(record)
        })
    }

    pub(super) fn settle(&self, core: &mut Core, job: &mut Job, ran: Ran) -> Settled {
        let execution = job.ending.execution;
        let mut ending = job.ending.clone();
        ending.caller_gone = core.inbox.get(&execution).is_some_and(|caller| caller.gone);
        let registry = self.views.registry();
        // One that is not in the log yet is nobody's to end but this one's.
        let open = job.unrecorded.is_some() || self.views.executions().with_open(execution, |_| ()).is_some();
        let Some(app) = registry.app(job.app.id).filter(|_| open).map(Arc::clone) else {
            let error =
                ErrorRecord::without_place(ErrorKind::ScriptMissing, "the app was deleted while this ran");
            return Settled::Ended {
                after: self.views.applied(),
                lsn: self.views.applied(),
                result: Err(error),
            };
        };
        let scene = self.scene();
        let (error, record) = match ran {
            Ran::Bad { error, record } => (error, record),
            Ran::Good { reply, mut success, depends_on } => {
                let read_only = !success.has_effects();
                if let Some(kept) = &mut success.reply {
                    kept.read_only_at = read_only.then_some(success.snapshot);
                }
                let (snapshot, operations) = (success.snapshot, success.record.operations);
                // Nobody waits for the record of a call that only read (S3), unless it has to be given again (E132), nor
                // for the end of background work; what asked the world is not asked again lightly.
                let later = match ending.source.reply_to() {
                    true => read_only && !job.keyed,
                    false => success.record.calls.is_empty(),
                };
                let urgency = if later { Urgency::Later } else { Urgency::Now };
                let (mut decision, purpose) = match &job.unrecorded {
                    Some(_) => (core.decision_after_opening(), Purpose::NewWork),
                    None => (core.decision(), Purpose::Ending),
                };
                match commit(&scene, &app, &ending, *success, &mut decision) {
                    Ok(()) => {
                        match self.append_end(core, job, &mut decision, scene.now, (purpose, urgency)) {
                            Ok(appended) => {
                                let (after, lsn) = match (read_only, job.keyed) {
                                    (true, false) => (depends_on, snapshot),
                                    // E132: an answer that is to be given again is on record first.
                                    (true, true) => (appended.last, snapshot),
                                    (false, _) => (appended.last, appended.last),
                                };
                                let result = reply.ok_or_else(error_without_caller);
                                return Settled::Ended { after, lsn, result };
                            }
                            Err(why) => {
                                (not_appended(&why), completed_record(decision.events()).unwrap_or_default())
                            }
                        }
                    }
                    Err(NotCommitted::Conflict(success)) => return Settled::Conflict(success),
                    Err(NotCommitted::Send(error, record)) => (error, *record),
                    Err(NotCommitted::FanOut(refusal, record)) => {
                        (ErrorRecord::without_place(ErrorKind::FanOut, refusal.to_string()), *record)
                    }
                    Err(NotCommitted::Failed(failure)) => (
                        ErrorRecord::without_place(ErrorKind::Internal, failure.to_string()),
                        AttemptRecord {
                            snapshot,
                            operations,
                            limits: self.settings.limits.recorded(),
                            ..Default::default()
                        },
                    ),
                }
            }
        };
        if let Err(why) = self.append_opening(core, job) {
            // Without room for its enqueue there is none for its end: nothing of it happened.
            let lsn = self.views.applied();
            return Settled::Ended { after: lsn, lsn, result: Err(not_appended(&why)) };
        }
        self.settle_failure(core, &app, &ending, error, record)
    }

    /// Appends the end of an attempt, behind its enqueue and claim if those are not in the log yet (E94).
    fn append_end(
        &self,
        core: &mut Core,
        job: &mut Job,
        decision: &mut Decision,
        now: UnixMicros,
        how: (Purpose, Urgency),
    ) -> Result<Appended, NotAppended> {
        let Some(enqueued) = job.unrecorded.take() else {
            return core.append_as(decision, &self.views, now, how);
        };
        let claimed = Event::Execution(ExecutionEvent::Claimed(job.claim.clone()));
        decision.precede([enqueued, claimed], std::mem::take(&mut job.encoded));
        match core.append_as(decision, &self.views, now, how) {
            Ok(appended) => {
                job.opened(&appended);
                Ok(appended)
            }
            Err(why) => {
                job.unrecorded = decision.take_opening();
                // Each may fit where both do not; the LSNs stay the same.
                let NotAppended::TooLarge { .. } = why else { return Err(why) };
                self.append_opening(core, job)?;
                core.append_as(decision, &self.views, now, (Purpose::Ending, how.1))
            }
        }
    }

    /// Appends the enqueue and the claim of a call, if they are not in the log yet (E94).
    pub(super) fn append_opening(&self, core: &mut Core, job: &mut Job) -> Result<(), NotAppended> {
        let Some(enqueued) = job.unrecorded.take() else { return Ok(()) };
        let mut decision = core.decision();
        decision.push(enqueued);
        decision.push(Event::Execution(ExecutionEvent::Claimed(job.claim.clone())));
        let how = (Purpose::NewWork, Urgency::Later);
        let appended = core.append_as(&decision, &self.views, self.clock.now(), how);
        appended
            .map(|appended| job.opened(&appended))
            .inspect_err(|_| job.unrecorded = decision.take_opening())
    }

    fn settle_failure(
        &self,
        core: &mut Core,
        app: &App,
        ending: &Ending,
        error: ErrorRecord,
        record: AttemptRecord,
    ) -> Settled {
        let scene = self.scene();
        let execution = ending.execution;
        let mut decision = core.decision();
        if error.kind == ErrorKind::ShuttingDown && !ending.source.reply_to() {
            let released = Released { app: ending.app, execution, attempt: ending.attempt };
            decision.push(Event::Execution(ExecutionEvent::Released(released)));
        } else if let Ok(Some(row)) = self.views.executions().open_row(execution) {
            let failed = FailedAttempt { error: error.clone(), record: Some(record), counted: true };
            fail(&scene, app, &row, ending, failed, &mut decision);
        }
        let lsn = match core.append(&decision, &self.views, scene.now) {
            Ok(appended) => appended.last,
            Err(why) => {
                tracing::error!(%execution, ?why, "the end of an attempt could not be recorded");
                self.views.applied()
            }
        };
        Settled::Ended { after: lsn, lsn, result: Err(error) }
    }

    /// Records that an outcome found nobody (D5), unless that is recorded already.
    pub(super) fn record_gone(self: &Arc<Self>, ending: &Ending) {
        let execution = ending.execution;
        let mut core = self.core.lock();
        match self.views.executions().get(ending.app, execution) {
            Ok(Some(row)) if row.abandoned.is_none() => {}
            Ok(_) => return,
            Err(why) => {
                tracing::error!(%execution, %why, "an abandoned outcome could not be looked up");
                return;
            }
        }
        let mut decision = core.decision();
        push_client_gone(ending, &mut decision);
        if let Err(why) = core.append(&decision, &self.views, self.clock.now()) {
            tracing::error!(%execution, ?why, "an abandoned outcome could not be recorded");
        }
    }
}

/// Hands an outcome over that waits for nothing, and does what is left to do.
fn deliver(delivery: HandOver) {
    if let Some(action) = delivery(Ok(())) {
        action(Ok(()));
    }
}

pub(super) enum Settled {
    Conflict(Box<Success>),
    Ended { after: Lsn, lsn: Lsn, result: Result<Reply, ErrorRecord> },
}

/// Work without a caller has no answer; nobody looks at this.
fn error_without_caller() -> ErrorRecord {
    ErrorRecord::without_place(ErrorKind::Internal, "no caller")
}

fn not_appended(why: &NotAppended) -> ErrorRecord {
    match why {
        NotAppended::TooLarge { bytes, limit } => ErrorRecord::without_place(
            ErrorKind::Writes,
            format!("the commit has {bytes} bytes, the limit is {limit} (RELIVE_MAX_BATCH)"),
        ),
        NotAppended::Failed(Failure::NoSpace { message }) => {
            ErrorRecord::without_place(ErrorKind::NoSpace, message.clone())
        }
        NotAppended::Failed(failure) => ErrorRecord::without_place(ErrorKind::Internal, failure.to_string()),
    }
}

/// The record of an attempt whose commit was not appended: what it read and logged is kept with its failure.
fn completed_record(events: &[Event]) -> Option<AttemptRecord> {
    events.iter().find_map(|event| {
        let Event::Execution(ExecutionEvent::Completed(completed)) = event else { return None };
        Some(completed.record.clone())
    })
}
