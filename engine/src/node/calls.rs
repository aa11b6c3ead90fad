//! Admission: route calls and direct runs become work in the outbox (D1, D4, D6).

use std::sync::Arc;

use relive_log::events::{
    Claimed, DispatchMode, Enqueued, Event, ExecutionEvent, IdempotencyKey, Input, Principal, Record,
    RequestRecord, Source,
};
use relive_log::{ExecutionId, Lsn, Purpose, UnixMicros, Urgency};
use relive_projections::{App, At, ExecutionRow, ReadError, Registry, Woken};

use super::core::{Caller, Core, Job, NotAppended, Running, Taker, claim, ending};
use super::input::{Recorder, Withhold};
use super::keyed::Known;
use super::watches::RunClock;
use super::{Accepted, DirectRun, FirstCall, Node, ReplyTo, RouteCall};
use crate::decide::commit::Ending;
use crate::decide::{Decision, imports};
use crate::dispatch::{Claim, Lane, Origin, Start};
use crate::refusal::{Failure, Refusal, SubmitError};
use crate::script::{ContextInput, Request};
use crate::seams::uuid_v7;
use crate::secrets::Masked;

/// Work that a caller waits for.
struct Admission {
    app: Arc<App>,
    script: String,
    source: Source,
    input: Input,
    principal: Option<Principal>,
    live: Option<ContextInput>,
    timeout_ms: u64,
    idempotency: Option<IdempotencyKey>,
}

/// What became of a sync call.
pub enum Called {
    /// It runs, or waits for a place: the caller gets its outcome, and says when it goes away.
    Runs(ExecutionId),
    /// A call with its `Idempotency-Key` is in flight: the caller gets that one's outcome.
    Follows(ExecutionId),
    /// A call with its key ended: [`Node::remembered`] is its outcome, once [`ExecutionRow::ended_at`] is durable.
    Remembered(Box<ExecutionRow>),
}

/// A call that was let in.
struct Admitted {
    called: Called,
    /// Its attempt, if that starts at once.
    starts: Option<Box<Job>>,
}

/// Called when an async call's enqueue is durable, or refused.
pub type AcceptedTo = Box<dyn FnOnce(Result<Accepted, SubmitError>) + Send>;

impl Node {
    /// A sync call: `reply` is called exactly once, unless this refuses or the outcome is remembered.
    ///
    /// # Errors
    /// Not admitted ([`Refusal::Overloaded`], [`Refusal::ShuttingDown`]), or the log failed.
    pub fn call(self: &Arc<Self>, call: RouteCall, reply: ReplyTo) -> Result<Called, SubmitError> {
        let route = call.app.routes.get(&call.route).ok_or_else(|| gone(&call))?;
        let spec = &route.spec;
        let input = match spec.record {
            Record::Full => Input::Request(Box::new(self.record(&call.app, &call.request, Withhold::Digest))),
            Record::Off => Input::NotRecorded,
        };
        let idempotency = call.idempotency.map(|sent| sent.of(self.vaults.key(), spec, &call.request));
        let admission = Admission {
            script: spec.script.clone(),
            source: Source::Route { route: route.id, sync: true },
            input,
            principal: call.principal,
            timeout_ms: spec.timeout_ms.unwrap_or(self.settings.timeout_ms),
            app: Arc::clone(&call.app),
            live: Some(ContextInput::Request(Arc::new(call.request))),
            idempotency,
        };
        let admitted = self.admit(admission, reply)?;
        if let Some(job) = admitted.starts {
            self.attempt_here(job)?;
        }
        Ok(admitted.called)
    }

