//! Opening the views: which generation, whether it can be trusted, and what to do when it cannot.
//!
//! ```text
//! evidence or `!meta` ahead of the log      refuse, or rebuild if the loss was accepted        V7
//! no generation in force                    rebuild (a new log: begin)                         V9
//! to rebuild                                begin from the newest snapshot that is sound, else the first event
//! the machine went down since               discard and rebuild                                V5
//! no room to open it                        refuse: what is there is sound, and a new one has no room either
//! marked broken, cannot be opened, panics,
//! hangs, foreign, a checksum or the digest
//! is wrong                                  quarantine and rebuild                             V6 V7 V8
//! anything else                             open; fold the log from the LSN that it has
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use relive_log::disk::EntryKind;
use relive_log::{Lsn, SnapshotError};

use super::generation::{self, STORE_NAME, io_error};
use super::meta::{META_KEY, Meta};
use super::{DiskLayer, State};
use crate::digest::Digest;
use crate::error::{StoreError, ViewsError};
use crate::options::{IfAhead, OpenedViews, RebuildReason, StoreKind, Trust, ViewsOptions};
use crate::rows::{self, SCHEMA};
use crate::run::{Common, Run, RunKind};
use crate::snapshot::SnapshotSource;
use crate::store::{MemoryStore, ProjectionStore, Rows, SledLimits, renew};

/// Runs in force by kind, newest first.
#[derive(Default)]
pub(crate) struct Runs {
    /// Versions of keys.
    pub(crate) kv: Vec<Arc<Run>>,
    /// Executions that ended.
    pub(crate) ended: Vec<Arc<Run>>,
    /// What is found by something else than its key.
    pub(crate) index: Vec<Arc<Run>>,
    /// Calls with an `Idempotency-Key`.
    pub(crate) keyed: Vec<Arc<Run>>,
    /// Executions that wait for their first attempt.
    pub(crate) waiting: Vec<Arc<Run>>,
}

/// What opening gives to the views.
pub(crate) struct Opened {
    pub(crate) layer: DiskLayer,
    pub(crate) runs: Runs,
    /// All rows of the store but `!meta`, by key.
    pub(crate) rows: Rows,
    pub(crate) report: OpenedViews,
}

/// Opens the generation in force, or begins a new one. `take` makes views of what was opened; when it cannot, the
/// generation is taken for damaged.
pub(crate) fn open<V>(
    options: &ViewsOptions,
    take: impl Fn(Opened) -> Result<V, ViewsError>,
) -> Result<V, ViewsError> {
    let disk = &*options.disk;
    disk.mkdir(&options.dir).map_err(io_error("make", &options.dir))?;
    let current = generation::current(disk, &options.dir);
    for number in generation::all(disk, &options.dir)? {
        if current != Some(number) {
            generation::remove_tree(disk, &generation::path(&options.dir, number));
        }
    }
    let Some(number) = current else {
        let reason = (options.last_lsn > Lsn::ZERO).then_some(RebuildReason::Missing);
        return remake(options, 1, reason, None, &take);
    };
    let dir = generation::path(&options.dir, number);
    let reason = match try_open(options, number, &dir, &take) {
        Ok(views) => return Ok(views),
        Err(Failure::Fatal(error)) => return Err(error),
        Err(Failure::Rebuild(reason)) => reason,
    };
    tracing::warn!(?reason, generation = number, "views are rebuilt from the log");
    let quarantined = match reason {
        RebuildReason::NotTrusted | RebuildReason::Missing | RebuildReason::BehindTheLog => {
            generation::remove_tree(disk, &dir);
            None
        }
        RebuildReason::Foreign
        | RebuildReason::AheadOfLog
        | RebuildReason::Damaged(_)
        | RebuildReason::MarkedBroken => generation::quarantine(disk, &dir, number, &options.quarantine),
    };
    remake(options, number.saturating_add(1), Some(reason), quarantined, &take)
}

/// Makes a generation of the newest snapshot that is sound, or one that holds nothing.
fn remake<V>(
    options: &ViewsOptions,
    mut number: u64,
    rebuilt: Option<RebuildReason>,
    quarantined: Option<PathBuf>,
    take: &impl Fn(Opened) -> Result<V, ViewsError>,
) -> Result<V, ViewsError> {
    let source = options.snapshots.as_deref().filter(|_| rebuilt.is_some());
    for lsn in source.map(SnapshotSource::newest_first).unwrap_or_default() {
        let Some(source) = source.filter(|_| lsn <= options.last_lsn && lsn.next() >= options.first_lsn)
        else {
            continue;
        };
        let made = from_snapshot(options, source, lsn, number, (rebuilt.clone(), quarantined.clone()));
        match made.and_then(take) {
            Ok(views) => return Ok(views),
            Err(ViewsError::Snapshot(why @ SnapshotError::Damaged { .. })) => source.give_up(lsn, &why),
            Err(error) => return Err(error),
        }
        generation::remove_tree(&*options.disk, &generation::path(&options.dir, number));
        number = number.saturating_add(1);
    }
    if options.first_lsn > Lsn::FIRST {
        return Err(ViewsError::NoSnapshot { start: options.first_lsn });
    }
    take(begin(options, number, rebuilt, quarantined)?)
}

