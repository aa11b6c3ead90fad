//! The sequencer: one caller at a time decides, appends and applies. Whoever holds its lock is the sequencer.
//!
//! Owns: the appender, the dispatcher's state, the inbox of callers, the executions that run, app locks. Never
//! does: wait for the disk while it holds the lock (except when the log's buffer is full), run a script,
//! reply.
//!
//! Invariants: E80 what is appended is applied before the lock is given up; E81 `running` holds exactly the
//! executions with an open claim, or with one that is recorded with its end (E94); E82 a caller stands in the inbox from its admission until its outcome.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use relive_log::events::{
    AfterFailure, AppEvent, Claimed, DeadLetterEvent, Enqueued, ErrorKind, Event, ExecutionEvent, JobEvent,
    Principal, Source, TriggerEvent,
};
use relive_log::{
    AppId, AppendError, Appended, Appender, Batch, Durability, ExecutionId, JobId, Lsn, Purpose, Room,
    Supply, UnixMicros, Urgency,
};
use relive_projections::{App, At, CronView, ExecutionRow, FoldedBatch, OpenWork, Registry, Status, Views};

use super::expiry::Expiries;
use super::locks::Locks;
use super::{Done, ReplyTo};
use crate::command::Command;
use crate::cron::CronTable;
use crate::decide::commit::Ending;
use crate::decide::{Decision, ENCODED_BYTES, imports};
use crate::dispatch::{Arrival, Dispatch, Join, Lane, Origin, Start};
use crate::refusal::{Failure, Refusal, SubmitError};
use crate::script::ContextInput;
use crate::seams::Steady;

/// The time alone after the first crash, milliseconds (D3); twice as long after each further one.
pub(crate) const ALONE_MS_FIRST: u64 = 1000;
/// Script threads at most, those that wait for the world included (D2).
pub(crate) const SCRIPT_THREADS_MAX: usize = 256;
/// Most executions claimed before there is a place for them.
const AHEAD_MAX: usize = 64;
/// Only attempts that take less than this on the average are claimed ahead, microseconds.
const AHEAD_BELOW_US: u64 = 2000;
/// The longest time alone.
pub(crate) const ALONE_MS_MAX: u64 = 64_000;

/// A caller that waits for an outcome.
pub(super) struct Caller {
    pub reply: ReplyTo,
    /// What it sent, until its attempt takes it: unmasked, and never read back from the log.
    pub live: Option<ContextInput>,
    pub deadline: UnixMicros,
    pub gone: bool,
}

/// An attempt with an open claim.
pub(super) struct Running {
    pub ending: Ending,
    /// While it runs alone: until when.
    pub alone_until: Option<UnixMicros>,
    pub stop: Arc<super::watches::RunClock>,
    /// When it got its place.
    pub begun: Option<UnixMicros>,
    /// How long it may run, milliseconds.
    pub timeout_ms: u64,
}

/// How long attempts of background work take: only quick ones are claimed ahead.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    average_us: Option<u64>,
}

impl Pace {
    /// An attempt took so long.
    pub(super) fn note(&mut self, micros: u64) {
        let before = self.average_us.unwrap_or(micros);
        self.average_us = Some((before.saturating_mul(7).saturating_add(micros)) / 8);
    }

    /// How many may be claimed before there is a place for them: as many as begin within about one write of the
    /// log, so that places do not stand empty while claims become durable. None while attempts are slow, or nothing
    /// is known of them.
    pub(super) fn ahead(self) -> usize {
        if self.average_us.is_some_and(|micros| micros < AHEAD_BELOW_US) { AHEAD_MAX } else { 0 }
    }
}

/// Whether the thread that holds the lock is about to take a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taker {
    Nobody,
    ThisThread,
}

