//! Opening a data directory: R0, then gather, classify, plan, carry out; then the handles.
//!
//! Owns: the composition. Never does: expose a handle before R14's sync returned.

use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, LockGuard, replace_small};
use crate::error::OpenError;
use crate::format::frame::{FrameKey, OpenNote};
use crate::format::manifest::Manifest;
use crate::options::Recycle;
use crate::options::{FreshIdentity, LogOptions, NetworkFilesystem};
use crate::planted::{self, Bug};
use crate::reader::Reader;
use crate::reader::view::{LogView, ViewStart};
use crate::snapshot::{Base, InForce, Scrubber, Snapshots};
use crate::sync::{Condvar, Mutex};
use crate::writer::durability::Durability;
use crate::writer::layout::{Layout, Limits, Resume};
use crate::writer::supply::{Retired, Stock, Supply};
use crate::writer::watermark_file::WatermarkFile;
use crate::writer::{Appender, Committer, Preparer, Queue, Shared, Supplying};
use crate::{FramePos, Lsn, UnixMicros};

use super::carry_out::{carry_out, quarantine};
use super::classify::{Row, Verdict, classify};
use super::gather::{Gathered, ManifestCopies, gather};
use super::plan::plan;
use super::walk::Walked;
use super::{LOCK, LOG_DIR, REPORTS_DIR, RecoveryReport, fresh, io_error};

/// An open log: one appender, one committer, one preparer, any number of readers and waiters.
#[derive(Debug)]
pub struct OpenedLog {
    /// Puts batches into the buffer.
    pub appender: Appender,
    /// Reads what is durable.
    pub reader: Reader,
    /// Makes groups durable; give it a thread or step it.
    pub committer: Committer,
    /// Prepares segments and syncs WATERMARK; give it a thread or step it.
    pub preparer: Preparer,
    /// Says what is durable.
    pub durability: Durability,
    /// Says whether there is room for new work.
    pub supply: Supply,
    /// What the start found and did.
    pub report: RecoveryReport,
    /// Makes and reads snapshots, and cuts the log.
    pub snapshots: Snapshots,
    /// Reads everything that is sealed again, bit by bit; give it an idle thread or step it.
    pub scrubber: Scrubber,
    /// Identity of the log. Secret: never expose it in an API.
    pub log_id: [u8; 16],
    /// Grows with every restore.
    pub timeline: u32,
}

/// Opens the log in `dir`, or makes one if the directory is new.
///
/// # Errors
/// See [`OpenError`]. On everything but `Io` nothing was modified.
pub fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: &LogOptions,
    identity: FreshIdentity,
    now: UnixMicros,
) -> Result<OpenedLog, OpenError> {
    options.validate()?;
    let lock = lock(disk.as_ref(), dir, options)?;
    let mut created = false;
    let gathered = match gather(&disk, dir, options.walk_bytes_min)? {
        Some(gathered) => gathered,
        None => {
            fresh::check_new(&disk, dir)?;
            fresh::create(disk.as_ref(), dir, options, identity, now)?;
            created = true;
            gather(&disk, dir, options.walk_bytes_min)?.ok_or_else(|| OpenError::Io {
                op: "read back",
                path: dir.join(super::MANIFEST),
                source: std::io::ErrorKind::NotFound.into(),
            })?
        }
    };
    let Judged { gathered, mut report, refusal } = judged(disk.as_ref(), dir, gathered);
    report.created = created;
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    let watermark = recover(disk.as_ref(), dir, options, &gathered, &mut report, now)?;
    Ok(handles(disk, dir, options, lock, gathered, watermark, report))
}

/// What a start found and what it would do.
pub(crate) struct Judged {
    pub(crate) gathered: Gathered,
    pub(crate) report: RecoveryReport,
    pub(crate) refusal: Option<OpenError>,
}

/// R1–R9: gathers and classifies, without a write. `None` without MANIFEST and copy.
pub(crate) fn judge(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    walk_bytes_min: u64,
) -> Result<Option<Judged>, OpenError> {
    Ok(gather(disk, dir, walk_bytes_min)?.map(|gathered| judged(disk.as_ref(), dir, gathered)))
}

fn judged(disk: &dyn Disk, dir: &Path, gathered: Gathered) -> Judged {
    let row = classify(&gathered.facts());
    let report = report(&gathered, row, disk.boot_id());
    let refuses = row.verdict() == Verdict::Refuse && !planted::is(Bug::NoDRule);
    let refusal = refuses.then(|| refusal(dir, &report));
    Judged { gathered, report, refusal }
}

