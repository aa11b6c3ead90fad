//! The supply of segments: how many there are, who may use the last of them, and what the disk says.
//!
//! Owns: the rule by which an append is admitted while segments are short ([`Stock`], pure), the pool of retired
//! segments that become spares again, and what the outside sees of all that ([`Supply`]). Never does: I/O, waiting.
//!
//! Upholds L6 (nothing is laid out in a segment that does not exist) and L20 (while the disk is low, the last spare and
//! 5 % of a segment are left to what ends work; new work is refused, and admitted again when there is room).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::FramePos;
use crate::error::AppendError;
use crate::options::RESERVE_PART;

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It makes the log grow.
    NewWork,
    /// It ends something that was admitted, or lets the log shrink: completions, ends of claims, cancellations,
    /// retention. It may use the reserve.
    Ending,
}

/// What there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stock {
    /// The last segment that is published and durable.
    pub(crate) ready_upto: u32,
    /// How many there should be ahead of the one being filled.
    pub(crate) spares: u32,
    /// The disk had no room for the next one when last asked.
    pub(crate) no_space: bool,
    /// All spares were there once since the log was opened: from then on some of them are reserved. A log that was just
    /// made takes new work before.
    pub(crate) reserving: bool,
}

impl Stock {
    /// Whether a batch may be appended that would make its group end at `landing`; `filling` is the segment that is
    /// being filled. `Busy` where a segment is on its way, `NoSpace` where none can be made.
    pub(crate) fn admit(
        &self,
        filling: u32,
        landing: FramePos,
        segment_bytes: u32,
        purpose: Purpose,
    ) -> Result<(), AppendError> {
        let short = if self.no_space { AppendError::NoSpace } else { AppendError::Busy };
        if landing.segment > self.ready_upto {
            return Err(short);
        }
        // With every spare in place there is no shortage: what is used up now is prepared again.
        let stocked =
            !self.no_space && (!self.reserving || self.ready_upto >= filling.saturating_add(self.spares));
        if purpose == Purpose::Ending || stocked {
            return Ok(());
        }
        let bytes = u64::from(segment_bytes);
        let left = u64::from(self.ready_upto - landing.segment) * bytes
            + bytes.saturating_sub(u64::from(landing.offset));
        if left < self.reserve(bytes) { Err(short) } else { Ok(()) }
    }

    /// Bytes that only endings may use: the last of several spares, and 5 % of a segment.
    fn reserve(&self, segment_bytes: u64) -> u64 {
        let spare = if self.spares > 1 { segment_bytes } else { 0 };
        spare + segment_bytes / RESERVE_PART
    }
}

/// Segment files that the log no longer needs, kept to become spares. They have the names of unfinished ones, so
/// whatever a crash leaves of them is removed by the next open.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    segments: VecDeque<u32>,
    kept_max: usize,
}

impl Retired {
    pub(crate) fn new(kept_max: usize) -> Self {
        Self { segments: VecDeque::new(), kept_max }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.segments.len() < self.kept_max
    }

    /// Takes over the file of a retired segment, which has the name of an unfinished one.
    pub(crate) fn put(&mut self, segment: u32) {
        self.segments.push_back(segment);
    }

    pub(crate) fn holds_any(&self) -> bool {
        !self.segments.is_empty()
    }

    pub(crate) fn take(&mut self) -> Option<u32> {
        self.segments.pop_front()
    }
}

/// What became of a retired segment that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It becomes a spare: leave the file alone.
    Kept,
    /// Remove the file.
    Declined,
}

/// Whether there is room for new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Ample,
    /// The disk is low: new work is refused when the spares are used up, and taken again when there is room.
    Low,
}

/// What the outside sees of the supply of segments. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Supply {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    low: AtomicU64,
    shortages: AtomicU64,
    prepared: AtomicU64,
    recycled: AtomicU64,
}

impl Supply {
    /// Whether there is room for new work.
    #[must_use]
    pub fn room(&self) -> Room {
        if self.counts.low.load(Ordering::Relaxed) == 0 { Room::Ample } else { Room::Low }
    }

    /// How often the disk became low since the log was opened.
    #[must_use]
    pub fn shortages(&self) -> u64 {
        self.counts.shortages.load(Ordering::Relaxed)
    }

    /// Segments that were prepared since the log was opened, recycled ones included.
    #[must_use]
    pub fn prepared(&self) -> u64 {
        self.counts.prepared.load(Ordering::Relaxed)
    }

    /// Those of them that are retired segments used again.
    #[must_use]
    pub fn recycled(&self) -> u64 {
        self.counts.recycled.load(Ordering::Relaxed)
    }

    /// Notes that the disk is low; whether that is news.
    pub(crate) fn note_low(&self) -> bool {
        let news = self.counts.low.swap(1, Ordering::Relaxed) == 0;
        self.counts.shortages.fetch_add(u64::from(news), Ordering::Relaxed);
        news
    }

    /// Notes a prepared segment; whether the disk was low until now.
    pub(crate) fn note_prepared(&self, source: Source) -> bool {
        self.counts.prepared.fetch_add(1, Ordering::Relaxed);
        self.counts.recycled.fetch_add(u64::from(source == Source::Retired), Ordering::Relaxed);
        self.counts.low.swap(0, Ordering::Relaxed) != 0
    }
}

/// Where a prepared segment's file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    New,
    Retired,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u32 = 20_000;

    #[track_caller]
    fn check(stock: Stock, filling: u32, landing: (u32, u32), new: &str, ending: &str) {
        let landing = FramePos { segment: landing.0, offset: landing.1 };
        let said = |purpose| match stock.admit(filling, landing, BYTES, purpose) {
            Ok(()) => "ok",
            Err(AppendError::Busy) => "busy",
            Err(AppendError::NoSpace) => "no space",
            Err(_) => "?",
        };
        assert_eq!((said(Purpose::NewWork), said(Purpose::Ending)), (new, ending), "{stock:?} {landing}");
    }

    #[test]
    fn l6_l20_who_may_use_what() {
        let two = Stock { ready_upto: 3, spares: 2, no_space: false, reserving: true };
        check(two, 1, (1, 20_000), "ok", "ok");
        check(two, 1, (2, 20_000), "ok", "ok"); // stocked: a batch as large as a segment
        check(two, 2, (2, 19_000), "ok", "ok"); // exactly the reserve is left
        check(two, 2, (2, 19_008), "busy", "ok");
        check(two, 2, (3, 5_000), "busy", "ok");
        check(two, 3, (4, 5_000), "busy", "busy");
        let low = Stock { no_space: true, ..two };
        check(low, 1, (2, 19_000), "ok", "ok");
        check(low, 1, (2, 20_000), "no space", "ok");
        check(low, 2, (3, 20_000), "no space", "ok");
        check(low, 3, (4, 5_000), "no space", "no space");
        let one = Stock { ready_upto: 2, spares: 1, no_space: false, reserving: true };
        check(one, 1, (2, 20_000), "ok", "ok");
        check(one, 2, (2, 19_000), "ok", "ok");
        check(one, 2, (2, 19_008), "busy", "ok");
        // The frame that opens an epoch may have rolled over before its segment was there.
        check(Stock { ready_upto: 2, ..two }, 3, (3, 5_000), "busy", "busy");
    }

    #[test]
    fn retired_segments_are_kept_up_to_a_bound_and_used_in_order() {
        let mut retired = Retired::new(2);
        for segment in 1..=2 {
            assert!(retired.has_room());
            retired.put(segment);
        }
        assert!(!retired.has_room());
        assert_eq!((retired.take(), retired.take(), retired.take()), (Some(1), Some(2), None));
    }
}