    /// A direct run; like a sync call.
    ///
    /// # Errors
    /// No such app or script, not admitted, or the log failed.
    pub fn run_direct(self: &Arc<Self>, run: DirectRun, reply: ReplyTo) -> Result<ExecutionId, SubmitError> {
        let registry = self.views.registry();
        let not_found = |what, name: &str| Refusal::NotFound { what, name: name.to_owned() };
        let app = registry.app_by_slug(&run.app).ok_or_else(|| not_found("app", &run.app))?;
        if app.live_script(&run.script).is_none() {
            return Err(not_found("script", &run.script).into());
        }
        let live = Some(ContextInput::Payload(run.payload.clone()));
        let masked = run.payload.map(|payload| {
            let mut text = payload.to_vec();
            match self.vaults.of(app).masker().mask_bytes(&mut text) {
                Masked::Yes => text.into(),
                Masked::No => payload,
            }
        });
        let admission = Admission {
            app: Arc::clone(app),
            script: run.script,
            source: Source::Direct,
            input: Input::Payload(masked),
            principal: Some(run.principal),
            live,
            timeout_ms: self.settings.timeout_ms,
            idempotency: None,
        };
        let admitted = self.admit(admission, reply)?;
        if let Some(mut job) = admitted.starts {
            self.record_opening(&mut job)?;
            self.jobs.push(job);
        }
        match admitted.called {
            Called::Runs(execution) | Called::Follows(execution) => Ok(execution),
            Called::Remembered(row) => Ok(row.execution),
        }
    }

    /// An async call; `done` when the enqueue is durable, or refused.
    pub fn call_async(self: &Arc<Self>, call: RouteCall, done: AcceptedTo) {
        let Some(route) = call.app.routes.get(&call.route) else {
            done(Err(gone(&call).into()));
            return;
        };
        debug_assert_eq!(route.spec.mode, DispatchMode::Async, "the caller looked at the mode");
        let record = self.record(&call.app, &call.request, Withhold::Seal);
        let idempotency = call.idempotency.map(|sent| sent.of(self.vaults.key(), &route.spec, &call.request));
        let now = self.clock.now();
        let admission = Admission {
            app: Arc::clone(&call.app),
            script: route.spec.script.clone(),
            source: Source::Route { route: route.id, sync: false },
            input: Input::Request(Box::new(record)),
            principal: call.principal,
            live: None,
            timeout_ms: 0,
            idempotency,
        };
        let execution = ExecutionId(uuid_v7(now, &*self.entropy));
        match self.enqueue_async(admission, execution, now) {
            Ok(accepted) => self.waiters.when_durable(
                accepted.lsn,
                Box::new(move |durable| done(durable.map(|()| accepted).map_err(Into::into))),
            ),
            Err(error) => done(Err(error)),
        }
    }

    fn enqueue_async(
        self: &Arc<Self>,
        admission: Admission,
        execution: ExecutionId,
        now: UnixMicros,
    ) -> Result<Accepted, SubmitError> {
        let mut core = self.core.lock();
        self.admissible(&core, &admission)?;
        if let Some(keyed) = &admission.idempotency {
            match self.known(&admission.app, keyed, now)? {
                Known::Free => {}
                // The route was a sync one when the first call came.
                Known::InFlight(first) => {
                    return Err(Refusal::Conflict {
                        code: "idempotency_in_flight",
                        message: format!(
                            "the first call with this Idempotency-Key ({first}) has no outcome yet"
                        ),
                    }
                    .into());
                }
                Known::First(row) => {
                    let (execution, at, lsn) = (row.execution, row.enqueued.time, row.enqueued.lsn);
                    return Ok(Accepted { execution, at, lsn, first: FirstCall::Earlier });
                }
            }
        }
        let mut decision = core.decision();
        decision.push(enqueue(admission, execution, now));
        let appended = core.append_new(&decision, &self.views, now)?;
        self.pump(&mut core);
        let (at, lsn) = (appended.commit_time, appended.last);
        Ok(Accepted { execution, at, lsn, first: FirstCall::This })
    }

