//! Where every appended byte will stand: the filling group, the sealed groups behind it, LSNs and positions.
//!
//! Owns: assignment of LSNs, commit times and [`FramePos`]es, all final at once; the bounded buffer. Never does:
//! I/O, checksums (sealing in `seal.rs` does), waiting, judge how much room may be used (`supply.rs` does). Pure: the same calls give the same bytes.
//!
//! Upholds L3 (LSNs are gap-free: a refused batch uses none), L4 (a batch stands in one frame, a group in one
//! segment), L10 (commit times never decrease).

use std::collections::VecDeque;

use crate::batch::Batch;
use crate::error::AppendError;
use crate::format::frame::{FrameHeader, FrameKind, GapNote, SEGMENT_START_LEN, SegmentStart};
use crate::format::{FRAME_HEADER_BYTES, FRAME_HEADER_LEN, Geometry, at, len32, pad8};
use crate::planted::{self, Bug};
use crate::writer::supply::{Purpose, Stock};
use crate::{FramePos, Gap, Lsn, UnixMicros};

/// Bounds of the buffer, from the options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) group_bytes_max: u64,
    pub(crate) batch_bytes_max: u64,
    pub(crate) buffer_bytes_max: u64,
}

/// Frames that one write and one sync cover, laid out and not yet checksummed.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) segment: u32,
    /// Offset of the first frame.
    pub(crate) start: u32,
    pub(crate) bytes: Vec<u8>,
    /// Batch and Gap frames in it; a group without one is written only when something must follow it.
    pub(crate) batches: u32,
    /// The last LSN in it, or before it when it holds none.
    pub(crate) last_lsn: Lsn,
}

impl Group {
    /// The position after the last frame, before padding.
    fn tip(&self) -> u32 {
        self.start + len32(self.bytes.len())
    }
}

/// What a successful append says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// LSN of the first event.
    pub first: Lsn,
    /// LSN of the last event.
    pub last: Lsn,
    /// The batch's commit time: the time handed in, or the one before it when the clock stepped back.
    pub commit_time: UnixMicros,
    /// Where the frame stands once it is durable.
    pub pos: FramePos,
}

/// Where a recovered log goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resume {
    pub(crate) end: FramePos,
    pub(crate) last_lsn: Lsn,
    pub(crate) last_commit: UnixMicros,
    pub(crate) epoch: u32,
}

/// The appender's half of the writer.
#[derive(Debug)]
pub(crate) struct Layout {
    geometry: Geometry,
    limits: Limits,
    filling: Group,
    sealed: VecDeque<Group>,
    /// Buffers of groups that became durable, to be filled again.
    pool: Vec<Vec<u8>>,
    next_lsn: Lsn,
    last_commit: UnixMicros,
    epoch: u32,
    /// Bytes of all groups that are not durable, the one being written included.
    pending_bytes: u64,
    clamps: u64,
}

/// Bytes of the frame that opens every segment but the first.
const SEGMENT_START_FRAME_BYTES: u32 = FRAME_HEADER_BYTES + 24;
const _: () =
    assert!(at(SEGMENT_START_FRAME_BYTES) == FRAME_HEADER_LEN + SEGMENT_START_LEN.next_multiple_of(8));
/// Buffers kept for reuse.
const POOL_MAX: usize = 4;
/// A buffer that grew over this is not kept.
const POOL_BUFFER_BYTES_MAX: usize = 16 << 20;

impl Layout {
    pub(crate) fn new(geometry: Geometry, limits: Limits, resume: Resume) -> Self {
        let filling = Group {
            segment: resume.end.segment,
            start: resume.end.offset,
            last_lsn: resume.last_lsn,
            ..Group::default()
        };
        Self {
            geometry,
            limits,
            filling,
            sealed: VecDeque::new(),
            pool: Vec::new(),
            next_lsn: resume.last_lsn.next(),
            last_commit: resume.last_commit,
            epoch: resume.epoch,
            pending_bytes: 0,
            clamps: 0,
        }
    }

    pub(crate) const fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    pub(crate) const fn clamps(&self) -> u64 {
        self.clamps
    }

    pub(crate) const fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    pub(crate) const fn last_commit(&self) -> UnixMicros {
        self.last_commit
    }