/// A claimed attempt on its way to a script thread.
pub(super) struct Job {
    pub app: Arc<App>,
    /// The app's secrets.
    pub vault: Arc<super::vault::AppVault>,
    pub ending: Ending,
    pub claim: Claimed,
    /// LSN of the claim: no outgoing call leaves before it is durable (S3).
    pub claimed: Lsn,
    pub principal: Option<Principal>,
    /// What a caller that still waits sent; otherwise the input is read at the `enqueued` event.
    pub live: Option<ContextInput>,
    pub enqueued: At,
    /// Its `enqueued` while neither that nor the claim is in the log (E94).
    pub unrecorded: Option<Event>,
    /// Both as the log takes them, if they were encoded before their end is appended.
    pub encoded: Batch,
    /// Its `enqueued` event, if it was read for the claim.
    pub read: Option<Box<Enqueued>>,
    /// Whether its call came with an `Idempotency-Key`: the whole answer is kept.
    pub keyed: bool,
    pub stop: Arc<super::watches::RunClock>,
}

impl Job {
    /// Encodes its enqueue and its claim, so that this need not be done under the sequencer's lock.
    pub(super) fn encode_opening(&mut self) {
        if let Some(enqueued) = &self.unrecorded {
            self.encoded = Batch::with_room(ENCODED_BYTES);
            self.encoded.push(enqueued);
            self.encoded.push(&Event::Execution(ExecutionEvent::Claimed(self.claim.clone())));
        }
    }

    /// Its enqueue and its claim, in this order, lead a batch that was appended.
    pub(super) fn opened(&mut self, appended: &Appended) {
        self.encoded.clear();
        self.enqueued = At { lsn: appended.first, pos: appended.pos, time: appended.commit_time };
        self.claimed = appended.first.next();
    }
}

/// A KV write of the admin API that waits for a lock.
pub(super) struct Deferred {
    pub command: Command,
    pub by: Principal,
    pub done: Done,
}

/// See the module.
pub(super) struct Core {
    appender: Appender,
    supply: Supply,
    batch: Batch,
    pub dispatch: Dispatch,
    pub cron: CronTable,
    pub running: HashMap<ExecutionId, Running>,
    /// Claimed ahead: their attempts begin when there is a place.
    pub ahead: HashMap<ExecutionId, Box<Job>>,
    pub pace: Pace,
    /// The thread that holds the lock just ended an attempt and takes a job next: for one job nobody need be woken.
    pub taker: Taker,
    pub inbox: HashMap<ExecutionId, Caller>,
    /// Further callers of executions in the inbox: calls with the same `Idempotency-Key`.
    pub followers: HashMap<ExecutionId, super::keyed::Followers>,
    /// Deadlines of callers whose execution has not started.
    pub waiting: BTreeSet<(UnixMicros, ExecutionId)>,
    /// Locks of executions that met too many conflicts (S2).
    pub locks: Locks,
    /// Times to live that end next.
    pub expiries: Expiries,
    steady: Arc<Steady>,
    pub deferred: Vec<Deferred>,
    /// Jobs that have not ended, and when their next step comes (`None`: when something that they redrove ends).
    pub jobs: BTreeMap<(AppId, JobId), Option<UnixMicros>>,
    /// When to look for what is no longer kept; `None`: now.
    pub records_until: Option<UnixMicros>,
    pub admitting: bool,
    pub stopping: bool,
    /// Nothing starts before this is durable: others join an execution that ran alone only when the log says so.
    pub barrier: Lsn,
    /// Until when the timers sleep.
    pub asleep_until: UnixMicros,
}

/// Why a batch was not appended.
#[derive(Debug)]
pub(super) enum NotAppended {
    /// It is too large for the log: nothing was written.
    TooLarge { bytes: u64, limit: u64 },
    /// The world broke.
    Failed(Failure),
}

impl From<NotAppended> for SubmitError {
    fn from(error: NotAppended) -> SubmitError {
        match error {
            NotAppended::TooLarge { bytes, limit } => SubmitError::Refused(Refusal::TooLarge {
                what: "this batch".to_owned(),
                actual: bytes,
                limit,
                unit: "bytes",
                setting: "RELIVE_MAX_BATCH",
            }),
            NotAppended::Failed(failure) => SubmitError::Failed(failure),
        }
    }
}

