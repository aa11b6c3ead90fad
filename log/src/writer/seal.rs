//! Sealing a group for its write: flags, evidence, chain and checksums, filled in off the appender's lock.
//!
//! Owns: the second half of the header fields. Never does: I/O, move a frame.
//!
//! Upholds L2 (`durable_lsn` never over-claims: it is what was durable when the group was sealed) and L5 (every
//! frame names its predecessor's checksum).

use crate::format::frame::{FrameHeader, FrameKey, FrameKind, GROUP_FIRST, GROUP_LAST};
use crate::format::{FRAME_HEADER_LEN, at, len32};
use crate::reader::index::Mark;
use crate::writer::layout::Group;
use crate::{FramePos, Lsn};

/// Fills in the rest of every header; returns the chain after the group and a mark per batch frame.
///
/// # Panics
/// When the group's bytes are not those that the layout made.
#[expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "the layout made these bytes; anything else is our mistake"
)]
pub(crate) fn seal(
    group: &mut Group,
    key: &FrameKey,
    durable: Lsn,
    mut chain: u32,
    marks: &mut Vec<Mark>,
) -> u32 {
    let group_len = len32(group.bytes.len());
    let mut offset = 0_u32;
    let mut next = header_at(group, key, 0);
    while let Some(mut header) = next {
        let start = at(offset);
        let body = start + FRAME_HEADER_LEN;
        let end = start + at(header.frame_len());
        let pos = FramePos { segment: group.segment, offset: group.start + offset };
        next = header_at(group, key, end);
        let first = if offset == 0 { GROUP_FIRST } else { 0 };
        let last = if next.is_none() { GROUP_LAST } else { 0 };
        header.flags = first | last;
        header.durable_lsn = durable;
        header.group_len = group_len;
        header.prev_hdr_crc = chain;
        header.payload_crc = crc32fast::hash(&group.bytes[body..end]);
        let raw = group.bytes[start..].first_chunk_mut::<FRAME_HEADER_LEN>().expect("a header stands here");
        header.write(key.magic(), raw);
        chain = key.hdr_crc(pos, raw);
        raw[60..].copy_from_slice(&chain.to_le_bytes());
        if header.kind == FrameKind::Batch {
            marks.push(Mark { first_lsn: header.first_lsn, commit_time: header.commit_time, pos });
        }
        offset = len32(end);
    }
    chain
}

/// The header that the layout put at `start`; `None` at the group's padding or end.
fn header_at(group: &Group, key: &FrameKey, start: usize) -> Option<FrameHeader> {
    let bytes = group.bytes.get(start..)?;
    let (magic, _) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*magic) != key.magic() {
        return None;
    }
    FrameHeader::read(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Batch;
    use crate::UnixMicros;
    use crate::format::testing::GEOMETRY;
    use crate::writer::layout::{Layout, Limits, Resume};
    use crate::writer::supply::{Purpose, Stock};

    #[test]
    fn l2_l5_evidence_and_chain_of_a_group() {
        let limits = Limits { group_bytes_max: 4096, batch_bytes_max: 8192, buffer_bytes_max: 1 << 20 };
        let end = FramePos { segment: 1, offset: 4096 };
        let resume = Resume { end, last_lsn: Lsn(10), last_commit: UnixMicros(0), epoch: 2 };
        let mut layout = Layout::new(GEOMETRY, limits, resume);
        let mut batch = Batch::new();
        batch.push_raw(1, 1, b"x");
        let stock = Stock { ready_upto: 1, spares: 1, no_space: false, reserving: true };
        for _ in 0..3 {
            layout.append(&batch, UnixMicros(1), Purpose::NewWork, &stock).expect("fits");
        }
        let mut group = layout.take().expect("a group");
        let key = FrameKey::new(&GEOMETRY);
        let mut marks = Vec::new();
        let chain = seal(&mut group, &key, Lsn(10), 77, &mut marks);
        assert_eq!(marks.iter().map(|m| m.first_lsn.0).collect::<Vec<_>>(), [11, 12, 13]);
        let mut expected = 77;
        for (n, mark) in marks.iter().enumerate() {
            let bytes = group.bytes.get(at(mark.pos.offset - group.start)..).expect("in the group");
            let header = key.parse(mark.pos, bytes).expect("sound");
            assert_eq!(
                (header.prev_hdr_crc, header.durable_lsn, header.group_len),
                (expected, Lsn(10), 512),
                "L2, L5"
            );
            assert_eq!((header.is_first(), header.is_last()), (n == 0, n == 2));
            expected = header.hdr_crc;
        }
        assert_eq!(chain, expected);
    }
}
