//! R5: the walk over the groups, from the start of a segment to T, the first place where the log does not go on.
//!
//! Owns: the rule by which a frame is accepted as continuing the log, and that groups are accepted whole or not at
//! all (L4). Never does: judge what it means that the walk ended (`classify.rs` does), write.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::error::OpenError;
use crate::format::frame::{FrameHeader, FrameKey, FrameKind, GapNote, SegmentStart, check_payload};
use crate::format::manifest::Manifest;
use crate::format::segment::segment_name;
use crate::format::{FRAME_HEADER_BYTES, FRAME_HEADER_LEN, Geometry, at, is_zero, len32};
use crate::planted::{self, Bug};
use crate::reader::frame::records_are_sound;
use crate::reader::index::{Mark, SparseIndex};
use crate::reader::view::SegmentState;
use crate::{FramePos, Gap, Lsn, UnixMicros};

use super::choose::{WalkFrom, head};
use super::gather::{SegmentFiles, damaged};
use super::io_error;

/// An accepted group that nothing proves durable so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupRef {
    pub(crate) pos: FramePos,
    pub(crate) len: u32,
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
    pub(crate) batches: u64,
}

/// What the walk established.
pub(crate) struct Walked {
    /// V.
    pub(crate) valid: Lsn,
    /// T.
    pub(crate) end: FramePos,
    /// `hdr_crc` of the last accepted frame.
    pub(crate) chain: u32,
    pub(crate) epoch: u32,
    pub(crate) last_commit: UnixMicros,
    /// The highest `durable_lsn` of an accepted frame.
    pub(crate) frames: Lsn,
    /// The groups after the last one that accepted frames prove durable.
    pub(crate) unproven: VecDeque<GroupRef>,
    pub(crate) index: BTreeMap<u32, SparseIndex>,
    /// The first LSN of the walk.
    pub(crate) from: Lsn,
    pub(crate) segments: BTreeMap<u32, SegmentState>,
    pub(crate) batches: u64,
    /// What the log is known to have lost.
    pub(crate) gaps: Vec<Gap>,
    /// The first check that failed at T.
    pub(crate) stopped_by: &'static str,
}

/// One group as read: its frames, all accepted.
struct Group {
    marks: Vec<Mark>,
    gaps: Vec<Gap>,
    len: u32,
    next: Expected,
    batches: u64,
}

/// What the next frame must continue.
#[derive(Clone, Copy, Debug)]
struct Expected {
    lsn: Lsn,
    chain: u32,
    epoch: u32,
    durable: Lsn,
    commit: UnixMicros,
}

/// Why a group was not accepted.
enum Stop {
    /// The log does not go on here.
    Check(&'static str),
    /// It does, in a way that this build does not know.
    Unknown(u8),
}

impl From<&'static str> for Stop {
    fn from(check: &'static str) -> Self {
        Stop::Check(check)
    }
}

/// Walks the log from the start of a segment.
///
/// A walk that accepts nothing in a segment that is not the log's first does not know where the one before ends: it
/// begins again there.
pub(crate) fn walk(
    files: &SegmentFiles,
    dir: &Path,
    manifest: &Manifest,
    geometry: &Geometry,
    key: &FrameKey,
    mut from: WalkFrom,
) -> Result<Walked, OpenError> {
    loop {
        let (expected, first) = begin(files, dir, manifest, key, geometry, from.segment)?;
        let mut walk = Walk {
            files,
            geometry,
            key,
            first_segment: from.segment,
            expected,
            window: Window::default(),
            walked: Walked {
                valid: expected.lsn.prev(),
                end: FramePos { segment: from.segment, offset: geometry.first_offset() },
                chain: expected.chain,
                epoch: 0,
                last_commit: expected.commit,
                frames: expected.durable,
                unproven: VecDeque::new(),
                index: BTreeMap::new(),
                from: expected.lsn,
                segments: from.below,
                batches: 0,
                gaps: Vec::new(),
                stopped_by: "",
            },
        };
        walk.walked.segments.insert(from.segment, first);
        while walk.step()? {}
        let accepted =
            walk.walked.end.segment > from.segment || walk.walked.end.offset > geometry.first_offset();
        if accepted || from.segment == manifest.first_seq {
            return Ok(walk.walked);
        }
        let mut below = walk.walked.segments;
        below.remove(&from.segment);
        below.remove(&(from.segment - 1));
        from = WalkFrom { segment: from.segment - 1, below };
    }
}