impl Core {
    pub(super) fn new(appender: Appender, gate: usize, steady: Arc<Steady>) -> Core {
        Core {
            supply: appender.supply(),
            appender,
            batch: Batch::new(),
            dispatch: Dispatch::new(gate, SCRIPT_THREADS_MAX),
            cron: CronTable::default(),
            running: HashMap::default(),
            ahead: HashMap::default(),
            pace: Pace::default(),
            taker: Taker::Nobody,
            inbox: HashMap::default(),
            followers: HashMap::default(),
            waiting: BTreeSet::new(),
            locks: Locks::default(),
            expiries: Expiries::new(),
            steady,
            deferred: Vec::new(),
            jobs: BTreeMap::new(),
            records_until: None,
            admitting: true,
            stopping: false,
            barrier: Lsn::ZERO,
            asleep_until: UnixMicros(0),
        }
    }

    /// A batch in the making that starts at the next LSN.
    pub(super) fn decision(&self) -> Decision {
        Decision::starting_at(self.appender.next_lsn())
    }

    /// A batch in the making behind the enqueue and the claim of a call, which [`Decision::precede`] puts in front.
    pub(super) fn decision_after_opening(&self) -> Decision {
        Decision::starting_at(self.appender.next_lsn().plus(2))
    }

    /// Whether new work would be refused for want of room on the disk.
    pub(super) fn is_low(&self) -> bool {
        self.supply.room() == Room::Low
    }

    /// How many calls that arrive now would be let in and start at once.
    pub(super) fn room(&self, durability: &Durability) -> usize {
        let open = self.admitting
            && self.waiting.is_empty()
            && self.barrier <= durability.durable()
            && !self.is_low();
        if open { self.dispatch.room_for_sync() } else { 0 }
    }

    /// Appends what ends work or lets the log shrink, applies it, and tells the dispatcher (E80).
    pub(super) fn append(
        &mut self,
        decision: &Decision,
        views: &Views,
        now: UnixMicros,
    ) -> Result<Appended, NotAppended> {
        self.append_as(decision, views, now, (Purpose::Ending, Urgency::Now))
    }

    /// As [`Core::append`], for new work: refused while the disk is low, where ends of work go on in a reserve.
    pub(super) fn append_new(
        &mut self,
        decision: &Decision,
        views: &Views,
        now: UnixMicros,
    ) -> Result<Appended, NotAppended> {
        self.append_as(decision, views, now, (Purpose::NewWork, Urgency::Now))
    }

    /// As [`Core::append`], with an urgency: what nobody waits for (S3) rides with what somebody waits for. So does the
    /// claim of a call that starts at once, with its commit, and the record of an attempt that only read, with the next
    /// commit of anybody.
    pub(super) fn append_as(
        &mut self,
        decision: &Decision,
        views: &Views,
        now: UnixMicros,
        how: (Purpose, Urgency),
    ) -> Result<Appended, NotAppended> {
        self.batch.clear();
        self.batch.extend(decision.encoded());
        for event in decision.events().iter().skip(decision.encoded().len() as usize) {
            self.batch.push(event);
        }
        // Nothing is committed before a time that a read has seen (K4).
        let appended = self.append_batch(self.steady.raise(now), how)?;
        debug_assert_eq!(appended.first, decision.first(), "E3: a decision knows its LSNs");
        views.apply(&FoldedBatch {
            first: appended.first,
            last: appended.last,
            commit_time: appended.commit_time,
            pos: appended.pos,
            events: decision.events(),
        });
        self.expiries.observe(decision.events(), appended.first);
        self.observe(decision, views, now);
        Ok(appended)
    }

