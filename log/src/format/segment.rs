//! The segment header: 4096 bytes, written once, durable before the file gets its final name; so an invalid
//! header on a published name is always corruption, never a torn write.
//!
//! Owns: these bytes and the file names. Never does: I/O.
//!
//! ```text
//! 0      8    10   12   16       24        32     40     56    60     64  72   80   84    88      96     128  4092
//! | magic|maj |min |len |incompat|ro_compat|compat|log_id|timel|align |seq|size|max |magic|created|softw.|zero|crc|
//! ```

use super::{
    BlockError, FORMAT_MAJOR, FORMAT_MINOR, Fields, Geometry, SEGMENT_HEADER_LEN, at, check_versions,
    open_block, seal_block, software_field,
};
use crate::UnixMicros;

const MAGIC: [u8; 8] = *b"EVLSEG\x00\x01";

/// In `compat`: the file held another segment before, and behind the last group its bytes may still stand. None of
/// them validates here (headers are seeded with sequence number and offset), but they are no sign of a torn write.
const COMPAT_REUSED: u64 = 1;

/// What stands behind the last group of a segment that nothing was torn in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Zeros.
    Zeros,
    /// Bytes of an older segment.
    OldBytes,
}

/// What a segment header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) geometry: Geometry,
    pub(crate) seq: u32,
    pub(crate) rest: Rest,
    pub(crate) created: UnixMicros,
    pub(crate) software: [u8; 32],
}

impl SegmentHeader {
    pub(crate) fn new(geometry: Geometry, seq: u32, created: UnixMicros, software: &str) -> Self {
        Self { geometry, seq, rest: Rest::Zeros, created, software: software_field(software) }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let g = &self.geometry;
        let mut b = Vec::with_capacity(at(SEGMENT_HEADER_LEN));
        b.extend_from_slice(&MAGIC);
        b.extend_from_slice(&FORMAT_MAJOR.to_le_bytes());
        b.extend_from_slice(&FORMAT_MINOR.to_le_bytes());
        b.extend_from_slice(&SEGMENT_HEADER_LEN.to_le_bytes());
        b.extend_from_slice(&[0; 16]); // incompat, ro_compat
        let compat = match self.rest {
            Rest::Zeros => 0,
            Rest::OldBytes => COMPAT_REUSED,
        };
        b.extend_from_slice(&compat.to_le_bytes());
        b.extend_from_slice(&g.log_id);
        b.extend_from_slice(&g.timeline.to_le_bytes());
        b.extend_from_slice(&g.align_log2.to_le_bytes());
        b.extend_from_slice(&u64::from(self.seq).to_le_bytes());
        b.extend_from_slice(&u64::from(g.segment_bytes).to_le_bytes());
        b.extend_from_slice(&g.max_payload.to_le_bytes());
        b.extend_from_slice(&g.frame_magic.to_le_bytes());
        b.extend_from_slice(&self.created.0.to_le_bytes());
        b.extend_from_slice(&self.software);
        seal_block(b, at(SEGMENT_HEADER_LEN))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        let body = open_block(bytes, at(SEGMENT_HEADER_LEN)).map_err(BlockError::Damaged)?;
        Self::fields(&mut Fields(body))?.ok_or(BlockError::Damaged("fields out of range"))
    }

    fn fields(f: &mut Fields<'_>) -> Result<Option<Self>, BlockError> {
        let (Some(magic), Some(major), Some(minor), Some(header_len)) =
            (f.bytes::<8>(), f.u16(), f.u16(), f.u32())
        else {
            return Ok(None);
        };
        if magic != MAGIC {
            return Err(BlockError::Damaged("magic is not that of a segment"));
        }
        let (Some(incompat), Some(ro_compat), Some(compat)) = (f.u64(), f.u64(), f.u64()) else {
            return Ok(None);
        };
        check_versions(major, minor, incompat, ro_compat)?;
        let rest = if compat & COMPAT_REUSED == 0 { Rest::Zeros } else { Rest::OldBytes };
        Ok(Self::body(f, header_len).map(|header| Self { rest, ..header }))
    }

    fn body(f: &mut Fields<'_>, header_len: u32) -> Option<Self> {
        let (log_id, timeline, align_log2) = (f.bytes()?, f.u32()?, f.u32()?);
        let seq = u32::try_from(f.u64()?).ok()?;
        let segment_bytes = u32::try_from(f.u64()?).ok()?;
        let (max_payload, frame_magic, created) = (f.u32()?, f.u32()?, UnixMicros(f.u64()?));
        let software = f.bytes()?;
        let geometry = Geometry { log_id, timeline, frame_magic, segment_bytes, max_payload, align_log2 };
        (header_len == SEGMENT_HEADER_LEN && f.rest_is_zero()).then_some(Self {
            geometry,
            seq,
            rest: Rest::Zeros,
            created,
            software,
        })
    }
}

/// Name of a published segment.
pub(crate) fn segment_name(seq: u32) -> String {
    format!("seg-{seq:016x}.log")
}

/// Name of a segment that is being prepared.
pub(crate) fn segment_tmp_name(seq: u32) -> String {
    format!("tmp-{seq:016x}.log")
}

/// The sequence number in a published segment's name.
pub(crate) fn parse_segment_name(name: &str) -> Option<u32> {
    let hex = name.strip_prefix("seg-")?.strip_suffix(".log")?;
    let seq = u32::from_str_radix(hex, 16).ok()?;
    (segment_name(seq) == name).then_some(seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::{GEOMETRY, check_damage};

    #[test]
    fn round_trip_and_damage() {
        let header =
            SegmentHeader::new(GEOMETRY, 7, UnixMicros(5), "a name that is far longer than its field is");
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header.clone()));
        let reused = SegmentHeader { rest: Rest::OldBytes, ..header };
        assert_eq!(SegmentHeader::decode(&reused.encode()), Ok(reused));
        check_damage(&bytes, |bytes| SegmentHeader::decode(bytes).is_ok());
    }

    #[test]
    fn names() {
        for (name, expect) in [
            ("seg-0000000000000001.log", Some(1)),
            ("seg-00000000000000ff.log", Some(255)),
            ("seg-00000000000000FF.log", None),
            ("seg-1.log", None),
            ("tmp-0000000000000001.log", None),
            ("seg-0000000100000000.log", None),
        ] {
            assert_eq!(parse_segment_name(name), expect, "{name}");
        }
    }
}
