//! A node in a box: simulated disk, seeded clock and chance, one loop instead of threads.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use relive_engine::command::{Answer, Command, Committed, Condition, DeployPlan, MissingApp, Switch};
use relive_engine::node::{
    Called, Delivery, DirectRun, Idempotency, Node, NodeParts, Outcome, Reply, ReplyTo, RouteCall, RouteMatch,
};
use relive_engine::refusal::SubmitError;
use relive_engine::script::{CallRequest, Request, SCRIPT_STACK_BYTES};
use relive_engine::seams::{CallBounds, CallDone, CallFailed, CallResult, Clock, Entropy, Outgoing};
use relive_engine::secrets::InstanceKey;
use relive_engine::settings::EngineSettings;
use relive_log::disk::Disk;
use relive_log::disk::sim::{SimDisk, SimOptions};
use relive_log::events::{CallAnswer, DispatchMode, Event, Principal, Record, RouteSpec, TriggerSpec};
use relive_log::snapshot::Snapshots;
use relive_log::{
    Committer, ExecutionId, FreshIdentity, LogOptions, Lsn, OpenedLog, Preparer, Reader, UnixMicros,
};
use relive_projections::{
    App, AsOf, ExecutionFilter, ExecutionRow, IfAhead, LetterFilter, LetterRow, MemoryStore, StoreKind,
    Trust, Views, ViewsOptions,
};

/// A clock that only the test moves: it says `now`, and is `step` later after every look.
#[derive(Debug)]
pub(crate) struct HandClock {
    now: AtomicU64,
    /// Microseconds; at least 1, so that ids made in a row are in order.
    step: AtomicU64,
    /// For so many looks; one microsecond after them.
    looks: AtomicU64,
}

impl HandClock {
    fn at(now: u64) -> HandClock {
        HandClock { now: AtomicU64::new(now), step: AtomicU64::new(1), looks: AtomicU64::new(u64::MAX) }
    }

    pub(crate) fn pass_us(&self, us: u64) {
        self.now.fetch_add(us, Ordering::Relaxed);
    }

    /// From now on every look takes so long.
    pub(crate) fn set_step_us(&self, us: u64) {
        self.set_step_for(us, u64::MAX);
    }

    /// So many looks take so long, those after them a microsecond.
    pub(crate) fn set_step_for(&self, us: u64, looks: u64) {
        self.step.store(us, Ordering::Relaxed);
        self.looks.store(looks, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> UnixMicros {
        let slow = self.looks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let step = slow.map_or(1, |_| self.step.load(Ordering::Relaxed));
        UnixMicros(self.now.fetch_add(step, Ordering::Relaxed))
    }
}

/// SplitMix64.
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Entropy for Dice {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let mut z = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            *byte = (z >> 56) as u8;
        }
    }
}

/// What the world answers to scripts.
pub(crate) type Answers = Box<dyn FnMut(&CallRequest) -> CallResult + Send>;

/// The network: every call is answered at once by what the test put there.
#[derive(Default)]
pub(crate) struct Web {
    answers: Mutex<Option<Answers>>,
    /// Calls of `/wait`, until `/go` is called.
    held: Mutex<Vec<CallDone>>,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Web {
    pub(crate) fn answer_with(&self, answers: impl FnMut(&CallRequest) -> CallResult + Send + 'static) {
        *self.answers.lock() = Some(Box::new(answers));
    }

    pub(crate) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock())
    }
}

impl Outgoing for Web {
    fn start(&self, request: CallRequest, _: CallBounds, done: CallDone) {
        self.asked.lock().push(format!("{} {}", request.method, request.url));
        if request.url.ends_with("/wait") {
            return self.held.lock().push(done);
        }
        if request.url.ends_with("/go") {
            let held = std::mem::take(&mut *self.held.lock());
            held.into_iter().for_each(|held| held(answered("waited")));
        }
        let result = match self.answers.lock().as_mut() {
            Some(answers) => answers(&request),
            None => Err(CallFailed { message: "http: no connection".into() }),
        };
        done(result);
    }
}

/// An answer with this body.
pub(crate) fn answered(body: &str) -> CallResult {
    Ok(CallAnswer { status: 200, headers: Vec::new(), body: body.as_bytes().into(), masked: false })
}

/// What a caller got.
#[derive(Clone, Default)]
pub(crate) struct Mailbox(Arc<Mutex<Vec<Outcome2>>>);