    fn append_batch(
        &mut self,
        now: UnixMicros,
        (purpose, urgency): (Purpose, Urgency),
    ) -> Result<Appended, NotAppended> {
        loop {
            match self.appender.append_with(&self.batch, now, purpose, urgency) {
                Ok(appended) => return Ok(appended),
                // The buffer is full, or a segment is on its way: the disk sets the pace. Nothing that it waits for
                // needs this lock.
                Err(AppendError::Busy) => self.appender.wait_for_room(),
                Err(AppendError::TooLarge { bytes, limit }) => {
                    return Err(NotAppended::TooLarge { bytes, limit });
                }
                Err(error @ AppendError::NoSpace) => {
                    return Err(NotAppended::Failed(Failure::NoSpace { message: error.to_string() }));
                }
                Err(error @ (AppendError::Poisoned(_) | AppendError::Closed | AppendError::Empty)) => {
                    return Err(NotAppended::Failed(Failure::Log { message: error.to_string() }));
                }
            }
        }
    }

    /// What the dispatcher has to know of a batch.
    fn observe(&mut self, decision: &Decision, views: &Views, now: UnixMicros) {
        let mut configured = BTreeSet::new();
        let mut following = decision.events().iter().skip(1);
        for (event, at) in decision.events().iter().zip(0_u64..) {
            let next = following.next();
            match event {
                // A call that started at once (E94) never stands in a line.
                Event::Execution(ExecutionEvent::Enqueued(e)) if next.is_some_and(|next| claims(next, e)) => {
                }
                Event::Execution(event) => {
                    if let ExecutionEvent::Abandoned(_) = event {
                        self.records_until = None;
                    }
                    self.observe_execution(event, decision.first().plus(at), views, now);
                }
                Event::DeadLetter(DeadLetterEvent::DeadLettered(_)) => self.records_until = None,
                Event::Job(JobEvent::Created(e)) => drop(self.jobs.insert((e.app, e.job), Some(now))),
                Event::Job(JobEvent::Ended(e)) => {
                    self.jobs.remove(&(e.app, e.job));
                    self.records_until = None;
                }
                Event::App(AppEvent::Paused(e)) => self.dispatch.pause_app(e.app),
                Event::App(AppEvent::Forked(e)) => self.dispatch.pause_app(e.app),
                Event::App(AppEvent::Resumed(e)) => self.dispatch.resume_app(e.app),
                Event::App(AppEvent::Deleted(e)) => self.dispatch.drop_app(e.app),
                Event::Trigger(TriggerEvent::Paused(e)) => self.dispatch.pause_trigger(e.app, e.trigger),
                Event::Trigger(TriggerEvent::Resumed(e)) => self.dispatch.resume_trigger(e.app, e.trigger),
                Event::Trigger(TriggerEvent::Deleted(e)) => {
                    self.dispatch.drop_origin(e.app, Origin::Trigger(e.trigger));
                }
                Event::App(AppEvent::Created(_) | AppEvent::Changed(_))
                | Event::Trigger(TriggerEvent::Created(_) | TriggerEvent::Changed(_))
                | Event::Route(_)
                | Event::Script(_)
                | Event::Token(_)
                | Event::Secret(_)
                | Event::Kv(_)
                | Event::DeadLetter(
                    DeadLetterEvent::HandlerFailed(_)
                    | DeadLetterEvent::Redriven(_)
                    | DeadLetterEvent::Resolved(_)
                    | DeadLetterEvent::Expired(_),
                )
                | Event::Job(JobEvent::Progressed(_) | JobEvent::Expired(_))
                | Event::Retention(_)
                | Event::Cron(_) => {}
            }
            if let Event::App(_) | Event::Trigger(_) = event {
                configured.insert(event.app());
            }
        }
        for app in configured {
            self.cron.refresh(app, views.registry().app(app).map(|app| &**app), views.cron());
        }
    }