/// R0. A directory that is not ours is left without even a LOCK.
fn lock(disk: &dyn Disk, dir: &Path, options: &LogOptions) -> Result<LockGuard, OpenError> {
    match disk.list(dir) {
        Ok(entries) => fresh::check_ours(dir, &entries)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            disk.mkdir(dir).map_err(io_error("make", dir))?;
        }
        Err(error) => return Err(io_error("list", dir)(error)),
    }
    let network = disk.network_filesystem(dir).map_err(io_error("look at the filesystem of", dir))?;
    if let (Some(kind), NetworkFilesystem::Refuse) = (network, options.network_filesystem) {
        return Err(OpenError::NetworkFilesystem { dir: dir.to_owned(), kind });
    }
    let path = dir.join(LOCK);
    disk.try_lock(&path)
        .map_err(io_error("lock", &path))?
        .ok_or_else(|| OpenError::Locked { dir: dir.to_owned() })
}

fn report(gathered: &Gathered, row: Row, boot_id: [u8; 16]) -> RecoveryReport {
    let facts = gathered.facts();
    let walked = &gathered.walked;
    RecoveryReport {
        row,
        valid_lsn: facts.valid,
        proven_lsn: facts.proven(),
        frames_lsn: facts.frames,
        watermark_lsn: facts.watermark,
        applied_lsn: facts.applied,
        snapshot_lsn: facts.snapshot,
        damaged_snapshots: gathered.snapshots.damaged.clone(),
        start_lsn: gathered.manifest.log_start_lsn,
        walked_from: walked.from,
        end_segment: walked.end.segment,
        end_offset: walked.end.offset,
        first_bad_check: walked.stopped_by.to_owned(),
        headers_after: gathered.ahead.headers,
        last_lsn_after: gathered.ahead.last_lsn,
        truncated_bytes: gathered.ahead.nonzero_bytes(),
        truncated_lsns: gathered.ahead.last_lsn.0.saturating_sub(facts.valid.0),
        manifest_restored: gathered.copies == ManifestCopies::OneMissing,
        same_boot: boot_id != [0; 16] && gathered.watermarks.best.boot_id == boot_id,
        clean: facts.clean,
        batches: walked.batches,
        segments: walked.segments.len() as u64,
        gaps: walked.gaps.clone(),
        reason: row.reason().to_owned(),
        ..RecoveryReport::default()
    }
}

/// R8 and R9.
fn refusal(dir: &Path, report: &RecoveryReport) -> OpenError {
    let (valid, proven) = (report.valid_lsn, report.proven_lsn);
    let lsns = (proven > valid).then(|| (valid.next(), proven));
    let evidence = format!(
        "{}; valid up to LSN {valid}, proven durable up to LSN {proven} (frames {}, WATERMARK {}, views {}, snapshots {}); \
         the log stops at {} by check: {}; {} frame headers after it validate",
        report.reason,
        report.frames_lsn,
        report.watermark_lsn,
        report.applied_lsn.map_or_else(|| "none".to_owned(), |lsn| lsn.to_string()),
        report.snapshot_lsn.map_or_else(|| "none".to_owned(), |lsn| lsn.to_string()),
        report.end(),
        report.first_bad_check,
        report.headers_after,
    );
    OpenError::Damaged { dir: dir.to_owned(), lsns, evidence, report: Some(Box::new(report.clone())) }
}

/// R10–R14.
pub(crate) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    options: &LogOptions,
    gathered: &Gathered,
    report: &mut RecoveryReport,
    now: UnixMicros,
) -> Result<WatermarkFile, OpenError> {
    let plan = &plan(gathered, disk.boot_id());
    let epoch = plan.watermark.next.1.epoch;
    let name = format!("cut-{epoch:010}.bin");
    report.epoch = epoch;
    report.quarantine =
        quarantine(disk, dir, &gathered.files, &plan.quarantine, &name, options.quarantine_bytes_max);
    report.reaffirmed_groups = plan.reaffirm.len() as u64;
    report.removed_files = plan
        .remove
        .iter()
        .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    if !plan.erase.is_empty() {
        keep_report(disk, dir, report, now);
    }
    carry_out(disk, dir, &gathered.files, plan)
}

/// Keeps the report of a recovery that cuts something. Best effort, like the copy in quarantine.
fn keep_report(disk: &dyn Disk, dir: &Path, report: &RecoveryReport, now: UnixMicros) {
    let folder = dir.join(REPORTS_DIR);
    let name = format!("recovery-{:020}.json", now.0);
    let bytes = serde_json::to_vec_pretty(report).unwrap_or_default();
    let kept = disk.mkdir(&folder).and_then(|()| replace_small(disk, &folder, &name, &bytes));
    if let Err(error) = kept {
        tracing::warn!(%error, "the recovery report was not kept");
    }
}