/// An outcome without the parts that cannot be compared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome2 {
    pub(crate) execution: ExecutionId,
    pub(crate) lsn: Lsn,
    pub(crate) result: Result<String, String>,
}

impl Outcome2 {
    fn of(outcome: Outcome) -> Outcome2 {
        let result = match outcome.result {
            Ok(Reply::Response(response)) => {
                Ok(format!("{} {}", response.status, String::from_utf8_lossy(&response.body)))
            }
            Ok(Reply::Value(value)) => Ok(String::from_utf8_lossy(&value).into_owned()),
            Err(error) => Err(format!("{}: {}", error.kind.name(), error.message)),
        };
        Outcome2 { execution: outcome.execution, lsn: outcome.lsn, result }
    }
}

impl Mailbox {
    /// A mailbox and what delivers into it.
    fn open(delivery: Delivery) -> (Mailbox, ReplyTo) {
        let mailbox = Mailbox::default();
        let into = mailbox.clone();
        let reply: ReplyTo = Box::new(move |outcome: Outcome| {
            into.0.lock().push(Outcome2::of(outcome));
            delivery
        });
        (mailbox, reply)
    }

    pub(crate) fn take(&self) -> Vec<Outcome2> {
        std::mem::take(&mut self.0.lock())
    }

    pub(crate) fn one(&self) -> Outcome2 {
        let mut all = self.take();
        assert_eq!(all.len(), 1, "exactly one outcome (D4)");
        all.pop().unwrap()
    }
}

/// Where the views are.
#[derive(Clone)]
enum Store {
    /// In memory: every start folds the whole log.
    Memory,
    /// On the disk, beside snapshots, as a server has them.
    Disk {
        rows: Arc<MemoryStore>,
        /// How often they were lost.
        generation: u32,
    },
}

/// What outlives a process.
#[derive(Clone)]
struct Ground {
    disk: SimDisk,
    clock: Arc<HandClock>,
    dice: Arc<Dice>,
    web: Arc<Web>,
    settings: EngineSettings,
    store: Store,
    slug: &'static str,
}

/// What does not.
struct Process {
    node: Arc<Node>,
    views: Arc<Views>,
    reader: Reader,
    snapshots: Snapshots,
    committer: Committer,
    preparer: Preparer,
}

/// See the module.
pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<HandClock>,
    dice: Arc<Dice>,
    pub(crate) web: Arc<Web>,
    settings: EngineSettings,
    store: Store,
    /// The app that everything here is about.
    pub(crate) slug: &'static str,
    pub(crate) node: Arc<Node>,
    pub(crate) views: Arc<Views>,
    pub(crate) reader: Reader,
    pub(crate) snapshots: Snapshots,
    committer: Committer,
    preparer: Preparer,
}

const KEY: &str = "07";
const START: u64 = 1_800_000_000_000_000;

impl Ground {
    fn open_views(&self, log: &OpenedLog) -> Views {
        let Store::Disk { rows, generation } = &self.store else {
            return Views::in_memory(Arc::new(log.reader.clone()));
        };
        let options = ViewsOptions {
            dir: format!("/data/views-{generation}").into(),
            quarantine: "/data/quarantine".into(),
            disk: Arc::new(self.disk.clone()),
            log_id: log.log_id,
            timeline: log.timeline,
            last_lsn: log.report.valid_lsn,
            first_lsn: log.report.start_lsn,
            snapshots: Some(Arc::new(log.snapshots.clone())),
            trust: Trust::Open,
            if_ahead: IfAhead::Refuse,
            store: StoreKind::Memory(Arc::clone(rows)),
            limits: relive_projections::Limits {
                seal_rows: 2000,
                free_bytes_min: 0,
                ..relive_projections::Limits::default()
            },
        };
        Views::open(options, Arc::new(log.reader.clone())).unwrap().0
    }

