//! What may start is claimed, in one batch for all of it, and given to script threads (D2, D3).
//!
//! Owns: [`Node::pump`] and the way from the dispatcher's choice to a job. Never does: run a script, or choose: that is the
//! dispatcher's.

use std::sync::Arc;

use relive_log::events::{Event, ExecutionEvent, Source};
use relive_log::{Batch, ExecutionId, Lsn, Purpose, UnixMicros, Urgency};
use relive_projections::{App, ReadError, Registry, Woken};

use super::Node;
use super::core::{Core, Job, NotAppended, Running, Taker, claim, ending};
use super::watches::RunClock;
use crate::decide::Decision;
use crate::dispatch::{Claim, Lane, Origin, Start};
use crate::refusal::Failure;

/// How long work waits that the log did not give back.
const RETRY_UNREADABLE_MS: u64 = 60_000;
/// How long claims wait after the log had no room for them.
const RETRY_CLAIM_MS: u64 = 500;

impl Node {
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
        if core.dispatch.alone_waits() {
            let inside = self.core.door().shut();
            core.dispatch.beside(inside);
        }
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
            encoded: Batch::new(),
            vault: self.vaults.of(&app),
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
        app.timeout_ms(source).unwrap_or(self.settings.timeout_ms)
    }
}

/// Work that `next_starts` gave does not start after all.
fn not_started(core: &mut Core, execution: ExecutionId, claim: Claim) {
    match claim {
        Claim::Now => core.dispatch.ended(execution),
        Claim::Ahead => core.dispatch.not_ahead(),
    }
}
