//! R6: the scan ahead of T. Any header that validates after the hole is evidence, whether or not its payload or
//! its neighbours survived.
//!
//! Owns: finding headers and non-zero bytes from T to the end of the last segment. Never does: accept a frame as
//! data, write.
//!
//! Headers are looked for at every multiple of 8, not only where groups start: when the first sector of a group is
//! damaged, its second frame may still prove that the group before was durable.

use crate::error::OpenError;
use crate::format::frame::{FrameKey, FrameKind};
use crate::format::segment::{Rest, SegmentHeader};
use crate::format::{FRAME_HEADER_LEN, SEGMENT_HEADER_LEN, at, is_zero, len32};
use crate::{FramePos, Lsn};

use super::gather::SegmentFiles;
use super::io_error;

/// Bytes of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) segment: u32,
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// What stands after T.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ahead {
    /// The highest `durable_lsn`.
    pub(crate) frames: Lsn,
    pub(crate) headers: u64,
    pub(crate) epoch: u32,
    /// The highest LSN that a header names.
    pub(crate) last_lsn: Lsn,
    /// Sectors that are not as an untouched segment's, ascending, neighbours joined: not all zero, or, where bytes of
    /// an older segment may stand, with a header that validates.
    pub(crate) nonzero: Vec<Extent>,
}

/// Read at once.
const CHUNK_BYTES: usize = 4 << 20;
/// Non-zero bytes are noted in units of this many.
const SECTOR: usize = 512;

/// Looks at everything from `end` on.
pub(crate) fn look_ahead(files: &SegmentFiles, key: &FrameKey, end: FramePos) -> Result<Ahead, OpenError> {
    let mut ahead = Ahead::default();
    let mut from = end.offset;
    let mut buffer = vec![0; CHUNK_BYTES.min(at(files.segment_bytes)) + FRAME_HEADER_LEN];
    for segment in end.segment..=files.last() {
        let file = files.open(segment)?;
        let mut header = vec![0; at(SEGMENT_HEADER_LEN)];
        file.read_exact_at(&mut header, 0).map_err(io_error("read", &files.path(segment)))?;
        let rest = SegmentHeader::decode(&header).map_or(Rest::Zeros, |header| header.rest);
        while from < files.segment_bytes {
            // Chunks overlap by a header, so that none is missed at a seam.
            let len = buffer.len().min(at(files.segment_bytes - from));
            let chunk = buffer.get_mut(..len).unwrap_or_default();
            file.read_exact_at(chunk, u64::from(from)).map_err(io_error("read", &files.path(segment)))?;
            ahead.look_at(key, FramePos { segment, offset: from }, chunk, rest);
            from = from.saturating_add(len32(len.min(CHUNK_BYTES)));
        }
        from = SEGMENT_HEADER_LEN;
    }
    Ok(ahead)
}

impl Ahead {
    fn look_at(&mut self, key: &FrameKey, pos: FramePos, chunk: &[u8], rest: Rest) {
        let own = chunk.len().min(CHUNK_BYTES);
        for start in (0..own).step_by(SECTOR) {
            let sector = chunk.get(start..(start + SECTOR).min(own)).unwrap_or_default();
            if is_zero(sector) {
                continue;
            }
            let from = pos.offset + len32(start);
            let extent = Extent { segment: pos.segment, from, to: from + len32(sector.len()) };
            let before = self.headers;
            for inner in (start..start + sector.len()).step_by(8) {
                let at_pos = FramePos { offset: pos.offset + len32(inner), ..pos };
                self.look_for_header(key, at_pos, chunk.get(inner..).unwrap_or_default());
            }
            if rest == Rest::Zeros || self.headers > before {
                self.note_nonzero(extent);
            }
        }
    }

    fn look_for_header(&mut self, key: &FrameKey, pos: FramePos, bytes: &[u8]) {
        let magic = key.magic().to_le_bytes();
        if bytes.first_chunk::<4>() != Some(&magic) {
            return;
        }
        let Ok(header) = key.parse(pos, bytes) else { return };
        self.headers += 1;
        self.frames = self.frames.max(header.durable_lsn);
        self.epoch = self.epoch.max(header.epoch);
        if header.kind == FrameKind::Batch {
            self.last_lsn = self.last_lsn.max(header.last_lsn());
        }
    }

    fn note_nonzero(&mut self, extent: Extent) {
        if let Some(last) = self.nonzero.last_mut()
            && last.segment == extent.segment
            && last.to == extent.from
        {
            last.to = extent.to;
            return;
        }
        self.nonzero.push(extent);
    }

    /// Bytes in sectors that are not all zero.
    pub(crate) fn nonzero_bytes(&self) -> u64 {
        self.nonzero.iter().map(|extent| u64::from(extent.to - extent.from)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnixMicros;
    use crate::format::frame::FrameHeader;
    use crate::format::testing::GEOMETRY;

    const HERE: FramePos = FramePos { segment: 2, offset: 8192 };

    /// Four sectors: one with bytes that are no header, one with a header, zeros, one with bytes again.
    fn chunk(key: &FrameKey) -> Vec<u8> {
        let mut bytes = vec![0; 4 * SECTOR];
        bytes[7] = 1;
        bytes[3 * SECTOR + 500] = 1;
        let header = FrameHeader {
            kind: FrameKind::Batch,
            flags: 2,
            payload_len: 0,
            record_count: 3,
            first_lsn: Lsn(9),
            durable_lsn: Lsn(8),
            commit_time: UnixMicros(1),
            epoch: 6,
            group_len: 512,
            prev_hdr_crc: 1,
            payload_crc: 1,
            schema: 0,
            hdr_crc: 0,
        };
        let mut raw = [0; FRAME_HEADER_LEN];
        header.write(key.magic(), &mut raw);
        let at = SECTOR + 16;
        let crc = key.hdr_crc(FramePos { offset: HERE.offset + len32(at), ..HERE }, &raw);
        raw[60..].copy_from_slice(&crc.to_le_bytes());
        bytes[at..at + FRAME_HEADER_LEN].copy_from_slice(&raw);
        bytes
    }

    fn extents(rest: Rest) -> (Ahead, Vec<(u32, u32)>) {
        let key = FrameKey::new(&GEOMETRY);
        let mut ahead = Ahead::default();
        ahead.look_at(&key, HERE, &chunk(&key), rest);
        let found = ahead.nonzero.iter().map(|extent| (extent.from, extent.to)).collect();
        (ahead, found)
    }

    #[test]
    fn sectors_to_erase_and_what_headers_say() {
        let (ahead, found) = extents(Rest::Zeros);
        assert_eq!(found, [(8192, 9216), (9728, 10240)], "neighbours are joined");
        assert_eq!((ahead.headers, ahead.frames, ahead.last_lsn, ahead.epoch), (1, Lsn(8), Lsn(11), 6));
        assert_eq!(ahead.nonzero_bytes(), 1536);
        let (ahead, found) = extents(Rest::OldBytes);
        assert_eq!(found, [(8704, 9216)], "old bytes stay; a header that validates is of this segment");
        assert_eq!(ahead.headers, 1);
    }
}
