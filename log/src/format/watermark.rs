//! WATERMARK: two slots of 4096 bytes; the newest sound one says which LSN was durable. All of a slot that means
//! anything stands in its first 512 bytes, one sector.
//!
//! Owns: these bytes. Never does: decide which slot is written (`watermark_file.rs` does).
//!
//! ```text
//! 0       8        12       28         32        40      44        52    56    60      64         80      81    508   512
//! | magic | version| log_id | timeline | counter | epoch | durable | seg | off | chain | boot_id  | clean | zero | crc |
//! ```

use super::{Fields, open_block, seal_block};
use crate::{FramePos, Lsn};

const MAGIC: [u8; 8] = *b"EVLWMK\x00\x01";
const VERSION: u32 = 1;

/// Distance between the slots.
pub(crate) const SLOT_STRIDE: u64 = 4096;
/// Bytes of a slot that are written.
pub(crate) const SLOT_LEN: usize = 512;
/// Length of the file.
pub(crate) const WATERMARK_LEN: u64 = 2 * SLOT_STRIDE;

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) log_id: [u8; 16],
    pub(crate) timeline: u32,
    /// Grows with every write of a slot; the sound slot with the higher one counts.
    pub(crate) counter: u64,
    pub(crate) epoch: u32,
    pub(crate) durable: Lsn,
    /// End of the last durable group.
    pub(crate) end: FramePos,
    /// `hdr_crc` of the last durable frame.
    pub(crate) chain: u32,
    pub(crate) boot_id: [u8; 16],
    /// The log was stopped in order: nothing was written after `durable`.
    pub(crate) clean: Clean,
}

/// Whether the writer ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clean {
    /// A writer is at work or ended without saying so.
    No,
    /// Stopped in order.
    Yes,
}

impl Slot {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(SLOT_LEN);
        b.extend_from_slice(&MAGIC);
        b.extend_from_slice(&VERSION.to_le_bytes());
        b.extend_from_slice(&self.log_id);
        b.extend_from_slice(&self.timeline.to_le_bytes());
        b.extend_from_slice(&self.counter.to_le_bytes());
        b.extend_from_slice(&self.epoch.to_le_bytes());
        b.extend_from_slice(&self.durable.0.to_le_bytes());
        b.extend_from_slice(&self.end.segment.to_le_bytes());
        b.extend_from_slice(&self.end.offset.to_le_bytes());
        b.extend_from_slice(&self.chain.to_le_bytes());
        b.extend_from_slice(&self.boot_id);
        b.push(match self.clean {
            Clean::No => 0,
            Clean::Yes => 1,
        });
        seal_block(b, SLOT_LEN)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields(open_block(bytes, SLOT_LEN).ok()?);
        if f.bytes::<8>()? != MAGIC || f.u32()? != VERSION {
            return None;
        }
        let slot = Self {
            log_id: f.bytes()?,
            timeline: f.u32()?,
            counter: f.u64()?,
            epoch: f.u32()?,
            durable: Lsn(f.u64()?),
            end: FramePos { segment: f.u32()?, offset: f.u32()? },
            chain: f.u32()?,
            boot_id: f.bytes()?,
            clean: match f.u8()? {
                0 => Clean::No,
                1 => Clean::Yes,
                _ => return None,
            },
        };
        f.rest_is_zero().then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::check_damage;

    #[test]
    fn round_trip_and_damage() {
        let slot = Slot {
            log_id: [1; 16],
            timeline: 2,
            counter: 3,
            epoch: 4,
            durable: Lsn(5),
            end: FramePos { segment: 6, offset: 7 },
            chain: 8,
            boot_id: [9; 16],
            clean: Clean::Yes,
        };
        assert_eq!(Slot::decode(&slot.encode()), Some(slot));
        check_damage(&slot.encode(), |bytes| Slot::decode(bytes).is_some());
    }
}
