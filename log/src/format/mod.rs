//! Sizes that the whole format agrees on, checked against each other at compile time, and the identity of a log.
//!
//! Owns: the constants, [`Geometry`] (what a log is called and how it is cut into segments) and the little
//! readers and writers of fields. One file per structure owns its bytes. Never does: I/O. `docs/format.md` is
//! normative for every byte.

pub(crate) mod frame;
pub(crate) mod manifest;
pub(crate) mod segment;
pub(crate) mod snapshot;
pub(crate) mod watermark;

/// Format version that this build writes.
pub(crate) const FORMAT_MAJOR: u16 = 1;
/// Minor version: readers accept any.
pub(crate) const FORMAT_MINOR: u16 = 0;
/// Incompatible features that this build knows: none yet.
pub(crate) const INCOMPAT_KNOWN: u64 = 0;
/// Features that forbid writing to builds that do not know them: none yet.
pub(crate) const RO_COMPAT_KNOWN: u64 = 0;

/// Bytes of a record header in a batch payload.
pub(crate) const RECORD_HEADER_LEN: usize = 8;
/// Bytes of a frame header.
pub(crate) const FRAME_HEADER_LEN: usize = 64;
/// The same, for arithmetic on offsets.
pub(crate) const FRAME_HEADER_BYTES: u32 = 64;
/// Bytes of a segment header; the first group of every segment starts here.
pub(crate) const SEGMENT_HEADER_LEN: u32 = 4096;
/// Upper bound of a batch payload in every log.
pub(crate) const BATCH_BYTES_MAX: u64 = 16 << 20;
/// Smallest segment.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// Largest segment: offsets are 32 bits and a group is never larger than a segment.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// What a segment needs beside the largest payload and what stands before its first group: control frames, frame
/// headers, padding.
pub(crate) const SEGMENT_SLACK_BYTES: u64 = 4 << 10;
/// Smallest and largest power of two that groups are aligned to.
pub(crate) const ALIGN_LOG2: std::ops::RangeInclusive<u32> = 9..=16;
/// A segment is at least this many alignments long.
pub const SEGMENT_ALIGNMENTS_MIN: u64 = 4;

// The first group of a segment holds a SegmentStart, an Open frame and the largest batch; its padding fits because a
// segment's size is a multiple of the alignment.
const _: () = assert!(
    SEGMENT_SLACK_BYTES
        >= 3 * FRAME_HEADER_LEN as u64 + frame::SEGMENT_START_LEN as u64 + 8 + frame::OPEN_LEN as u64 + 8
);
const _: () = assert!(FRAME_HEADER_LEN == at(FRAME_HEADER_BYTES));
const _: () = assert!(SEGMENT_BYTES_MIN > SEGMENT_HEADER_LEN as u64 + SEGMENT_SLACK_BYTES);
const _: () = assert!(SEGMENT_ALIGNMENTS_MIN >= 2, "one for what stands before the first group");
const _: () =
    assert!(*ALIGN_LOG2.end() < 31 && SEGMENT_ALIGNMENTS_MIN << *ALIGN_LOG2.end() <= SEGMENT_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX + (1 << *ALIGN_LOG2.end()) + SEGMENT_SLACK_BYTES <= SEGMENT_BYTES_MAX);
const _: () = assert!(SEGMENT_BYTES_MAX <= u32::MAX as u64);

/// What a log is called and how it is cut: the part of the MANIFEST that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) log_id: [u8; 16],
    pub(crate) timeline: u32,
    pub(crate) frame_magic: u32,
    pub(crate) segment_bytes: u32,
    pub(crate) max_payload: u32,
    pub(crate) align_log2: u32,
}

impl Geometry {
    /// The first aligned offset at or above `offset`.
    pub(crate) const fn align_up(&self, offset: u32) -> u32 {
        let mask = (1_u32 << self.align_log2) - 1;
        (offset + mask) & !mask
    }

    /// Where the first group of every segment starts: behind the header, aligned, so that writing the group touches
    /// no sector of the header.
    pub(crate) const fn first_offset(&self) -> u32 {
        self.align_up(SEGMENT_HEADER_LEN)
    }
}

