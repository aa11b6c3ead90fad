//! What stands where in a log, whatever the damage: which events can be kept, which are lost, by what evidence.
//!
//! Owns: what a survey says, and going over what it keeps. What stands where is read by `runs`, what of it is kept and
//! lost is chosen by `choice`. Never does: write; decide whether an engine may start (recovery does, by the same evidence).
//!
//! The rule is recovery's D-rule, carried on behind the damage: what is proven durable and does not validate is *lost*;
//! what is not proven and does not follow on directly is *cut*, as the next start would. Behind damage the chain cannot
//! be followed, so frames are taken by where they stand, their LSNs and epochs: of two that claim one LSN, the one of
//! the later epoch; a frame whose epoch is older than one before it is a leftover.

mod choice;
mod runs;

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::disk::{Disk, EntryKind, OpenMode};
use crate::error::OpenError;
use crate::format::frame::{FrameHeader, FrameKey, FrameKind};
use crate::format::manifest::Manifest;
use crate::format::segment::{parse_segment_name, segment_name};
use crate::recovery::gather::{read_applied, read_manifest, read_watermark};
use crate::recovery::{LOG_DIR, io_error};
use crate::{FramePos, Gap, Lsn};

use super::rebuild::reconstruct;
use super::scan::{Met, SegmentBytes, scan};
use super::{Progress, hold};
use choice::choose;
use runs::Found;

/// What a span of bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanStatus {
    /// Frames of the log, all checks passed.
    Sound,
    /// Sound, and nothing proves that it was durable; a start keeps it.
    Unproven,
    /// Belonged to the log and is not what was written, or not there.
    Damaged,
    /// Behind the end, unproven: a start cuts it.
    Cut,
    /// A sound frame that an earlier recovery cut: not part of the log.
    Leftover,
}

/// Bytes of a segment of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Offset of the first byte.
    pub from: u32,
    /// Offset behind the last byte.
    pub to: u32,
    /// What they are.
    pub status: SpanStatus,
    /// The events in them, or lost with them, where there are any.
    pub lsns: Option<Gap>,
    /// Batches in them.
    pub batches: u64,
    /// The first check that failed, for everything that is not sound.
    pub check: Option<String>,
}

/// One segment's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentSurvey {
    /// Its number.
    pub segment: u32,
    /// The name of its file.
    pub file: String,
    /// What is wrong with the file as a whole: missing, length, header.
    pub problem: Option<String>,
    /// Offsets of 4096-byte units that the disk did not give.
    pub unreadable: Vec<u32>,
    /// Its bytes by kind, in order; what is zero and belongs to nothing is not named.
    pub spans: Vec<Span>,
}

/// What a survey found.
#[derive(Clone, Debug, Serialize)]
pub struct Survey {
    /// Where the parameters came from: `MANIFEST`, its copy, or segment headers.
    pub parameters: &'static str,
    /// The first LSN that the log holds.
    pub log_start: Lsn,
    /// The last event that can be kept.
    pub last_lsn: Lsn,
    /// D: the highest LSN that any evidence proves durable.
    pub proven_lsn: Lsn,
    /// Df: evidence in frames.
    pub frames_lsn: Lsn,
    /// Dw: evidence in WATERMARK, if a slot is sound.
    pub watermark_lsn: Option<Lsn>,
    /// Dp: evidence of the views, if there is any.
    pub applied_lsn: Option<Lsn>,
    /// Evidence in the newest snapshot that MANIFEST names, if there is any.
    pub snapshot_lsn: Option<Lsn>,
    /// Batches that can be kept.
    pub batches: u64,
    /// Events that can be kept.
    pub events: u64,
    /// Events that were acknowledged and are damaged or missing: what a salvage loses.
    pub losses: Vec<Gap>,
    /// Events that an earlier salvage lost.
    pub gaps: Vec<Gap>,
    /// Places where frames that carry no event are damaged or missing.
    pub broken_links: u64,
    /// Segment by segment.
    pub segments: Vec<SegmentSurvey>,
    #[serde(skip)]
    pub(super) manifest: Manifest,
    /// What a salvage copies, in order.
    #[serde(skip)]
    pub(super) kept: Vec<Kept>,
    #[serde(skip)]
    pub(super) epoch: u32,
}

impl Survey {
    /// Whether nothing that was acknowledged is damaged or missing.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.losses.is_empty()
            && self.broken_links == 0
            && self.segments.iter().all(|segment| segment.problem.is_none() && segment.unreadable.is_empty())
    }

    /// Whether the disk refused to give some bytes.
    #[must_use]
    pub fn has_read_errors(&self) -> bool {
        self.segments.iter().any(|segment| !segment.unreadable.is_empty())
    }
}

/// Frames to copy: those between two offsets with LSNs in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) segment: u32,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) first: Lsn,
    /// The LSN behind the last one that is kept.
    pub(super) next: Lsn,
}

/// A frame that is kept.
pub(super) struct KeptFrame<'a> {
    pub(super) header: FrameHeader,
    pub(super) next_lsn: Lsn,
    pub(super) payload: &'a [u8],
}

