//! MANIFEST and WATERMARK made anew from what the segments say.
//!
//! Owns: what can be concluded from headers and frames alone. Never does: replace a file that is sound; claim more than
//! the frames prove (L2).

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::disk::{Disk, EntryKind, OpenMode, replace_small};
use crate::error::OpenError;
use crate::format::frame::FrameKey;
use crate::format::manifest::{Manifest, SNAPSHOTS_MAX};
use crate::format::segment::{SegmentHeader, parse_segment_name, segment_name};
use crate::format::snapshot::{SnapshotKind, parse_snapshot_name};
use crate::format::watermark::{Clean, Slot, WATERMARK_LEN};
use crate::format::{BlockError, FRAME_HEADER_LEN, Geometry, SEGMENT_HEADER_LEN, at, supported};
use crate::recovery::gather::{
    ManifestCopies, damaged, list_segments, read_applied, read_manifest, read_watermark,
};
use crate::recovery::walk::{drop_proven, walk};
use crate::recovery::{LOG_DIR, MANIFEST, MANIFEST_BAK, WATERMARK, find_snapshots, io_error, walk_from};
use crate::snapshot::{SNAPSHOTS_DIR, open_file, verify_file};
use crate::{FramePos, Lsn};

use super::{hold, no_manifest};

/// What a rebuild did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// Files that were written; none when all was sound.
    pub written: Vec<&'static str>,
    /// In words: from what, and what it means.
    pub reason: String,
}

/// Makes MANIFEST and its copy sound: from each other, else from the segments.
///
/// # Errors
/// `Damaged` when the segments do not say it; `Format`, `Locked`, `NoLog`, `Io`.
pub fn rebuild_manifest(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Rebuilt, OpenError> {
    let _held = hold(disk, dir)?;
    let (manifest, reason) = match read_manifest(disk.as_ref(), dir) {
        Ok(Some((_, ManifestCopies::BothSound))) => {
            let reason = "MANIFEST and its copy are sound; nothing was written".to_owned();
            return Ok(Rebuilt { written: Vec::new(), reason });
        }
        Ok(Some((manifest, ManifestCopies::OneMissing))) => (
            manifest,
            "one of MANIFEST and its copy was missing or damaged, and was made from the other".to_owned(),
        ),
        Ok(None) | Err(OpenError::Damaged { .. }) => {
            let manifest = reconstruct(disk.as_ref(), dir)?;
            let reason = format!(
                "made from segment headers and the first frame: the log begins with LSN {} in segment {}; \
                 a segment that is missing below it cannot be noticed",
                manifest.log_start_lsn, manifest.first_seq
            );
            (manifest, reason)
        }
        Err(error) => return Err(error),
    };
    let bytes = manifest.encode();
    for name in [MANIFEST_BAK, MANIFEST] {
        replace_small(disk.as_ref(), dir, name, &bytes).map_err(io_error("install", &dir.join(name)))?;
    }
    Ok(Rebuilt { written: vec![MANIFEST_BAK, MANIFEST], reason })
}

/// The MANIFEST that the segments speak of.
pub(super) fn reconstruct(disk: &dyn Disk, dir: &Path) -> Result<Manifest, OpenError> {
    let log_dir = dir.join(LOG_DIR);
    let entries = disk.list(&log_dir).map_err(io_error("list", &log_dir))?;
    let mut headers: Vec<(u32, Option<SegmentHeader>)> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        let Some(seq) = parse_segment_name(&entry.name) else { continue };
        headers.push((seq, read_header(disk, &log_dir.join(&entry.name))?));
    }
    let sound = || headers.iter().filter_map(|(seq, header)| Some((*seq, header.as_ref()?)));
    let Some((_, any)) = sound().find(|(seq, header)| header.seq == *seq) else {
        return Err(damaged(dir, "no MANIFEST, and no segment with a sound header".to_owned()));
    };
    if let Some((seq, _)) = sound().find(|(_, header)| header.geometry != any.geometry) {
        let name = segment_name(seq);
        return Err(damaged(dir, format!("no MANIFEST, and the segments are of different logs: see {name}")));
    }
    let Some(first_seq) = headers.iter().map(|(seq, _)| *seq).min() else {
        return Err(damaged(dir, "no MANIFEST and no segment".to_owned()));
    };
    let key = FrameKey::new(&any.geometry);
    let (log_start_lsn, log_start_chain) = start_of(disk, dir, &any.geometry, &key, first_seq)?;
    Ok(Manifest {
        geometry: any.geometry,
        first_seq,
        log_start_lsn,
        log_start_chain,
        snapshots: snapshots(disk, dir, &any.geometry)?,
        created: any.created,
    })
}

/// The newest state snapshots that are sound, ascending.
fn snapshots(disk: &dyn Disk, dir: &Path, geometry: &Geometry) -> Result<Vec<Lsn>, OpenError> {
    let folder = dir.join(SNAPSHOTS_DIR);
    let entries = match disk.list(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("list", &folder)(error)),
    };
    let mut found = Vec::new();
    for entry in &entries {
        let Some((SnapshotKind::State, lsn)) = parse_snapshot_name(&entry.name) else { continue };
        let opened = open_file(disk, &folder.join(&entry.name), geometry, SnapshotKind::State, lsn);
        if opened.and_then(verify_file).is_ok() {
            found.push(lsn);
        }
    }
    found.sort_unstable();
    let spare = found.len().saturating_sub(crate::format::at(SNAPSHOTS_MAX));
    Ok(found.split_off(spare))
}