/// What the first frame of the walk must continue: the log's start, or what the segment's first frame says itself.
fn begin(
    files: &SegmentFiles,
    dir: &Path,
    manifest: &Manifest,
    key: &FrameKey,
    geometry: &Geometry,
    segment: u32,
) -> Result<(Expected, SegmentState), OpenError> {
    let mut expected = Expected {
        lsn: manifest.log_start_lsn,
        chain: manifest.log_start_chain,
        epoch: 0,
        durable: Lsn::ZERO,
        commit: UnixMicros(0),
    };
    if segment > manifest.first_seq {
        let Some(head) = head(files, key, segment)? else {
            return Err(damaged(
                dir,
                format!("first frame of segment {}: it does not validate", segment_name(segment)),
            ));
        };
        expected = Expected {
            lsn: head.header.first_lsn,
            chain: head.header.prev_hdr_crc,
            epoch: head.header.epoch,
            durable: head.header.durable_lsn,
            commit: head.header.commit_time,
        };
    }
    let state =
        SegmentState { first_lsn: expected.lsn, first_commit: expected.commit, end: geometry.first_offset() };
    Ok((expected, state))
}

struct Walk<'a> {
    files: &'a SegmentFiles,
    geometry: &'a Geometry,
    key: &'a FrameKey,
    first_segment: u32,
    expected: Expected,
    window: Window,
    walked: Walked,
}

impl Walk<'_> {
    /// Accepts one more group, here or at the start of the next segment; `false` at T.
    fn step(&mut self) -> Result<bool, OpenError> {
        let here = self.walked.end;
        let stopped_by = match self.group_at(here)? {
            Ok(group) => {
                self.accept(here, group);
                return Ok(true);
            }
            Err(stop) => self.known(stop, here)?,
        };
        let next = FramePos { segment: here.segment + 1, offset: self.geometry.first_offset() };
        if self.files.contains(next.segment) {
            match self.group_at(next)? {
                Ok(group) => {
                    self.walked.segments.insert(
                        next.segment,
                        SegmentState {
                            first_lsn: self.expected.lsn,
                            first_commit: self.expected.commit,
                            end: next.offset,
                        },
                    );
                    self.accept(next, group);
                    return Ok(true);
                }
                Err(stop) => self.known(stop, next)?,
            };
        }
        self.walked.stopped_by = stopped_by;
        Ok(false)
    }

    fn known(&self, stop: Stop, pos: FramePos) -> Result<&'static str, OpenError> {
        match stop {
            Stop::Check(check) => Ok(check),
            Stop::Unknown(kind) => Err(unknown_kind(&self.files.path(pos.segment), kind, pos)),
        }
    }

    fn accept(&mut self, pos: FramePos, group: Group) {
        let first_lsn = self.expected.lsn;
        let walked = &mut self.walked;
        for mark in &group.marks {
            walked.index.entry(pos.segment).or_default().offer(*mark);
        }
        let next = group.next;
        walked.valid = next.lsn.prev();
        walked.end = FramePos { offset: pos.offset + group.len, ..pos };
        walked.chain = next.chain;
        walked.epoch = next.epoch;
        walked.last_commit = next.commit;
        walked.frames = walked.frames.max(next.durable);
        walked.batches += group.batches;
        walked.gaps.extend(group.gaps);
        if let Some(state) = walked.segments.get_mut(&pos.segment) {
            state.end = walked.end.offset;
        }
        walked.unproven.push_back(GroupRef {
            pos,
            len: group.len,
            first_lsn,
            last_lsn: walked.valid,
            batches: group.batches,
        });
        drop_proven(&mut walked.unproven, walked.frames);
        self.expected = next;
    }

    /// Reads and checks the group at `pos`.
    fn group_at(&mut self, pos: FramePos) -> Result<Result<Group, Stop>, OpenError> {
        let room = self.geometry.segment_bytes.saturating_sub(pos.offset);
        if room < FRAME_HEADER_BYTES {
            return Ok(Err("segment is full".into()));
        }
        let head = self.window.get(self.files, pos, FRAME_HEADER_BYTES)?;
        let group_len = match self.key.parse(pos, head) {
            Ok(header) => header.group_len,
            Err(check) => return Ok(Err(check.into())),
        };
        let align = 1_u32 << self.geometry.align_log2;
        if group_len == 0 || group_len > room || group_len % align != 0 {
            return Ok(Err("group length".into()));
        }
        let bytes = self.window.get(self.files, pos, group_len)?;
        Ok(check_group(
            self.geometry,
            self.key,
            pos,
            bytes,
            self.expected,
            self.walked.end,
            self.first_segment,
        ))
    }
}

