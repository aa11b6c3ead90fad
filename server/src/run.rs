//! The composition root: opens disk, log, views and node, lends threads, serves both listeners, stops in order.
//!
//! Owns: construction, threads, signals, exit codes. Never does: anything that a request asks for.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use relive_engine::command::Switch;
use relive_engine::node::{Node, NodeParts};
use relive_engine::script::SCRIPT_STACK_BYTES;
use relive_engine::script::memory;
use relive_engine::secrets::InstanceKey;
use relive_log::disk::{Disk, RealDisk};
use relive_log::{Durability, FreshIdentity, LogOptions, Lsn, OpenedLog};
use relive_projections::{IfAhead, Limits, StoreKind, Trust, Views, ViewsOptions};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::{self, SystemClock, SystemEntropy, random};
use crate::housekeeping::{House, Left, Space};
use crate::http::{DataPlane, Internals, Listener, Shared, SharedParts, Stop, control_plane, serve};
use crate::keys::{self, Directory};
use crate::outgoing::HttpOutgoing;
use crate::reserve::Reserve;
use crate::settings::{BRIEF_OPERATIONS, Settings};
use crate::start_error::StartError;
use crate::threads::{self, Lent};
use crate::{housekeeping, maintenance, out};

/// How long the announcement of the listeners waits for the views: longer than small ones take.
const VIEWS_WAIT: Duration = Duration::from_secs(1);
/// Stack of a thread that answers HTTP and runs brief scripts itself; committed by the kernel as it is touched.
const HTTP_STACK_BYTES: usize = 64 << 20;
// Nested captures take some 240 bytes of stack an operation when they are dropped (docs/adr/0002).
const _: () = assert!(BRIEF_OPERATIONS * 1024 <= HTTP_STACK_BYTES as u64);
/// How long connections may take to end after their last answer.
const CONNECTIONS_WAIT: Duration = Duration::from_secs(2);
/// The views leave this part of a small filesystem free.
const VIEWS_FREE_PART: u64 = 20;
/// How long the log may take to close.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// A running instance.
pub(crate) struct Instance {
    /// Its runtime.
    pub(crate) runtime: Runtime,
    /// What handlers share.
    pub(crate) shared: Arc<Shared>,
    /// `http://HOST:PORT` of the data plane.
    pub(crate) data_url: String,
    /// `http://HOST:PORT` of the control plane.
    pub(crate) admin_url: String,
    /// The instance token.
    pub(crate) token: String,
    settings: Settings,
    signals: Signals,
    stop: Stop,
    views: Arc<Views>,
    /// What is durable.
    pub(crate) durability: Durability,
    starting: JoinHandle<Result<Lent, StartError>>,
    log: threads::LogThreads,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> Result<Signals, StartError> {
        let one =
            |kind| signal(kind).map_err(|e| StartError::failed(format!("signals cannot be caught: {e}")));
        Ok(Signals { terminate: one(SignalKind::terminate())?, interrupt: one(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => 143,
            _ = self.interrupt.recv() => 130,
        }
    }
}

/// Serves until a signal; the exit code.
pub(crate) fn run(settings: Settings, begin: Switch) -> u8 {
    match Instance::start(settings, Internals::Hidden, begin) {
        Ok(instance) => {
            instance.announce();
            instance.wait_and_stop()
        }
        Err(error) => {
            out::complain(&error.message);
            error.code
        }
    }
}

fn log_options(settings: &Settings) -> LogOptions {
    LogOptions {
        segment_bytes: settings.segment_bytes,
        align_log2: settings.align_log2,
        recycle: settings.recycle,
        batch_bytes_max: settings.batch_bytes_max,
        network_filesystem: settings.network_filesystem,
        software: concat!("relive ", env!("CARGO_PKG_VERSION")).to_owned(),
        ..LogOptions::default()
    }
}

impl Instance {
    /// Opens everything; both listeners answer when this returns, the views may still be folding.
    pub(crate) fn start(
        settings: Settings,
        internals: Internals,
        begin: Switch,
    ) -> Result<Instance, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .on_thread_park(memory::give_back_if_asked)
            .enable_all()
            .thread_name("http")
            .thread_stack_size(HTTP_STACK_BYTES)
            .build()
            .map_err(|e| StartError::failed(format!("no runtime: {e}")))?;
        let _entered = runtime.enter();
        let signals = Signals::install()?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let identity = FreshIdentity { log_id: random(), frame_magic: random() };
        let options = log_options(&settings);
        let log = relive_log::open(Arc::clone(&disk), &settings.data, &options, identity, clock::now())
            .map_err(|error| StartError::of_log(&error))?;
        tracing::info!(valid_lsn = log.report.valid_lsn.0, reason = %log.report.reason, "log opened");
        let last = log.report.valid_lsn;
        let directory = if last == Lsn::ZERO { Directory::New } else { Directory::WithData };
        let (token, token_text) = keys::token(&settings, directory)?;
        let key = keys::key(&settings, directory)?;
        let stop = Stop::new();
        let shared = Shared::new(SharedParts {
            token,
            stop: stop.clone(),
            cursor_secret: log.log_id,
            internals,
            data: settings.data.clone(),
            base_lag_bytes: settings.base_lag_bytes,
            pages: settings.pages,
            started_at: clock::now(),
        });
        let bind = |address| {
            runtime
                .block_on(Listener::bind(address))
                .map_err(|e| StartError::config(format!("{address} cannot be listened on: {e}")))
        };
        let (data, admin) = (bind(settings.listen)?, bind(settings.admin_listen)?);
        let reserve = Reserve::of(&*disk, &settings.data);
        let views = open_views(&settings, &disk, &log, &reserve)?;
        let house = House::new(
            log.snapshots.clone(),
            &log.scrubber,
            Arc::clone(&views),
            log.reader.clone(),
            Space { disk: Arc::clone(&disk), reserve },
            &settings,
            if log.report.clean || log.report.created { Left::InOrder } else { Left::ByDeath },
        );
        shared.set_house(Arc::clone(&house));
        let data_url = format!("http://{}", data.address);
        let admin_url = format!("http://{}", admin.address);
        serve_both(&runtime, &shared, &stop, data, admin);
        let durability = log.durability.clone();
        exit_on_poison(&durability);
        // Not all that is shared: who listens is kept by the log, and the log lives until its node is gone.
        let grown = Arc::clone(&shared.grown);
        durability.on_change(Box::new(move |_| grown.notify_waiters()));
        let (log_threads, rest) = threads::lend_to_log(log)?;
        let outgoing = HttpOutgoing::new(
            runtime.handle().clone(),
            settings.http_allow.clone(),
            settings.engine.sensitive_headers.clone(),
        );
        let starting = Starting {
            outgoing,
            settings: settings.clone(),
            shared: Arc::clone(&shared),
            views: Arc::clone(&views),
            house,
            key,
            begin,
        };
        let starting = threads::spawn("start", move || starting.run(rest))?;
        Ok(Instance {
            runtime,
            shared,
            data_url,
            admin_url,
            token: token_text,
            settings,
            signals,
            stop,
            views,
            durability,
            starting,
            log: log_threads,
        })
    }

    /// Says on stdout where both listeners are; not if the start failed meanwhile.
    pub(crate) fn announce(&self) {
        self.wait_for_views(VIEWS_WAIT);
        if self.starting.is_finished() && self.shared.running().is_none() {
            return;
        }
        out::say(&format!("data plane listening on {}", self.data_url));
        out::say(&format!("control plane listening on {}", self.admin_url));
    }

    fn wait_for_views(&self, at_most: Duration) {
        let since = Instant::now();
        while since.elapsed() < at_most && !self.starting.is_finished() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the node: the views are folded, threads are lent.
    pub(crate) fn node(&self) -> Option<Arc<Node>> {
        self.wait_for_views(Duration::MAX);
        self.shared.running().map(Arc::clone)
    }

    /// Serves until a signal, then stops in order; the exit code.
    pub(crate) fn wait_and_stop(mut self) -> u8 {
        let runtime = self.runtime.handle().clone();
        let failed = runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = self.signals.next() => return false,
                    () = tokio::time::sleep(Duration::from_millis(50)), if self.shared.running().is_none() => {
                        if self.starting.is_finished() && self.shared.running().is_none() {
                            return true;
                        }
                    }
                }
            }
        });
        if failed {
            return started_badly(self.starting.join());
        }
        if self.shared.running().is_none() {
            // The views are still being folded: nothing was admitted, the log is as it was.
            out::complain("stopped while the views were being rebuilt");
            return 0;
        }
        tracing::info!("stopping: what runs may finish");
        self.stop_in_order()
    }

    fn stop_in_order(self) -> u8 {
        let Instance {
            runtime, shared, settings, mut signals, stop, views, durability, starting, log, ..
        } = self;
        runtime.spawn(async move {
            let code = signals.next().await;
            out::complain("second signal: exiting at once");
            std::process::exit(code);
        });
        stop.stop();
        let Ok(Ok(lent)) = starting.join() else { return 70 };
        if let Some(node) = shared.running().map(Arc::clone) {
            node.stop_admissions();
            wait_until(settings.grace, || node.is_idle());
            node.shut_down();
        }
        wait_until(CONNECTIONS_WAIT, || stop.connections() == 0);
        let house = lent.stop(CLOSE_WAIT);
        runtime.shutdown_timeout(Duration::from_secs(1));
        drop(shared);
        if let Err(message) = log.close(CLOSE_WAIT) {
            out::complain(&message);
            return 70;
        }
        match views.close(durability.durable()) {
            Ok(()) => house.iter().for_each(|house| house.at_shutdown()),
            Err(error) => tracing::warn!(%error, "the views were not closed; the next start rebuilds them"),
        }
        tracing::info!("stopped");
        0
    }
}

