//! One segment, read to its end whatever the damage: every frame that validates where it stands.
//!
//! Owns: finding frames behind damage, and telling sound payloads from damaged ones. Never does: judge whether a frame
//! belongs to the log (`survey.rs` does), write.

use std::io;

use crate::disk::DiskFile;
use crate::format::frame::{FrameHeader, FrameKey, FrameKind, GapNote, check_payload};
use crate::format::{FRAME_HEADER_LEN, Geometry, at, len32};
use crate::reader::frame::records_are_sound;
use crate::{FramePos, Lsn};

/// The bytes of one segment. What could not be read is zero, and named.
pub(super) struct SegmentBytes {
    pub(super) bytes: Vec<u8>,
    /// Offsets of units that the disk did not give, with what it said.
    pub(super) unreadable: Vec<(u32, io::Error)>,
}

/// Read again one by one when the whole cannot be read.
const UNIT_BYTES: usize = 4096;

impl SegmentBytes {
    /// Reads a segment of that length; a shorter file reads as if zeros followed.
    pub(super) fn read(file: &dyn DiskFile, segment_bytes: u32) -> io::Result<SegmentBytes> {
        let len = file.len()?.min(u64::from(segment_bytes));
        let have = usize::try_from(len).unwrap_or(usize::MAX);
        let mut bytes = vec![0; at(segment_bytes)];
        let mut unreadable = Vec::new();
        let readable = bytes.get_mut(..have).unwrap_or_default();
        if file.read_exact_at(readable, 0).is_err() {
            // A hint; the second read decides.
            drop(file.drop_cache());
            for (n, unit) in readable.chunks_mut(UNIT_BYTES).enumerate() {
                let offset = len32(n * UNIT_BYTES);
                if let Err(error) = file.read_exact_at(unit, u64::from(offset)) {
                    unit.fill(0);
                    unreadable.push((offset, error));
                }
            }
        }
        Ok(SegmentBytes { bytes, unreadable })
    }
}

/// What a scan meets, in the order of offsets.
pub(super) enum Met<'a> {
    /// A frame, whole and sound.
    Frame { header: FrameHeader, pos: FramePos, next_lsn: Lsn, payload: &'a [u8] },
    /// A sound header over a payload that is not what was written.
    BadPayload { header: FrameHeader, pos: FramePos, check: &'static str },
    /// Where a frame would have to follow, none stands.
    Nothing { pos: FramePos, check: &'static str },
}

/// Goes over a segment and tells everything that it meets.
pub(super) fn scan<'a>(
    bytes: &'a [u8],
    segment: u32,
    geometry: &Geometry,
    key: &FrameKey,
    tell: &mut dyn FnMut(Met<'a>),
) {
    let magic = key.magic().to_le_bytes();
    let mut offset = geometry.first_offset();
    // Whether a frame must follow here if the log goes on.
    let mut follows = true;
    while at(offset) + FRAME_HEADER_LEN <= bytes.len() {
        let pos = FramePos { segment, offset };
        let rest = bytes.get(at(offset)..).unwrap_or_default();
        match key.parse(pos, rest) {
            Ok(header) => {
                let end = offset.saturating_add(header.frame_len());
                match sound(&header, rest) {
                    Ok((next_lsn, payload)) => tell(Met::Frame { header, pos, next_lsn, payload }),
                    Err(check) => tell(Met::BadPayload { header, pos, check }),
                }
                offset = if header.is_last() { geometry.align_up(end) } else { end };
                follows = true;
            }
            Err(check) => {
                if follows {
                    tell(Met::Nothing { pos, check });
                }
                follows = false;
                let Some(found) = next_magic(bytes, at(offset) + 8, magic) else { return };
                offset = len32(found);
            }
        }
    }
}

/// The next multiple of 8 where the magic of a frame stands.
fn next_magic(bytes: &[u8], from: usize, magic: [u8; 4]) -> Option<usize> {
    let words = bytes.get(from..)?.chunks_exact(8);
    let found = words.into_iter().position(|word| word.first_chunk::<4>() == Some(&magic))?;
    Some(from + found * 8)
}

/// The LSN after a frame, and its payload, if all of it is what was written.
fn sound<'a>(header: &FrameHeader, bytes: &'a [u8]) -> Result<(Lsn, &'a [u8]), &'static str> {
    let body = bytes.get(FRAME_HEADER_LEN..at(header.frame_len())).ok_or("frame longer than segment")?;
    check_payload(header, body)?;
    let payload = body.get(..at(header.payload_len)).unwrap_or_default();
    let next = match header.kind {
        FrameKind::Batch if header.record_count == 0 || !records_are_sound(header.record_count, payload) => {
            return Err("record count");
        }
        FrameKind::Gap => {
            let note = GapNote::decode(payload).filter(|note| note.from == header.first_lsn);
            note.ok_or("gap payload")?.to.next()
        }
        FrameKind::SegmentStart | FrameKind::Open | FrameKind::Ignorable(_) if header.record_count > 0 => {
            return Err("record count");
        }
        FrameKind::Batch
        | FrameKind::SegmentStart
        | FrameKind::Open
        | FrameKind::Ignorable(_)
        | FrameKind::Unknown(_) => {
            let next = header.first_lsn.0.checked_add(u64::from(header.record_count));
            Lsn(next.ok_or("first LSN")?)
        }
    };
    Ok((next, payload))
}