    fn boot(&self, key: &str, begin: Switch) -> Process {
        let shared: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let options = LogOptions { segment_bytes: 1 << 20, software: "test".into(), ..LogOptions::default() };
        let identity = FreshIdentity { log_id: [7; 16], frame_magic: [1, 2, 3, 4] };
        let opened =
            relive_log::open(shared, Path::new("/data"), &options, identity, self.clock.now()).unwrap();
        let views = Arc::new(self.open_views(&opened));
        views.catch_up(&opened.reader, &mut |_| {}).unwrap();
        let node = Node::start(NodeParts {
            appender: opened.appender,
            reader: opened.reader.clone(),
            durability: opened.durability,
            views: Arc::clone(&views),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            entropy: Arc::clone(&self.dice) as Arc<dyn Entropy>,
            outgoing: Arc::clone(&self.web) as Arc<dyn Outgoing>,
            key: InstanceKey::from_text(&key.repeat(32)).unwrap(),
            settings: self.settings.clone(),
            begin,
        })
        .unwrap();
        let OpenedLog { reader, snapshots, committer, preparer, .. } = opened;
        Process { node, views, reader, snapshots, committer, preparer }
    }

    fn world(self, key: &str, begin: Switch) -> World {
        let Process { node, views, reader, snapshots, committer, preparer } = self.boot(key, begin);
        let Ground { disk, clock, dice, web, settings, store, slug } = self;
        World {
            disk,
            clock,
            dice,
            web,
            settings,
            store,
            slug,
            node,
            views,
            reader,
            snapshots,
            committer,
            preparer,
        }
    }
}

impl World {
    pub(crate) fn new() -> World {
        World::with(EngineSettings::default())
    }

    pub(crate) fn with(settings: EngineSettings) -> World {
        World::over(settings, Store::Memory)
    }

    /// With views on the disk, so that there are snapshots and the log can be cut.
    pub(crate) fn stored(settings: EngineSettings) -> World {
        World::over(settings, Store::Disk { rows: Arc::default(), generation: 0 })
    }

    fn over(settings: EngineSettings, store: Store) -> World {
        let disk = SimDisk::new(SimOptions::new(1));
        let clock = Arc::new(HandClock::at(START));
        let dice = Arc::new(Dice(AtomicU64::new(1)));
        let web = Arc::new(Web::default());
        Ground { disk, clock, dice, web, settings, store, slug: "shop" }.world(KEY, Switch::Running)
    }

    /// The process dies here (what was written stays in the page cache) and starts again.
    pub(crate) fn crash(self) -> World {
        self.crash_and_start_with(KEY)
    }

    /// As `crash`, but the next process has another instance key.
    pub(crate) fn crash_and_lose_the_key(self) -> World {
        self.crash_and_start_with("08")
    }

    /// As `crash`, but the next process starts paused.
    pub(crate) fn crash_and_start_paused(self) -> World {
        self.restart(KEY, Switch::Paused)
    }

    fn crash_and_start_with(self, key: &str) -> World {
        self.restart(key, Switch::Running)
    }

    fn restart(self, key: &str, begin: Switch) -> World {
        self.die().world(key, begin)
    }

    /// As `crash`, but the next process has other settings.
    pub(crate) fn crash_and_change(self, settings: EngineSettings) -> World {
        let ground = self.die();
        Ground { settings, ..ground }.world(KEY, Switch::Running)
    }

    /// As `crash`, and the views are lost: they begin from the newest snapshot, or from the log.
    pub(crate) fn crash_and_lose_the_views(self) -> World {
        let mut ground = self.die();
        if let Store::Disk { generation, .. } = ground.store {
            ground.store = Store::Disk { rows: Arc::default(), generation: generation + 1 };
        }
        ground.world(KEY, Switch::Running)
    }

    fn die(self) -> Ground {
        let World { disk, clock, dice, web, settings, store, slug, .. } = self;
        disk.kill();
        Ground { disk, clock, dice, web, settings, store, slug }
    }

    /// What the views wrote behind, and a snapshot of it.
    pub(crate) fn take_snapshot(&mut self) {
        while self.views.maintain(self.node.durable()).unwrap().more {}
        let now = self.clock.now();
        self.views.snapshot(&self.snapshots, self.node.durable(), now).unwrap().expect("something is new");
    }

    /// Cuts whole segments off the beginning of the log, nothing from `keep_from` on. Where it begins now.
    pub(crate) fn cut(&mut self, keep_from: Lsn) -> Lsn {
        let needed = self.views.oldest_needed().unwrap().unwrap_or(Lsn::MAX);
        let cut = self.snapshots.plan_cut(keep_from.min(needed)).unwrap().expect("there is something to cut");
        let mut base = self.snapshots.begin_base(&cut, self.clock.now()).unwrap();
        for (lsn, pos) in self.views.needed_below(cut.start, Lsn::ZERO, usize::MAX).unwrap() {
            base.keep(pos, lsn).unwrap();
        }
        base.finish().unwrap();
        let done = self.snapshots.cut(&cut).unwrap();
        self.views.set_horizon(done.start);
        done.start
    }