/// `n` rounded up to 8.
pub(crate) const fn pad8(n: u32) -> u32 {
    (n + 7) & !7
}

/// A `u32` as an index; this crate supports no platform where it would not fit.
pub(crate) const fn at(n: u32) -> usize {
    const { assert!(usize::BITS >= 32) };
    n as usize
}

/// A length that is known to fit because every buffer here is bounded by a segment's size.
///
/// # Panics
/// When it does not fit, which breaks a bound that is checked on the way in.
#[expect(
    clippy::expect_used,
    reason = "bounded by SEGMENT_BYTES_MAX + BATCH_BYTES_MAX, see the const assertions"
)]
pub(crate) fn len32(n: usize) -> u32 {
    u32::try_from(n).expect("buffers are bounded by the segment size")
}

/// Takes little-endian fields off the front of a slice; `None` when it is too short.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.bytes().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    pub(crate) fn rest_is_zero(&self) -> bool {
        is_zero(self.0)
    }
}

/// Whether every byte is zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<32>();
    words.iter().all(|w| *w == [0; 32]) && tail.iter().all(|&b| b == 0)
}

/// At most 32 bytes of the software's name, ASCII, zero-padded.
pub(crate) fn software_field(software: &str) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(software.bytes().filter(u8::is_ascii)) {
        *to = from;
    }
    out
}

/// Seals a block: pads it with zeros to `len - 4` and appends the CRC of everything before it.
pub(crate) fn seal_block(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
    debug_assert!(bytes.len() <= len - 4);
    bytes.resize(len - 4, 0);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Opens a sealed block: its body without the CRC, or why not.
pub(crate) fn open_block(bytes: &[u8], len: usize) -> Result<&[u8], &'static str> {
    let block = bytes.get(..len).ok_or("too short")?;
    let (body, crc) = block.split_last_chunk::<4>().ok_or("too short")?;
    if u32::from_le_bytes(*crc) != crc32fast::hash(body) {
        return Err("checksum does not match");
    }
    Ok(body)
}

/// Why a block was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BlockError {
    /// The bytes are not what was written, or are not this structure.
    Damaged(&'static str),
    /// The bytes are sound and need a newer (or another) build.
    Unsupported {
        /// What the block says.
        found: String,
    },
}

/// Checks versions and feature flags, which every block carries in the same order.
pub(crate) fn check_versions(
    major: u16,
    minor: u16,
    incompat: u64,
    ro_compat: u64,
) -> Result<(), BlockError> {
    if major != FORMAT_MAJOR || incompat & !INCOMPAT_KNOWN != 0 || ro_compat & !RO_COMPAT_KNOWN != 0 {
        let found = format!("format {major}.{minor}, incompat {incompat:#x}, ro_compat {ro_compat:#x}");
        return Err(BlockError::Unsupported { found });
    }
    Ok(())
}

/// What this build supports, for error messages.
pub(crate) fn supported() -> String {
    format!("format {FORMAT_MAJOR}.x, incompat {INCOMPAT_KNOWN:#x}, ro_compat {RO_COMPAT_KNOWN:#x}")
}

#[cfg(test)]
pub(crate) mod testing {
    //! What every codec of this format must withstand.

    use super::Geometry;

    /// Some log.
    pub(crate) const GEOMETRY: Geometry = Geometry {
        log_id: *b"0123456789abcdef",
        timeline: 1,
        frame_magic: 0x0403_025a,
        segment_bytes: 16 << 10,
        max_payload: 8 << 10,
        align_log2: 9,
    };

    /// Every truncation and every single-bit flip must be refused.
    pub(crate) fn check_damage(good: &[u8], accepts: impl Fn(&[u8]) -> bool) {
        assert!(accepts(good));
        for len in 0..good.len() {
            assert!(!accepts(good.get(..len).unwrap_or_default()), "cut to {len}");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            if let Some(byte) = bad.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            assert!(!accepts(&bad), "bit {bit}");
        }
    }
}