    /// The segment that the filling group is in.
    pub(crate) const fn segment(&self) -> u32 {
        self.filling.segment
    }

    /// Whether a group could be taken now.
    pub(crate) fn has_work(&self) -> bool {
        !self.sealed.is_empty() || self.filling.batches > 0
    }

    /// Puts the frame that opens this epoch at the front; it is written together with the first batch.
    pub(crate) fn open_epoch(&mut self, note: &[u8]) {
        self.place(FrameKind::Open, 0, note, self.last_commit);
    }

    /// Takes a batch, or says why not; then nothing changed. What is taken has its place in a segment that exists.
    pub(crate) fn append(
        &mut self,
        batch: &Batch,
        now: UnixMicros,
        purpose: Purpose,
        stock: &Stock,
    ) -> Result<Appended, AppendError> {
        let bytes = batch.payload_bytes();
        let limit = u64::from(self.geometry.max_payload).min(self.limits.batch_bytes_max);
        if bytes > limit {
            return Err(AppendError::TooLarge { bytes, limit });
        }
        if batch.is_empty() {
            return Err(AppendError::Empty);
        }
        if self.pending_bytes > 0 && self.pending_bytes + bytes > self.limits.buffer_bytes_max {
            self.next_lsn = self.next_lsn.plus(u64::from(planted::is(Bug::RefusalBurnsLsn)));
            return Err(AppendError::Busy);
        }
        let payload = batch.payload();
        stock.admit(
            self.segment(),
            self.landing(len32(payload.len())),
            self.geometry.segment_bytes,
            purpose,
        )?;
        if now < self.last_commit {
            self.clamps += 1;
        }
        self.last_commit =
            if planted::is(Bug::CommitTimeNotClamped) { now } else { self.last_commit.max(now) };
        let first = self.next_lsn;
        let pos = self.place(FrameKind::Batch, batch.len(), payload, self.last_commit);
        Ok(Appended { first, last: self.next_lsn.prev(), commit_time: self.last_commit, pos })
    }

    /// Puts a gap where events were lost: the next batch has the LSN behind it.
    pub(crate) fn append_gap(&mut self, gap: Gap, commit: UnixMicros) {
        self.last_commit = self.last_commit.max(commit);
        let note = GapNote { from: self.next_lsn, to: gap.to };
        self.place(FrameKind::Gap, 0, &note.encode(), self.last_commit);
        self.next_lsn = gap.to.next();
        self.filling.last_lsn = gap.to;
        self.filling.batches += 1;
    }

    /// Where the group that takes a frame with that payload would end, in the current segment; `None` when it does
    /// not fit there, neither in this group nor in the next.
    fn end_here(&self, payload_len: u32) -> Option<u32> {
        let frame_len = FRAME_HEADER_BYTES + pad8(payload_len);
        let tip = self.filling.tip();
        let start = if self.must_cut(frame_len) { self.geometry.align_up(tip) } else { tip };
        let end = self.geometry.align_up(start.checked_add(frame_len)?);
        (end <= self.geometry.segment_bytes).then_some(end)
    }

    /// Where the group would end, here or in the next segment behind its `SegmentStart`.
    fn landing(&self, payload_len: u32) -> FramePos {
        if let Some(offset) = self.end_here(payload_len) {
            return FramePos { segment: self.filling.segment, offset };
        }
        let frames = SEGMENT_START_FRAME_BYTES + FRAME_HEADER_BYTES + pad8(payload_len);
        let offset = self.geometry.align_up(self.geometry.first_offset().saturating_add(frames));
        FramePos { segment: self.filling.segment + 1, offset }
    }

    fn must_cut(&self, frame_len: u32) -> bool {
        !self.filling.bytes.is_empty()
            && self.filling.bytes.len() as u64 + u64::from(frame_len) > self.limits.group_bytes_max
    }

    fn place(&mut self, kind: FrameKind, record_count: u32, payload: &[u8], commit: UnixMicros) -> FramePos {
        let payload_len = len32(payload.len());
        if self.must_cut(FRAME_HEADER_BYTES + pad8(payload_len)) {
            self.seal();
        }
        if self.end_here(payload_len).is_none() {
            self.roll_over(commit);
        }
        self.push_frame(kind, record_count, payload, commit)
    }

