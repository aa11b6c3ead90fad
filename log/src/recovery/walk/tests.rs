//! Each layer alone: a frame, or a group, that is right but for one thing is stopped by the check of that thing. Most of
//! these layers stand behind others, so that no simulation of whole lives would miss one of them.

use super::*;
use crate::UnixMicros;
use crate::format::frame::{GROUP_FIRST, GROUP_LAST};
use crate::format::testing::GEOMETRY;

const POS: FramePos = FramePos { segment: 2, offset: 8192 };
const EXPECTED: Expected =
    Expected { lsn: Lsn(10), chain: 0xABCD, epoch: 5, durable: Lsn(7), commit: UnixMicros(1) };

/// A frame that continues `EXPECTED`, after `edit`, with sound checksums, as if written at `written_at`.
fn frame(written_at: FramePos, edit: impl FnOnce(&mut FrameHeader)) -> Vec<u8> {
    let mut payload = vec![4, 0, 0, 0, 7, 0, 1, 0, 1, 2, 3, 4];
    payload.resize(16, 0);
    frame_of(written_at, 12, &payload, edit)
}

/// The same with another payload, of which so many bytes are not padding.
fn frame_of(
    written_at: FramePos,
    payload_len: u32,
    payload: &[u8],
    edit: impl FnOnce(&mut FrameHeader),
) -> Vec<u8> {
    let key = FrameKey::new(&GEOMETRY);
    let mut header = FrameHeader {
        kind: FrameKind::Batch,
        flags: 3,
        payload_len,
        record_count: 1,
        first_lsn: Lsn(10),
        durable_lsn: Lsn(8),
        commit_time: UnixMicros(2),
        epoch: 5,
        group_len: 512,
        prev_hdr_crc: 0xABCD,
        payload_crc: crc32fast::hash(payload),
        schema: 0,
        hdr_crc: 0,
    };
    edit(&mut header);
    let mut raw = [0; FRAME_HEADER_LEN];
    header.write(key.magic(), &mut raw);
    let crc = key.hdr_crc(written_at, &raw);
    raw[60..].copy_from_slice(&crc.to_le_bytes());
    [raw.to_vec(), payload.to_vec()].concat()
}

/// Where the segment before ended, in these tests.
const PREV_END: FramePos = FramePos { segment: 1, offset: 12_288 };
/// Where the first group of a segment stands.
const START: FramePos = FramePos { segment: 2, offset: GEOMETRY.first_offset() };

fn crc_of(frame: &[u8]) -> u32 {
    u32::from_le_bytes(frame[60..64].try_into().unwrap())
}

/// A group of two frames, each edited, padded to `len`.
fn group(len: usize, one: impl FnOnce(&mut FrameHeader), two: impl FnOnce(&mut FrameHeader)) -> Vec<u8> {
    let mut bytes = frame(POS, |h| {
        h.flags = GROUP_FIRST;
        one(h);
    });
    let chain = crc_of(&bytes);
    let second = FramePos { offset: POS.offset + len32(bytes.len()), ..POS };
    bytes.extend(frame(second, |h| {
        (h.flags, h.first_lsn, h.prev_hdr_crc) = (GROUP_LAST, Lsn(11), chain);
        two(h);
    }));
    bytes.resize(len, 0);
    bytes
}

/// A group at the start of a segment, which names the end of the one before as `edit` leaves it.
fn start_group(edit: impl FnOnce(&mut SegmentStart)) -> Vec<u8> {
    let mut note = SegmentStart { prev_end: PREV_END, prev_last_lsn: Lsn(9) };
    edit(&mut note);
    let mut bytes = frame_of(START, 24, &note.encode(), |h| {
        (h.kind, h.record_count) = (FrameKind::SegmentStart, 0);
    });
    bytes.resize(512, 0);
    bytes
}

/// The LSN after the group, or the check that stopped it.
fn judged_group(pos: FramePos, bytes: &[u8]) -> Result<(Lsn, u64), &'static str> {
    let key = FrameKey::new(&GEOMETRY);
    match check_group(&GEOMETRY, &key, pos, bytes, EXPECTED, PREV_END, 1) {
        Ok(group) => Ok((group.next.lsn, group.batches)),
        Err(Stop::Check(check)) => Err(check),
        Err(Stop::Unknown(_)) => Err("unknown kind"),
    }
}

#[test]
fn l5_groups_are_whole_flagged_and_padded_with_zeros() {
    assert_eq!(judged_group(POS, &group(512, |_| {}, |_| {})), Ok((Lsn(12), 2)));
    let mut dirty = group(512, |_| {}, |_| {});
    dirty[511] = 1;
    let cases = [
        ("group flags", group(512, |_| {}, |second| second.flags = GROUP_FIRST | GROUP_LAST)),
        ("group flags", group(512, |first| first.flags = 0, |_| {})),
        ("group padding", dirty),
        // A frame that says it is the last, with room for another unit behind it.
        ("group padding", group(1024, |first| first.group_len = 1024, |second| second.group_len = 1024)),
        ("group length", group(512, |_| {}, |second| second.group_len = 1024)),
        ("chain", group(512, |_| {}, |second| second.prev_hdr_crc = 1)),
        ("first LSN", group(512, |_| {}, |second| second.first_lsn = Lsn(12))),
        ("epoch", group(512, |first| first.epoch = 6, |_| {})),
        // The frame after it is not there.
        ("nothing here", group(512, |_| {}, |second| second.flags = 0)),
    ];
    for (n, (check, bytes)) in cases.into_iter().enumerate() {
        assert_eq!(judged_group(POS, &bytes), Err(check), "case {n}");
    }
}

