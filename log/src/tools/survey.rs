//! What stands where in a log, whatever the damage: which events can be kept, which are lost, by what evidence.
//!
//! Owns: choosing the frames that make up the log when some are damaged, and the losses. Never does: write; decide
//! whether an engine may start (recovery does, by the same evidence).
//!
//! The rule is recovery's D-rule, carried on behind the damage: what is proven durable and does not validate is *lost*;
//! what is not proven and does not follow on directly is *cut*, as the next start would. Behind damage the chain cannot
//! be followed, so frames are taken by where they stand, their LSNs and epochs: of two that claim one LSN, the one of
//! the later epoch; a frame whose epoch is older than one before it is a leftover.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::disk::{Disk, EntryKind, OpenMode};
use crate::error::OpenError;
use crate::format::frame::{FrameHeader, FrameKey, FrameKind};
use crate::format::manifest::Manifest;
use crate::format::segment::{Rest, SegmentHeader, parse_segment_name, segment_name};
use crate::format::{BlockError, SEGMENT_HEADER_LEN, at, is_zero, len32};
use crate::recovery::gather::{read_applied, read_manifest, read_watermark};
use crate::recovery::walk::unknown_kind;
use crate::recovery::{LOG_DIR, io_error};
use crate::{FramePos, Gap, Lsn};

use super::rebuild::reconstruct;
use super::scan::{Met, SegmentBytes, scan};
use super::{Progress, hold};

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
    let mut chosen = found.choose(proven);
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

/// Frames that follow each other without a break, of one epoch, in one segment.
#[derive(Clone, Copy, Debug)]
struct Run {
    segment: u32,
    from: u32,
    /// Behind its last frame.
    to: u32,
    /// Where the next frame would stand.
    follows_at: u32,
    first: Lsn,
    next: Lsn,
    /// The LSN behind the last group that is whole.
    whole_next: Lsn,
    starts_group: bool,
    /// An earlier end was set for it than it has.
    shortened: bool,
    epoch: u32,
    batches: u64,
    prev_chain: u32,
    chain: u32,
    leftover: bool,
}

impl Run {
    fn pos(&self) -> FramePos {
        FramePos { segment: self.segment, offset: self.from }
    }

    fn end(&self) -> FramePos {
        FramePos { segment: self.segment, offset: self.to }
    }

    fn goes_on_with(&self, header: &FrameHeader, pos: FramePos) -> bool {
        self.segment == pos.segment
            && self.follows_at == pos.offset
            && self.next == header.first_lsn
            && self.chain == header.prev_hdr_crc
            && self.epoch == header.epoch
    }
}

/// A place where something that ought to be sound is not.
#[derive(Clone, Copy, Debug)]
struct Bad {
    pos: FramePos,
    check: &'static str,
}

/// Everything that the segments hold.
struct Found<'a> {
    manifest: &'a Manifest,
    key: FrameKey,
    runs: Vec<Run>,
    /// Indices of the runs that make up the log as far as is known, in order.
    accepted: Vec<usize>,
    gaps: Vec<Gap>,
    bad: Vec<Bad>,
    segments: Vec<SegmentSurvey>,
    /// Behind the last byte of each segment that is not zero.
    used: Vec<(u32, u32)>,
    frames: Lsn,
    epoch: u32,
    /// A frame that only a newer build understands.
    unknown: Option<(u8, FramePos)>,
}

impl<'a> Found<'a> {
    fn new(manifest: &'a Manifest) -> Self {
        Self {
            manifest,
            key: FrameKey::new(&manifest.geometry),
            runs: Vec::new(),
            accepted: Vec::new(),
            gaps: Vec::new(),
            bad: Vec::new(),
            segments: Vec::new(),
            used: Vec::new(),
            frames: Lsn::ZERO,
            epoch: 0,
            unknown: None,
        }
    }

