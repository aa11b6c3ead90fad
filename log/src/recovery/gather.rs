//! Gathering, R1–R7: reads everything that the judgement needs. Touches nothing.
//!
//! Owns: which files are read and what their absence or damage means. Never does: write, lock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, EntryKind, OpenMode, read_small};
use crate::error::OpenError;
use crate::evidence;
use crate::format::frame::FrameKey;
use crate::format::manifest::{MANIFEST_LEN, Manifest};
use crate::format::segment::{SegmentHeader, parse_segment_name, segment_name};
use crate::format::watermark::{Clean, SLOT_LEN, SLOT_STRIDE, Slot, WATERMARK_LEN};
use crate::format::{BlockError, Geometry, SEGMENT_HEADER_LEN, at, supported};
use crate::planted::{self, Bug};
use crate::{FramePos, Lsn};

use super::ahead::{Ahead, look_ahead};
use super::choose::{Snapshots, find_snapshots, walk_from};
use super::classify::Facts;
use super::walk::{Walked, walk};
use super::{LOG_DIR, MANIFEST, MANIFEST_BAK, WATERMARK, io_error};

/// Which of MANIFEST and its copy has to be written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ManifestCopies {
    /// Both are sound and say the same.
    BothSound,
    /// One is missing, damaged or older.
    OneMissing,
}

/// The two slots of WATERMARK, as far as they are sound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watermarks {
    /// The newest sound slot.
    pub(crate) best: Slot,
    /// Where it stands.
    pub(crate) best_slot: u64,
    pub(crate) other_is_sound: bool,
}

/// Everything that was read.
pub(crate) struct Gathered {
    pub(crate) manifest: Manifest,
    pub(crate) copies: ManifestCopies,
    pub(crate) watermarks: Watermarks,
    pub(crate) files: SegmentFiles,
    /// Unfinished segments and snapshots, and segments below the log's start.
    pub(crate) leftovers: Vec<PathBuf>,
    pub(crate) snapshots: Snapshots,
    pub(crate) walked: Walked,
    pub(crate) ahead: Ahead,
    pub(crate) applied: Option<Lsn>,
}

/// The published segments of the log; contiguous from the first to the last.
pub(crate) struct SegmentFiles {
    disk: Arc<dyn Disk>,
    log_dir: PathBuf,
    first: u32,
    last: u32,
    pub(crate) segment_bytes: u32,
    /// Where the first group of a segment starts.
    pub(crate) first_offset: u32,
}

impl SegmentFiles {
    /// Segments that need not exist, of so many bytes each.
    #[cfg(test)]
    pub(super) fn of(disk: Arc<dyn Disk>, log_dir: PathBuf, last: u32, segment_bytes: u32) -> SegmentFiles {
        SegmentFiles { disk, log_dir, first: 1, last, segment_bytes, first_offset: 4096 }
    }

    pub(crate) const fn last(&self) -> u32 {
        self.last
    }

    pub(crate) const fn contains(&self, segment: u32) -> bool {
        self.first <= segment && segment <= self.last
    }

    pub(crate) fn path(&self, segment: u32) -> PathBuf {
        self.log_dir.join(segment_name(segment))
    }

    /// Fills `bytes` from a place in a segment.
    pub(crate) fn read(&self, pos: FramePos, bytes: &mut [u8]) -> std::io::Result<()> {
        let file = self.disk.open(&self.path(pos.segment), OpenMode::Read)?;
        file.read_exact_at(bytes, u64::from(pos.offset))
    }

    pub(crate) fn open(&self, segment: u32) -> Result<Arc<dyn DiskFile>, OpenError> {
        let path = self.path(segment);
        Ok(self.disk.open(&path, OpenMode::Read).map_err(io_error("open", &path))?.into())
    }
}

impl Gathered {
    pub(crate) fn facts(&self) -> Facts {
        Facts {
            valid: self.walked.valid,
            frames: if planted::is(Bug::NoScanAhead) {
                self.walked.frames
            } else {
                self.walked.frames.max(self.ahead.frames)
            },
            watermark: if planted::is(Bug::WatermarkIgnored) {
                Lsn::ZERO
            } else {
                self.watermarks.best.durable
            },
            watermark_epoch: self.watermarks.best.epoch,
            applied: self.applied,
            snapshot: self.snapshots.newest().filter(|_| !planted::is(Bug::SnapshotEvidenceIgnored)),
            clean: self.watermarks.best.clean == Clean::Yes,
            epoch: self.walked.epoch,
            headers_after: self.ahead.headers,
            epoch_after: self.ahead.epoch,
            bytes_after: !self.ahead.nonzero.is_empty(),
        }
    }
}