/// Goes over the batches and gaps that are kept, in order. What a survey counts and what a salvage copies is what comes
/// out here, so that both are the same.
pub(super) fn each_kept<E: From<OpenError>>(
    disk: &dyn Disk,
    dir: &Path,
    manifest: &Manifest,
    kept: &[Kept],
    progress: Progress<'_>,
    tell: &mut dyn FnMut(&KeptFrame<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let key = FrameKey::new(&manifest.geometry);
    let mut segments: Vec<u32> = kept.iter().map(|kept| kept.segment).collect();
    segments.dedup();
    let mut next = manifest.log_start_lsn;
    for (n, &seq) in segments.iter().enumerate() {
        let path = dir.join(LOG_DIR).join(segment_name(seq));
        let file = disk.open(&path, OpenMode::Read).map_err(io_error("open", &path))?;
        let read = SegmentBytes::read(file.as_ref(), manifest.geometry.segment_bytes)
            .map_err(io_error("read", &path))?;
        let mut failed = None;
        scan(&read.bytes, seq, &manifest.geometry, &key, &mut |met| {
            let Met::Frame { header, pos, next_lsn, payload } = met else { return };
            let is_kept = matches!(header.kind, FrameKind::Batch | FrameKind::Gap)
                && header.first_lsn >= next
                && kept.iter().any(|kept| kept.holds(&header, pos, next_lsn));
            if is_kept && failed.is_none() {
                next = next_lsn;
                failed = tell(&KeptFrame { header, next_lsn, payload }).err();
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        progress(n as u64 + 1, segments.len() as u64);
    }
    Ok(())
}

impl Kept {
    fn holds(&self, header: &FrameHeader, pos: FramePos, next: Lsn) -> bool {
        self.segment == pos.segment
            && (self.from..self.to).contains(&pos.offset)
            && self.first <= header.first_lsn
            && next <= self.next
    }
}

/// Surveys the log in `dir`.
///
/// # Errors
/// [`OpenError`] when the directory is in use, holds no log, is of another format, or nothing in it says how its log
/// is cut.
pub fn survey(disk: &Arc<dyn Disk>, dir: &Path, progress: Progress<'_>) -> Result<Survey, OpenError> {
    let _held = hold(disk, dir)?;
    survey_held(disk, dir, progress)
}

pub(super) fn survey_held(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    progress: Progress<'_>,
) -> Result<Survey, OpenError> {
    let (manifest, parameters) = parameters(disk, dir)?;
    let geometry = manifest.geometry;
    let mut found = Found::new(&manifest);
    let files = files(disk.as_ref(), dir, manifest.first_seq)?;
    let total = files.iter().map(|(_, bytes)| bytes).sum();
    let mut done = 0;
    for (seq, bytes) in &files {
        found.segment(disk.as_ref(), dir, *seq, *bytes)?;
        done += bytes;
        progress(done, total);
    }
    let watermark = read_watermark(disk.as_ref(), dir, Some(&geometry)).unwrap_or_default();
    let applied = read_applied(disk.as_ref(), dir)?
        .filter(|applied| applied.log_id == geometry.log_id && applied.timeline == geometry.timeline);
    let watermark_lsn = watermark.map(|marks| marks.best.durable);
    let applied_lsn = applied.map(|applied| applied.applied_lsn);
    let epoch = found.epoch.max(watermark.map_or(0, |marks| marks.best.epoch));
    let frames_lsn = found.frames;
    // MANIFEST named a snapshot only after everything in it was durable.
    let snapshot_lsn = manifest.snapshots.last().copied();
    let others = [watermark_lsn, applied_lsn, snapshot_lsn];
    let proven = others.into_iter().flatten().fold(frames_lsn, Lsn::max);
    let mut chosen = choose(found, proven);
    if !chosen.losses.is_empty() || chosen.partial {
        chosen.count_exactly(disk.as_ref(), dir, &manifest, proven)?;
    }
    Ok(Survey {
        parameters,
        log_start: manifest.log_start_lsn,
        last_lsn: chosen.next.prev(),
        proven_lsn: proven,
        frames_lsn,
        watermark_lsn,
        applied_lsn,
        snapshot_lsn,
        batches: chosen.batches,
        events: chosen.events,
        losses: chosen.losses,
        gaps: chosen.gaps,
        broken_links: chosen.broken_links,
        segments: chosen.segments,
        manifest,
        kept: chosen.kept,
        epoch,
    })
}

fn parameters(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(Manifest, &'static str), OpenError> {
    match read_manifest(disk.as_ref(), dir) {
        Ok(Some((manifest, _))) => Ok((manifest, "MANIFEST")),
        Ok(None) | Err(OpenError::Damaged { .. }) => {
            Ok((reconstruct(disk.as_ref(), dir)?, "segment headers"))
        }
        Err(error) => Err(error),
    }
}

/// Numbers and lengths of the segments, ascending.
fn files(disk: &dyn Disk, dir: &Path, first: u32) -> Result<Vec<(u32, u64)>, OpenError> {
    let log_dir = dir.join(LOG_DIR);
    let entries = disk.list(&log_dir).map_err(io_error("list", &log_dir))?;
    let segments = entries.iter().filter(|entry| entry.kind == EntryKind::File);
    let mut found: Vec<_> = segments
        .filter_map(|entry| Some((parse_segment_name(&entry.name)?, entry.bytes)))
        .filter(|(seq, _)| *seq >= first)
        .collect();
    found.sort_unstable();
    Ok(found)
}