    fn segment(&mut self, disk: &dyn Disk, dir: &Path, seq: u32, bytes: u64) -> Result<(), OpenError> {
        for missing in self.expected_segment()..seq {
            self.segments.push(nothing_of(missing, "the file is missing"));
        }
        let geometry = self.manifest.geometry;
        let path = dir.join(LOG_DIR).join(segment_name(seq));
        let file = disk.open(&path, OpenMode::Read).map_err(io_error("open", &path))?;
        let read =
            SegmentBytes::read(file.as_ref(), geometry.segment_bytes).map_err(io_error("read", &path))?;
        let mut survey = SegmentSurvey { problem: None, ..nothing_of(seq, "") };
        survey.unreadable = read.unreadable.iter().map(|(offset, _)| *offset).collect();
        survey.problem = problem_of(self.manifest, seq, bytes, &read.bytes, path)?;
        self.segments.push(survey);
        let key = self.key.clone();
        let mut frames_end = 0;
        scan(&read.bytes, seq, &geometry, &key, &mut |met| {
            if let Met::Frame { header, pos, .. } | Met::BadPayload { header, pos, .. } = &met {
                frames_end = frames_end.max(pos.offset.saturating_add(header.frame_len()));
            }
            self.meet(&met);
        });
        if let Some((kind, pos)) = self.unknown {
            return Err(unknown_kind(&dir.join(LOG_DIR).join(segment_name(seq)), kind, pos));
        }
        let header = read.bytes.get(..at(SEGMENT_HEADER_LEN)).unwrap_or_default();
        let used = match SegmentHeader::decode(header).map(|header| header.rest) {
            // What stands behind the frames is an older segment's.
            Ok(Rest::OldBytes) => geometry.align_up(frames_end),
            Ok(Rest::Zeros) | Err(_) => {
                let sectors = read.bytes.chunks(512).rposition(|sector| !is_zero(sector));
                len32((sectors.map_or(0, |n| n + 1) * 512).min(read.bytes.len()))
            }
        };
        self.used.push((seq, used));
        Ok(())
    }

    fn expected_segment(&self) -> u32 {
        self.segments.last().map_or(self.manifest.first_seq, |last| last.segment + 1)
    }

    fn meet(&mut self, met: &Met<'_>) {
        match met {
            Met::Frame { header, pos, next_lsn, .. } => {
                self.evidence(header);
                if let FrameKind::Unknown(kind) = header.kind {
                    self.unknown = Some((kind, *pos));
                }
                self.frame(header, *pos, *next_lsn);
            }
            Met::BadPayload { header, pos, check } => {
                self.evidence(header);
                self.bad.push(Bad { pos: *pos, check });
            }
            Met::Nothing { pos, check } => self.bad.push(Bad { pos: *pos, check }),
        }
    }

    /// Any header that validates is evidence, leftovers included.
    fn evidence(&mut self, header: &FrameHeader) {
        self.frames = self.frames.max(header.durable_lsn);
        self.epoch = self.epoch.max(header.epoch);
    }

    fn frame(&mut self, header: &FrameHeader, pos: FramePos, next: Lsn) {
        let end = pos.offset + header.frame_len();
        let goes_on = self.runs.last().is_some_and(|run| run.goes_on_with(header, pos));
        if !goes_on {
            self.begin_run(header, pos);
        }
        let geometry = self.manifest.geometry;
        let Some(run) = self.runs.last_mut() else { return };
        run.to = end;
        run.follows_at = if header.is_last() { geometry.align_up(end) } else { end };
        run.next = next;
        run.chain = header.hdr_crc;
        run.batches += u64::from(header.kind == FrameKind::Batch);
        if header.is_last() {
            run.whole_next = next;
        }
        if header.kind == FrameKind::Gap && !run.leftover {
            self.gaps.push(Gap { from: header.first_lsn, to: next.prev() });
        }
    }

    fn begin_run(&mut self, header: &FrameHeader, pos: FramePos) {
        while let Some(top) = self.accepted.last().and_then(|&n| self.runs.get_mut(n)) {
            if top.epoch >= header.epoch || top.next <= header.first_lsn {
                break;
            }
            // An earlier epoch wrote these LSNs, and a recovery cut them before this epoch wrote them anew.
            if top.first < header.first_lsn {
                top.next = header.first_lsn;
                top.shortened = true;
                top.whole_next = top.whole_next.min(top.next);
                break;
            }
            top.leftover = true;
            self.accepted.pop();
        }
        let top = self.accepted.last().and_then(|&n| self.runs.get(n));
        let leftover = top.is_some_and(|top| header.epoch < top.epoch || header.first_lsn < top.next)
            || header.first_lsn < self.manifest.log_start_lsn;
        if !leftover {
            self.accepted.push(self.runs.len());
        }
        self.runs.push(Run {
            segment: pos.segment,
            from: pos.offset,
            to: pos.offset,
            follows_at: pos.offset,
            first: header.first_lsn,
            next: header.first_lsn,
            whole_next: header.first_lsn,
            starts_group: header.is_first(),
            shortened: false,
            epoch: header.epoch,
            batches: 0,
            prev_chain: header.prev_hdr_crc,
            chain: 0,
            leftover,
        });
    }