/// Begins a generation with what a snapshot holds (P19).
fn from_snapshot(
    options: &ViewsOptions,
    source: &dyn SnapshotSource,
    lsn: Lsn,
    number: u64,
    (rebuilt, quarantined): (Option<RebuildReason>, Option<PathBuf>),
) -> Result<Opened, ViewsError> {
    let (mut items, digest) = source.open(lsn)?;
    let Opened { layer, .. } = begin(options, number, rebuilt.clone(), quarantined.clone())?;
    let dir = generation::path(&options.dir, number);
    let restored = layer.restore(&dir, lsn, &mut *items, digest)?;
    let of_kind = |kind: RunKind| -> Vec<Arc<Run>> {
        restored.runs.iter().filter(|run| run.meta().kind == kind).cloned().collect()
    };
    let runs = Runs {
        kv: of_kind(RunKind::Kv),
        ended: of_kind(RunKind::Ended),
        index: of_kind(RunKind::Index),
        keyed: of_kind(RunKind::Keyed),
        waiting: of_kind(RunKind::Waiting),
    };
    let report = OpenedViews { applied: lsn, rebuilt, snapshot: Some(lsn), quarantined, generation: number };
    Ok(Opened { layer, runs, rows: restored.rows, report })
}

enum Failure {
    Rebuild(RebuildReason),
    Fatal(ViewsError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        match error {
            // Nothing is wrong with what is there: throwing it away would cost a rebuild that has no room either.
            full @ StoreError::NoSpace { .. } => Failure::Fatal(full.into()),
            error @ (StoreError::Failed { .. }
            | StoreError::Panicked { .. }
            | StoreError::TimedOut { .. }
            | StoreError::Damaged { .. }) => Failure::Rebuild(RebuildReason::Damaged(error.to_string())),
        }
    }
}

fn try_open<V>(
    options: &ViewsOptions,
    number: u64,
    dir: &Path,
    take: &impl Fn(Opened) -> Result<V, ViewsError>,
) -> Result<V, Failure> {
    let disk = &*options.disk;
    if let Some(evidence) = generation::applied(disk, dir)
        && (evidence.log_id, evidence.timeline) == (options.log_id, options.timeline)
    {
        check_not_ahead(options, evidence.applied_lsn)?;
    }
    if !disk.list(&options.dir).is_ok_and(|all| all.iter().any(|entry| entry.name == number.to_string())) {
        return Err(Failure::Rebuild(RebuildReason::Missing));
    }
    match options.trust {
        Trust::Open => {}
        Trust::Discard => return Err(Failure::Rebuild(RebuildReason::NotTrusted)),
    }
    if generation::is_marked_broken(disk, dir) {
        return Err(Failure::Rebuild(RebuildReason::MarkedBroken));
    }
    let (store, rows) = open_store(options, dir)?;
    let (meta, rows) = split_meta(rows)?;
    if (meta.schema, meta.log_id, meta.timeline) != (SCHEMA, options.log_id, options.timeline) {
        return Err(Failure::Rebuild(RebuildReason::Foreign));
    }
    check_not_ahead(options, meta.applied)?;
    let applied = meta.applied;
    if applied.next() < options.first_lsn {
        return Err(Failure::Rebuild(RebuildReason::BehindTheLog));
    }
    let common = Arc::new(Common::default());
    let opened_runs = open_runs(options, dir, &meta, &common);
    let runs = opened_runs.map_err(|e| Failure::Rebuild(RebuildReason::Damaged(e.to_string())))?;
    remove_orphans(options, dir, &meta);
    let report =
        OpenedViews { applied, rebuilt: None, snapshot: None, quarantined: None, generation: number };
    let layer = layer(options, number, store, meta, None, common);
    take(Opened { layer, runs, rows, report })
        .map_err(|error| Failure::Rebuild(RebuildReason::Damaged(error.to_string())))
}

fn check_not_ahead(options: &ViewsOptions, applied: Lsn) -> Result<(), Failure> {
    if applied <= options.last_lsn {
        return Ok(());
    }
    match options.if_ahead {
        IfAhead::Refuse => Err(Failure::Fatal(ViewsError::AheadOfLog { applied, last: options.last_lsn })),
        IfAhead::AcceptLoss => Err(Failure::Rebuild(RebuildReason::AheadOfLog)),
    }
}