    /// Moves to the next segment; its first frame names the exact end of this one.
    fn roll_over(&mut self, commit: UnixMicros) {
        if !self.filling.bytes.is_empty() {
            self.seal();
        }
        let prev_end = FramePos { segment: self.filling.segment, offset: self.filling.start };
        let note = SegmentStart { prev_end, prev_last_lsn: self.next_lsn.prev() };
        self.filling.segment += 1;
        self.filling.start = self.geometry.first_offset();
        self.push_frame(FrameKind::SegmentStart, 0, &note.encode(), commit);
    }

    fn push_frame(
        &mut self,
        kind: FrameKind,
        record_count: u32,
        payload: &[u8],
        commit: UnixMicros,
    ) -> FramePos {
        let pos = FramePos { segment: self.filling.segment, offset: self.filling.tip() };
        let header = FrameHeader {
            kind,
            flags: 0,
            payload_len: len32(payload.len()),
            record_count,
            first_lsn: self.next_lsn,
            durable_lsn: Lsn::ZERO,
            commit_time: commit,
            epoch: self.epoch,
            group_len: 0,
            prev_hdr_crc: 0,
            payload_crc: 0,
            schema: 0,
            hdr_crc: 0,
        };
        let before = self.filling.bytes.len();
        let bytes = &mut self.filling.bytes;
        header.push(self.geometry.frame_magic, bytes);
        bytes.extend_from_slice(payload);
        bytes.resize(before + at(header.frame_len()), 0);
        self.pending_bytes += u64::from(header.frame_len());
        if record_count > 0 {
            self.next_lsn = self.next_lsn.plus(u64::from(record_count));
            self.filling.batches += 1;
        }
        self.filling.last_lsn = self.next_lsn.prev();
        pos
    }

    /// Ends the filling group: pads it, and starts the next one behind it.
    fn seal(&mut self) {
        let end = self.geometry.align_up(self.filling.tip());
        let next = Group {
            segment: self.filling.segment,
            start: end,
            bytes: self.pool.pop().unwrap_or_default(),
            batches: 0,
            last_lsn: self.filling.last_lsn,
        };
        let mut group = std::mem::replace(&mut self.filling, next);
        let padded = at(end - group.start);
        self.pending_bytes += (padded - group.bytes.len()) as u64;
        group.bytes.resize(padded, 0);
        self.sealed.push_back(group);
    }

    /// The next group to write, oldest first; a filling group is sealed for it.
    pub(crate) fn take(&mut self) -> Option<Group> {
        if self.sealed.is_empty() && self.filling.batches > 0 {
            self.seal();
        }
        self.sealed.pop_front()
    }