    /// What is kept and what is lost, given what is proven.
    fn choose(mut self, proven: Lsn) -> Chosen {
        let mut chosen = Chosen::new(self.manifest, std::mem::take(&mut self.segments));
        chosen.gaps = std::mem::take(&mut self.gaps);
        let mut ends = Junction::start(self.manifest);
        let mut stopped = false;
        for &n in &self.accepted {
            let Some(run) = self.runs.get(n) else { continue };
            if stopped || !chosen.keep(run, proven) {
                stopped = true;
                chosen.span(run.segment, run_span(run, SpanStatus::Cut));
                continue;
            }
            let broken = run.first != ends.next || run.prev_chain != ends.chain;
            if broken {
                chosen.broken_links += u64::from(run.first == ends.next);
                let check = self.check_at(ends.end, Some(run.pos()));
                chosen.damage(ends.end, run.pos(), Gap { from: ends.next, to: run.first.prev() }, check);
            }
            let unproven = run.first > proven;
            let status = if unproven { SpanStatus::Unproven } else { SpanStatus::Sound };
            chosen.span(run.segment, run_span(run, status));
            ends = Junction { end: run.end(), next: run.next, chain: run.chain };
            stopped = chosen.next != run.next;
        }
        for run in self.runs.iter().filter(|run| run.leftover) {
            chosen.span(run.segment, run_span(run, SpanStatus::Leftover));
        }
        self.tail(&mut chosen, ends.end, proven);
        let next = chosen.next;
        chosen.gaps.retain(|gap| gap.to < next);
        // LSNs of earlier gaps are kept, but they are no events.
        chosen.events -= chosen.gaps.iter().map(|gap| gap.to.0 - gap.from.0 + 1).sum::<u64>();
        for segment in &mut chosen.segments {
            segment.spans.sort_by_key(|span| (span.from, span.to));
        }
        chosen
    }

    /// What stands behind the last frame that is kept.
    fn tail(&self, chosen: &mut Chosen, end: FramePos, proven: Lsn) {
        let check = self.check_at(end, None);
        let last = self.used.last().map_or(end.segment, |(seq, _)| *seq);
        if chosen.next <= proven {
            let lost = Gap { from: chosen.next, to: proven };
            chosen.losses.push(lost);
            let to = FramePos { segment: last, offset: self.manifest.geometry.segment_bytes };
            chosen.damage(end, to, lost, check);
            return;
        }
        for &(seq, used) in self.used.iter().filter(|(seq, _)| *seq >= end.segment) {
            let geometry = &self.manifest.geometry;
            let from = if seq == end.segment { end.offset } else { geometry.first_offset() };
            let from = geometry.align_up(from);
            if used > from {
                let span = Span {
                    from,
                    to: used,
                    status: SpanStatus::Cut,
                    lsns: None,
                    batches: 0,
                    check: Some(check.to_owned()),
                };
                chosen.span(seq, span);
            }
        }
    }

    /// The first check that failed from `from` on.
    fn check_at(&self, from: FramePos, to: Option<FramePos>) -> &'static str {
        let mut bad = self.bad.iter().filter(|bad| bad.pos >= from && to.is_none_or(|to| bad.pos < to));
        // At the end of a segment that is full nothing is wrong; the next one may tell.
        bad.find(|bad| bad.check != "nothing here")
            .or_else(|| self.bad.iter().find(|bad| bad.pos >= from))
            .map_or("nothing follows", |bad| bad.check)
    }
}

/// Where a run ends and what must follow.
struct Junction {
    end: FramePos,
    next: Lsn,
    chain: u32,
}

impl Junction {
    fn start(manifest: &Manifest) -> Self {
        Self {
            end: FramePos { segment: manifest.first_seq, offset: manifest.geometry.first_offset() },
            next: manifest.log_start_lsn,
            chain: manifest.log_start_chain,
        }
    }
}

/// The outcome, as it grows.
struct Chosen {
    /// The LSN behind the last event that is kept.
    next: Lsn,
    kept: Vec<Kept>,
    losses: Vec<Gap>,
    gaps: Vec<Gap>,
    broken_links: u64,
    batches: u64,
    events: u64,
    segments: Vec<SegmentSurvey>,
    segment_bytes: u32,
    /// Of some run only a part is kept.
    partial: bool,
}

impl Chosen {
    fn new(manifest: &Manifest, segments: Vec<SegmentSurvey>) -> Self {
        Self {
            next: manifest.log_start_lsn,
            kept: Vec::new(),
            losses: Vec::new(),
            gaps: Vec::new(),
            broken_links: 0,
            batches: 0,
            events: 0,
            segments,
            segment_bytes: manifest.geometry.segment_bytes,
            partial: false,
        }
    }