fn handles(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: &LogOptions,
    lock: LockGuard,
    gathered: Gathered,
    watermark: WatermarkFile,
    report: RecoveryReport,
) -> OpenedLog {
    let geometry = gathered.manifest.geometry;
    let mut walked = gathered.walked;
    let boot_id = disk.boot_id();
    let supplying = supplying(disk.as_ref(), dir, options);
    let supply = supplying.seen.clone();
    let durability = Durability::new(walked.valid);
    let view = view(&disk, dir, options, &gathered.manifest, &mut walked, gathered.snapshots.base);
    let resume = Resume {
        end: walked.end,
        last_lsn: walked.valid,
        last_commit: walked.last_commit,
        epoch: report.epoch,
    };
    let shared = Arc::new(Shared {
        disk,
        dir: dir.to_owned(),
        geometry,
        key: FrameKey::new(&geometry),
        software: options.software.clone(),
        watermark_sync_every: options.watermark_sync_every,
        epoch: report.epoch,
        snapshots_kept: options.snapshots_kept,
        snapshot_sync_errors: options.snapshot_sync_errors,
        manifest: Mutex::new(gathered.manifest),
        unhurried_wait: options.unhurried_wait,
        unhurried_bytes_max: options.unhurried_bytes_max,
        supplying,
        queue: Mutex::new(queue(
            geometry,
            options,
            resume,
            walked.valid,
            gathered.files.last(),
            &report,
            boot_id,
        )),
        work: Condvar::new(),
        chores: Condvar::new(),
        freed: Condvar::new(),
        room: Condvar::new(),
        watermark: Mutex::new(watermark),
        watermark_sync: Mutex::new(()),
        view: Arc::clone(&view),
        durability: durability.clone(),
        _lock: lock,
    });
    let reader = Reader::new(view);
    let snapshots = Snapshots {
        shared: Arc::clone(&shared),
        reader: reader.clone(),
        in_force: Arc::new(Mutex::new(InForce { states: gathered.snapshots.states })),
    };
    let weak = Arc::downgrade(&shared);
    durability.hurry_through(Box::new(move || {
        if let Some(shared) = weak.upgrade() {
            shared.hurry();
        }
    }));
    OpenedLog {
        scrubber: Scrubber::new(snapshots.clone()),
        snapshots,
        appender: Appender { shared: Arc::clone(&shared), turns_seen: 0 },
        reader,
        committer: Committer::new(Arc::clone(&shared), walked.chain),
        preparer: Preparer::new(shared),
        durability,
        supply,
        report,
        log_id: geometry.log_id,
        timeline: geometry.timeline,
    }
}

fn supplying(disk: &dyn Disk, dir: &Path, options: &LogOptions) -> Supplying {
    // A filesystem that does not tell its size has no share to leave free.
    let total = disk.total_space(dir).unwrap_or(0);
    Supplying {
        recycle: options.recycle,
        free_bytes_min: options.free_bytes_min(total),
        retry: options.no_space_retry,
        retry_max: options.no_space_retry_max,
        seen: Supply::default(),
    }
}

fn view(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &LogOptions,
    manifest: &Manifest,
    walked: &mut Walked,
    base: Option<crate::snapshot::Opened>,
) -> Arc<LogView> {
    let start = view_start(options, manifest, walked, base);
    Arc::new(LogView::new(Arc::clone(disk), dir.join(LOG_DIR), manifest.geometry, start))
}

/// What readers of a walked log start from.
pub(crate) fn view_start(
    options: &LogOptions,
    manifest: &Manifest,
    walked: &mut Walked,
    base: Option<crate::snapshot::Opened>,
) -> ViewStart {
    ViewStart {
        first_lsn: manifest.log_start_lsn,
        first_segment: manifest.first_seq,
        end: walked.end,
        durable: walked.valid,
        segments: std::mem::take(&mut walked.segments),
        index: std::mem::take(&mut walked.index),
        base: base.map(Base::new),
        gaps: std::mem::take(&mut walked.gaps),
        files_max: options.open_files_max,
    }
}

fn queue(
    geometry: crate::format::Geometry,
    options: &LogOptions,
    resume: Resume,
    valid: Lsn,
    ready_upto: u32,
    report: &RecoveryReport,
    boot_id: [u8; 16],
) -> Queue {
    let limits = Limits {
        group_bytes_max: options.group_bytes_max,
        batch_bytes_max: options.batch_bytes_max,
        // The largest batch must fit behind whatever is pending, else it would be refused for ever.
        buffer_bytes_max: options.buffer_bytes_max.max(2 * u64::from(geometry.max_payload)),
    };
    let mut layout = Layout::new(geometry, limits, resume);
    let cut_at = if report.truncated_bytes > 0 { report.end() } else { FramePos::default() };
    layout.open_epoch(&OpenNote::new(report.epoch, valid, cut_at, boot_id, &options.software).encode());
    let kept = if options.recycle == Recycle::Off { 0 } else { options.spares };
    Queue {
        layout,
        stock: Stock { ready_upto, spares: options.spares, no_space: false, reserving: false },
        retired: Retired::new(crate::format::at(kept)),
        room_turns: 0,
        closed: false,
        drained: false,
        watermark_dirty: false,
        urgent: false,
        unhurried: false,
    }
}