/// A frame that goes on with the log in a way that only a newer build understands.
pub(crate) fn unknown_kind(file: &Path, kind: u8, pos: FramePos) -> OpenError {
    OpenError::Format {
        file: file.to_owned(),
        found: format!("frame kind {kind} at offset {}", pos.offset),
        supported: "frame kinds 1 to 4".to_owned(),
    }
}

/// Drops the groups that are known to be durable: up to the last one that holds a batch at or below `proven`.
/// Groups are synced in order, so everything before it was synced as well.
pub(crate) fn drop_proven(unproven: &mut VecDeque<GroupRef>, proven: Lsn) {
    let known = unproven.iter().rposition(|group| group.batches > 0 && group.last_lsn <= proven);
    if let Some(last) = known {
        unproven.drain(..=last);
    }
}

/// Checks every frame of a group, its padding, and that it is whole.
fn check_group(
    geometry: &Geometry,
    key: &FrameKey,
    pos: FramePos,
    bytes: &[u8],
    mut expected: Expected,
    prev_end: FramePos,
    first_segment: u32,
) -> Result<Group, Stop> {
    let len = len32(bytes.len());
    let mut group = Group { marks: Vec::new(), gaps: Vec::new(), len, next: expected, batches: 0 };
    let mut offset = 0_u32;
    loop {
        let at_pos = FramePos { offset: pos.offset + offset, ..pos };
        let step = check_frame(key, at_pos, bytes.get(at(offset)..).unwrap_or_default(), len, expected);
        let (header, next) = match step {
            Ok(found) => found,
            Err(Stop::Check(_)) if offset > 0 && planted::is(Bug::PartialGroup) => return Ok(group),
            Err(stop) => return Err(stop),
        };
        if header.is_first() != (offset == 0) && !planted::is(Bug::GroupFlagsIgnored) {
            return Err("group flags".into());
        }
        check_start(geometry, &header, at_pos, bytes.get(at(offset)..), expected, prev_end, first_segment)?;
        if header.kind == FrameKind::Gap {
            group.gaps.push(Gap { from: header.first_lsn, to: next.lsn.prev() });
        }
        expected = next;
        group.next = expected;
        if header.kind == FrameKind::Batch {
            group.marks.push(Mark {
                first_lsn: header.first_lsn,
                commit_time: header.commit_time,
                pos: at_pos,
            });
            group.batches += 1;
        }
        offset += header.frame_len();
        if header.is_last() {
            break;
        }
    }
    let padding = bytes.get(at(offset)..).ok_or(Stop::Check("group length"))?;
    // The padding is less than an alignment unit.
    if padding.len() >= 1 << geometry.align_log2 || !is_zero(padding) {
        return Err("group padding".into());
    }
    Ok(group)
}

/// A SegmentStart stands exactly at the start of every segment but the first, and names the end of the one before.
fn check_start(
    geometry: &Geometry,
    header: &FrameHeader,
    pos: FramePos,
    bytes: Option<&[u8]>,
    expected: Expected,
    prev_end: FramePos,
    first_segment: u32,
) -> Result<(), Stop> {
    let is_start = header.kind == FrameKind::SegmentStart;
    let at_start = pos.offset == geometry.first_offset();
    if !at_start {
        return if is_start { Err("segment start inside a segment".into()) } else { Ok(()) };
    }
    if pos.segment == first_segment {
        return Ok(());
    }
    let payload = bytes.and_then(|b| b.get(FRAME_HEADER_LEN..)).unwrap_or_default();
    if planted::is(Bug::SegmentStartIgnored) {
        return Ok(());
    }
    let note = SegmentStart::decode(payload).ok_or(Stop::Check("segment start payload"))?;
    if !is_start || note.prev_end != prev_end || note.prev_last_lsn != expected.lsn.prev() {
        return Err("segment start does not name the end of the segment before".into());
    }
    Ok(())
}

