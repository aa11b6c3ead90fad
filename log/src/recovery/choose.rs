//! R4: which snapshots are sound, and where the walk begins. Touches nothing.
//!
//! Owns: the choice of the newest snapshot that verifies, the check that log and snapshots leave no gap, and the first
//! frame of every segment below the walk, which says where that segment begins and the one before it ends. Never
//! does: judge the log's end (`classify.rs` does), write.
//!
//! A snapshot of up to [`VERIFY_BYTES_MAX`] is read in full; of a larger one header and footer, so that the time of an
//! open does not grow with the state. It was read back when it was installed, the scrubber reads it again, and
//! whoever reads it checks every block and falls back to the older one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, EntryKind};
use crate::error::{OpenError, SnapshotError};
use crate::format::frame::{FrameHeader, FrameKey, FrameKind, SegmentStart};
use crate::format::manifest::Manifest;
use crate::format::segment::segment_name;
use crate::format::snapshot::{SnapshotKind, snapshot_name};
use crate::format::{FRAME_HEADER_BYTES, FRAME_HEADER_LEN, at};
use crate::reader::view::SegmentState;
use crate::snapshot::{Opened, SNAPSHOTS_DIR, SnapshotInfo, open_file, verify_file};
use crate::{FramePos, Lsn};

use super::gather::{SegmentFiles, damaged};
use super::io_error;

/// Snapshots of up to this many bytes are read in full by every open.
pub(crate) const VERIFY_BYTES_MAX: u64 = 64 << 20;

/// The first frame of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentHead {
    pub(crate) header: FrameHeader,
    /// The end of the segment before, if the frame is a SegmentStart.
    pub(crate) start: Option<SegmentStart>,
}

/// What was found in `snapshots/`.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    /// The state snapshots that MANIFEST names and that are sound, ascending.
    pub(crate) states: Vec<SnapshotInfo>,
    /// What MANIFEST names and is not sound, in words.
    pub(crate) damaged: Vec<String>,
    /// What is left of the events below the log's start.
    pub(crate) base: Option<Opened>,
    /// Unfinished files.
    pub(crate) leftovers: Vec<PathBuf>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Snapshots {
    /// The last LSN of the newest one.
    pub(crate) fn newest(&self) -> Option<Lsn> {
        self.states.last().map(|info| info.last_lsn)
    }
}

/// Opens what MANIFEST names. A snapshot that is damaged is passed over; a read error is none of damage.
pub(crate) fn find_snapshots(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    manifest: &Manifest,
    files: &SegmentFiles,
    key: &FrameKey,
) -> Result<Snapshots, OpenError> {
    let folder = dir.join(SNAPSHOTS_DIR);
    let mut found = Snapshots::default();
    match disk.list(&folder) {
        Ok(entries) => {
            let unfinished =
                entries.iter().filter(|e| e.kind == EntryKind::File && e.name.starts_with("tmp-"));
            found.leftovers = unfinished.map(|entry| folder.join(&entry.name)).collect();
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("list", &folder)(error)),
    }
    for &lsn in &manifest.snapshots {
        let path = folder.join(snapshot_name(SnapshotKind::State, lsn));
        match sound(disk.as_ref(), &path, manifest, SnapshotKind::State, lsn)
            .and_then(|opened| belongs(files, key, opened))
        {
            Ok(info) => found.states.push(info),
            Err(SnapshotError::Io { op, path, source }) => return Err(io_error(op, &path)(source)),
            Err(error) => {
                tracing::error!(%error, "snapshot is not used");
                found.damaged.push(error.to_string());
            }
        }
    }
    if manifest.log_start_lsn > Lsn::FIRST {
        found.base = Some(find_base(disk, dir, manifest)?);
        check_no_gap(dir, manifest, &found)?;
    }
    Ok(found)
}

/// The base is part of the log: without it, what was kept of the cut events is lost.
fn find_base(disk: &Arc<dyn Disk>, dir: &Path, manifest: &Manifest) -> Result<Opened, OpenError> {
    let lsn = manifest.log_start_lsn.prev();
    let path = dir.join(SNAPSHOTS_DIR).join(snapshot_name(SnapshotKind::Base, lsn));
    let opened = open_file(disk.as_ref(), &path, &manifest.geometry, SnapshotKind::Base, lsn);
    opened.map_err(|error| {
        if let SnapshotError::Io { op, path, source } = error {
            return io_error(op, &path)(source);
        }
        damaged(dir, format!("the log begins at LSN {}, and {error}", manifest.log_start_lsn))
    })
}

/// What was cut must be in a snapshot.
fn check_no_gap(dir: &Path, manifest: &Manifest, found: &Snapshots) -> Result<(), OpenError> {
    let start = manifest.log_start_lsn;
    if found.newest().is_some_and(|newest| newest.next() >= start) {
        return Ok(());
    }
    let mut evidence =
        format!("the log begins at LSN {start}, and no snapshot that is sound reaches to there");
    for damage in &found.damaged {
        evidence.push_str("; ");
        evidence.push_str(damage);
    }
    Err(damaged(dir, evidence))
}

fn sound(
    disk: &dyn Disk,
    path: &Path,
    manifest: &Manifest,
    kind: SnapshotKind,
    lsn: Lsn,
) -> Result<Opened, SnapshotError> {
    let opened = open_file(disk, path, &manifest.geometry, kind, lsn)?;
    if opened.footer.total_len <= VERIFY_BYTES_MAX {
        verify_file(opened.clone())?;
    }
    Ok(opened)
}