    /// What was matched before the lock was taken may be gone by now: work of an app that is not there would wait
    /// for ever.
    fn admissible(&self, core: &Core, admission: &Admission) -> Result<(), Refusal> {
        if !core.admitting {
            return Err(Refusal::ShuttingDown);
        }
        let registry = self.views.registry();
        let not_found = |what, name: String| Refusal::NotFound { what, name };
        let app =
            registry.app(admission.app.id).ok_or_else(|| not_found("app", admission.app.slug.clone()))?;
        match &admission.source {
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

    fn record(&self, app: &App, request: &Request, withhold: Withhold) -> RequestRecord {
        let vault = self.vaults.of(app);
        let recorder = Recorder {
            vaults: &self.vaults,
            vault: &vault,
            entropy: &*self.entropy,
            sensitive: &self.settings.sensitive_headers,
        };
        recorder.record(request, withhold)
    }

    /// Lets work with a caller in; if there is room it starts at once, before its enqueue and its claim are in the log:
    /// nobody was promised anything yet (S3, E94).
    fn admit(self: &Arc<Self>, mut admission: Admission, reply: ReplyTo) -> Result<Admitted, SubmitError> {
        let now = self.clock.now();
        let execution = ExecutionId(uuid_v7(now, &*self.entropy));
        let deadline = now.plus_millis(admission.timeout_ms);
        let mut core = self.core.lock();
        self.admissible(&core, &admission)?;
        if let Some(keyed) = &admission.idempotency {
            match self.known(&admission.app, keyed, now)? {
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
        let mut starts = None;
        let mut caller = Caller { reply, live: admission.live.take(), deadline, gone: false };
        if core.dispatch.has_room_for_sync() && core.barrier <= self.durability.durable() {
            let live = caller.live.take();
            core.dispatch.started(execution, Lane::Sync);
            core.inbox.insert(execution, caller);
            let mut job = self.started(&mut core, admission, live, execution, now);
            // A second call with its key finds the first in the log; a full disk refuses before anything runs.
            if job.keyed || core.is_low() {
                self.open(&mut core, &mut job)?;
            }
            starts = Some(job);
        } else {
            let mut decision = core.decision();
            decision.push(enqueue(admission, execution, now));
            core.append_new(&decision, &self.views, now)?;
            core.inbox.insert(execution, caller);
            core.waiting.insert((deadline, execution));
            self.pump(&mut core);
            self.wake_timers(&core);
        }
        Ok(Admitted { called: Called::Runs(execution), starts })
    }

    /// The attempt of a call that starts at once; its enqueue and its claim are not in the log yet.
    fn started(
        self: &Arc<Self>,
        core: &mut Core,
        admission: Admission,
        live: Option<ContextInput>,
        execution: ExecutionId,
        now: UnixMicros,
    ) -> Box<Job> {
        let app = Arc::clone(&admission.app);
        let version = app.live_script(&admission.script).map_or(0, |script| script.current);
        let claim = Claimed {
            app: app.id,
            execution,
            attempt: 1,
            at: self.steady.now(),
            seed: self.seed(),
            snapshot: self.views.applied(),
            version,
            imports: imports::versions(&app, &admission.script, version),
            alone_ms: 0,
        };
        let ending = Ending {
            app: app.id,
            execution,
            root: execution,
            depth: 0,
            attempt: 1,
            source: admission.source.clone(),
            script: admission.script.clone(),
            version,
            caller_gone: false,
        };
        let stop = Arc::new(RunClock::new(Arc::clone(&self.clock), now.plus_millis(admission.timeout_ms)));
        let running = Running {
            ending: ending.clone(),
            alone_until: None,
            stop: Arc::clone(&stop),
            begun: Some(now),
            timeout_ms: admission.timeout_ms,
        };
        core.running.insert(execution, running);
        let principal = admission.principal.clone();
        let keyed = admission.idempotency.is_some();
        let unrecorded = Some(enqueue(admission, execution, now));
        let (claimed, enqueued) = (Lsn::ZERO, At::default());
        Box::new(Job {
            app,
            ending,
            claim,
            claimed,
            principal,
            live,
            enqueued,
            read: None,
            unrecorded,
            keyed,
            stop,
        })
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
    pub(super) fn open(&self, core: &mut Core, job: &mut Job) -> Result<(), SubmitError> {
        self.append_opening(core, job).map_err(|failure| {
            let execution = job.ending.execution;
            core.dispatch.ended(execution);
            core.running.remove(&execution);
            core.inbox.remove(&execution);
            failure.into()
        })
    }

    /// Claims and starts whatever may start now (D2, D3). Work that may be run again starts when its claim is
    /// durable, else a script that kills the process would never run out of attempts.
    pub(super) fn pump(self: &Arc<Self>, core: &mut Core) {
        let now = self.clock.now();
        self.step_jobs(core, now);
        core.dispatch.advance(now);
        if core.dispatch.give_places() {
            self.places.notify_all();
        }
        self.claim_ready(core, now);
        self.wake_timers(core);
    }

    fn claim_ready(self: &Arc<Self>, core: &mut Core, now: UnixMicros) {
        let mut decision = core.decision();
        let mut jobs: Vec<(Lane, Box<Job>)> = Vec::new();
        let mut ahead = Vec::new();
        let registry = self.views.registry();
        // Until nothing more starts: what is found gone leaves its place to another one.
        loop {
            let starts = self.next_starts(core, now);
            let executions: Vec<ExecutionId> = starts.iter().map(|start| start.execution).collect();
            let rows = self.views.executions().wake(&executions);
            let mut all_start = true;
            for (start, row) in starts.into_iter().zip(rows) {
                let job = match row {
                    Ok(Some(row)) => self.prepare(core, start, row, &registry, now, &mut decision),
                    Ok(None) => None,
                    Err(why) => {
                        self.unreadable(core, start, now, &why);
                        all_start = false;
                        continue;
                    }
                };
                match (job, start.claim) {
                    (Some(job), Claim::Now) => jobs.push((start.lane, job)),
                    (Some(job), Claim::Ahead) => ahead.push(job),
                    (None, claim) => {
                        not_started(core, start.execution, claim);
                        core.dispatch.closed(start.execution, now);
                        all_start = false;
                    }
                }
            }
            if all_start {
                break;
            }
        }
        if decision.is_empty() {
            return;
        }
        // Whoever waits for an answer was admitted and gets it; what nobody waits for starts when there is room.
        let awaited = jobs.iter().any(|(lane, _)| *lane == Lane::Sync);
        let purpose = if awaited { Purpose::Ending } else { Purpose::NewWork };
        match core.append_as(&decision, &self.views, now, (purpose, Urgency::Now)) {
            Ok(appended) => {
                jobs.iter_mut().for_each(|(_, job)| job.claimed = appended.last);
                ahead.iter_mut().for_each(|job| job.claimed = appended.last);
                self.start_when_durable(core.barrier, appended.last, jobs, ahead);
            }
            Err(error) => self.claims_failed(core, jobs, ahead, &error),
        }
    }

    /// What starts now, and what is claimed ahead; what was claimed ahead before begins.
    fn next_starts(&self, core: &mut Core, now: UnixMicros) -> Vec<Start> {
        let mut starts = Vec::new();
        while let Some(start) = core.dispatch.next() {
            match start.claim {
                Claim::Ahead => self.begin_ahead(core, start, now),
                Claim::Now => starts.push(start),
            }
        }
        for _ in 0..core.dispatch.room_ahead(core.pace.ahead()) {
            starts.extend(core.dispatch.claim_ahead());
        }
        starts
    }

    /// The log does not give back what an execution is: it stays in the outbox, and is looked at again.
    fn unreadable(&self, core: &mut Core, start: Start, now: UnixMicros, why: &ReadError) {
        let execution = start.execution;
        tracing::error!(%execution, %why, "an open execution cannot be read from the log; it waits");
        not_started(core, execution, start.claim);
        let origin = self.views.executions().with_open(execution, |work| Origin::of(work.source));
        if let Some(origin) = origin {
            let again = now.plus_millis(RETRY_UNREADABLE_MS);
            core.dispatch.again(start.app, origin, execution, again, Lane::Background);
        }
    }

    /// One action for all claims of a batch.
    #[expect(clippy::vec_box, reason = "jobs go in their boxes from hand to hand")]
    fn start_when_durable(
        self: &Arc<Self>,
        barrier: Lsn,
        claimed: Lsn,
        jobs: Vec<(Lane, Box<Job>)>,
        ahead: Vec<Box<Job>>,
    ) {
        let (sync, background): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|(lane, _)| *lane == Lane::Sync);
        for (after, jobs) in [(barrier, sync), (claimed, background)] {
            if jobs.is_empty() {
                continue;
            }
            let line = Arc::clone(&self.jobs);
            let start = move |durable: Result<(), Failure>| {
                if durable.is_ok() {
                    jobs.into_iter().for_each(|(_, job)| line.push(job));
                }
            };
            self.waiters.when_durable(after, Box::new(start));
        }
        if !ahead.is_empty() {
            let node = Arc::clone(self);
            // Takes the sequencer's lock: never on this thread.
            self.waiters.queue_up(
                claimed,
                Box::new(move |durable| {
                    if durable.is_ok() {
                        node.ahead_is_durable(ahead);
                    }
                }),
            );
        }
    }

    #[expect(clippy::vec_box, reason = "jobs go in their boxes from hand to hand")]
    fn ahead_is_durable(self: &Arc<Self>, ahead: Vec<Box<Job>>) {
        let mut core = self.core.lock();
        if core.stopping {
            ahead.into_iter().for_each(|job| self.jobs.push(job));
            return;
        }
        for job in ahead {
            core.dispatch.ahead_is_durable(job.ending.app, job.ending.execution);
            core.ahead.insert(job.ending.execution, job);
        }
        self.pump(&mut core);
    }

    /// There is a place for an execution that was claimed ahead: its time runs from here on.
    fn begin_ahead(&self, core: &mut Core, start: Start, now: UnixMicros) {
        let (Some(job), Some(running)) =
            (core.ahead.remove(&start.execution), core.running.get_mut(&start.execution))
        else {
            core.dispatch.ended(start.execution);
            return;
        };
        running.begun = Some(now);
        running.stop.begin(now.plus_millis(running.timeout_ms));
        match std::mem::replace(&mut core.taker, Taker::Nobody) {
            Taker::ThisThread => self.jobs.push_for_self(job),
            Taker::Nobody => self.jobs.push(job),
        }
    }

    fn prepare(
        &self,
        core: &mut Core,
        start: Start,
        woken: Woken,
        registry: &Registry,
        now: UnixMicros,
        decision: &mut Decision,
    ) -> Option<Box<Job>> {
        let Woken { row, enqueued: read } = woken;
        let (app, claimed) = claim(start, &row, &self.views, registry, self.steady.now(), self.seed())?;
        let ending = ending(&row, &claimed);
        let timeout_ms = self.timeout_ms(&app, &row.source);
        let (deadline, live) = match core.inbox.get_mut(&start.execution) {
            Some(caller) => (caller.deadline, caller.live.take()),
            None => (now.plus_millis(timeout_ms), None),
        };
        core.waiting.remove(&(deadline, start.execution));
        let stop = Arc::new(RunClock::new(Arc::clone(&self.clock), deadline));
        let alone_until = (claimed.alone_ms > 0).then(|| now.plus_millis(claimed.alone_ms));
        if alone_until.is_some() {
            tracing::warn!(execution = %row.execution, ms = claimed.alone_ms, "runs alone after a crash");
        }
        let begun = (start.claim == Claim::Now).then_some(now);
        core.running.insert(
            start.execution,
            Running { ending: ending.clone(), alone_until, stop: Arc::clone(&stop), begun, timeout_ms },
        );
        decision.push(Event::Execution(ExecutionEvent::Claimed(claimed.clone())));
        let (principal, enqueued, keyed) = (row.principal, row.enqueued, row.keyed);
        let claimed_at = Lsn::ZERO; // Known when the claims of this batch are appended.
        Some(Box::new(Job {
            unrecorded: None,
            app,
            ending,
            claim: claimed,
            claimed: claimed_at,
            principal,
            live,
            enqueued,
            read,
            keyed,
            stop,
        }))
    }

    /// Claims that were not appended: the work stays where the log says it is, in the outbox.
    #[expect(clippy::vec_box, reason = "jobs go in their boxes from hand to hand")]
    fn claims_failed(
        &self,
        core: &mut Core,
        jobs: Vec<(Lane, Box<Job>)>,
        ahead: Vec<Box<Job>>,
        error: &NotAppended,
    ) {
        match error {
            // The log says so itself, once.
            NotAppended::Failed(Failure::NoSpace { .. }) => {}
            NotAppended::Failed(_) | NotAppended::TooLarge { .. } => {
                tracing::error!(?error, "claims could not be appended; the work waits");
            }
        }
        for job in ahead {
            let execution = job.ending.execution;
            core.running.remove(&execution);
            core.dispatch.not_ahead();
            let again = self.clock.now().plus_millis(RETRY_CLAIM_MS);
            let origin = Origin::of(&job.ending.source);
            core.dispatch.again(job.ending.app, origin, execution, again, Lane::Background);
        }
        for (lane, job) in jobs {
            let execution = job.ending.execution;
            core.running.remove(&execution);
            core.dispatch.ended(execution);
            let again = self.clock.now().plus_millis(RETRY_CLAIM_MS);
            let origin = Origin::of(&job.ending.source);
            if lane == Lane::Sync {
                if let Some(caller) = core.inbox.get_mut(&execution) {
                    caller.live = job.live;
                    core.waiting.insert((caller.deadline, execution));
                }
                core.dispatch.ready_again(job.ending.app, origin, execution, lane);
            } else {
                core.dispatch.again(job.ending.app, origin, execution, again, lane);
            }
        }
    }

    /// The wall-clock limit of one attempt of background work.
    fn timeout_ms(&self, app: &App, source: &Source) -> u64 {
        let own = match source {
            Source::Route { route, .. } => app.routes.get(route).and_then(|route| route.spec.timeout_ms),
            Source::Kv { .. }
            | Source::DeadLetter { .. }
            | Source::Cron { .. }
            | Source::Queue { .. }
            | Source::Direct => None,
        };
        own.unwrap_or(self.settings.timeout_ms)
    }

    fn seed(&self) -> [u8; 16] {
        let mut seed = [0_u8; 16];
        self.entropy.fill(&mut seed);
        seed
    }
}

/// Work that `next_starts` gave does not start after all.
fn not_started(core: &mut Core, execution: ExecutionId, claim: Claim) {
    match claim {
        Claim::Now => core.dispatch.ended(execution),
        Claim::Ahead => core.dispatch.not_ahead(),
    }
}

/// How long work waits that the log did not give back.
const RETRY_UNREADABLE_MS: u64 = 60_000;
/// How long claims wait after the log had no room for them.
const RETRY_CLAIM_MS: u64 = 500;

fn gone(call: &RouteCall) -> Refusal {
    Refusal::NotFound { what: "route", name: call.route.to_string() }
}

fn enqueue(admission: Admission, execution: ExecutionId, now: UnixMicros) -> Event {
    Event::Execution(ExecutionEvent::Enqueued(Box::new(Enqueued {
        app: admission.app.id,
        execution,
        root: execution,
        depth: 0,
        cause: None,
        caused_by: None,
        script: admission.script,
        source: admission.source,
        input: admission.input,
        due_at: now,
        ordering_key: None,
        principal: admission.principal,
        redrive_of: None,
        pinned_version: None,
        idempotency: admission.idempotency.map(Box::new),
    })))
}