    /// Makes everything durable and carries out what waits for it, without running scripts.
    pub(crate) fn sync(&mut self) {
        loop {
            let before = self.node.durable();
            self.preparer.step();
            self.committer.step();
            let acted = self.node.step_replies();
            if acted == 0 && self.node.durable() == before && self.node.durable() == self.node.applied() {
                return;
            }
        }
    }

    /// Makes everything durable, and nothing else.
    pub(crate) fn commit(&mut self) {
        while self.node.durable() < self.node.applied() {
            self.preparer.step();
            self.committer.step();
        }
    }

    /// Runs until nothing is left to do at this time.
    pub(crate) fn settle(&mut self) {
        loop {
            self.node.tick();
            self.sync();
            if !self.node.step_scripts() {
                self.sync();
                if !self.node.step_scripts() {
                    return;
                }
            }
        }
    }

    /// As `settle`, with scripts on two threads of their own: they meet each other, and what waits for something durable
    /// gets it.
    pub(crate) fn settle_beside(&mut self) {
        while self.turn_beside() > 0 || self.turn_beside() > 0 {}
    }

    /// Starts what may start and runs it; how many attempts that were.
    pub(crate) fn turn_beside(&mut self) -> usize {
        self.node.tick();
        self.sync();
        self.run_beside(|| {})
    }

    /// An orderly stop while scripts run.
    pub(crate) fn stop_beside(&mut self) {
        let node = Arc::clone(&self.node);
        self.run_beside(move || node.shut_down());
        self.sync();
    }

