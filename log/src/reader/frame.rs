//! A batch as read: its header's facts and its records.
//!
//! Owns: the split of a checked payload into records, every length bounds-checked although the checksum passed.
//! Never does: decode events (`events` does), I/O.

use crate::format::{Fields, at};
use crate::reader::walker::Slice;
use crate::{FramePos, Lsn, UnixMicros};

/// Where a batch stands and what it spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// LSN of its first event.
    pub first_lsn: Lsn,
    /// LSN of its last event.
    pub last_lsn: Lsn,
    /// Its commit time.
    pub commit_time: UnixMicros,
    /// Where its frame stands.
    pub pos: FramePos,
}

/// One batch, checked.
#[derive(Clone, Debug)]
pub struct Frame {
    /// LSN of its first event.
    pub first_lsn: Lsn,
    /// LSN of its last event.
    pub last_lsn: Lsn,
    /// Its commit time.
    pub commit_time: UnixMicros,
    /// Where its frame stands.
    pub pos: FramePos,
    pub(crate) payload: Slice,
}

/// One event, encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Its LSN.
    pub lsn: Lsn,
    /// Its type code.
    pub type_: u16,
    /// Version of that type's encoding.
    pub type_version: u16,
    /// Its encoded body.
    pub body: &'a [u8],
}

impl Frame {
    /// The events, in order.
    pub fn records(&self) -> impl Iterator<Item = RawRecord<'_>> {
        let mut fields = Fields(self.payload.bytes());
        (self.first_lsn.0..=self.last_lsn.0).map_while(move |lsn| {
            let (len, type_, type_version) = (fields.u32()?, fields.u16()?, fields.u16()?);
            let (body, rest) = fields.0.split_at_checked(at(len))?;
            fields.0 = rest;
            Some(RawRecord { lsn: Lsn(lsn), type_, type_version, body })
        })
    }

    /// The batch without its events.
    #[must_use]
    pub const fn info(&self) -> FrameInfo {
        FrameInfo {
            first_lsn: self.first_lsn,
            last_lsn: self.last_lsn,
            commit_time: self.commit_time,
            pos: self.pos,
        }
    }
}

/// Whether a payload is exactly `record_count` records.
pub(crate) fn records_are_sound(record_count: u32, payload: &[u8]) -> bool {
    let mut fields = Fields(payload);
    let walked = (0..record_count).all(|_| {
        let (Some(len), Some(_), Some(_)) = (fields.u32(), fields.u16(), fields.u16()) else { return false };
        let Some((_, rest)) = fields.0.split_at_checked(at(len)) else { return false };
        fields.0 = rest;
        true
    });
    walked && fields.0.is_empty()
}

#[cfg(test)]
mod tests {
    use super::records_are_sound;
    use crate::Batch;

    #[test]
    fn records_fill_their_payload_exactly() {
        let mut batch = Batch::new();
        batch.push_raw(1, 1, b"abc");
        batch.push_raw(2, 1, b"");
        let good = batch.payload().to_vec();
        assert!(records_are_sound(2, &good));
        assert!(!records_are_sound(1, &good), "a byte left over");
        assert!(!records_are_sound(3, &good), "a record short");
        for len in 0..good.len() {
            assert!(!records_are_sound(2, good.get(..len).unwrap_or_default()), "cut to {len}");
        }
    }
}
