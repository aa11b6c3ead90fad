//! The sparse index: where to start reading for an LSN or a time. One mark per ~64 KiB of log, in memory.
//!
//! Owns: the marks. Never does: I/O; a mark is a place to start walking, never an answer.

use crate::{FramePos, Lsn, UnixMicros};

/// Distance between marks, in bytes of log.
const MARK_EVERY_BYTES: u32 = 64 << 10;

/// A Batch frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) first_lsn: Lsn,
    pub(crate) commit_time: UnixMicros,
    pub(crate) pos: FramePos,
}

/// Marks in log order.
#[derive(Debug, Default)]
pub(crate) struct SparseIndex {
    marks: Vec<Mark>,
}

impl SparseIndex {
    /// Offers a frame; it is kept when the last mark is far enough away. Frames come in log order.
    pub(crate) fn offer(&mut self, mark: Mark) {
        let near = self.marks.last().is_some_and(|last| {
            last.pos.segment == mark.pos.segment && mark.pos.offset - last.pos.offset < MARK_EVERY_BYTES
        });
        if !near {
            self.marks.push(mark);
        }
    }

    /// The last mark whose frame starts at or before that LSN.
    pub(crate) fn before_lsn(&self, lsn: Lsn) -> Option<Mark> {
        let n = self.marks.partition_point(|mark| mark.first_lsn <= lsn);
        self.marks.get(n.checked_sub(1)?).copied()
    }

    /// The last mark whose frame was committed at or before that time.
    pub(crate) fn before_time(&self, time: UnixMicros) -> Option<Mark> {
        let n = self.marks.partition_point(|mark| mark.commit_time <= time);
        self.marks.get(n.checked_sub(1)?).copied()
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
        for m in [mark(1, 5, 1, 4096), mark(2, 5, 1, 5000), mark(3, 7, 1, 69632), mark(9, 9, 2, 4184)] {
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
}