pub(crate) fn damaged(dir: &Path, evidence: String) -> OpenError {
    OpenError::Damaged { dir: dir.to_owned(), lsns: None, evidence, report: None }
}

/// Reads the directory. `None` when it has neither MANIFEST nor copy: perhaps it is new.
pub(crate) fn gather(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    walk_bytes_min: u64,
) -> Result<Option<Gathered>, OpenError> {
    let Some((manifest, copies)) = read_manifest(disk.as_ref(), dir)? else { return Ok(None) };
    let geometry = manifest.geometry;
    let key = FrameKey::new(&geometry);
    let watermarks = read_watermark(disk.as_ref(), dir, Some(&geometry))?
        .ok_or_else(|| damaged(dir, "both slots of WATERMARK are unreadable".to_owned()))?;
    let (files, mut leftovers) = list_segments(disk, dir, &manifest)?;
    let mut snapshots = find_snapshots(disk, dir, &manifest, &files, &key)?;
    leftovers.append(&mut snapshots.leftovers);
    let from = walk_from(&files, dir, &manifest, &key, snapshots.newest(), walk_bytes_min)?;
    let walked = walk(&files, dir, &manifest, &geometry, &key, from)?;
    let ahead = look_ahead(&files, &key, walked.end)?;
    let applied = read_applied(disk.as_ref(), dir)?
        .filter(|applied| applied.log_id == geometry.log_id && applied.timeline == geometry.timeline)
        .map(|applied| applied.applied_lsn);
    Ok(Some(Gathered { manifest, copies, watermarks, files, leftovers, snapshots, walked, ahead, applied }))
}

