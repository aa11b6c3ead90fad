//! A data directory with its log, views and node, as a server has them; what it lends threads for is up to the modes.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use relive_engine::command::{Command, DeployPlan, MissingApp, Switch};
use relive_engine::node::{Delivery, Node, NodeParts, RouteCall, RouteMatch};
use relive_engine::script::{Request, SCRIPT_STACK_BYTES};
use relive_engine::seams::{Clock, Entropy, NoOutgoing};
use relive_engine::secrets::InstanceKey;
use relive_engine::settings::EngineSettings;
use relive_log::disk::{Disk, RealDisk};
use relive_log::events::{DispatchMode, Principal, Record, RouteSpec};
use relive_log::{
    Appender, Durability, FreshIdentity, LogOptions, OpenedLog, Poisoned, Reader, UnixMicros, open,
};
use relive_projections::{App, IfAhead, Limits, StoreKind, Trust, Views, ViewsOptions};

use crate::Failure;

/// The app of all measurements.
pub(crate) const APP: &str = "bench";

/// The system's clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMicros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// The system's chance, drawn ahead as in the server.
struct SystemChance(Mutex<(File, Vec<u8>)>);

impl Entropy for SystemChance {
    fn fill(&self, bytes: &mut [u8]) {
        let mut source = self.0.lock();
        let (file, pool) = &mut *source;
        for byte in bytes {
            if pool.is_empty() {
                pool.resize(4096, 0);
                // Without chance there are still bytes; nothing here is secret.
                let _drawn = file.read_exact(pool);
            }
            *byte = pool.pop().unwrap_or_default();
        }
    }
}

/// Log and views of a directory.
pub(crate) struct Rig {
    pub(crate) appender: Appender,
    pub(crate) reader: Reader,
    pub(crate) durability: Durability,
    pub(crate) views: Arc<Views>,
    committer: JoinHandle<Result<(), Poisoned>>,
    preparer: JoinHandle<()>,
}

impl Rig {
    /// Opens both, with the options that a server has by default, and folds what is missing.
    pub(crate) fn open(dir: &Path) -> Result<Rig, Failure> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let identity = FreshIdentity { log_id: *b"measured log 002", frame_magic: [0x5a, 1, 2, 4] };
        let log = open(Arc::clone(&disk), dir, &LogOptions::default(), identity, SystemClock.now())?;
        let options = ViewsOptions {
            dir: dir.join(relive_log::evidence::VIEWS_DIR),
            quarantine: dir.join("quarantine"),
            disk,
            log_id: log.log_id,
            timeline: log.timeline,
            last_lsn: log.report.valid_lsn,
            first_lsn: log.report.start_lsn,
            snapshots: Some(Arc::new(log.snapshots.clone())),
            trust: Trust::Open,
            if_ahead: IfAhead::Refuse,
            store: StoreKind::Sled,
            limits: Limits::default(),
        };
        let views = Arc::new(Views::open(options, Arc::new(log.reader.clone()))?.0);
        views.catch_up(&log.reader, &mut |_| {})?;
        let OpenedLog { appender, reader, mut committer, mut preparer, durability, .. } = log;
        let committer = std::thread::spawn(move || {
            committer.run();
            committer.close()
        });
        let preparer = std::thread::spawn(move || preparer.run());
        Ok(Rig { appender, reader, durability, views, committer, preparer })
    }

    /// Writes everything behind and ends the threads.
    pub(crate) fn close(self) -> Result<(), Failure> {
        let Rig { appender, reader, views, committer, preparer, .. } = self;
        drop(appender);
        committer.join().map_err(|_| "the committer panicked")??;
        preparer.join().map_err(|_| "the preparer panicked")?;
        while views.maintain(reader.durable())?.more {}
        views.close(reader.durable())?;
        Ok(())
    }
}

/// A node over a rig; its scripts run where it is told to.
pub(crate) struct Live {
    pub(crate) node: Arc<Node>,
    pub(crate) views: Arc<Views>,
    reader: Reader,
    committer: JoinHandle<Result<(), Poisoned>>,
    preparer: JoinHandle<()>,
    lent: Vec<JoinHandle<()>>,
}