/// `None` when it is damaged.
fn read_header(disk: &dyn Disk, path: &Path) -> Result<Option<SegmentHeader>, OpenError> {
    let file = disk.open(path, OpenMode::Read).map_err(io_error("open", path))?;
    let mut bytes = vec![0; at(SEGMENT_HEADER_LEN)];
    if file.read_exact_at(&mut bytes, 0).is_err() {
        return Ok(None);
    }
    match SegmentHeader::decode(&bytes) {
        Ok(header) => Ok(Some(header)),
        Err(BlockError::Damaged(_)) => Ok(None),
        Err(BlockError::Unsupported { found }) => {
            Err(OpenError::Format { file: path.to_owned(), found, supported: supported() })
        }
    }
}

/// LSN and chain at the start of the first segment that is left.
fn start_of(
    disk: &dyn Disk,
    dir: &Path,
    geometry: &Geometry,
    key: &FrameKey,
    first_seq: u32,
) -> Result<(Lsn, u32), OpenError> {
    let path = dir.join(LOG_DIR).join(segment_name(first_seq));
    let file = disk.open(&path, OpenMode::Read).map_err(io_error("open", &path))?;
    let mut bytes = [0; FRAME_HEADER_LEN];
    let pos = FramePos { segment: first_seq, offset: geometry.first_offset() };
    let read = file.read_exact_at(&mut bytes, u64::from(pos.offset));
    match read.map_err(|_| "cannot be read").and_then(|()| key.parse(pos, &bytes)) {
        Ok(header) => Ok((header.first_lsn, header.prev_hdr_crc)),
        // The first segment of all begins with the first LSN, whatever stands in it.
        Err(_) if first_seq == crate::recovery::FIRST_SEGMENT => Ok((Lsn::FIRST, 0)),
        Err(check) => {
            let name = segment_name(first_seq);
            Err(damaged(
                dir,
                format!(
                    "no MANIFEST, and the first frame of segment {name} does not say where the log begins: {check}"
                ),
            ))
        }
    }
}

/// Makes WATERMARK anew when no slot is sound. It then claims what frames and views prove and no more.
///
/// # Errors
/// `Damaged` when the MANIFEST or a segment is; `Format`, `Locked`, `NoLog`, `Io`.
pub fn rebuild_watermark(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Rebuilt, OpenError> {
    let _held = hold(disk, dir)?;
    let (manifest, _) = read_manifest(disk.as_ref(), dir)?.ok_or_else(|| no_manifest(dir))?;
    let geometry = manifest.geometry;
    if read_watermark(disk.as_ref(), dir, Some(&geometry))?.is_some() {
        let reason = "WATERMARK is sound; nothing was written".to_owned();
        return Ok(Rebuilt { written: Vec::new(), reason });
    }
    let (files, _) = list_segments(disk, dir, &manifest)?;
    let key = FrameKey::new(&geometry);
    let snapshots = find_snapshots(disk, dir, &manifest, &files, &key)?;
    let from = walk_from(&files, dir, &manifest, &key, snapshots.newest(), u64::MAX)?;
    let mut walked = walk(&files, dir, &manifest, &geometry, &key, from)?;
    let ahead = crate::recovery::look_ahead(&files, &key, walked.end)?;
    let applied = read_applied(disk.as_ref(), dir)?
        .filter(|applied| applied.log_id == geometry.log_id && applied.timeline == geometry.timeline)
        .map_or(Lsn::ZERO, |applied| applied.applied_lsn);
    let proven = walked.frames.max(ahead.frames).max(applied).max(snapshots.newest().unwrap_or_default());
    drop_proven(&mut walked.unproven, proven);
    let all_proven = walked.unproven.is_empty() && proven >= walked.valid;
    let slot = Slot {
        log_id: geometry.log_id,
        timeline: geometry.timeline,
        counter: 1,
        epoch: walked.epoch.max(ahead.epoch),
        durable: proven,
        end: walked.unproven.front().map_or(walked.end, |group| group.pos),
        chain: if all_proven { walked.chain } else { 0 },
        boot_id: [0; 16],
        clean: Clean::No,
    };
    let mut bytes = slot.encode();
    bytes.resize(usize::try_from(WATERMARK_LEN).unwrap_or(usize::MAX), 0);
    replace_small(disk.as_ref(), dir, WATERMARK, &bytes)
        .map_err(io_error("install", &dir.join(WATERMARK)))?;
    let reason = format!(
        "both slots were unreadable; the new WATERMARK claims LSN {proven}, which frames, snapshots and views prove; \
         the log is readable up to LSN {}. Evidence about what came after is gone",
        walked.valid
    );
    Ok(Rebuilt { written: vec![WATERMARK], reason })
}
