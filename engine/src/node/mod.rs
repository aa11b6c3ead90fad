//! The node: one log, one set of views, one dispatcher; the single place where decide, append, apply, sync
//! and reply meet. The server lends it threads and a clock, a simulation lends it a loop and a seeded clock.
//!
//! Owns: admission, the sequencer's lock, attempts, the inbox of sync callers. Never does: start a thread, read
//! a clock, open a file. Nothing here assumes one node per process.

mod admission;
pub(crate) mod answer;
mod attempt;
mod brief;
mod bulk;
mod calling;
mod calls;
mod claims;
mod core;
mod expiry;
mod fork;
pub(crate) mod input;
mod jobs;
mod keyed;
mod leaks;
mod locks;
mod routes;
mod schedules;
mod seat;
mod sequencer;
mod settle;
pub(crate) mod snapshot;
mod start;
mod stop;
mod timers;
mod undo;
pub(crate) mod vault;
mod waiters;
mod waiting;
mod watches;

use std::sync::Arc;

use parking_lot::Condvar;
use relive_log::events::{
    ErrorKind, ErrorRecord, Event, ExecutionEvent, LogLine, Principal, ScriptEvent, SharedBytes,
};
use relive_log::{BacktestId, Durability, ExecutionId, Lsn, Purpose, Reader, RouteId, Supply, Urgency};
use relive_projections::{App, AsOf, ExecutionRow, ScriptVersion, Views};

pub use self::admission::Called;
pub use self::calls::AcceptedTo;
use self::core::{Core, Deferred};
pub use self::fork::ForkPlan;
use self::input::{For, Inputs, NoInput};
use self::jobs::Jobs;
pub use self::keyed::Idempotency;
use self::leaks::Leaks;
use self::routes::RouteCache;
use self::sequencer::Sequencer;
pub use self::undo::UndoPlan;
use self::vault::Vaults;
pub(crate) use self::vault::secret_aad;
use self::waiters::Waiters;
pub use self::waiting::WaitingFor;
use crate::command::{Command, Committed, DeployMode, Switch};
use crate::decide::{Scene, decide};
use crate::refusal::{Failure, Refusal, SubmitError};
use crate::replay::Archive;
use crate::script::{CompileCache, ContextInput, Request, Response};
use crate::seams::{Clock, Entropy, Outgoing, Steady, uuid_v7};
use crate::settings::EngineSettings;

/// A route call: what the data plane hands over after matching.
pub struct RouteCall {
    /// The app, as it was when the route was matched.
    pub app: Arc<App>,
    /// The route that matched.
    pub route: RouteId,
    /// The live request: all header values that a script may see are in clear (live tokens of this instance
    /// are removed by the caller, D9).
    pub request: Request,
    /// The token's principal, if a live token of this app was presented.
    pub principal: Option<Principal>,
    /// The `Idempotency-Key`, if it came with one (D14).
    pub idempotency: Option<Idempotency>,
}

/// A direct run (`POST …/execute`).
pub struct DirectRun {
    /// Slug of the app.
    pub app: String,
    /// The script.
    pub script: String,
    /// JSON text.
    pub payload: Option<SharedBytes>,
    /// Who runs it.
    pub principal: Principal,
}

/// What a sync call or a direct run came to. Delivered once, after all that it depends on is durable (S3).
#[derive(Clone)]
pub struct Outcome {
    /// The execution.
    pub execution: ExecutionId,
    /// Last LSN of its commit; of one that only read, its snapshot.
    pub lsn: Lsn,
    /// The answer, or why there is none.
    pub result: Result<Reply, ErrorRecord>,
    /// What the script logged.
    pub logs: Vec<LogLine>,
}

/// The answer of an execution that succeeded.
#[derive(Clone)]
pub enum Reply {
    /// Of a route.
    Response(Response),
    /// Of a direct run: JSON text.
    Value(SharedBytes),
}

/// Whether the caller was still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It got the outcome.
    Delivered,
    /// It went away (D5).
    Gone,
}