    /// Runs what waits for a script thread on two of them, beside `also`; how many attempts that were.
    fn run_beside(&mut self, also: impl FnOnce() + Send) -> usize {
        let ran = std::sync::atomic::AtomicUsize::new(0);
        let node = Arc::clone(&self.node);
        let lent = || {
            while node.step_scripts() {
                ran.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            let mut threads = vec![scope.spawn(also)];
            for _ in 0..2 {
                let thread = std::thread::Builder::new().stack_size(SCRIPT_STACK_BYTES);
                threads.push(thread.spawn_scoped(scope, lent).unwrap());
            }
            while !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                self.sync();
                std::thread::yield_now();
            }
        });
        ran.into_inner()
    }

    /// Lets time pass without doing anything.
    pub(crate) fn pass_ms(&self, ms: u64) {
        self.clock.pass_us(ms * 1000);
    }

    /// Lets time pass and does what becomes due.
    pub(crate) fn wait_ms(&mut self, ms: u64) {
        self.pass_ms(ms);
        self.settle();
    }

    pub(crate) fn submit(&mut self, command: Command) -> Result<Committed, SubmitError> {
        self.submit_as(command, &Principal::instance())
    }

    pub(crate) fn submit_as(&mut self, command: Command, by: &Principal) -> Result<Committed, SubmitError> {
        let slot = Arc::new(Mutex::new(None));
        let into = Arc::clone(&slot);
        let done = Box::new(move |result| *into.lock() = Some(result));
        self.node.submit(command, by, done);
        self.sync();
        let result = slot.lock().take();
        result.expect("a command is answered when it is durable")
    }

    /// Deploys scripts, routes and triggers into the app.
    pub(crate) fn deploy(
        &mut self,
        scripts: &[(&str, &str)],
        routes: Vec<RouteSpec>,
        triggers: Vec<TriggerSpec>,
    ) {
        let plan = DeployPlan {
            scripts: scripts.iter().map(|(n, s)| ((*n).to_owned(), (*s).to_owned())).collect(),
            routes,
            triggers,
            missing_app: MissingApp::Create,
            ..DeployPlan::default()
        };
        self.submit(Command::Deploy { app: self.slug.into(), plan }).unwrap();
    }

    pub(crate) fn app(&self) -> Arc<App> {
        Arc::clone(self.views.registry().app_by_slug(self.slug).unwrap())
    }

    pub(crate) fn put(&mut self, collection: &str, key: &str, json: &str) -> Lsn {
        let command = Command::PutKey {
            app: self.slug.into(),
            collection: collection.into(),
            key: key.into(),
            value: json.as_bytes().into(),
            ttl_ms: None,
            condition: relive_engine::command::Condition::Always,
        };
        match self.submit(command).unwrap().answer {
            Answer::Key(lsn) => lsn,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn put_for(&mut self, collection: &str, key: &str, json: &str, ttl_ms: u64) -> Lsn {
        let command = Command::PutKey {
            app: self.slug.into(),
            collection: collection.into(),
            key: key.into(),
            value: json.as_bytes().into(),
            ttl_ms: Some(ttl_ms),
            condition: Condition::Always,
        };
        match self.submit(command).unwrap().answer {
            Answer::Key(lsn) => lsn,
            other => panic!("{other:?}"),
        }
    }

    /// The clock is set back.
    pub(crate) fn step_back_ms(&self, ms: u64) {
        self.clock.now.fetch_sub(ms * 1000, Ordering::Relaxed);
    }

    /// Keys and values of a collection as of an instant.
    pub(crate) fn list_at(&self, collection: &str, at: AsOf) -> Vec<(String, String)> {
        let range = relive_projections::KvRange { limit: 1000, bytes_max: 1 << 20, ..Default::default() };
        let page = self.views.kv().list(self.app().id, collection, &range, at).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        page.items.into_iter().map(|item| (item.key, text(&item.value))).collect()
    }

    /// Keys and values of a collection.
    pub(crate) fn list(&self, collection: &str) -> Vec<(String, String)> {
        self.list_at(collection, AsOf { lsn: self.node.applied(), time: self.node.now().time })
    }

    pub(crate) fn get(&self, collection: &str, key: &str) -> Option<String> {
        self.get_at(collection, key, AsOf { lsn: self.node.applied(), time: self.node.now().time })
    }

    pub(crate) fn get_at(&self, collection: &str, key: &str, at: AsOf) -> Option<String> {
        let slot = self.views.kv().get(self.app().id, collection, key, at).unwrap();
        slot.value.map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    fn route_call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> RouteCall {
        let app = self.app();
        let RouteMatch::Found { route, params } = self.node.match_route(&app, method, path) else {
            panic!("no route for {method} {path}");
        };
        let request = Request {
            method: method.into(),
            path: path.into(),
            params,
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            body: body.as_bytes().to_vec(),
            ..Request::default()
        };
        RouteCall { app, route, request, principal: None, idempotency: None }
    }

    /// Admits a sync call; the mailbox gets its outcome when it is run.
    pub(crate) fn admit(&self, path: &str, body: &str) -> Result<(ExecutionId, Mailbox), SubmitError> {
        self.admit_with(path, &[], body, Delivery::Delivered)
    }

    pub(crate) fn admit_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
        delivery: Delivery,
    ) -> Result<(ExecutionId, Mailbox), SubmitError> {
        let (mailbox, reply) = Mailbox::open(delivery);
        let called = self.node.call(self.route_call("POST", path, headers, body), reply)?;
        Ok((runs(called), mailbox))
    }

    /// A sync call that was matched now and is admitted by `admit_matched`.
    pub(crate) fn matched(&self, path: &str) -> RouteCall {
        self.route_call("POST", path, &[], "")
    }

    pub(crate) fn admit_matched(&self, call: RouteCall) -> Result<ExecutionId, SubmitError> {
        self.node.call(call, Mailbox::open(Delivery::Delivered).1).map(runs)
    }

    /// A sync call with a principal, run to its outcome.
    pub(crate) fn call_as(&mut self, path: &str, principal: Principal) -> Outcome2 {
        let mut call = self.route_call("POST", path, &[], "");
        call.principal = Some(principal);
        let (mailbox, reply) = Mailbox::open(Delivery::Delivered);
        self.node.call(call, reply).unwrap();
        self.settle();
        mailbox.one()
    }

    /// A sync call with an `Idempotency-Key`, not run yet.
    pub(crate) fn call_keyed(
        &self,
        path: &str,
        key: &str,
        body: &str,
    ) -> Result<(Called, Mailbox), SubmitError> {
        let mut call = self.route_call("POST", path, &[], body);
        call.idempotency = Some(Idempotency { key: key.into(), query: String::new(), authorization: None });
        let (mailbox, reply) = Mailbox::open(Delivery::Delivered);
        Ok((self.node.call(call, reply)?, mailbox))
    }

    /// What a call with a key was answered, now or before: its outcome, run if it has to be.
    pub(crate) fn outcome_keyed(&mut self, path: &str, key: &str, body: &str) -> Outcome2 {
        let (called, mailbox) = self.call_keyed(path, key, body).unwrap();
        self.settle();
        match called {
            Called::Runs(_) | Called::Follows(_) => mailbox.one(),
            Called::Remembered(row) => Outcome2::of(self.node.remembered(&row).unwrap()),
        }
    }

    /// A sync call of a principal, not run yet.
    pub(crate) fn admit_as(&self, path: &str, body: &str, principal: Principal) -> (ExecutionId, Mailbox) {
        let mut call = self.route_call("POST", path, &[], body);
        call.principal = Some(principal);
        let (mailbox, reply) = Mailbox::open(Delivery::Delivered);
        (runs(self.node.call(call, reply).unwrap()), mailbox)
    }

    /// A sync call of a principal with a body, run to its outcome.
    pub(crate) fn call_with(&mut self, path: &str, body: &str, principal: Principal) -> Outcome2 {
        let (_, mailbox) = self.admit_as(path, body, principal);
        self.settle();
        mailbox.one()
    }

    /// A direct run, not run yet.
    pub(crate) fn run_direct(&self, script: &str, json: &str) -> Result<ExecutionId, SubmitError> {
        let (app, script) = ("shop".to_owned(), script.to_owned());
        let payload = Some(json.as_bytes().into());
        let run = DirectRun { app, script, payload, principal: Principal::instance() };
        self.node.run_direct(run, Mailbox::open(Delivery::Delivered).1)
    }

    /// A sync call, run to its outcome.
    pub(crate) fn call(&mut self, path: &str, body: &str) -> Outcome2 {
        let (_, mailbox) = self.admit(path, body).unwrap();
        self.settle();
        mailbox.one()
    }

    /// An async call, durable but not run.
    pub(crate) fn call_async(&mut self, path: &str, headers: &[(&str, &str)], body: &str) -> ExecutionId {
        let slot = Arc::new(Mutex::new(None));
        let into = Arc::clone(&slot);
        let done = Box::new(move |result| *into.lock() = Some(result));
        self.node.call_async(self.route_call("POST", path, headers, body), done);
        self.sync();
        let accepted = slot.lock().take();
        accepted.expect("accepted when durable").unwrap().execution
    }

    pub(crate) fn rows(&self) -> Vec<ExecutionRow> {
        let filter = ExecutionFilter { limit: 100_000, ..ExecutionFilter::default() };
        let mut rows = self.views.executions().list(self.app().id, &filter).unwrap();
        rows.reverse();
        rows
    }

    pub(crate) fn row(&self, execution: ExecutionId) -> ExecutionRow {
        self.views.executions().get(self.app().id, execution).unwrap().expect("the execution is known")
    }

    /// Script and status of every execution, oldest first.
    pub(crate) fn statuses(&self) -> Vec<String> {
        self.rows().iter().map(|row| format!("{} {}", row.script, row.status.name())).collect()
    }

    pub(crate) fn letters(&self) -> Vec<LetterRow> {
        let filter = LetterFilter { limit: 1000, ..LetterFilter::default() };
        self.views.dead_letters().list(self.app().id, &filter)
    }

    /// Every event of the log.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut scan = self.reader.scan(Lsn::FIRST).unwrap();
        let mut events = Vec::new();
        while let Some(frame) = scan.next().transpose().unwrap() {
            for record in frame.records() {
                events.push(
                    relive_log::events::decode_record(record.type_, record.type_version, record.body)
                        .unwrap(),
                );
            }
        }
        events
    }

    /// Names of the kinds of events since `from`.
    pub(crate) fn kinds_since(&self, from: Lsn) -> Vec<&'static str> {
        self.events().iter().skip(usize::try_from(from.0).unwrap()).map(|event| event.kind().name).collect()
    }
}

/// The execution of a call that runs.
fn runs(called: Called) -> ExecutionId {
    match called {
        Called::Runs(execution) => execution,
        Called::Follows(first) => panic!("it follows {first}"),
        Called::Remembered(row) => panic!("{} is remembered", row.execution),
    }
}

pub(crate) fn route(path: &str, script: &str, mode: DispatchMode) -> RouteSpec {
    RouteSpec {
        method: "POST".into(),
        path: path.into(),
        script: script.into(),
        mode,
        timeout_ms: None,
        record: Record::Full,
        retry: None,
    }
}