/// A snapshot that names another frame than the log has there is of another history.
fn belongs(files: &SegmentFiles, key: &FrameKey, opened: Opened) -> Result<SnapshotInfo, SnapshotError> {
    let info = opened.info();
    if !files.contains(info.pos.segment) || info.pos.offset < files.first_offset {
        return Ok(info);
    }
    let mut bytes = vec![0; FRAME_HEADER_LEN];
    let readable = info.pos.offset.saturating_add(FRAME_HEADER_BYTES) <= files.segment_bytes;
    if !readable || files.read(info.pos, &mut bytes).is_err() {
        return Ok(info);
    }
    // What does not validate there is the walk's to judge.
    match key.parse(info.pos, &bytes) {
        Ok(header) if header.hdr_crc != info.chain || header.last_lsn() != info.last_lsn => {
            Err(opened.damaged("it does not belong to this history of the log"))
        }
        _ => Ok(info),
    }
}

/// Where the walk begins, and what lies below it.
#[derive(Debug)]
pub(crate) struct WalkFrom {
    pub(crate) segment: u32,
    /// The segments below, each with its end.
    pub(crate) below: BTreeMap<u32, SegmentState>,
}

/// The walk begins with the segment that holds the first event above the newest snapshot, or `bytes_min` of log before
/// the last frame, whichever is lower; at the log's start without a snapshot.
pub(crate) fn walk_from(
    files: &SegmentFiles,
    dir: &Path,
    manifest: &Manifest,
    key: &FrameKey,
    snapshot: Option<Lsn>,
    bytes_min: u64,
) -> Result<WalkFrom, OpenError> {
    let first = manifest.first_seq;
    let from_start = WalkFrom { segment: first, below: BTreeMap::new() };
    let Some(snapshot) = snapshot else { return Ok(from_start) };
    let mut heads = BTreeMap::new();
    let mut last_used = first;
    for segment in (first..=files.last()).rev() {
        if let Some(head) = head(files, key, segment)? {
            heads.insert(segment, head);
            last_used = last_used.max(segment);
        }
    }
    // One at least: a walk that accepts nothing in its first segment would not know where the one before ends.
    let whole = bytes_min.div_ceil(u64::from(files.segment_bytes)).max(1);
    let back = u32::try_from(whole).unwrap_or(u32::MAX);
    let mut segment = last_used.saturating_sub(back).max(first);
    let begins_above =
        |segment: u32| heads.get(&segment).is_none_or(|head| head.header.first_lsn > snapshot.next());
    while segment > first && begins_above(segment) {
        segment -= 1;
    }
    if segment == first {
        return Ok(from_start);
    }
    let below = below(dir, manifest, &heads, segment)?;
    Ok(WalkFrom { segment, below })
}

/// The segments below the walk, from the first frame of each and of the one behind it.
fn below(
    dir: &Path,
    manifest: &Manifest,
    heads: &BTreeMap<u32, SegmentHead>,
    walk: u32,
) -> Result<BTreeMap<u32, SegmentState>, OpenError> {
    let bad = |segment: u32, what: &str| {
        Err(damaged(dir, format!("first frame of segment {}: {what}", segment_name(segment))))
    };
    let mut states = BTreeMap::new();
    let mut lsn = manifest.log_start_lsn;
    for segment in manifest.first_seq..walk {
        let (Some(head), Some(next)) = (heads.get(&segment), heads.get(&(segment + 1))) else {
            let unreadable = if heads.contains_key(&segment) { segment + 1 } else { segment };
            return bad(unreadable, "it does not validate");
        };
        if head.header.first_lsn < lsn {
            return bad(segment, "its LSN is below that of the segment before");
        }
        lsn = head.header.first_lsn;
        let end = match next.start {
            Some(start) if start.prev_end.segment == segment => start.prev_end.offset,
            _ => return bad(segment + 1, "it does not name the end of the segment before"),
        };
        let state = SegmentState { first_lsn: lsn, first_commit: head.header.commit_time, end };
        states.insert(segment, state);
    }
    Ok(states)
}

/// The first frame of a segment; `None` when nothing sound stands there.
pub(crate) fn head(
    files: &SegmentFiles,
    key: &FrameKey,
    segment: u32,
) -> Result<Option<SegmentHead>, OpenError> {
    let pos = FramePos { segment, offset: files.first_offset };
    let mut bytes = vec![0; FRAME_HEADER_LEN + crate::format::frame::SEGMENT_START_LEN];
    files.read(pos, &mut bytes).map_err(io_error("read", &files.path(segment)))?;
    let Ok(header) = key.parse(pos, &bytes) else { return Ok(None) };
    if header.kind != FrameKind::SegmentStart {
        return Ok(Some(SegmentHead { header, start: None }));
    }
    let payload = bytes.get(FRAME_HEADER_LEN..).unwrap_or_default();
    let sound = header.payload_len == crate::format::len32(payload.len())
        && at(header.frame_len()) == bytes.len()
        && crate::format::frame::check_payload(&header, payload).is_ok();
    let start = if sound { SegmentStart::decode(payload) } else { None };
    Ok(start.map(|start| SegmentHead { header, start: Some(start) }))
}