/// Carries an outcome to the caller; called exactly once, on a thread of the node, must not block.
pub type ReplyTo = Box<dyn FnOnce(Outcome) -> Delivery + Send>;
/// Called once when a command is durable or refused; must not block.
pub type Done = Box<dyn FnOnce(Result<Committed, SubmitError>) + Send>;

/// An admitted async call, durable.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// The execution.
    pub execution: ExecutionId,
    /// Commit time of the enqueue.
    pub at: relive_log::UnixMicros,
    /// Its LSN.
    pub lsn: Lsn,
    /// Whether this call was accepted, or an earlier one with its `Idempotency-Key`.
    pub first: FirstCall,
}

/// Whose acceptance it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstCall {
    /// This call's.
    This,
    /// That of an earlier call with the same key.
    Earlier,
}

/// What a method and path match in an app.
pub enum RouteMatch {
    /// This route, with the values of its `{name}` segments, decoded.
    Found {
        /// The route.
        route: RouteId,
        /// Its parameters.
        params: Vec<(String, String)>,
    },
    /// The path exists with these methods only.
    WrongMethod {
        /// For the `Allow` header, sorted.
        allow: Vec<String>,
    },
    /// Nothing matches.
    NotFound,
}

/// What a node is made of.
pub struct NodeParts {
    /// The one owner of appending.
    pub appender: relive_log::Appender,
    /// Reads of durable frames.
    pub reader: Reader,
    /// What is durable.
    pub durability: Durability,
    /// The views, caught up with the log.
    pub views: Arc<Views>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// The way outside for scripts.
    pub outgoing: Arc<dyn Outgoing>,
    /// The key for secrets and withheld headers.
    pub key: crate::secrets::InstanceKey,
    /// Settings.
    pub settings: EngineSettings,
    /// Whether apps run from the start on.
    pub begin: Switch,
}

/// One running node.
pub struct Node {
    core: Sequencer,
    views: Arc<Views>,
    reader: Reader,
    durability: Durability,
    supply: Supply,
    waiters: Arc<Waiters>,
    jobs: Arc<Jobs>,
    routes: RouteCache,
    vaults: Arc<Vaults>,
    leaks: Leaks,
    /// What replays left.
    replay_leaks: Arc<crate::replay::Leaks>,
    compiled: Arc<CompileCache>,
    clock: Arc<dyn Clock>,
    steady: Arc<Steady>,
    entropy: Arc<dyn Entropy>,
    outgoing: Arc<dyn Outgoing>,
    settings: EngineSettings,
    /// Wakes the timers: something is due earlier than they knew.
    timers: Condvar,
    /// A lock was given up.
    unlocked: Condvar,
    /// An execution ended.
    idle: Condvar,
    /// An execution that was away has a place again.
    places: Condvar,
}

impl Node {
    /// A change; `done` when it is durable or refused. A write of a key that an execution holds locked waits for its
    /// end.
    pub fn submit(self: &Arc<Self>, command: Command, by: &Principal, done: Done) {
        self.compile_ahead(&command);
        let mut core = self.core.lock();
        if !core.admitting {
            drop(core);
            done(Err(Refusal::ShuttingDown.into()));
            return;
        }
        if self.is_locked(&core, &command) {
            core.deferred.push(Deferred { command, by: by.clone(), done });
            return;
        }
        let result = self.carry_out(&mut core, command, by);
        drop(core);
        match result {
            Ok(committed) => {
                let lsn = committed.lsn;
                let answer =
                    |durable: Result<(), Failure>| done(durable.map(|()| committed).map_err(Into::into));
                self.waiters.when_durable(lsn, Box::new(answer));
            }
            Err(error) => done(Err(error)),
        }
    }

