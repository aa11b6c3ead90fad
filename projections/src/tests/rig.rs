//! A directory, a log in memory, and views over both that can be killed and opened again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use relive_log::Lsn;
use relive_log::disk::Disk;

use super::disk::NoSync;
use super::log::MemoryLog;
use crate::{
    IfAhead, Limits, MemoryStore, OpenedViews, StoreKind, Trust, ValueSource, Views, ViewsError, ViewsOptions,
};

/// Bounds so small that a handful of events reaches all of them.
pub(crate) const TINY: Limits = Limits {
    seal_rows: 6,
    seal_bytes: 1 << 20,
    round_rows: 5,
    rest_above: 1,
    waiting_run_rows: 2,
    check_events: 1,
    merge_ratio: 3,
    runs_max: 6,
    merge_rows_max: 1_000_000,
    tier_rows: 8,
    block_bytes: 512,
    verify_bytes_max: 1 << 20,
    open_timeout: Duration::from_secs(30),
    store_cache_bytes: 1 << 20,
    store_waste_bytes: 64 << 20,
    free_bytes_min: 0,
};

/// See the module.
pub(crate) struct Rig {
    /// Removed when the rig goes.
    _dir: tempfile::TempDir,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) options: ViewsOptions,
}

impl Rig {
    /// With the store in memory.
    pub(crate) fn new() -> Rig {
        Rig::over(StoreKind::Memory(Arc::new(MemoryStore::new())))
    }

    /// With sled.
    pub(crate) fn sled() -> Rig {
        Rig::over(StoreKind::Sled)
    }

    fn over(store: StoreKind) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let options = ViewsOptions {
            dir: dir.path().join("views"),
            quarantine: dir.path().join("quarantine"),
            disk: Arc::new(NoSync::new()),
            log_id: [7; 16],
            timeline: 1,
            last_lsn: Lsn::ZERO,
            first_lsn: Lsn::FIRST,
            snapshots: None,
            trust: Trust::Open,
            if_ahead: IfAhead::Refuse,
            store,
            limits: TINY,
        };
        Rig { _dir: dir, log: MemoryLog::new(), options }
    }

    pub(crate) fn source(&self) -> Arc<dyn ValueSource> {
        Arc::clone(&self.log) as Arc<dyn ValueSource>
    }

    /// Opens the views over the log as it is, without folding the rest.
    pub(crate) fn try_open(&self) -> Result<(Views, OpenedViews), ViewsError> {
        let (last_lsn, first_lsn) = (self.log.last(), self.log.first());
        let options = ViewsOptions { last_lsn, first_lsn, ..self.options.clone() };
        Views::open(options, self.source())
    }

    /// Opens the views and folds the rest of the log.
    pub(crate) fn open(&self) -> (Views, OpenedViews) {
        let (views, opened) = self.try_open().unwrap();
        assert_eq!(views.applied(), opened.applied);
        self.log.fold_into(&views);
        (views, opened)
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.options.disk
    }

    /// Every file under `views/`.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut dirs = vec![self.options.dir.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in self.disk().list(&dir).unwrap() {
                let path = dir.join(&entry.name);
                match entry.kind {
                    relive_log::disk::EntryKind::Dir => dirs.push(path),
                    relive_log::disk::EntryKind::File => files.push(path),
                }
            }
        }
        files.sort();
        files
    }
}

/// Maintains until there is nothing more to do, cutting what there is.
pub(crate) fn settle(views: &Views, durable: Lsn) {
    for _ in 0..3 {
        while views.maintain(durable).unwrap().more {}
    }
}