/// Checks one frame against what it must continue; returns what the next one must.
fn check_frame(
    key: &FrameKey,
    pos: FramePos,
    bytes: &[u8],
    group_len: u32,
    expected: Expected,
) -> Result<(FrameHeader, Expected), Stop> {
    let header = key.parse(pos, bytes)?;
    let body =
        bytes.get(FRAME_HEADER_LEN..at(header.frame_len())).ok_or(Stop::Check("frame longer than group"))?;
    check_payload(&header, body)?;
    let checks = [
        (header.first_lsn == expected.lsn || planted::is(Bug::LsnIgnored), "first LSN"),
        (header.prev_hdr_crc == expected.chain || planted::is(Bug::ChainIgnored), "chain"),
        (header.epoch >= expected.epoch || planted::is(Bug::EpochIgnored), "epoch"),
        (header.durable_lsn < header.first_lsn, "durable LSN claims too much"),
        (header.durable_lsn >= expected.durable, "durable LSN moved back"),
        (header.group_len == group_len, "group length"),
        (header.schema == 0, "schema"),
    ];
    if let Some((_, check)) = checks.iter().find(|(holds, _)| !holds) {
        return Err(Stop::Check(check));
    }
    let payload = body.get(..at(header.payload_len)).unwrap_or_default();
    let next_lsn = lsn_after(&header, payload)?;
    let next = Expected {
        lsn: next_lsn,
        chain: header.hdr_crc,
        epoch: header.epoch,
        durable: header.durable_lsn,
        commit: expected.commit.max(header.commit_time),
    };
    Ok((header, next))
}

/// The LSN after a frame whose records, or note of a gap, are sound.
fn lsn_after(header: &FrameHeader, payload: &[u8]) -> Result<Lsn, Stop> {
    let counted = match header.kind {
        FrameKind::Batch => header.record_count >= 1 && records_are_sound(header.record_count, payload),
        FrameKind::SegmentStart | FrameKind::Open | FrameKind::Gap | FrameKind::Ignorable(_) => {
            header.record_count == 0
        }
        FrameKind::Unknown(kind) => return Err(Stop::Unknown(kind)),
    };
    if !counted {
        return Err("record count".into());
    }
    if header.kind != FrameKind::Gap {
        return Ok(header.first_lsn.plus(u64::from(header.record_count)));
    }
    let note = GapNote::decode(payload).filter(|note| note.from == header.first_lsn);
    Ok(note.ok_or(Stop::Check("gap payload"))?.to.next())
}

/// Read at once while walking.
const WINDOW_BYTES: u32 = 4 << 20;

/// Bytes of one segment, read in large pieces.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    at: FramePos,
    file: Option<(u32, Arc<dyn DiskFile>)>,
}

impl Window {
    fn get(&mut self, files: &SegmentFiles, pos: FramePos, len: u32) -> Result<&[u8], OpenError> {
        if !self.holds(pos, len) {
            self.fill(files, pos, len)?;
        }
        let start = at(pos.offset - self.at.offset);
        Ok(self.bytes.get(start..start + at(len)).unwrap_or_default())
    }

    fn holds(&self, pos: FramePos, len: u32) -> bool {
        self.at.segment == pos.segment
            && self.at.offset <= pos.offset
            && at(pos.offset - self.at.offset) + at(len) <= self.bytes.len()
    }

    fn fill(&mut self, files: &SegmentFiles, pos: FramePos, len: u32) -> Result<(), OpenError> {
        let file = match &self.file {
            Some((segment, file)) if *segment == pos.segment => Arc::clone(file),
            _ => files.open(pos.segment)?,
        };
        let room = files.segment_bytes.saturating_sub(pos.offset);
        self.bytes.resize(at(WINDOW_BYTES.max(len).min(room)), 0);
        self.at = pos;
        file.read_exact_at(&mut self.bytes, u64::from(pos.offset))
            .map_err(io_error("read", &files.path(pos.segment)))?;
        self.file = Some((pos.segment, file));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