    /// Compiling takes milliseconds where a decision takes microseconds: it is done before the lock is taken, and
    /// the decision finds the result in the cache. What does not compile is refused there.
    fn compile_ahead(&self, command: &Command) {
        let limit = self.settings.source_bytes_max;
        let compile = |name: &str, source: &str| {
            if source.len() <= limit {
                drop(self.compiled.get_or_compile(name, source));
            }
        };
        match command {
            Command::PutScript { name, source, .. } => compile(name, source),
            Command::Deploy { plan, .. } => {
                plan.scripts.iter().for_each(|(name, source)| compile(name, source))
            }
            Command::CreateApp { .. }
            | Command::ChangeApp { .. }
            | Command::Fork { .. }
            | Command::SwitchCalls { .. }
            | Command::DeleteApp { .. }
            | Command::DeleteScript { .. }
            | Command::CreateRoute { .. }
            | Command::DeleteRoute { .. }
            | Command::CreateTrigger { .. }
            | Command::DeleteTrigger { .. }
            | Command::SwitchApp { .. }
            | Command::SwitchTrigger { .. }
            | Command::Send { .. }
            | Command::SetSecret { .. }
            | Command::DeleteSecret { .. }
            | Command::CreateToken(_)
            | Command::DeleteToken { .. }
            | Command::PutKey { .. }
            | Command::ImportKeys { .. }
            | Command::Undo { .. }
            | Command::DeleteKey { .. }
            | Command::ResolveLetter { .. }
            | Command::StartJob { .. }
            | Command::CancelJob { .. }
            | Command::SetHold { .. }
            | Command::ReleaseHold { .. }
            | Command::Redrive { .. } => {}
        }
    }

    fn carry_out(
        self: &Arc<Self>,
        core: &mut Core,
        command: Command,
        by: &Principal,
    ) -> Result<Committed, SubmitError> {
        // A fork reads what it was made of: no cut is announced between its decision and its event.
        let _held = matches!(command, Command::Fork { .. }).then(|| self.views.hold_cuts());
        let scene = self.scene();
        let dry = matches!(&command, Command::Deploy { plan, .. } if plan.mode == DeployMode::DryRun);
        let lets_shrink = command.lets_shrink();
        let mut decision = core.decision();
        let answer = decide(&scene, command, by, &mut decision)?;
        if dry || decision.is_empty() {
            return Ok(Committed { lsn: self.views.applied(), at: scene.now, answer });
        }
        let purpose = if lets_shrink { Purpose::Ending } else { Purpose::NewWork };
        let appended = core.append_as(&decision, &self.views, scene.now, (purpose, Urgency::Now))?;
        self.answer_dropped(core, decision.events(), appended.last);
        self.pump(core);
        Ok(Committed { lsn: appended.last, at: appended.commit_time, answer })
    }

    /// Callers whose work was dropped before it started get an outcome; those whose work runs get theirs when it
    /// ends and finds its row gone.
    fn answer_dropped(self: &Arc<Self>, core: &mut Core, events: &[Event], lsn: Lsn) {
        for event in events {
            let Event::Execution(ExecutionEvent::Dropped(dropped)) = event else { continue };
            let execution = dropped.execution;
            if core.running.contains_key(&execution) {
                continue;
            }
            if let Some(caller) = core.inbox.remove(&execution) {
                core.waiting.remove(&(caller.deadline, execution));
                let message = dropped.reason.clone();
                let error = ErrorRecord::without_place(ErrorKind::ScriptMissing, message);
                let outcome = Outcome { execution, lsn, result: Err(error), logs: Vec::new() };
                self.tell_followers(core, lsn, &outcome);
                let then = move |durable: Result<(), Failure>| {
                    if durable.is_ok() {
                        // Its row ended as dropped: whether anybody took this is of no consequence.
                        let _ = (caller.reply)(outcome);
                    }
                };
                self.waiters.queue_up(lsn, Box::new(then));
            }
        }
    }

    /// Whether an execution holds a key locked that the command writes.
    fn is_locked(&self, core: &Core, command: &Command) -> bool {
        if core.locks.is_empty() {
            return false;
        }
        let Some((app, keys)) = command.writes() else { return false };
        let registry = self.views.registry();
        let app = registry.app_by_slug(app);
        app.is_some_and(|app| keys.iter().any(|key| core.locks.held(app.id, *key).is_some()))
    }

