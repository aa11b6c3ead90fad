//! MANIFEST: one checksummed block of 4096 bytes, replaced atomically, with a copy in MANIFEST.bak.
//!
//! Owns: these bytes. Never does: I/O.
//!
//! ```text
//! 0      8    10   12   16       24        32     40     56    60     64   68   72         76       80        88
//! | magic|maj |min |mrd |incompat|ro_compat|compat|log_id|timel|fmagic|size|max |align_log2|first_seq|start_lsn|
//! 88          92            96       104        104+8n  4092  4096
//! |start_chain| snapshots n | created | n × LSN | zero  | crc |
//! ```

use super::{
    ALIGN_LOG2, BlockError, FORMAT_MAJOR, FORMAT_MINOR, Fields, Geometry, SEGMENT_ALIGNMENTS_MIN,
    SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, check_versions, open_block, seal_block,
};
use crate::{Lsn, UnixMicros};

const MAGIC: [u8; 8] = *b"EVLMAN\x00\x01";

/// Length of the file.
pub(crate) const MANIFEST_LEN: usize = 4096;
/// Snapshots in force at most.
pub(crate) const SNAPSHOTS_MAX: u32 = 16;

/// What the MANIFEST says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) geometry: Geometry,
    /// The first segment that belongs to the log.
    pub(crate) first_seq: u32,
    /// The first LSN that the log holds.
    pub(crate) log_start_lsn: Lsn,
    /// `hdr_crc` of the frame before the first one; 0 at the very start.
    pub(crate) log_start_chain: u32,
    /// Last LSNs of the snapshots in force, ascending.
    pub(crate) snapshots: Vec<Lsn>,
    pub(crate) created: UnixMicros,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let g = &self.geometry;
        let mut b = Vec::with_capacity(MANIFEST_LEN);
        b.extend_from_slice(&MAGIC);
        b.extend_from_slice(&FORMAT_MAJOR.to_le_bytes());
        b.extend_from_slice(&FORMAT_MINOR.to_le_bytes());
        b.extend_from_slice(&u32::from(FORMAT_MAJOR).to_le_bytes()); // min_reader
        b.extend_from_slice(&[0; 24]); // incompat, ro_compat, compat
        b.extend_from_slice(&g.log_id);
        b.extend_from_slice(&g.timeline.to_le_bytes());
        b.extend_from_slice(&g.frame_magic.to_le_bytes());
        b.extend_from_slice(&g.segment_bytes.to_le_bytes());
        b.extend_from_slice(&g.max_payload.to_le_bytes());
        b.extend_from_slice(&g.align_log2.to_le_bytes());
        b.extend_from_slice(&self.first_seq.to_le_bytes());
        b.extend_from_slice(&self.log_start_lsn.0.to_le_bytes());
        b.extend_from_slice(&self.log_start_chain.to_le_bytes());
        b.extend_from_slice(&super::len32(self.snapshots.len()).to_le_bytes());
        b.extend_from_slice(&self.created.0.to_le_bytes());
        for snapshot in &self.snapshots {
            b.extend_from_slice(&snapshot.0.to_le_bytes());
        }
        seal_block(b, MANIFEST_LEN)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        if bytes.len() != MANIFEST_LEN {
            return Err(BlockError::Damaged("length is not 4096"));
        }
        let mut f = Fields(open_block(bytes, MANIFEST_LEN).map_err(BlockError::Damaged)?);
        let short = BlockError::Damaged("fields out of range");
        let (Some(magic), Some(major), Some(minor), Some(min_reader)) =
            (f.bytes::<8>(), f.u16(), f.u16(), f.u32())
        else {
            return Err(short);
        };
        if magic != MAGIC {
            return Err(BlockError::Damaged("magic is not that of a MANIFEST"));
        }
        let (Some(incompat), Some(ro_compat), Some(_compat)) = (f.u64(), f.u64(), f.u64()) else {
            return Err(short);
        };
        check_versions(major, minor, incompat, ro_compat)?;
        if min_reader > u32::from(FORMAT_MAJOR) {
            return Err(BlockError::Unsupported {
                found: format!("format {major}.{minor}, min_reader {min_reader}"),
            });
        }
        Self::rest(&mut f).ok_or(short)
    }

    fn rest(f: &mut Fields<'_>) -> Option<Self> {
        let (log_id, timeline, frame_magic) = (f.bytes()?, f.u32()?, f.u32()?);
        let (segment_bytes, max_payload, align_log2) = (f.u32()?, f.u32()?, f.u32()?);
        let (first_seq, log_start_lsn, log_start_chain) = (f.u32()?, Lsn(f.u64()?), f.u32()?);
        let (count, created) = (f.u32()?, UnixMicros(f.u64()?));
        if count > SNAPSHOTS_MAX {
            return None;
        }
        let snapshots = (0..count).map(|_| f.u64().map(Lsn)).collect::<Option<Vec<_>>>()?;
        let sane = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&u64::from(segment_bytes))
            && segment_bytes % 4096 == 0
            && max_payload < segment_bytes
            && ALIGN_LOG2.contains(&align_log2)
            && segment_bytes % (1 << align_log2) == 0
            && u64::from(segment_bytes) >= SEGMENT_ALIGNMENTS_MIN << align_log2
            && frame_magic & 0xff != 0
            && first_seq >= 1
            && log_start_lsn >= Lsn::FIRST
            && f.rest_is_zero();
        let geometry = Geometry { log_id, timeline, frame_magic, segment_bytes, max_payload, align_log2 };
        sane.then_some(Self { geometry, first_seq, log_start_lsn, log_start_chain, snapshots, created })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::{GEOMETRY, check_damage};

    fn sample() -> Manifest {
        Manifest {
            geometry: GEOMETRY,
            first_seq: 3,
            log_start_lsn: Lsn(100),
            log_start_chain: 77,
            snapshots: vec![Lsn(120), Lsn(140)],
            created: UnixMicros(5),
        }
    }

    #[test]
    fn round_trip_and_damage() {
        let bytes = sample().encode();
        assert_eq!(Manifest::decode(&bytes), Ok(sample()));
        check_damage(&bytes, |bytes| Manifest::decode(bytes).is_ok());
    }

    /// Sound bytes that make no sense are refused all the same.
    #[test]
    fn values_out_of_range() {
        let check = |change: fn(&mut Manifest)| {
            let mut manifest = sample();
            change(&mut manifest);
            assert!(Manifest::decode(&manifest.encode()).is_err(), "{manifest:?}");
        };
        check(|m| m.geometry.segment_bytes = 4096);
        check(|m| m.geometry.segment_bytes += 1);
        check(|m| m.geometry.align_log2 = 8);
        check(|m| m.geometry.align_log2 = 13);
        check(|m| m.geometry.align_log2 = 17);
        check(|m| m.geometry.frame_magic = 0x100);
        check(|m| m.geometry.max_payload = m.geometry.segment_bytes);
        check(|m| m.first_seq = 0);
        check(|m| m.log_start_lsn = Lsn(0));
        check(|m| m.snapshots = vec![Lsn(1); 17]);
    }
}