impl Live {
    /// With so many script threads; without any, whoever measures steps the scripts.
    pub(crate) fn start(rig: Rig, settings: EngineSettings, scripts: usize) -> Result<Live, Failure> {
        let Rig { appender, reader, durability, views, committer, preparer } = rig;
        let node = Node::start(NodeParts {
            appender,
            reader: reader.clone(),
            durability,
            views: Arc::clone(&views),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemChance(Mutex::new((File::open("/dev/urandom")?, Vec::new())))),
            outgoing: Arc::new(NoOutgoing("there is no way outside of a measurement")),
            key: key()?,
            settings,
            begin: Switch::Running,
        })?;
        let (replying, timing) = (Arc::clone(&node), Arc::clone(&node));
        let mut lent = vec![
            std::thread::spawn(move || replying.run_replies()),
            std::thread::spawn(move || timing.run_timers()),
        ];
        for _ in 0..scripts {
            let (node, thread) =
                (Arc::clone(&node), std::thread::Builder::new().stack_size(SCRIPT_STACK_BYTES));
            lent.push(thread.spawn(move || node.run_scripts())?);
        }
        Ok(Live { node, views, reader, committer, preparer, lent })
    }

    /// Deploys one script behind the sync route `/call`.
    pub(crate) fn deploy(&self, name: &str, source: &str) -> Result<(), Failure> {
        let route = RouteSpec {
            method: "POST".into(),
            path: "/call".into(),
            script: name.into(),
            mode: DispatchMode::Sync,
            timeout_ms: None,
            record: Record::Full,
            retry: None,
        };
        let plan = DeployPlan {
            scripts: [(name.to_owned(), source.to_owned())].into(),
            routes: vec![route],
            missing_app: MissingApp::Create,
            ..DeployPlan::default()
        };
        let (told, done) = std::sync::mpsc::channel();
        let answer = Box::new(move |result: Result<_, relive_engine::refusal::SubmitError>| {
            // Whoever asked waits below.
            let _told = told.send(result.map(drop).map_err(|error| error.to_string()));
        });
        self.node.submit(Command::Deploy { app: APP.into(), plan }, &Principal::instance(), answer);
        done.recv()??;
        Ok(())
    }

    /// A call of it; `then` runs when it is answered.
    pub(crate) fn call(&self, body: &str, then: impl FnOnce(bool) + Send + 'static) -> Result<(), Failure> {
        let app = app(&self.views)?;
        let RouteMatch::Found { route, params } = self.node.match_route(&app, "POST", "/call") else {
            return Err("the route is not there".into());
        };
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let request = Request {
            method: "POST".into(),
            path: "/call".into(),
            params,
            headers: vec![
                header("host", "127.0.0.1:8080"),
                header("content-type", "application/json"),
                header("user-agent", "bench"),
            ],
            body: body.as_bytes().to_vec(),
            ..Request::default()
        };
        let call = RouteCall { app, route, request, principal: None, idempotency: None };
        let reply = Box::new(move |outcome: relive_engine::node::Outcome| {
            then(outcome.result.is_ok());
            Delivery::Delivered
        });
        self.node.call(call, reply)?;
        Ok(())
    }

    /// Ends everything in order.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        let Live { node, views, reader, committer, preparer, lent } = self;
        node.stop_admissions();
        node.shut_down();
        for thread in lent {
            thread.join().map_err(|_| "a thread of the node panicked")?;
        }
        drop(node);
        committer.join().map_err(|_| "the committer panicked")??;
        preparer.join().map_err(|_| "the preparer panicked")?;
        while views.maintain(reader.durable())?.more {}
        views.close(reader.durable())?;
        Ok(())
    }
}

/// The key that seals nothing here.
pub(crate) fn key() -> Result<InstanceKey, Failure> {
    Ok(InstanceKey::from_text(&"07".repeat(32))?)
}

pub(crate) fn app(views: &Views) -> Result<Arc<App>, Failure> {
    views.registry().app_by_slug(APP).map(Arc::clone).ok_or_else(|| "the app is not there".into())
}

/// A sequence of numbers that looks random: SplitMix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n.max(1)
    }
}
