//! Positions and times as types: a bare `u64` never says whether it is an LSN, an offset or a time.
//!
//! Owns: [`Lsn`], [`FramePos`], [`UnixMicros`]. Never does: read a clock or a file.

use std::fmt;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Log sequence number: the position of one event in the log. Gap-free, the first event has LSN 1; 0 means
/// "before everything".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first event; also "no version", "nothing".
    pub const ZERO: Lsn = Lsn(0);
    /// The LSN of the first event of every log.
    pub const FIRST: Lsn = Lsn(1);
    /// Above every LSN that a log can hold.
    pub const MAX: Lsn = Lsn(u64::MAX);

    /// The LSN after this one.
    #[must_use]
    pub const fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }

    /// The LSN before this one; `ZERO` stays `ZERO`.
    #[must_use]
    pub const fn prev(self) -> Lsn {
        Lsn(self.0.saturating_sub(1))
    }

    /// The LSN `n` events later.
    #[must_use]
    pub const fn plus(self, n: u64) -> Lsn {
        Lsn(self.0 + n)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Microseconds since the Unix epoch, UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(ms: u64) -> UnixMicros {
        UnixMicros(ms.saturating_mul(1000))
    }

    /// Whole milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// `ms` milliseconds later (saturating).
    #[must_use]
    pub const fn plus_millis(self, ms: u64) -> UnixMicros {
        UnixMicros(self.0.saturating_add(ms.saturating_mul(1000)))
    }
}

/// Events that the log lost and whose loss an operator accepted: from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gap {
    /// The first event lost.
    pub from: Lsn,
    /// The last event lost.
    pub to: Lsn,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from, self.to)
    }
}

/// Where a frame stands: segment sequence number and byte offset of the frame's header in that segment.
///
/// An event is found by its frame's position and its LSN (the frame header says the first LSN of the frame).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct FramePos {
    /// Sequence number of the segment.
    pub segment: u32,
    /// Byte offset of the frame header within the segment file.
    pub offset: u32,
}

impl FramePos {
    /// Packed as `segment << 32 | offset`, for compact index rows.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        ((self.segment as u64) << 32) | self.offset as u64
    }

    /// The inverse of [`FramePos::to_u64`].
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "each half is 32 bits by construction")]
    pub const fn from_u64(packed: u64) -> FramePos {
        FramePos { segment: (packed >> 32) as u32, offset: packed as u32 }
    }
}

impl fmt::Display for FramePos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {}", self.segment, self.offset)
    }
}