    fn scene(&self) -> Scene<'_> {
        Scene {
            views: &self.views,
            registry: self.views.registry(),
            settings: &self.settings,
            entropy: &*self.entropy,
            key: self.vaults.key(),
            compiled: &self.compiled,
            now: self.clock.now(),
            steady: self.steady.now(),
        }
    }

    /// The caller of a sync call or direct run went away (D5): from its drop guard. Its execution ends as what
    /// it is.
    pub fn caller_gone(&self, execution: ExecutionId) {
        if let Some(caller) = self.core.lock().inbox.get_mut(&execution) {
            caller.gone = true;
        }
    }

    /// Finds the route of a call. `path` without the app, undecoded, with its leading slash.
    pub fn match_route(&self, app: &App, method: &str, path: &str) -> RouteMatch {
        self.routes.table(app).find(method, path)
    }

    /// Called once when everything up to `lsn` is durable (at once if it is).
    pub fn when_durable(&self, lsn: Lsn, then: Box<dyn FnOnce(Result<(), Failure>) + Send>) {
        self.waiters.when_durable(lsn, then);
    }

    /// The last applied LSN: what a read of the views may have seen; wait for it before answering (S3).
    pub fn applied(&self) -> Lsn {
        self.views.applied()
    }

    /// The durable LSN: as of which API reads of KV go.
    pub fn durable(&self) -> Lsn {
        self.durability.durable()
    }

    /// The instant of an API read: what is durable, and now (K1).
    pub fn now(&self) -> AsOf {
        AsOf { lsn: self.durable(), time: self.steady.now() }
    }

    /// The views.
    pub fn views(&self) -> &Arc<Views> {
        &self.views
    }

    /// The log.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Whether there is room for new work.
    pub fn supply(&self) -> &Supply {
        &self.supply
    }

    /// The settings.
    pub fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    /// What replays read from: this node's views, log and keys.
    #[must_use]
    pub fn archive(&self) -> Archive {
        Archive {
            views: Arc::clone(&self.views),
            reader: self.reader.clone(),
            vaults: Arc::clone(&self.vaults),
            compiled: Arc::clone(&self.compiled),
            clock: Arc::clone(&self.clock),
            limits: Some(self.settings.limits),
            timeout_ms: self.settings.timeout_ms,
            leaks: Arc::clone(&self.replay_leaks),
        }
    }

    /// A name for a backtest that is about to begin.
    #[must_use]
    pub fn backtest_id(&self) -> BacktestId {
        BacktestId(uuid_v7(self.clock.now(), &*self.entropy))
    }

    /// What an execution runs (ran) on, read from the log; withheld headers as placeholders: for people.
    ///
    /// # Errors
    /// When the log cannot be read. `None`: it was not recorded.
    pub fn shown_input(&self, row: &ExecutionRow) -> Result<Option<ContextInput>, Failure> {
        let registry = self.views.registry();
        let Some(app) = registry.app(row.app) else { return Ok(None) };
        let inputs =
            Inputs { views: &self.views, reader: &self.reader, vaults: &self.vaults, app, who: For::Eyes };
        match inputs.of(row.enqueued.pos, row.enqueued.lsn) {
            Ok(input) => Ok(Some(input)),
            Err(NoInput::NotRecorded | NoInput::KeyMissing | NoInput::BelowHorizon(_)) => Ok(None),
            Err(NoInput::Failed(failure)) => Err(failure),
        }
    }

    /// The source of one version of a script.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn source_at(&self, version: &ScriptVersion) -> Result<Arc<str>, Failure> {
        let read = self.reader.read_event(version.pos, version.lsn);
        match read.map_err(|e| Failure::Read { message: e.to_string() })? {
            (Event::Script(ScriptEvent::Deployed(deployed)), _) => Ok(Arc::from(deployed.source)),
            (other, _) => {
                let message = format!("event {} is a {}, not a deploy", version.lsn, other.kind().name);
                Err(Failure::Read { message })
            }
        }
    }

    /// Carries out what waits for the log, until shutdown; on one thread.
    pub fn run_replies(&self) {
        self.waiters.run();
    }

    /// Carries out what became durable; for loops that do not block. Answers how many actions ran.
    pub fn step_replies(&self) -> usize {
        self.waiters.step()
    }
}