fn wait_until(at_most: Duration, done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() && since.elapsed() < at_most {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn started_badly(result: std::thread::Result<Result<Lent, StartError>>) -> u8 {
    match result {
        Ok(Ok(_)) => 0,
        Ok(Err(error)) => {
            out::complain(&error.message);
            error.code
        }
        Err(_) => 70,
    }
}

fn exit_on_poison(durability: &Durability) {
    durability.on_change(Box::new(|changed| {
        if let Err(poisoned) = changed {
            out::complain(&format!("{poisoned}; nothing more can be made durable, exiting"));
            std::process::exit(70);
        }
    }));
}

fn open_views(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    log: &OpenedLog,
    reserve: &Reserve,
) -> Result<Arc<Views>, StartError> {
    let trusted = log.report.clean || log.report.same_boot;
    let total = disk.total_space(&settings.data).unwrap_or(u64::MAX);
    let limits = Limits::default();
    let options = || ViewsOptions {
        dir: settings.data.join(relive_log::evidence::VIEWS_DIR),
        quarantine: settings.data.join("quarantine"),
        disk: Arc::clone(disk),
        log_id: log.log_id,
        timeline: log.timeline,
        last_lsn: log.report.valid_lsn,
        first_lsn: log.report.start_lsn,
        snapshots: Some(Arc::new(log.snapshots.clone())),
        trust: if trusted { Trust::Open } else { Trust::Discard },
        if_ahead: IfAhead::Refuse,
        store: StoreKind::Sled,
        // V12: on a small disk a smaller share stays free.
        limits: Limits {
            free_bytes_min: limits.free_bytes_min.min(total / VIEWS_FREE_PART),
            #[cfg(feature = "fault-points")]
            verify_bytes_max: number_for_tests("RELIVE_VERIFY_BYTES").unwrap_or(limits.verify_bytes_max),
            ..limits
        },
    };
    let open = || Views::open(options(), Arc::new(log.reader.clone()));
    let opened = match open() {
        Err(error) if error.is_no_space() && reserve.give_up() => {
            tracing::warn!(%error, "the disk is full: the reserve is given up to open the views");
            open()
        }
        opened => opened,
    };
    let (views, opened) = opened.map_err(|error| StartError::of_views(&error))?;
    if let Some(reason) = &opened.rebuilt {
        let from = opened.snapshot.map_or(0, |lsn| lsn.0);
        tracing::info!(?reason, from_snapshot = from, "views are rebuilt");
    }
    Ok(Arc::new(views))
}

fn serve_both(runtime: &Runtime, shared: &Arc<Shared>, stop: &Stop, data: Listener, admin: Listener) {
    let plane = DataPlane::new(Arc::clone(shared));
    runtime.spawn(serve(data, stop.clone(), move |request| plane.clone().answer(request)));
    let control = TowerToHyperService::new(control_plane(Arc::clone(shared)));
    runtime.spawn(serve(admin, stop.clone(), move |request| {
        let answered = control.call(request);
        async move {
            match answered.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    }));
}

/// What is left to do while the listeners answer already.
struct Starting {
    outgoing: HttpOutgoing,
    settings: Settings,
    shared: Arc<Shared>,
    views: Arc<Views>,
    house: Arc<House>,
    key: Option<InstanceKey>,
    begin: Switch,
}

impl Starting {
    fn run(self, log: threads::LogRest) -> Result<Lent, StartError> {
        let threads::LogRest { appender, reader, durability, scrubber } = log;
        let target = durability.durable();
        self.shared.progress(self.views.applied(), target);
        let mut progress = |lsn| {
            self.shared.progress(lsn, target);
            #[cfg(feature = "fault-points")]
            dawdle();
        };
        let folded =
            self.views.catch_up(&reader, &mut progress).map_err(|error| StartError::of_views(&error))?;
        self.shared.progress(folded, target);
        keys::check(self.key.as_ref(), &self.views, &reader)?;
        let key = match self.key {
            Some(key) => key,
            None => {
                tracing::warn!("there is no instance key and nothing sealed: a new key is made");
                keys::new_key(&self.settings)?
            }
        };
        let node = Node::start(NodeParts {
            appender,
            reader,
            durability: durability.clone(),
            views: Arc::clone(&self.views),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            outgoing: Arc::new(self.outgoing),
            key,
            settings: self.settings.engine.clone(),
            begin: self.begin,
        })
        .map_err(|failure| StartError::failed(failure.to_string()))?;
        let mut lent = Lent::new();
        lent.one("replies", &node, |node| node.run_replies())?;
        lent.one("timers", &node, |node| node.run_timers())?;
        for _ in 0..self.settings.engine.gate {
            lent.with_stack("script", SCRIPT_STACK_BYTES, &node, |node| node.run_scripts())?;
        }
        lent.one("script-lender", &node, lend_spare_threads)?;
        lent.maintenance(maintenance::start(Arc::clone(&self.views), &durability)?);
        lent.housekeeping(housekeeping::start(Arc::clone(&self.house), scrubber, &durability)?);
        self.shared.open(node);
        Ok(lent)
    }
}

#[cfg(feature = "fault-points")]
fn number_for_tests(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// In builds for tests: how long a batch takes to be folded at least, so that a rebuild can be looked at.
#[cfg(feature = "fault-points")]
fn dawdle() {
    if let Some(ms) = number_for_tests("RELIVE_FOLD_PAUSE_MS") {
        std::thread::sleep(Duration::from_millis(ms));
    }
}

/// Lends a further script thread whenever executions that wait for the world gave their places back (D2).
fn lend_spare_threads(node: &Arc<Node>) {
    while node.needs_script_thread() {
        let lent = Arc::clone(node);
        let spawned =
            threads::spawn_with_stack("script", SCRIPT_STACK_BYTES, move || lent.run_spare_scripts());
        if let Err(error) = spawned {
            tracing::error!(error = %error.message, "no further script thread; work waits for one");
            node.script_thread_failed();
        }
    }
}

/// Where the data directory of a dev instance is.
pub(crate) fn dev_data(dir: &std::path::Path) -> PathBuf {
    dir.join(".relive")
}
