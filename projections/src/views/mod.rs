//! All views of one log, and the thread of work that keeps them on disk.
//!
//! Owns: [`Views`]: its parts, opening them, and looking at them. How events get in is `folding`, what is written behind is
//! `behind`, how far back the views look is `past`. Never does: start threads (maintenance is lent one), read a clock, or
//! decide anything.
//!
//! `apply` is called by one caller at a time, in the order of LSNs; reads run beside it. What is written behind goes
//!
//! ```text
//! apply → active tables, dirty rows → cut → frozen tables, changed rows → durable → runs, one batch of the store
//! ```

mod behind;
mod folding;
mod past;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use relive_log::{AppId, Lsn, UnixMicros};

use crate::abandoned::Abandoned;
use crate::cron::CronView;
use crate::dead_letters::DeadLetters;
use crate::digest::Digest;
use crate::disk::{self, DiskLayer, Runs, SealedQueue};
use crate::error::{ReadError, StoreError, ViewsError};
use crate::executions::{ExecutionRow, Executions};
use crate::holds::Holds;
use crate::horizon::Horizon;
use crate::idempotency::Idempotency;
use crate::index::Index;
use crate::jobs::Jobs;
use crate::kv::KvView;
use crate::options::{Limits, OpenedViews, ViewsOptions};
use crate::registry::{App, Registry, RegistryView, app_as_of};
use crate::rows::tag;
use crate::source::ValueSource;

/// See the module.
pub struct Views {
    kv: KvView,
    executions: Executions,
    index: Index,
    idempotency: Idempotency,
    dead_letters: DeadLetters,
    jobs: Jobs,
    abandoned: Abandoned,
    holds: Holds,
    registry: RegistryView,
    cron: CronView,
    horizon: Horizon,
    /// Held while something is made that reads the past, and while a cut is announced: one sees the other.
    cuts: Mutex<()>,
    /// Below here the log is being cut, or was.
    cut_floor: AtomicU64,
    applied: AtomicU64,
    /// [`Views::lag_bytes`], as it was lately.
    lag: AtomicUsize,
    applier: Mutex<Applier>,
    sealed: Mutex<SealedQueue>,
    layer: Option<DiskLayer>,
}

impl std::fmt::Debug for Views {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Views").field("applied", &self.applied()).finish_non_exhaustive()
    }
}

/// Held by whoever applies or cuts: a cut is between two batches (P1).
#[derive(Debug)]
struct Applier {
    last_cut: Lsn,
    unchecked: usize,
}

impl Views {
    /// Opens the views of a log, or begins them anew.
    ///
    /// # Errors
    /// [`ViewsError::AheadOfLog`] if the log lost something, [`ViewsError::Io`] and [`ViewsError::Store`] if not even
    /// a new generation can be written. Damage is no error: the views are rebuilt.
    pub fn open(
        options: ViewsOptions,
        source: Arc<dyn ValueSource>,
    ) -> Result<(Views, OpenedViews), ViewsError> {
        check_limits(&options.limits)?;
        disk::open(&options, |opened| {
            let disk::Opened { layer, runs, rows, report } = opened;
            let views = Views::assemble(Arc::clone(&source), runs, report.applied, Some(layer));
            views.set_horizon(options.first_lsn);
            for (key, value) in rows {
                views.load(&key, &value, &*source)?;
            }
            views.executions.load_waiting()?;
            views.kv.set_lines(views.registry.lines());
            Ok((views, report))
        })
    }

    /// Views that live in memory only: tests, simulation, a rebuild to compare with.
    #[must_use]
    pub fn in_memory(source: Arc<dyn ValueSource>) -> Views {
        Views::assemble(source, Runs::default(), Lsn::ZERO, None)
    }

    fn assemble(source: Arc<dyn ValueSource>, runs: Runs, applied: Lsn, layer: Option<DiskLayer>) -> Views {
        let horizon = Horizon::new(Lsn::FIRST);
        let limits = layer.as_ref().map(|layer| &layer.limits);
        Views {
            executions: Executions::new(
                (runs.ended, runs.waiting),
                horizon.clone(),
                Arc::clone(&source),
                limits,
            ),
            kv: KvView::new(source, runs.kv, horizon.clone()),
            index: Index::new(runs.index, horizon.clone()),
            idempotency: Idempotency::new(runs.keyed),
            horizon,
            dead_letters: DeadLetters::default(),
            jobs: Jobs::default(),
            abandoned: Abandoned::default(),
            holds: Holds::default(),
            registry: RegistryView::default(),
            cron: CronView::default(),
            cuts: Mutex::new(()),
            cut_floor: AtomicU64::new(0),
            applied: AtomicU64::new(applied.0),
            lag: AtomicUsize::new(0),
            applier: Mutex::new(Applier { last_cut: applied, unchecked: 0 }),
            sealed: Mutex::new(SealedQueue::new()),
            layer,
        }
    }

