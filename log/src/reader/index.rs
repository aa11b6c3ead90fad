//! The sparse index: where to start reading for an LSN or a time. One mark per ~64 KiB of log, for the segments that
//! were read or written lately; those of another segment are made when somebody asks.
//!
//! Owns: the marks, and how many segments have some. Never does: I/O; a mark is a place to start walking, never an
//! answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::{FramePos, Lsn, UnixMicros};

/// Distance between marks, in bytes of log.
const MARK_EVERY_BYTES: u32 = 64 << 10;
/// Segments that have marks at the same time: 256 of 64 MiB take 8 MiB of memory.
const SEGMENTS_MAX: usize = 256;

/// A Batch frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) first_lsn: Lsn,
    pub(crate) commit_time: UnixMicros,
    pub(crate) pos: FramePos,
}

/// Marks of one segment, in log order.
#[derive(Clone, Debug, Default)]
pub(crate) struct SparseIndex {
    marks: Vec<Mark>,
}

impl SparseIndex {
    /// Offers a frame; it is kept when the last mark is far enough away. Frames come in log order.
    pub(crate) fn offer(&mut self, mark: Mark) {
        let near = self
            .marks
            .last()
            .is_some_and(|last| mark.pos.offset.saturating_sub(last.pos.offset) < MARK_EVERY_BYTES);
        if !near {
            self.marks.push(mark);
        }
    }

    /// The last mark whose frame starts at or before that LSN.
    pub(crate) fn before_lsn(&self, lsn: Lsn) -> Option<Mark> {
        let n = self.marks.partition_point(|mark| mark.first_lsn <= lsn);
        self.marks.get(n.checked_sub(1)?).copied()
    }

    /// The last mark whose frame stands at or before that place.
    pub(crate) fn before_pos(&self, pos: FramePos) -> Option<Mark> {
        let n = self.marks.partition_point(|mark| mark.pos <= pos);
        self.marks.get(n.checked_sub(1)?).copied()
    }

    /// The last mark whose frame was committed at or before that time.
    pub(crate) fn before_time(&self, time: UnixMicros) -> Option<Mark> {
        let n = self.marks.partition_point(|mark| mark.commit_time <= time);
        self.marks.get(n.checked_sub(1)?).copied()
    }
}

/// Marks of several segments. The segment that is being written keeps its own.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    by_segment: BTreeMap<u32, Arc<SparseIndex>>,
    /// In the order in which they came.
    order: VecDeque<u32>,
}

impl Indexes {
    /// Those that a walk made, oldest segment first.
    pub(crate) fn new(walked: BTreeMap<u32, SparseIndex>) -> Self {
        let mut indexes = Self::default();
        for (segment, index) in walked {
            indexes.put(segment, Arc::new(index));
        }
        indexes
    }

    pub(crate) fn get(&self, segment: u32) -> Option<Arc<SparseIndex>> {
        self.by_segment.get(&segment).cloned()
    }

    /// Keeps the marks of a segment; those that came first go when there are too many.
    pub(crate) fn put(&mut self, segment: u32, index: Arc<SparseIndex>) {
        if self.by_segment.insert(segment, index).is_none() {
            self.order.push_back(segment);
        }
        while self.order.len() > SEGMENTS_MAX {
            let oldest = self.order.pop_front();
            oldest.and_then(|segment| self.by_segment.remove(&segment));
        }
    }

    /// Offers a frame of the segment that is being written.
    pub(crate) fn offer(&mut self, mark: Mark) {
        let segment = mark.pos.segment;
        if !self.by_segment.contains_key(&segment) {
            self.put(segment, Arc::default());
        }
        if let Some(index) = self.by_segment.get_mut(&segment) {
            Arc::make_mut(index).offer(mark);
        }
    }

    /// Forgets the segments below this one.
    pub(crate) fn cut(&mut self, first_segment: u32) {
        self.by_segment.retain(|segment, _| *segment >= first_segment);
        self.order.retain(|segment| *segment >= first_segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(lsn: u64, time: u64, segment: u32, offset: u32) -> Mark {
        Mark { first_lsn: Lsn(lsn), commit_time: UnixMicros(time), pos: FramePos { segment, offset } }
    }

    #[test]
    fn marks_are_sparse_and_found() {
        let mut index = SparseIndex::default();
        for m in [mark(1, 5, 1, 4096), mark(2, 5, 1, 5000), mark(3, 7, 1, 69632), mark(9, 9, 1, 140_000)] {
            index.offer(m);
        }
        let check = |lsn: u64, expect: Option<u64>| {
            assert_eq!(index.before_lsn(Lsn(lsn)).map(|m| m.first_lsn.0), expect, "LSN {lsn}");
        };
        for (lsn, expect) in
            [(0, None), (1, Some(1)), (2, Some(1)), (3, Some(3)), (8, Some(3)), (100, Some(9))]
        {
            check(lsn, expect);
        }
        let check = |time: u64, expect: Option<u64>| {
            assert_eq!(index.before_time(UnixMicros(time)).map(|m| m.first_lsn.0), expect, "time {time}");
        };
        for (time, expect) in [(4, None), (5, Some(1)), (6, Some(1)), (7, Some(3)), (10, Some(9))] {
            check(time, expect);
        }
    }

    #[test]
    fn the_number_of_segments_with_marks_is_bounded() {
        let mut indexes = Indexes::default();
        for segment in 1..1000 {
            indexes.offer(mark(u64::from(segment), 1, segment, 4096));
        }
        assert_eq!(indexes.by_segment.len(), SEGMENTS_MAX);
        assert!(indexes.get(999).is_some() && indexes.get(1).is_none());
        indexes.put(1, Arc::default());
        assert!(indexes.get(1).is_some() && indexes.order.len() == SEGMENTS_MAX);
        indexes.cut(2);
        assert!(indexes.get(1).is_none());
    }
}