fn open_store(options: &ViewsOptions, dir: &Path) -> Result<(Box<dyn ProjectionStore>, Rows), StoreError> {
    match &options.store {
        StoreKind::Sled => {
            let limits = SledLimits {
                open_timeout: options.limits.open_timeout,
                cache_bytes: options.limits.store_cache_bytes,
            };
            let dir = dir.join(STORE_NAME);
            let (store, rows) = renew::open(&*options.disk, &dir, limits, options.limits.store_waste_bytes)?;
            Ok((Box::new(store), rows))
        }
        StoreKind::Memory(store) => {
            let store: Arc<MemoryStore> = Arc::clone(store);
            let rows = store.scan()?;
            Ok((Box::new(store), rows))
        }
    }
}

/// Takes `!meta` out of the rows and checks the digest of the rest (V8).
fn split_meta(rows: Rows) -> Result<(Meta, Rows), StoreError> {
    let mut rows = rows.into_iter();
    let meta = rows
        .next()
        .filter(|(key, _)| key == META_KEY)
        .and_then(|(_, value)| rows::decode::<Meta>(&value))
        .ok_or(StoreError::Damaged { check: "no row !meta" })?;
    let rows: Rows = rows.collect();
    let mut digest = Digest::default();
    for (key, value) in &rows {
        digest.add(key, value);
    }
    if digest.0 == meta.digest {
        Ok((meta, rows))
    } else {
        Err(StoreError::Damaged { check: "digest of the rows" })
    }
}

/// Opens every run that the list names; small ones are read in full.
fn open_runs(
    options: &ViewsOptions,
    dir: &Path,
    meta: &Meta,
    common: &Arc<Common>,
) -> Result<Runs, ViewsError> {
    let mut runs = Runs::default();
    let read_in_full = meta.runs.iter().map(|run| run.bytes).sum::<u64>() <= options.limits.verify_bytes_max;
    for of in &meta.runs {
        let id = crate::run::RunId {
            log_id: meta.log_id,
            timeline: meta.timeline,
            kind: of.kind,
            number: of.number,
        };
        let run = Run::open(&options.disk, dir, id, *of, Arc::clone(common))?;
        if read_in_full {
            run.verify()?;
        }
        match of.kind {
            RunKind::Kv => runs.kv.push(Arc::new(run)),
            RunKind::Ended => runs.ended.push(Arc::new(run)),
            RunKind::Index => runs.index.push(Arc::new(run)),
            RunKind::Keyed => runs.keyed.push(Arc::new(run)),
            RunKind::Waiting => runs.waiting.push(Arc::new(run)),
        }
    }
    Ok(runs)
}

/// Removes runs that no list names: a crash left them, or a merge.
fn remove_orphans(options: &ViewsOptions, dir: &Path, meta: &Meta) {
    let id = |run: &crate::run::RunMeta| crate::run::RunId {
        log_id: meta.log_id,
        timeline: meta.timeline,
        kind: run.kind,
        number: run.number,
    };
    let known: BTreeSet<String> = meta.runs.iter().map(|run| id(run).file_name()).collect();
    for entry in options.disk.list(dir).unwrap_or_default() {
        let ours = entry.name.starts_with("run-") || entry.name.starts_with("tmp-");
        if entry.kind == EntryKind::File && ours && !known.contains(&entry.name) {
            // What stays is tried again by the next start.
            let _ = options.disk.unlink(&dir.join(&entry.name));
        }
    }
}

/// Begins a generation that holds nothing.
fn begin(
    options: &ViewsOptions,
    number: u64,
    rebuilt: Option<RebuildReason>,
    quarantined: Option<PathBuf>,
) -> Result<Opened, ViewsError> {
    let dir = generation::path(&options.dir, number);
    options.disk.mkdir(&dir).map_err(io_error("make", &dir))?;
    if let StoreKind::Memory(store) = &options.store {
        store.clear();
    }
    let (store, _) = open_store(options, &dir)?;
    let meta = Meta::new(options.log_id, options.timeline);
    store.apply(&[meta.change()])?;
    let report = OpenedViews { applied: Lsn::ZERO, rebuilt, snapshot: None, quarantined, generation: number };
    let common = Arc::new(Common::default());
    let layer = layer(options, number, store, meta, Some(options.last_lsn), common);
    if options.last_lsn == Lsn::ZERO {
        layer.announce(&mut layer.state.lock())?;
    }
    Ok(Opened { layer, runs: Runs::default(), rows: Vec::new(), report })
}

fn layer(
    options: &ViewsOptions,
    number: u64,
    store: Box<dyn ProjectionStore>,
    meta: Meta,
    pending: Option<Lsn>,
    common: Arc<Common>,
) -> DiskLayer {
    let next_number = meta.runs.iter().map(|run| run.number).max().unwrap_or(0) + 1;
    let quiet_at = meta.applied;
    DiskLayer {
        disk: Arc::clone(&options.disk),
        views: options.dir.clone(),
        dir: generation::path(&options.dir, number),
        number,
        store,
        limits: options.limits,
        common,
        state: Mutex::new(State { meta, next_number, pending, broken: None, quiet_at }),
    }
}
