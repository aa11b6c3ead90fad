//! What opening and writing the views is told, and what it tells.
//!
//! Owns: [`ViewsOptions`], [`Limits`] (every bound, named), [`OpenedViews`], [`Maintained`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use relive_log::Lsn;
use relive_log::disk::Disk;

use crate::snapshot::SnapshotSource;
use crate::store::MemoryStore;

/// How far files that an earlier process left can be trusted (V5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The last process stopped in order, or died in this boot: the page cache was not lost.
    Open,
    /// The machine went down since: discard and rebuild.
    Discard,
}

/// What to do when the views are ahead of the log: evidence that the log lost something (V7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfAhead {
    /// Refuse ([`crate::ViewsError::AheadOfLog`]).
    Refuse,
    /// The operator accepted the loss: rebuild.
    AcceptLoss,
}

/// Which store holds configuration and open work.
#[derive(Clone, Debug)]
pub enum StoreKind {
    /// sled, in the generation's directory.
    Sled,
    /// Memory that outlives the views: simulation and tests.
    Memory(Arc<MemoryStore>),
}

/// How the views are opened.
#[derive(Clone)]
pub struct ViewsOptions {
    /// `DATA/views`.
    pub dir: PathBuf,
    /// `DATA/quarantine`: where a generation that cannot be opened is kept.
    pub quarantine: PathBuf,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Identity of the log.
    pub log_id: [u8; 16],
    /// Timeline of the log.
    pub timeline: u32,
    /// The last LSN of the recovered log (V in `docs/recovery.md`).
    pub last_lsn: Lsn,
    /// The first LSN of the log: the horizon.
    pub first_lsn: Lsn,
    /// Where views that cannot be opened begin from; without any, from the first event.
    pub snapshots: Option<Arc<dyn SnapshotSource>>,
    /// How far the files that are there can be trusted.
    pub trust: Trust,
    /// What to do when they are ahead of the log.
    pub if_ahead: IfAhead,
    /// Which store.
    pub store: StoreKind,
    /// The bounds.
    pub limits: Limits,
}

/// Every bound of the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The memory layer is cut when it holds so many rows of the KV table and of ended executions.
    pub seal_rows: usize,
    /// … or so many bytes.
    pub seal_bytes: usize,
    /// … or so many rows of the store changed since the last cut: one batch of the store holds about as many.
    pub round_rows: usize,
    /// Of executions that wait for their first attempt about so many are kept in full; of the others only where their
    /// `enqueued` stands.
    pub rest_above: usize,
    /// When a cut takes so many that wait, they become a run; fewer go to the store.
    pub waiting_run_rows: usize,
    /// How often, in events, `apply` looks whether a cut is due.
    pub check_events: usize,
    /// As many neighbouring runs of one size class are merged into one.
    pub merge_ratio: usize,
    /// With so many runs, merging goes before writing another one.
    pub runs_max: usize,
    /// A run of so many rows is merged no further: no merge takes longer than it takes to write about as many.
    pub merge_rows_max: u64,
    /// Rows of the smallest size class of runs.
    pub tier_rows: u64,
    /// Bytes of one block of a run.
    pub block_bytes: usize,
    /// Runs of up to so many bytes in all are read in full when the views are opened.
    pub verify_bytes_max: u64,
    /// Opening the store may take so long (V6).
    pub open_timeout: Duration,
    /// Page cache of the store, bytes (sled takes about twice that).
    pub store_cache_bytes: u64,
    /// The store is written anew when it is opened with so many bytes of files more than its rows take four times.
    pub store_waste_bytes: u64,
    /// Nothing is written with less space than this (V12).
    pub free_bytes_min: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            seal_rows: 100_000,
            seal_bytes: 32 * 1024 * 1024,
            round_rows: 1000,
            rest_above: 2048,
            waiting_run_rows: 64,
            check_events: 64,
            merge_ratio: 8,
            runs_max: 64,
            merge_rows_max: 8_000_000,
            tier_rows: 1024,
            block_bytes: 4096,
            verify_bytes_max: 64 * 1024 * 1024,
            open_timeout: Duration::from_secs(60),
            store_cache_bytes: 16 * 1024 * 1024,
            store_waste_bytes: 64 * 1024 * 1024,
            free_bytes_min: 64 * 1024 * 1024,
        }
    }
}

/// Why the views are made anew, of the newest snapshot and the log behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RebuildReason {
    /// There are none (deleted, or an earlier rebuild did not end).
    Missing,
    /// The machine went down since they were written (V5).
    NotTrusted,
    /// They are of another log, timeline or version of the rows.
    Foreign,
    /// They were ahead of the log, and the operator accepted that.
    AheadOfLog,
    /// The log was cut above what they hold: a crash lost what they had written since.
    BehindTheLog,
    /// Something in them is damaged; what, for people.
    Damaged(String),
    /// An earlier process found them damaged while it ran.
    MarkedBroken,
}

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedViews {
    /// The views hold everything up to here: fold the log from the next one.
    pub applied: Lsn,
    /// Why they start from nothing; `None` if they do not, or if the log is new.
    pub rebuilt: Option<RebuildReason>,
    /// The snapshot that they began from; `None`: the first event.
    pub snapshot: Option<Lsn>,
    /// Where a generation that could not be opened was moved.
    pub quarantined: Option<PathBuf>,
    /// Number of the generation that is written.
    pub generation: u64,
}

/// Why a step of maintenance did nothing although something waits to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Until this LSN is durable (V3).
    Durable(Lsn),
    /// Until there is room: so many bytes are free (V12).
    Space(u64),
}

/// What one step of maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Whether there is more to do now.
    pub more: bool,
    /// The views on disk reach this LSN now.
    pub checkpoint: Option<Lsn>,
    /// So many runs were merged into one.
    pub merged: usize,
    /// What the next step waits for.
    pub waiting: Option<Waiting>,
}
