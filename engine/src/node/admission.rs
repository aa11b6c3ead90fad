//! Letting work with a caller in: checked once more under the sequencer's lock, then it starts, or waits for a place (D1, D4).
//!
//! Owns: [`Opening`], from what a caller wants to a job that nobody knows of yet, and [`Node::admit`]. Never does: run it.

use std::sync::Arc;

use relive_log::events::{
    Claimed, Enqueued, Event, ExecutionEvent, IdempotencyKey, Input, Principal, Source,
};
use relive_log::{Batch, ExecutionId, Lsn, UnixMicros};
use relive_projections::{App, At, ExecutionRow};

use super::core::{Caller, Core, Job, Running};
use super::keyed::Known;
use super::vault::AppVault;
use super::watches::RunClock;
use super::{Node, ReplyTo};
use crate::decide::commit::Ending;
use crate::decide::imports;
use crate::dispatch::Lane;
use crate::refusal::{Refusal, SubmitError};
use crate::script::ContextInput;
use crate::seams::uuid_v7;

/// Work that a caller wants done.
pub(super) struct Admission {
    pub app: Arc<App>,
    /// The app's secrets.
    pub vault: Arc<AppVault>,
    pub script: String,
    pub source: Source,
    pub input: Input,
    pub principal: Option<Principal>,
    pub live: Option<ContextInput>,
    pub timeout_ms: u64,
    pub idempotency: Option<IdempotencyKey>,
}

impl Admission {
    /// The event that puts it into the outbox.
    pub(super) fn enqueue(self, execution: ExecutionId, now: UnixMicros) -> Event {
        Event::Execution(ExecutionEvent::Enqueued(Box::new(Enqueued {
            app: self.app.id,
            execution,
            root: execution,
            depth: 0,
            cause: None,
            caused_by: None,
            script: self.script,
            source: self.source,
            input: self.input,
            due_at: now,
            ordering_key: None,
            principal: self.principal,
            redrive_of: None,
            pinned_version: None,
            idempotency: self.idempotency.map(Box::new),
        })))
    }
}

/// A call that is not let in yet: its attempt as it would start now, known to nobody.
pub(super) struct Opening {
    pub job: Box<Job>,
    now: UnixMicros,
    timeout_ms: u64,
}

impl Opening {
    fn deadline(&self) -> UnixMicros {
        self.now.plus_millis(self.timeout_ms)
    }
}

/// What became of a call that has to be answered.
pub enum Called {
    /// It runs, waits for a place or has just ended: the caller gets its outcome, and says when it goes away.
    Runs(ExecutionId),
    /// A call with its `Idempotency-Key` is in flight: the caller gets that one's outcome.
    Follows(ExecutionId),
    /// A call with its key ended: [`Node::remembered`] is its outcome, once [`ExecutionRow::ended_at`] is durable.
    Remembered(Box<ExecutionRow>),
}

/// A call that was let in.
pub(super) struct Admitted {
    pub called: Called,
    /// Its attempt, if that starts at once.
    pub starts: Option<Box<Job>>,
}

impl Node {
    /// What was matched before the lock was taken may be gone by now: work of an app that is not there would wait
    /// for ever.
    pub(super) fn admissible(&self, core: &Core, app: &App, source: &Source) -> Result<(), Refusal> {
        if !core.admitting {
            return Err(Refusal::ShuttingDown);
        }
        let registry = self.views.registry();
        let not_found = |what, name: String| Refusal::NotFound { what, name };
        let app = registry.app(app.id).ok_or_else(|| not_found("app", app.slug.clone()))?;
        match source {
            Source::Route { sync: true, .. } if app.paused.is_some() => {
                Err(Refusal::AppPaused { app: app.slug.clone() })
            }
            Source::Route { route, .. } if !app.routes.contains_key(route) => {
                Err(not_found("route", route.to_string()))
            }
            Source::Route { .. }
            | Source::Kv { .. }
            | Source::DeadLetter { .. }
            | Source::Cron { .. }
            | Source::Queue { .. }
            | Source::Direct => Ok(()),
        }
    }

    /// The first attempt of a call as it would start now; neither its enqueue nor its claim is in the log.
    pub(super) fn opening(&self, admission: Admission) -> Opening {
        let now = self.clock.now();
        let execution = ExecutionId(uuid_v7(now, &*self.entropy));
        let timeout_ms = admission.timeout_ms;
        let app = Arc::clone(&admission.app);
        let claim = self.first_claim(&app, &admission.script, execution);
        let ending = Ending {
            app: app.id,
            execution,
            root: execution,
            depth: 0,
            attempt: 1,
            source: admission.source.clone(),
            script: admission.script.clone(),
            version: claim.version,
            caller_gone: false,
        };
        let mut admission = admission;
        let job = Box::new(Job {
            app,
            vault: Arc::clone(&admission.vault),
            ending,
            claim,
            claimed: Lsn::ZERO,
            principal: admission.principal.clone(),
            live: admission.live.take(),
            enqueued: At::default(),
            read: None,
            keyed: admission.idempotency.is_some(),
            unrecorded: Some(admission.enqueue(execution, now)),
            encoded: Batch::new(),
            stop: Arc::new(RunClock::new(Arc::clone(&self.clock), now.plus_millis(timeout_ms))),
        });
        Opening { job, now, timeout_ms }
    }