    fn load(&self, key: &[u8], value: &[u8], source: &dyn ValueSource) -> Result<(), ViewsError> {
        let taken = match key.first() {
            Some(&tag::OPEN_EXECUTION) => self.executions.load(value),
            Some(&tag::LETTER) => self.dead_letters.load(value),
            Some(&(tag::JOB | tag::JOB_EXECUTION)) => self.jobs.load(key, value),
            Some(&tag::ABANDONED) => self.abandoned.load(value),
            Some(&tag::HOLD) => self.holds.load(value),
            Some(&tag::CRON) => self.cron.load(value),
            _ => self.registry.load(key, value, source)?,
        };
        taken.ok_or(ViewsError::Store(StoreError::Damaged { check: "a row does not decode" }))
    }

    /// The last LSN that was applied.
    #[must_use]
    pub fn applied(&self) -> Lsn {
        Lsn(self.applied.load(Ordering::Acquire))
    }

    /// Rows of the outbox by due time, then by age: those behind `after`, enqueued at or below `up_to`, at most `limit`.
    /// They are as of the LSN in the answer, between two batches: work that ends and what its end sets off are never
    /// both missing.
    ///
    /// # Errors
    /// The log could not be read.
    pub fn outbox_page(
        &self,
        app: Option<AppId>,
        after: Option<(UnixMicros, Lsn)>,
        up_to: Option<Lsn>,
        limit: usize,
    ) -> Result<(Lsn, Vec<ExecutionRow>), ReadError> {
        let (applied, chosen) = {
            let _applier = self.applier.lock();
            let applied = self.applied();
            (applied, self.executions.choose(app, after, up_to.unwrap_or(applied), limit))
        };
        Ok((applied, self.executions.chosen(chosen)?))
    }

    /// A digest of all that the views hold, positions included; independent of layers. Visits every row, while
    /// nothing may be applied.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn digest(&self) -> Result<u128, ReadError> {
        let _applier = self.applier.lock();
        let mut digest = Digest::default();
        self.registry.digest(&mut digest);
        self.executions.digest(&mut digest)?;
        self.idempotency.digest(&mut digest)?;
        self.dead_letters.digest(&mut digest);
        self.jobs.digest(&mut digest);
        self.abandoned.digest(&mut digest);
        self.holds.digest(&mut digest);
        self.cron.digest(&mut digest);
        self.index.digest(&mut digest)?;
        self.kv.for_each_version(|key, version| {
            let mut value = version.lsn.0.to_le_bytes().to_vec();
            value.extend_from_slice(&version.pos.to_u64().to_le_bytes());
            value.push(u8::from(version.deleted));
            value.extend_from_slice(&version.expires_at.map_or(0, |end| end.0).to_le_bytes());
            digest.add(key, &value);
        })?;
        Ok(digest.0)
    }

    /// The configuration as it is now: an immutable snapshot.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.now()
    }

    /// The scripts, routes and triggers of an app as they were after the event `lsn`; whether they were paused, secrets
    /// and the app's name are not part of it.
    ///
    /// # Errors
    /// The log could not be read.
    pub fn app_as_of(&self, app: &App, lsn: Lsn) -> Result<App, ReadError> {
        app_as_of(app, lsn, self.kv.source())
    }

    /// Keys and values.
    #[must_use]
    pub fn kv(&self) -> &KvView {
        &self.kv
    }

    /// Outbox and history.
    #[must_use]
    pub fn executions(&self) -> &Executions {
        &self.executions
    }

    /// Positions of schedules.
    #[must_use]
    pub fn cron(&self) -> &CronView {
        &self.cron
    }

    /// What is found by something else than its key.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Bulk work on dead letters.
    #[must_use]
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Outcomes that nobody took.
    #[must_use]
    pub fn abandoned(&self) -> &Abandoned {
        &self.abandoned
    }

    /// Which history has to stay.
    #[must_use]
    pub fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Calls with an `Idempotency-Key`.
    #[must_use]
    pub fn idempotency(&self) -> &Idempotency {
        &self.idempotency
    }

    /// Dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.dead_letters
    }
}

fn check_limits(limits: &Limits) -> Result<(), ViewsError> {
    let rules = [
        (
            limits.seal_rows > 0 && limits.seal_bytes > 0 && limits.round_rows > 0,
            "a cut needs a positive bound",
        ),
        (limits.merge_ratio >= 2, "merge_ratio is at least 2"),
        (limits.runs_max > limits.merge_ratio, "runs_max is above merge_ratio"),
        (limits.block_bytes >= 512 && limits.block_bytes <= 1 << 20, "block_bytes is 512 to 1048576"),
    ];
    match rules.iter().find(|(holds, _)| !holds) {
        Some((_, reason)) => Err(ViewsError::Options { reason }),
        None => Ok(()),
    }
}