    fn observe_execution(&mut self, event: &ExecutionEvent, lsn: Lsn, views: &Views, now: UnixMicros) {
        match event {
            ExecutionEvent::Enqueued(e) => {
                let join = if e.redrive_of.is_some() { Join::AtEnd } else { Join::ByDue };
                let arrival = Arrival {
                    app: e.app,
                    origin: Origin::of(&e.source),
                    execution: e.execution,
                    due_at: e.due_at,
                    lane: if e.source.reply_to() { Lane::Sync } else { Lane::Background },
                    ordered: e.ordering_key.as_deref().map(|key| (key, lsn, join)),
                };
                self.dispatch.arrive(arrival, now);
            }
            ExecutionEvent::AttemptFailed(e) => match e.then {
                AfterFailure::Retry { due_at } => {
                    let crashed = e.error.kind == ErrorKind::Crashed;
                    let lane = if crashed { Lane::Alone } else { Lane::Background };
                    let origin = views.executions().with_open(e.execution, |work| Origin::of(work.source));
                    if let Some(origin) = origin {
                        self.dispatch.again(e.app, origin, e.execution, due_at, lane);
                    }
                }
                AfterFailure::DeadLetter | AfterFailure::End => self.dispatch.closed(e.execution, now),
            },
            ExecutionEvent::Completed(e) => self.dispatch.closed(e.execution, now),
            ExecutionEvent::Dropped(e) => self.dispatch.closed(e.execution, now),
            ExecutionEvent::Abandoned(_)
            | ExecutionEvent::Claimed(_)
            | ExecutionEvent::AloneEnded(_)
            | ExecutionEvent::Released(_)
            | ExecutionEvent::DepthExceeded(_) => {}
        }
    }

    /// Lines up work that waited for its first attempt when the process began, and stands in no line.
    pub(super) fn line_up_resting(&mut self, work: &OpenWork<'_>, now: UnixMicros) {
        let arrival = Arrival {
            app: work.app,
            origin: Origin::of(work.source),
            execution: work.execution,
            due_at: work.due_at,
            lane: lane_of(work.source, Alone::No),
            ordered: None,
        };
        self.dispatch.arrive(arrival, now);
    }

    /// Lines up an execution that was open when the process began.
    pub(super) fn line_up(&mut self, row: &ExecutionRow, stood: Stood, now: UnixMicros) {
        let origin = Origin::of(&row.source);
        let key = row.ordering_key.as_deref();
        if stood == Stood::CutOff {
            if let Some(key) = key {
                self.dispatch.holds_line(row.app, origin, key, row.enqueued.lsn, row.execution);
            }
            return;
        }
        let alone = if runs_alone(row) { Alone::Yes } else { Alone::No };
        let join = match (row.attempts.is_empty(), row.redrive_of) {
            (false, _) => Join::Begun,
            (true, Some(_)) => Join::AtEnd,
            (true, None) => Join::ByDue,
        };
        let arrival = Arrival {
            app: row.app,
            origin,
            execution: row.execution,
            due_at: row.due_at,
            lane: lane_of(&row.source, alone),
            ordered: key.map(|key| (key, row.enqueued.lsn, join)),
        };
        self.dispatch.arrive(arrival, now);
    }

    /// Holds what was paused when the process began, and follows the schedules of the rest.
    pub(super) fn hold(&mut self, registry: &Registry, positions: &CronView) {
        for app in registry.apps.values() {
            self.cron.refresh(app.id, Some(app), positions);
            if app.paused.is_some() {
                self.dispatch.pause_app(app.id);
            }
            for trigger in app.triggers.values().filter(|trigger| trigger.paused.is_some()) {
                self.dispatch.pause_trigger(app.id, trigger.id);
            }
        }
    }