    fn first_claim(&self, app: &App, script: &str, execution: ExecutionId) -> Claimed {
        let version = app.live_script(script).map_or(0, |script| script.current);
        Claimed {
            app: app.id,
            execution,
            attempt: 1,
            at: self.steady.now(),
            seed: self.seed(),
            snapshot: self.views.applied(),
            version,
            imports: imports::versions(app, script, version),
            alone_ms: 0,
        }
    }

    /// Its claim as of now: it did not start when it was made.
    pub(super) fn claim_again(&self, opening: &mut Opening) {
        let job = &mut *opening.job;
        if let Some(app) = self.views.registry().app(job.app.id) {
            job.app = Arc::clone(app);
            job.vault = self.vaults.of(app);
        }
        job.claim = self.first_claim(&job.app, &job.ending.script, job.ending.execution);
        job.ending.version = job.claim.version;
    }

    /// Lets work with a caller in; if there is room it starts at once, before its enqueue and its claim are in the log:
    /// nobody was promised anything yet (S3, E94).
    pub(super) fn admit(self: &Arc<Self>, opening: Opening, reply: ReplyTo) -> Result<Admitted, SubmitError> {
        let (now, timeout_ms, deadline) = (opening.now, opening.timeout_ms, opening.deadline());
        let mut job = opening.job;
        let execution = job.ending.execution;
        let mut core = self.core.lock();
        self.admissible(&core, &job.app, &job.ending.source)?;
        if let Some(keyed) = idempotency(&job) {
            match self.known(&job.app, keyed, now)? {
                Known::Free => {}
                Known::InFlight(first) => {
                    core.followers.entry(first).or_default().push(reply);
                    return Ok(Admitted { called: Called::Follows(first), starts: None });
                }
                Known::First(row) => {
                    return Ok(Admitted { called: Called::Remembered(row), starts: None });
                }
            }
        }
        let (waiting, limit) = (core.waiting.len(), self.settings.waiting_calls_max);
        if waiting >= limit {
            return Err(Refusal::Overloaded { waiting, limit }.into());
        }
        let mut caller = Caller { reply, live: None, deadline, gone: false };
        let mut starts = None;
        if core.dispatch.has_room_for_sync() && core.barrier <= self.durability.durable() {
            core.dispatch.started(execution, Lane::Sync);
            core.inbox.insert(execution, caller);
            let running = Running {
                ending: job.ending.clone(),
                alone_until: None,
                stop: Arc::clone(&job.stop),
                begun: Some(now),
                timeout_ms,
            };
            core.running.insert(execution, running);
            // A second call with its key finds the first in the log; a full disk refuses before anything runs.
            if job.keyed || core.is_low() {
                self.open(&mut core, &mut job)?;
            }
            starts = Some(job);
        } else {
            let mut decision = core.decision();
            if let Some(enqueued) = job.unrecorded.take() {
                decision.push(enqueued);
            }
            core.append_new(&decision, &self.views, now)?;
            caller.live = job.live.take();
            core.inbox.insert(execution, caller);
            core.waiting.insert((deadline, execution));
            self.pump(&mut core);
            self.wake_timers(&core);
        }
        Ok(Admitted { called: Called::Runs(execution), starts })
    }

    /// Records the enqueue and the claim of a call before it goes on elsewhere, if they are not in the log yet (E94).
    ///
    /// # Errors
    /// They could not be appended: the call is not admitted any more.
    pub(super) fn record_opening(self: &Arc<Self>, job: &mut Job) -> Result<(), SubmitError> {
        if job.unrecorded.is_none() {
            return Ok(());
        }
        self.open(&mut self.core.lock(), job)
    }

    /// As [`Node::record_opening`], under the sequencer's lock.
    fn open(&self, core: &mut Core, job: &mut Job) -> Result<(), SubmitError> {
        self.append_opening(core, job).map_err(|failure| {
            let execution = job.ending.execution;
            core.dispatch.ended(execution);
            core.running.remove(&execution);
            core.inbox.remove(&execution);
            failure.into()
        })
    }

    pub(super) fn seed(&self) -> [u8; 16] {
        let mut seed = [0_u8; 16];
        self.entropy.fill(&mut seed);
        seed
    }
}

/// The `Idempotency-Key` that a call came with, while its enqueue is not in the log.
fn idempotency(job: &Job) -> Option<&IdempotencyKey> {
    match &job.unrecorded {
        Some(Event::Execution(ExecutionEvent::Enqueued(enqueued))) => enqueued.idempotency.as_deref(),
        Some(_) | None => None,
    }
}
