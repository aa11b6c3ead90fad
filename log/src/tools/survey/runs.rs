//! What stands where: the frames that validate, in runs, and the places where something is wrong.
//!
//! Owns: reading the segments, and which runs make up the log as far as their LSNs and epochs say. Never does: know what
//! is proven (`choice` does).

use std::path::{Path, PathBuf};

use crate::disk::{Disk, OpenMode};
use crate::error::OpenError;
use crate::format::frame::{FrameHeader, FrameKey, FrameKind};
use crate::format::manifest::Manifest;
use crate::format::segment::{Rest, SegmentHeader, segment_name};
use crate::format::{BlockError, SEGMENT_HEADER_LEN, at, is_zero, len32};
use crate::recovery::walk::unknown_kind;
use crate::recovery::{LOG_DIR, io_error};
use crate::{FramePos, Gap, Lsn};

use super::super::scan::{Met, SegmentBytes, scan};
use super::SegmentSurvey;

/// Frames that follow each other without a break, of one epoch, in one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) segment: u32,
    pub(super) from: u32,
    /// Behind its last frame.
    pub(super) to: u32,
    /// Where the next frame would stand.
    pub(super) follows_at: u32,
    pub(super) first: Lsn,
    pub(super) next: Lsn,
    /// The LSN behind the last group that is whole.
    pub(super) whole_next: Lsn,
    pub(super) starts_group: bool,
    /// An earlier end was set for it than it has.
    pub(super) shortened: bool,
    pub(super) epoch: u32,
    pub(super) batches: u64,
    pub(super) prev_chain: u32,
    pub(super) chain: u32,
    pub(super) leftover: bool,
}

impl Run {
    pub(super) fn pos(&self) -> FramePos {
        FramePos { segment: self.segment, offset: self.from }
    }

    pub(super) fn end(&self) -> FramePos {
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
pub(super) struct Bad {
    pub(super) pos: FramePos,
    pub(super) check: &'static str,
}

/// Everything that the segments hold.
pub(super) struct Found<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) key: FrameKey,
    pub(super) runs: Vec<Run>,
    /// Indices of the runs that make up the log as far as is known, in order.
    pub(super) accepted: Vec<usize>,
    pub(super) gaps: Vec<Gap>,
    pub(super) bad: Vec<Bad>,
    pub(super) segments: Vec<SegmentSurvey>,
    /// Behind the last byte of each segment that is not zero.
    pub(super) used: Vec<(u32, u32)>,
    pub(super) frames: Lsn,
    pub(super) epoch: u32,
    /// A frame that only a newer build understands.
    pub(super) unknown: Option<(u8, FramePos)>,
}

impl<'a> Found<'a> {
    pub(super) fn new(manifest: &'a Manifest) -> Self {
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

    pub(super) fn segment(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        seq: u32,
        bytes: u64,
    ) -> Result<(), OpenError> {
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