    /// The earliest time at which something happens by itself.
    pub(super) fn next_time(&self) -> Option<UnixMicros> {
        let alone = self.dispatch.only().and_then(|e| self.running.get(&e)).and_then(|r| r.alone_until);
        let waiting = self.waiting.first().map(|(deadline, _)| *deadline);
        let job = self.jobs.values().copied().flatten().min();
        // Looked for at once where nobody has looked yet; never where there is none.
        let record =
            Some(self.records_until.unwrap_or(UnixMicros(0))).filter(|at| *at < UnixMicros(u64::MAX));
        [self.dispatch.next_due(), self.cron.next(), waiting, alone, self.expiries.next(), job, record]
            .into_iter()
            .flatten()
            .min()
    }
}

fn claims(event: &Event, enqueued: &Enqueued) -> bool {
    matches!(event, Event::Execution(ExecutionEvent::Claimed(claimed)) if claimed.execution == enqueued.execution)
}

/// Prepares the claim of one execution that the dispatcher wants to start; `None` if its app is gone.
pub(super) fn claim(
    start: Start,
    row: &ExecutionRow,
    views: &Views,
    registry: &Registry,
    now: UnixMicros,
    seed: [u8; 16],
) -> Option<(Arc<App>, Claimed)> {
    let app = Arc::clone(registry.app(start.app)?);
    let current = app.live_script(&row.script).map_or(0, |script| script.current);
    let version = if current == 0 { 0 } else { row.pinned_version.unwrap_or(current) };
    let claimed = Claimed {
        app: app.id,
        execution: row.execution,
        attempt: next_attempt(row),
        at: now,
        seed,
        snapshot: views.applied(),
        version,
        imports: imports::versions(&app, &row.script, version),
        alone_ms: if start.lane == Lane::Alone { alone_ms(row) } else { 0 },
    };
    Some((app, claimed))
}

/// The number of the next attempt.
pub(super) fn next_attempt(row: &ExecutionRow) -> u32 {
    row.attempts.last().map_or(1, |last| last.attempt + 1)
}

/// How long the next attempt of work that a crash cut off runs alone (D3).
fn alone_ms(row: &ExecutionRow) -> u64 {
    match row.attempts.last().map_or(0, |last| last.alone_ms) {
        0 => ALONE_MS_FIRST,
        last => last.saturating_mul(2).min(ALONE_MS_MAX),
    }
}

/// Whether open work was cut off by a crash and has to run alone next.
pub(super) fn runs_alone(row: &ExecutionRow) -> bool {
    row.status == Status::Retrying && row.last_error.as_ref().is_some_and(|e| e.kind == ErrorKind::Crashed)
}

/// Who an attempt is, for its end.
pub(super) fn ending(row: &ExecutionRow, claimed: &Claimed) -> Ending {
    Ending {
        app: row.app,
        execution: row.execution,
        root: row.root,
        depth: row.depth,
        attempt: claimed.attempt,
        source: row.source.clone(),
        script: row.script.clone(),
        version: claimed.version,
        caller_gone: false,
    }
}

/// The lane of open work.
pub(super) fn lane_of(source: &Source, alone: Alone) -> Lane {
    match (source.reply_to(), alone) {
        (true, _) => Lane::Sync,
        (false, Alone::Yes) => Lane::Alone,
        (false, Alone::No) => Lane::Background,
    }
}

/// How an execution stood when the process began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stood {
    /// It waits.
    Waiting,
    /// An attempt was cut off: it is about to be settled.
    CutOff,
}

/// Whether work has to run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alone {
    /// A crash cut it off before.
    Yes,
    /// It did not.
    No,
}

/// Who the attempt is that a crash cut off.
pub(super) fn crashed(row: &ExecutionRow) -> Ending {
    let (attempt, version) = row.last_attempt().map_or((0, 0), |last| (last.attempt, last.version));
    Ending {
        app: row.app,
        execution: row.execution,
        root: row.root,
        depth: row.depth,
        attempt,
        source: row.source.clone(),
        script: row.script.clone(),
        version,
        caller_gone: false,
    }
}

/// Work that ends before its first attempt: attempt 0.
pub(super) fn waiting(row: &ExecutionRow) -> Ending {
    Ending { attempt: 0, version: 0, ..crashed(row) }
}