    /// Counts what is kept and lost frame by frame: runs that were cut short end somewhere inside.
    fn count_exactly(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        manifest: &Manifest,
        proven: Lsn,
    ) -> Result<(), OpenError> {
        self.next = manifest.log_start_lsn;
        (self.events, self.batches) = (0, 0);
        self.losses.clear();
        self.gaps.clear();
        let kept = std::mem::take(&mut self.kept);
        each_kept::<OpenError>(disk, dir, manifest, &kept, &mut |_, _| {}, &mut |frame| {
            let first = frame.header.first_lsn;
            if first > self.next {
                self.losses.push(Gap { from: self.next, to: first.prev() });
            }
            if frame.header.kind == FrameKind::Gap {
                self.gaps.push(Gap { from: first, to: frame.next_lsn.prev() });
            } else {
                self.events += u64::from(frame.header.record_count);
                self.batches += 1;
            }
            self.next = frame.next_lsn;
            Ok(())
        })?;
        self.kept = kept;
        if self.next <= proven {
            self.losses.push(Gap { from: self.next, to: proven });
        }
        Ok(())
    }

    /// Takes a run, or as much of it as may be kept; `false` when the log ends before it.
    fn keep(&mut self, run: &Run, proven: Lsn) -> bool {
        if run.first > self.next {
            if self.next <= proven {
                let lost = Gap { from: self.next, to: run.first.prev().min(proven) };
                self.losses.push(lost);
                self.next = lost.to.next();
            }
            if run.first != self.next {
                return false;
            }
        }
        // Unproven groups are kept whole or not at all.
        let next = match (run.next.prev() <= proven, run.first > proven) {
            (true, _) => run.next,
            (false, true) if !run.starts_group => run.first,
            (false, true) => run.whole_next,
            (false, false) => run.whole_next.max(proven.next()),
        };
        if next == run.first && run.next != run.first {
            return false;
        }
        self.partial |= run.shortened || next != run.next;
        self.kept.push(Kept { segment: run.segment, from: run.from, to: run.to, first: run.first, next });
        self.events += next.0 - run.first.0;
        self.batches += run.batches;
        self.next = next;
        true
    }

    fn span(&mut self, segment: u32, span: Span) {
        if let Some(found) = self.segments.iter_mut().find(|found| found.segment == segment) {
            found.spans.push(span);
        }
    }

    /// Names the bytes between two places as damaged.
    fn damage(&mut self, from: FramePos, to: FramePos, lost: Gap, check: &str) {
        let lsns = (lost.from <= lost.to).then_some(lost);
        for segment in from.segment..=to.segment {
            let start = if segment == from.segment { from.offset } else { SEGMENT_HEADER_LEN };
            let end = if segment == to.segment { to.offset } else { self.segment_bytes };
            if start < end {
                let status = SpanStatus::Damaged;
                let check = Some(check.to_owned());
                self.span(segment, Span { from: start, to: end, status, lsns, batches: 0, check });
            }
        }
    }
}

fn run_span(run: &Run, status: SpanStatus) -> Span {
    let lsns = (run.first < run.next).then(|| Gap { from: run.first, to: run.next.prev() });
    Span { from: run.from, to: run.to, status, lsns, batches: run.batches, check: None }
}

fn nothing_of(segment: u32, problem: &str) -> SegmentSurvey {
    SegmentSurvey {
        segment,
        file: segment_name(segment),
        problem: Some(problem.to_owned()),
        unreadable: Vec::new(),
        spans: Vec::new(),
    }
}

/// What is wrong with a segment's file as a whole.
fn problem_of(
    manifest: &Manifest,
    seq: u32,
    file_bytes: u64,
    bytes: &[u8],
    path: PathBuf,
) -> Result<Option<String>, OpenError> {
    let geometry = manifest.geometry;
    if file_bytes != u64::from(geometry.segment_bytes) {
        return Ok(Some(format!("the file is {file_bytes} bytes long, expected {}", geometry.segment_bytes)));
    }
    Ok(match SegmentHeader::decode(bytes.get(..at(SEGMENT_HEADER_LEN)).unwrap_or_default()) {
        Ok(header) if header.geometry != geometry => Some("header of another log".to_owned()),
        Ok(header) if header.seq != seq => Some(format!("header of segment {}", header.seq)),
        Ok(_) => None,
        Err(BlockError::Damaged(check)) => Some(format!("header: {check}")),
        Err(BlockError::Unsupported { found }) => {
            return Err(OpenError::Format { file: path, found, supported: crate::format::supported() });
        }
    })
}