    /// Takes back the buffer of a group that became durable.
    pub(crate) fn give_back(&mut self, group: Group) {
        self.pending_bytes = self.pending_bytes.saturating_sub(group.bytes.len() as u64);
        let mut bytes = group.bytes;
        if self.pool.len() < POOL_MAX && bytes.capacity() <= POOL_BUFFER_BYTES_MAX {
            bytes.clear();
            self.pool.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry = Geometry {
        log_id: [1; 16],
        timeline: 1,
        frame_magic: 0x0102_0304,
        segment_bytes: 16 << 10,
        max_payload: 8 << 10,
        align_log2: 9,
    };
    const LIMITS: Limits =
        Limits { group_bytes_max: 4096, batch_bytes_max: 16 << 20, buffer_bytes_max: 32 << 10 };

    const ENDLESS: Stock = Stock { ready_upto: u32::MAX, spares: 1, no_space: false, reserving: true };

    fn layout(offset: u32) -> Layout {
        let end = FramePos { segment: 1, offset };
        let resume = Resume { end, last_lsn: Lsn(10), last_commit: UnixMicros(100), epoch: 2 };
        Layout::new(GEOMETRY, LIMITS, resume)
    }

    fn batch(events: u32, body: usize) -> Batch {
        let mut batch = Batch::new();
        for _ in 0..events {
            batch.push_raw(1, 1, &vec![7; body]);
        }
        batch
    }

    /// Appends the bodies; expects `segment:offset` of each.
    fn check(start: u32, bodies: &[usize], expect: &[(u32, u32)]) {
        let mut layout = layout(start);
        let got: Vec<_> = bodies
            .iter()
            .map(|&body| {
                let done = layout
                    .append(&batch(1, body), UnixMicros(200), Purpose::NewWork, &ENDLESS)
                    .expect("fits");
                (done.pos.segment, done.pos.offset)
            })
            .collect();
        assert_eq!(got, expect, "from {start}, bodies {bodies:?}");
    }

    #[test]
    fn positions_are_final_at_append() {
        check(4096, &[0, 0], &[(1, 4096), (1, 4168)]);
        check(4096, &[440, 440], &[(1, 4096), (1, 4608)]);
        check(4096, &[1, 1], &[(1, 4096), (1, 4176)]);
        // The group would grow over 4096 bytes: cut and aligned.
        check(4096, &[4000, 100], &[(1, 4096), (1, 8192)]);
        // Does not fit into the rest of the segment: behind a SegmentStart of 88 bytes in the next.
        check(15872, &[440, 440], &[(1, 15872), (2, 4184)]);
        check(16384, &[0], &[(2, 4184)]);
        check(4096, &[8000, 8000], &[(1, 4096), (2, 8192 - 4096 + 88)]);
    }

    #[test]
    fn l3_a_refused_batch_uses_no_lsn() {
        let mut layout = layout(4096);
        let too_large = batch(1, 9000);
        assert_eq!(
            layout.append(&too_large, UnixMicros(200), Purpose::NewWork, &ENDLESS),
            Err(AppendError::TooLarge { bytes: 9008, limit: 8192 })
        );
        assert_eq!(
            layout.append(&Batch::new(), UnixMicros(200), Purpose::NewWork, &ENDLESS),
            Err(AppendError::Empty)
        );
        for _ in 0..4 {
            layout
                .append(&batch(1, 7000), UnixMicros(200), Purpose::NewWork, &ENDLESS)
                .expect("fits in the buffer");
        }
        assert_eq!(
            layout.append(&batch(1, 7000), UnixMicros(200), Purpose::NewWork, &ENDLESS),
            Err(AppendError::Busy)
        );
        assert_eq!(layout.next_lsn(), Lsn(15));
    }

    #[test]
    fn without_a_further_segment_append_says_no_space() {
        let mut layout = layout(15872);
        let full = |ready_upto| Stock { ready_upto, no_space: true, ..ENDLESS };
        let mut append = |events, body, ready_upto| {
            let stock = full(ready_upto);
            layout.append(&batch(events, body), UnixMicros(200), Purpose::Ending, &stock).map(|_| ())
        };
        append(1, 100, 1).expect("fits into the rest");
        assert_eq!(append(1, 1000, 1), Err(AppendError::NoSpace));
        append(1, 1000, 2).expect("segment 2 exists");
        assert_eq!(append(1, 1, 1), Err(AppendError::NoSpace));
    }

    #[test]
    fn l10_commit_times_never_decrease() {
        let mut layout = layout(4096);
        let times: Vec<_> = [150, 90, 151]
            .into_iter()
            .map(|t| {
                layout
                    .append(&batch(1, 1), UnixMicros(t), Purpose::NewWork, &ENDLESS)
                    .expect("fits")
                    .commit_time
                    .0
            })
            .collect();
        assert_eq!((times, layout.clamps()), (vec![150, 150, 151], 1));
    }

    #[test]
    fn a_group_of_control_frames_alone_is_not_written() {
        let mut layout = layout(4096);
        layout.open_epoch(&[0; 72]);
        assert!(!layout.has_work());
        assert!(layout.take().is_none());
        let done = layout.append(&batch(2, 1), UnixMicros(200), Purpose::NewWork, &ENDLESS).expect("fits");
        assert_eq!((done.first, done.last, done.pos.offset), (Lsn(11), Lsn(12), 4096 + 136));
        let group = layout.take().expect("a group");
        assert_eq!((group.batches, group.last_lsn, group.bytes.len() % 512), (1, Lsn(12), 0));
    }
}