/// R1.
pub(crate) fn read_manifest(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Option<(Manifest, ManifestCopies)>, OpenError> {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for name in [MANIFEST, MANIFEST_BAK] {
        let path = dir.join(name);
        let bytes = read_small(disk, &path, 1 << 20).map_err(io_error("read", &path))?;
        match bytes.map(|bytes| Manifest::decode(&bytes)) {
            None => {}
            Some(Ok(manifest)) => found.push(manifest),
            Some(Err(BlockError::Damaged(check))) => problems.push(format!("{name}: {check}")),
            Some(Err(BlockError::Unsupported { found })) => {
                return Err(OpenError::Format { file: path, found, supported: supported() });
            }
        }
    }
    // They differ after a crash between the two; then the first one counts.
    let both = matches!(found.as_slice(), [first, copy] if first == copy);
    let copies = if both { ManifestCopies::BothSound } else { ManifestCopies::OneMissing };
    match found.into_iter().next() {
        Some(manifest) => Ok(Some((manifest, copies))),
        None if problems.is_empty() => Ok(None),
        None => Err(damaged(dir, format!("no sound MANIFEST ({})", problems.join(", ")))),
    }
}

/// R2. `None` when no slot is sound (or belongs to that log).
pub(crate) fn read_watermark(
    disk: &dyn Disk,
    dir: &Path,
    geometry: Option<&Geometry>,
) -> Result<Option<Watermarks>, OpenError> {
    let path = dir.join(WATERMARK);
    let Some(bytes) = read_small(disk, &path, WATERMARK_LEN).map_err(io_error("read", &path))? else {
        return Ok(None);
    };
    let stride = usize::try_from(SLOT_STRIDE).unwrap_or(usize::MAX);
    let slot = |start: usize| {
        let slot = Slot::decode(bytes.get(start..start + SLOT_LEN)?)?;
        let ours = geometry.is_none_or(|g| slot.log_id == g.log_id && slot.timeline == g.timeline);
        ours.then_some(slot)
    };
    Ok(match (slot(0), slot(stride)) {
        (None, None) => None,
        (Some(best), None) => Some(Watermarks { best, best_slot: 0, other_is_sound: false }),
        (None, Some(best)) => Some(Watermarks { best, best_slot: 1, other_is_sound: false }),
        (Some(a), Some(b)) if a.counter >= b.counter => {
            Some(Watermarks { best: a, best_slot: 0, other_is_sound: true })
        }
        (Some(_), Some(b)) => Some(Watermarks { best: b, best_slot: 1, other_is_sound: true }),
    })
}

/// R3: headers valid, identity ours, sizes right, no number missing.
pub(crate) fn list_segments(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    manifest: &Manifest,
) -> Result<(SegmentFiles, Vec<PathBuf>), OpenError> {
    let log_dir = dir.join(LOG_DIR);
    let mut leftovers = Vec::new();
    let mut seqs = BTreeMap::new();
    for entry in disk.list(&log_dir).map_err(io_error("list", &log_dir))? {
        if entry.kind == EntryKind::Dir {
            continue;
        }
        match parse_segment_name(&entry.name) {
            Some(seq) if seq >= manifest.first_seq => {
                seqs.insert(seq, entry.bytes);
            }
            Some(_) => leftovers.push(log_dir.join(&entry.name)),
            None if entry.name.starts_with("tmp-") => leftovers.push(log_dir.join(&entry.name)),
            None => {}
        }
    }
    let Some((&last, _)) = seqs.last_key_value() else {
        return Err(damaged(
            dir,
            format!("segment {} is missing; there is none", segment_name(manifest.first_seq)),
        ));
    };
    let segment_bytes = manifest.geometry.segment_bytes;
    let files = SegmentFiles {
        disk: Arc::clone(disk),
        log_dir,
        first: manifest.first_seq,
        last,
        segment_bytes,
        first_offset: manifest.geometry.first_offset(),
    };
    for seq in manifest.first_seq..=last {
        let name = segment_name(seq);
        match seqs.get(&seq) {
            None => return Err(damaged(dir, format!("segment {name} is missing; later ones exist"))),
            Some(&bytes) if bytes != u64::from(segment_bytes) => {
                return Err(damaged(
                    dir,
                    format!("segment {name} is {bytes} bytes long, expected {segment_bytes}"),
                ));
            }
            Some(_) => check_header(&files, dir, &manifest.geometry, seq)?,
        }
    }
    Ok((files, leftovers))
}

fn check_header(files: &SegmentFiles, dir: &Path, geometry: &Geometry, seq: u32) -> Result<(), OpenError> {
    let path = files.path(seq);
    let mut bytes = vec![0; at(SEGMENT_HEADER_LEN)];
    files.open(seq)?.read_exact_at(&mut bytes, 0).map_err(io_error("read", &path))?;
    let name = segment_name(seq);
    match SegmentHeader::decode(&bytes) {
        Ok(header) if header.geometry == *geometry && header.seq == seq => Ok(()),
        Ok(header) if header.geometry == *geometry => {
            Err(damaged(dir, format!("segment {name} says that it is number {}", header.seq)))
        }
        Ok(_) => Err(damaged(dir, format!("segment {name} belongs to another log"))),
        Err(BlockError::Damaged(check)) => Err(damaged(dir, format!("header of segment {name}: {check}"))),
        Err(BlockError::Unsupported { found }) => {
            Err(OpenError::Format { file: path, found, supported: supported() })
        }
    }
}

/// R7: what the views say that they applied; of any log. Unreadable evidence is no evidence.
pub(crate) fn read_applied(disk: &dyn Disk, dir: &Path) -> Result<Option<evidence::Applied>, OpenError> {
    let views = dir.join(evidence::VIEWS_DIR);
    let Ok(Some(current)) = read_small(disk, &views.join(evidence::CURRENT_NAME), 256) else {
        return Ok(None);
    };
    let Ok(generation) = std::str::from_utf8(&current) else { return Ok(None) };
    let generation = generation.trim_end();
    if generation.is_empty() || generation.contains(['/', '\\', '\0']) || generation.starts_with('.') {
        return Ok(None);
    }
    let path = views.join(generation).join(evidence::APPLIED_NAME);
    let bytes = read_small(disk, &path, 4096).unwrap_or_default();
    Ok(bytes.and_then(|bytes| evidence::decode(&bytes)))
}

const _: () = assert!(MANIFEST_LEN <= 1 << 20);
