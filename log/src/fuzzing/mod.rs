//! What the fuzz targets do with their bytes: the same bodies for `fuzz/` (coverage-guided, for long campaigns) and for
//! the ordinary tests (the committed corpora, and random bytes).
//!
//! Owns: [`TARGETS`] and what must hold for any input. Never does: exist in an ordinary build (feature `fuzzing`).
//!
//! A body panics when something that must hold does not. For inputs that are a log, bytes are a list of changes to a
//! sound directory rather than the directory itself, so that few of them go to waste; a change may fix the checksums
//! that it broke, so that the checks behind them are reached.

mod directory;

use crate::format::frame::{FrameHeader, FrameKey, FrameKind, GapNote, SegmentStart, check_payload};
use crate::format::manifest::Manifest;
use crate::format::snapshot::SnapshotHeader;
use crate::format::watermark::Slot;
use crate::format::{FRAME_HEADER_LEN, Geometry, at};
use crate::reader::frame::records_are_sound;
use crate::{FramePos, events};

/// A target: its name and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 8] = [
    ("frame", frame),
    ("segment_scan", directory::segment_scan),
    ("recovery", directory::recovery),
    ("manifest", manifest),
    ("watermark", watermark),
    ("snapshot", directory::snapshot),
    ("event", event),
    ("salvage", directory::salvage),
];

/// Runs one target.
///
/// # Panics
/// When something that must hold does not, or there is no such target.
pub fn run(target: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(name, _)| *name == target);
    assert!(found.is_some(), "no target {target}");
    if let Some((_, body)) = found {
        body(data);
    }
}

const GEOMETRY: Geometry = Geometry {
    log_id: *b"0123456789abcdef",
    timeline: 1,
    frame_magic: 0x0403_025a,
    segment_bytes: 16 << 10,
    max_payload: 8 << 10,
    align_log2: 9,
};
const POS: FramePos = FramePos { segment: 3, offset: 8192 };

/// Writes a header's magic and checksum, so that its fields count.
pub(crate) fn fix_header(key: &FrameKey, pos: FramePos, bytes: &mut [u8]) {
    let Some(raw) = bytes.first_chunk_mut::<FRAME_HEADER_LEN>() else { return };
    if let Some(magic) = raw.first_chunk_mut::<4>() {
        *magic = key.magic().to_le_bytes();
    }
    let crc = key.hdr_crc(pos, raw);
    if let Some(place) = raw.last_chunk_mut::<4>() {
        *place = crc.to_le_bytes();
    }
}

/// A frame: whatever its bytes, no panic; what parses is written as it was read.
fn frame(data: &[u8]) {
    let Some((&fix, bytes)) = data.split_first() else { return };
    let key = FrameKey::new(&GEOMETRY);
    let mut bytes = bytes.to_vec();
    if fix & 1 == 1 {
        fix_header(&key, POS, &mut bytes);
    }
    let Ok(header) = key.parse(POS, &bytes) else { return };
    let mut again = [0; FRAME_HEADER_LEN];
    FrameHeader::write(&header, key.magic(), &mut again);
    assert_eq!(bytes.get(..FRAME_HEADER_LEN), Some(again.as_slice()), "encode(decode(x)) == x");
    let body = bytes.get(FRAME_HEADER_LEN..).unwrap_or_default();
    let padded = body.get(..at(crate::format::pad8(header.payload_len))).unwrap_or(body);
    let _sound = check_payload(&header, padded);
    let payload = padded.get(..at(header.payload_len)).unwrap_or(padded);
    let _whole = records_are_sound(header.record_count, payload);
    match header.kind {
        FrameKind::Gap => {
            if let Some(note) = GapNote::decode(payload) {
                assert_eq!(note.encode().as_slice(), payload, "encode(decode(x)) == x");
            }
        }
        FrameKind::SegmentStart => {
            if let Some(note) = SegmentStart::decode(payload) {
                assert_eq!(payload.get(..24), Some(note.encode().as_slice()), "encode(decode(x)) == x");
            }
        }
        FrameKind::Batch | FrameKind::Open | FrameKind::Ignorable(_) | FrameKind::Unknown(_) => {}
    }
}

/// Bytes of a block with its checksum made right.
fn sealed(data: &[u8], len: usize) -> Vec<u8> {
    let mut body = data.get(..data.len().min(len - 4)).unwrap_or_default().to_vec();
    body.resize(len - 4, 0);
    let crc = crc32fast::hash(&body);
    body.extend_from_slice(&crc.to_le_bytes());
    body
}

/// MANIFEST: no panic; what is accepted is the same when it is written and read again.
fn manifest(data: &[u8]) {
    for bytes in [data.to_vec(), sealed(data, 4096)] {
        if let Ok(found) = Manifest::decode(&bytes) {
            assert_eq!(Manifest::decode(&found.encode()), Ok(found));
        }
    }
    let header = sealed(data, 4096);
    let _header = crate::format::segment::SegmentHeader::decode(&header);
    let _header = SnapshotHeader::decode(&header);
}

/// A slot of WATERMARK: no panic; what is accepted is written as it was read.
fn watermark(data: &[u8]) {
    for bytes in [data.to_vec(), sealed(data, 512)] {
        if let Some(slot) = Slot::decode(&bytes) {
            assert_eq!(Some(slot.encode().as_slice()), bytes.get(..512));
        }
    }
    let _applied = crate::evidence::decode(&sealed(data, crate::evidence::APPLIED_LEN));
}

/// An event: no panic, no allocation by an unchecked length; what decodes is the same when it is encoded again.
fn event(data: &[u8]) {
    let Some((number, rest)) = data.split_first_chunk::<2>() else { return };
    // The registry's numbers by their index, or any number.
    let asked = u16::from_le_bytes(*number);
    let known = events::registry::KINDS.get(usize::from(asked)).map_or(asked, |kind| kind.number);
    let Ok(event) = events::decode_record(known, 1, rest) else { return };
    let mut body = Vec::new();
    let (number, version) = events::encode_record(&event, &mut body);
    assert_eq!(events::decode_record(number, version, &body).ok(), Some(event));
}

#[cfg(test)]
mod tests;
