//! A new directory: how it is told from a damaged one, and the order in which a log is made.
//!
//! Owns: that order; MANIFEST comes last, so that a crash in between leaves a directory that is still new. Never
//! does: treat a directory as new when anything in it names an event.

use std::path::Path;
use std::sync::Arc;

use crate::UnixMicros;
use crate::disk::{DirEntry, Disk, EntryKind, OpenMode, ZeroPace, replace_small};
use crate::error::OpenError;
use crate::format::manifest::Manifest;
use crate::format::segment::SegmentHeader;
use crate::format::watermark::{Clean, SLOT_STRIDE, Slot, WATERMARK_LEN};
use crate::format::{Geometry, SEGMENT_HEADER_LEN, at, is_zero};
use crate::options::{FreshIdentity, LogOptions};
use crate::writer::segment_file::publish;
use crate::{FramePos, Lsn};

use super::gather::{damaged, read_applied, read_watermark};
use super::{LOCK, LOG_DIR, MANIFEST, MANIFEST_BAK, QUARANTINE_DIR, REPORTS_DIR, WATERMARK, io_error};

/// The first segment of a new log.
pub(crate) const FIRST_SEGMENT: u32 = 1;

/// Names that a data directory may hold before it holds a MANIFEST.
const KNOWN: [&str; 12] = [
    LOCK,
    LOG_DIR,
    WATERMARK,
    "snapshots",
    "views",
    "instance.key",
    "admin.token",
    QUARANTINE_DIR,
    REPORTS_DIR,
    "reserve",
    "lost+found",
    ".gitkeep",
];

/// Whether these entries can be those of a data directory: it has a MANIFEST, or nothing that is not ours.
pub(crate) fn check_ours(dir: &Path, entries: &[DirEntry]) -> Result<(), OpenError> {
    if entries.iter().any(|entry| entry.name == MANIFEST || entry.name == MANIFEST_BAK) {
        return Ok(());
    }
    let strange = entries.iter().find(|e| !KNOWN.contains(&e.name.as_str()) && !e.name.starts_with("tmp-"));
    match strange {
        None => Ok(()),
        Some(entry) => Err(OpenError::NotADataDir { dir: dir.to_owned(), entry: entry.name.clone() }),
    }
}

/// R1, second half: without MANIFEST and copy, nothing in the directory may name an event.
pub(crate) fn check_new(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), OpenError> {
    let named = |what: String| Err(damaged(dir, format!("MANIFEST and its copy are missing, but {what}")));
    if let Some(marks) = read_watermark(disk.as_ref(), dir, None)?
        && (marks.best.durable > Lsn::ZERO || marks.best.epoch > 0)
    {
        return named(format!("WATERMARK says that LSN {} is durable", marks.best.durable));
    }
    if let Some(applied) = read_applied(disk.as_ref(), dir)?
        && applied.applied_lsn > Lsn::ZERO
    {
        return named(format!("the views have applied LSN {}", applied.applied_lsn));
    }
    let log_dir = dir.join(LOG_DIR);
    for entry in list_or_empty(disk.as_ref(), &log_dir)? {
        if entry.name.starts_with("tmp-") || entry.kind == EntryKind::Dir {
            continue;
        }
        if holds_bytes(disk.as_ref(), &log_dir.join(&entry.name), entry.bytes)? {
            return named(format!("{} holds frames", entry.name));
        }
    }
    Ok(())
}

fn list_or_empty(disk: &dyn Disk, dir: &Path) -> Result<Vec<DirEntry>, OpenError> {
    match disk.list(dir) {
        Ok(entries) => Ok(entries),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io_error("list", dir)(error)),
    }
}

/// Whether anything but zeros stands behind the header.
fn holds_bytes(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<bool, OpenError> {
    let file = disk.open(path, OpenMode::Read).map_err(io_error("open", path))?;
    let mut from = u64::from(SEGMENT_HEADER_LEN);
    let mut chunk = vec![0; 1 << 20];
    while from < bytes {
        let len = usize::try_from(bytes - from).unwrap_or(usize::MAX).min(chunk.len());
        let part = chunk.get_mut(..len).unwrap_or_default();
        file.read_exact_at(part, from).map_err(io_error("read", path))?;
        if !is_zero(part) {
            return Ok(true);
        }
        from += len as u64;
    }
    Ok(false)
}

/// Makes a log in a directory that was found to be new: leftovers go, then segment, WATERMARK, copy, MANIFEST.
pub(crate) fn create(
    disk: &dyn Disk,
    dir: &Path,
    options: &LogOptions,
    identity: FreshIdentity,
    now: UnixMicros,
) -> Result<(), OpenError> {
    let log_dir = dir.join(LOG_DIR);
    disk.mkdir(&log_dir).map_err(io_error("make", &log_dir))?;
    for entry in list_or_empty(disk, &log_dir)? {
        if entry.kind == EntryKind::File {
            let path = log_dir.join(&entry.name);
            disk.unlink(&path).map_err(io_error("remove", &path))?;
        }
    }
    disk.sync_dir(dir).map_err(io_error("sync directory", dir))?;
    // Here and not where the directory was made: a start that failed in between leaves the directory behind, and its
    // name must be durable before anything in it counts.
    sync_parent(disk, dir)?;
    let geometry = geometry(disk, dir, options, identity);
    let header = SegmentHeader::new(geometry, FIRST_SEGMENT, now, &options.software);
    publish(disk, &log_dir, &header, ZeroPace::Swift).map_err(|failed| OpenError::Io {
        op: failed.op,
        path: failed.path,
        source: failed.source,
    })?;
    let start = FramePos { segment: FIRST_SEGMENT, offset: geometry.first_offset() };
    let slot = Slot {
        log_id: geometry.log_id,
        timeline: geometry.timeline,
        counter: 1,
        epoch: 0,
        durable: Lsn::ZERO,
        end: start,
        chain: 0,
        boot_id: [0; 16],
        clean: Clean::No,
    };
    let mut bytes = slot.encode();
    bytes.resize(usize::try_from(WATERMARK_LEN).unwrap_or(usize::MAX), 0);
    replace_small(disk, dir, WATERMARK, &bytes).map_err(io_error("install", &dir.join(WATERMARK)))?;
    let manifest = Manifest {
        geometry,
        first_seq: FIRST_SEGMENT,
        log_start_lsn: Lsn::FIRST,
        log_start_chain: 0,
        snapshots: Vec::new(),
        created: now,
    };
    let bytes = manifest.encode();
    for name in [MANIFEST_BAK, MANIFEST] {
        replace_small(disk, dir, name, &bytes).map_err(io_error("install", &dir.join(name)))?;
    }
    Ok(())
}

/// A parent that may not even be opened was not where this process made the directory; that is fine.
pub(crate) fn sync_parent(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match disk.sync_dir(parent) {
        Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => {
            Err(io_error("sync directory", parent)(error))
        }
        _ => Ok(()),
    }
}

fn geometry(disk: &dyn Disk, dir: &Path, options: &LogOptions, identity: FreshIdentity) -> Geometry {
    let align_log2 = options.align_for(disk.logical_block_bytes(dir));
    let magic = u32::from_le_bytes(identity.frame_magic);
    let frame_magic = if magic & 0xff == 0 { magic | 1 } else { magic };
    let fits = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Geometry {
        log_id: identity.log_id,
        timeline: 1,
        frame_magic,
        segment_bytes: fits(options.segment_bytes),
        max_payload: fits(options.max_payload(align_log2)),
        align_log2,
    }
}

const _: () = assert!(at(SEGMENT_HEADER_LEN) as u64 <= SLOT_STRIDE);