#[test]
fn l5_a_segment_names_the_end_of_the_one_before() {
    const UNNAMED: &str = "segment start does not name the end of the segment before";
    assert_eq!(judged_group(START, &start_group(|_| {})), Ok((Lsn(10), 0)));
    let mut batch = frame(START, |_| {});
    batch.resize(512, 0);
    let mut inside =
        frame_of(POS, 24, &SegmentStart { prev_end: PREV_END, prev_last_lsn: Lsn(9) }.encode(), |h| {
            (h.kind, h.record_count) = (FrameKind::SegmentStart, 0);
        });
    inside.resize(512, 0);
    let cases = [
        (UNNAMED, START, start_group(|note| note.prev_last_lsn = Lsn(8))),
        (UNNAMED, START, start_group(|note| note.prev_end.offset = 8192)),
        (UNNAMED, START, start_group(|note| note.prev_end.segment = 0)),
        ("segment start payload", START, batch),
        ("segment start inside a segment", POS, inside),
    ];
    for (check, pos, bytes) in cases {
        assert_eq!(judged_group(pos, &bytes), Err(check), "{pos}");
    }
}

fn judged(bytes: &[u8]) -> Result<Expected, &'static str> {
    match check_frame(&FrameKey::new(&GEOMETRY), POS, bytes, 512, EXPECTED) {
        Ok((_, next)) => Ok(next),
        Err(Stop::Check(check)) => Err(check),
        Err(Stop::Unknown(_)) => Err("unknown kind"),
    }
}

#[test]
fn l5_every_layer_stops_a_stale_frame_alone() {
    assert_eq!(judged(&frame(POS, |_| {})).map(|next| next.lsn), Ok(Lsn(11)));
    let moved = FramePos { offset: POS.offset + 512, ..POS };
    let other = FramePos { segment: 1, ..POS };
    let cases: [(&str, Vec<u8>); 10] = [
        ("header checksum", frame(moved, |_| {})),
        ("header checksum", frame(other, |_| {})),
        ("first LSN", frame(POS, |h| h.first_lsn = Lsn(11))),
        ("chain", frame(POS, |h| h.prev_hdr_crc = 1)),
        ("epoch", frame(POS, |h| h.epoch = 4)),
        ("durable LSN claims too much", frame(POS, |h| h.durable_lsn = Lsn(10))),
        ("durable LSN moved back", frame(POS, |h| h.durable_lsn = Lsn(6))),
        ("group length", frame(POS, |h| h.group_len = 1024)),
        ("schema", frame(POS, |h| h.schema = 1)),
        ("payload checksum", frame(POS, |h| h.payload_crc ^= 1)),
    ];
    for (check, bytes) in cases {
        assert_eq!(judged(&bytes).map(|next| next.lsn), Err(check));
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn a_layer_that_is_removed_lets_its_frame_through() {
    let moved = FramePos { offset: POS.offset + 512, ..POS };
    let cases: [(Bug, Vec<u8>); 5] = [
        (Bug::HeaderCrcIgnored, frame(moved, |_| {})),
        (Bug::LsnIgnored, frame(POS, |h| h.first_lsn = Lsn(11))),
        (Bug::ChainIgnored, frame(POS, |h| h.prev_hdr_crc = 1)),
        (Bug::EpochIgnored, frame(POS, |h| h.epoch = 4)),
        (Bug::PayloadCrcIgnored, frame(POS, |h| h.payload_crc ^= 1)),
    ];
    for (bug, bytes) in cases {
        planted::plant(&[bug]);
        let judged = judged(&bytes);
        planted::plant(&[]);
        assert!(judged.is_ok(), "{bug:?}: {judged:?}");
    }
    let groups = [
        (Bug::GroupFlagsIgnored, POS, group(512, |_| {}, |second| second.flags = GROUP_FIRST | GROUP_LAST)),
        (Bug::SegmentStartIgnored, START, start_group(|note| note.prev_last_lsn = Lsn(8))),
    ];
    for (bug, pos, bytes) in groups {
        planted::plant(&[bug]);
        let judged = judged_group(pos, &bytes);
        planted::plant(&[]);
        assert!(judged.is_ok(), "{bug:?}: {judged:?}");
    }
    planted::plant(&[Bug::PlaceNotInChecksum]);
    let anywhere = frame(moved, |_| {});
    let judged = judged(&anywhere);
    planted::plant(&[]);
    assert!(judged.is_ok(), "a misdirected write: {judged:?}");
}
