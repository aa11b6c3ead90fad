//! The frame: a header of 64 bytes, then the payload, zero-padded to 8. Its CRC is seeded with where it stands,
//! so a frame at another place, in another segment, log or timeline never validates.
//!
//! Owns: header bytes, the payloads of the control frames, and [`FrameKey`], which computes and checks header
//! CRCs. Never does: judge whether a sound frame continues the log (`recovery/walk.rs` does), I/O.
//!
//! ```text
//! 0      4    5     6         8            12            16         24           32           40     44        48
//! | magic|kind|flags|header 64| payload_len| record_count| first_lsn| durable_lsn| commit_time| epoch| group_len|
//! 48            52           56       60       64                      64 + pad8(payload_len)
//! | prev_hdr_crc| payload_crc| schema | hdr_crc| payload … zero padding |
//! ```

use super::{FRAME_HEADER_BYTES, FRAME_HEADER_LEN, Fields, Geometry, at, is_zero, pad8, software_field};
use crate::planted::{self, Bug};
use crate::{FramePos, Lsn, UnixMicros};

/// First frame of its group.
pub(crate) const GROUP_FIRST: u8 = 1;
/// Last frame of its group.
pub(crate) const GROUP_LAST: u8 = 2;

/// Payload bytes of a SegmentStart frame.
pub(crate) const SEGMENT_START_LEN: usize = 24;
/// Payload bytes of an Open frame.
pub(crate) const OPEN_LEN: usize = 72;
/// Payload bytes of a Gap frame.
pub(crate) const GAP_LEN: usize = 24;

/// What the header says about its own length.
const HEADER_LEN_FIELD: u16 = 64;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Events.
    Batch,
    /// First frame of a segment that is not the log's first: names the exact end of the one before.
    SegmentStart,
    /// First frame after a successful open.
    Open,
    /// Stands for events that were lost and whose loss was accepted. Only a salvage writes it.
    Gap,
    /// A kind of 128 or above that this build skips.
    Ignorable(u8),
    /// A kind below 128 that this build does not know: it must not go on.
    Unknown(u8),
}

impl FrameKind {
    pub(crate) const fn code(self) -> u8 {
        match self {
            FrameKind::Batch => 1,
            FrameKind::SegmentStart => 2,
            FrameKind::Open => 3,
            FrameKind::Gap => 4,
            FrameKind::Ignorable(code) | FrameKind::Unknown(code) => code,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            1 => FrameKind::Batch,
            2 => FrameKind::SegmentStart,
            3 => FrameKind::Open,
            4 => FrameKind::Gap,
            128..=255 => FrameKind::Ignorable(code),
            _ => FrameKind::Unknown(code),
        }
    }
}

/// A frame header as read; sound, but not yet known to continue the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) flags: u8,
    pub(crate) payload_len: u32,
    pub(crate) record_count: u32,
    pub(crate) first_lsn: Lsn,
    pub(crate) durable_lsn: Lsn,
    pub(crate) commit_time: UnixMicros,
    pub(crate) epoch: u32,
    pub(crate) group_len: u32,
    pub(crate) prev_hdr_crc: u32,
    pub(crate) payload_crc: u32,
    pub(crate) schema: u32,
    pub(crate) hdr_crc: u32,
}

impl FrameHeader {
    /// The last LSN in this frame; for control frames the one before `first_lsn`.
    pub(crate) const fn last_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0.saturating_add(self.record_count as u64).saturating_sub(1))
    }

    /// Bytes of header, payload and padding.
    pub(crate) const fn frame_len(&self) -> u32 {
        FRAME_HEADER_BYTES + pad8(self.payload_len)
    }

    pub(crate) const fn is_first(&self) -> bool {
        self.flags & GROUP_FIRST != 0
    }

    pub(crate) const fn is_last(&self) -> bool {
        self.flags & GROUP_LAST != 0
    }

    /// Writes the header, without its CRC, to the front of `out`.
    pub(crate) fn write(&self, magic: u32, out: &mut [u8; FRAME_HEADER_LEN]) {
        let mut b = Vec::with_capacity(FRAME_HEADER_LEN);
        self.push(magic, &mut b);
        out.copy_from_slice(&b);
    }

    /// Appends the header, with `hdr_crc` as it stands.
    pub(crate) fn push(&self, magic: u32, b: &mut Vec<u8>) {
        let mut h = [0_u8; FRAME_HEADER_LEN];
        {
            let mut rest: &mut [u8] = &mut h;
            let mut put = |bytes: &[u8]| {
                let (head, tail) = std::mem::take(&mut rest).split_at_mut(bytes.len());
                head.copy_from_slice(bytes);
                rest = tail;
            };
            put(&magic.to_le_bytes());
            put(&[self.kind.code(), self.flags]);
            put(&HEADER_LEN_FIELD.to_le_bytes());
            put(&self.payload_len.to_le_bytes());
            put(&self.record_count.to_le_bytes());
            put(&self.first_lsn.0.to_le_bytes());
            put(&self.durable_lsn.0.to_le_bytes());
            put(&self.commit_time.0.to_le_bytes());
            put(&self.epoch.to_le_bytes());
            put(&self.group_len.to_le_bytes());
            put(&self.prev_hdr_crc.to_le_bytes());
            put(&self.payload_crc.to_le_bytes());
            put(&self.schema.to_le_bytes());
            put(&self.hdr_crc.to_le_bytes());
        }
        b.extend_from_slice(&h);
    }

    /// Reads the fields without checking anything; `None` when the header length is not 64 or flags are unknown.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields(bytes.get(4..FRAME_HEADER_LEN)?);
        let (kind, flags, header_len) = (FrameKind::from_code(f.u8()?), f.u8()?, f.u16()?);
        if header_len != HEADER_LEN_FIELD || flags & !(GROUP_FIRST | GROUP_LAST) != 0 {
            return None;
        }
        Some(Self {
            kind,
            flags,
            payload_len: f.u32()?,
            record_count: f.u32()?,
            first_lsn: Lsn(f.u64()?),
            durable_lsn: Lsn(f.u64()?),
            commit_time: UnixMicros(f.u64()?),
            epoch: f.u32()?,
            group_len: f.u32()?,
            prev_hdr_crc: f.u32()?,
            payload_crc: f.u32()?,
            schema: f.u32()?,
            hdr_crc: f.u32()?,
        })
    }
}

/// Computes and checks header CRCs of one log. Secret: who knows it can forge frames.
#[derive(Clone)]
pub(crate) struct FrameKey {
    magic: u32,
    max_payload: u32,
    seed: crc32fast::Hasher,
}

impl FrameKey {
    pub(crate) fn new(geometry: &Geometry) -> Self {
        let mut seed = crc32fast::Hasher::new();
        seed.update(&geometry.log_id);
        seed.update(&geometry.timeline.to_le_bytes());
        Self { magic: geometry.frame_magic, max_payload: geometry.max_payload, seed }
    }

    pub(crate) const fn magic(&self) -> u32 {
        self.magic
    }

    /// CRC of (log_id ‖ timeline ‖ segment_seq ‖ file_offset ‖ the first 60 bytes of the header).
    pub(crate) fn hdr_crc(&self, pos: FramePos, header: &[u8; FRAME_HEADER_LEN]) -> u32 {
        let pos = if planted::is(Bug::PlaceNotInChecksum) { FramePos::default() } else { pos };
        let mut bytes = [0_u8; 76];
        let (place, rest) = bytes.split_at_mut(16);
        let (seq, offset) = place.split_at_mut(8);
        seq.copy_from_slice(&u64::from(pos.segment).to_le_bytes());
        offset.copy_from_slice(&u64::from(pos.offset).to_le_bytes());
        if let Some(fields) = header.first_chunk::<60>() {
            rest.copy_from_slice(fields);
        }
        let mut hasher = self.seed.clone();
        hasher.update(&bytes);
        hasher.finalize()
    }

    /// Reads the header at the front of `bytes`, which stand at `pos`; or says which check failed.
    pub(crate) fn parse(&self, pos: FramePos, bytes: &[u8]) -> Result<FrameHeader, &'static str> {
        let raw = bytes.first_chunk::<FRAME_HEADER_LEN>().ok_or("header is cut short")?;
        let (magic, _) = raw.split_first_chunk::<4>().ok_or("header is cut short")?;
        if u32::from_le_bytes(*magic) != self.magic {
            return Err(if is_zero(raw) { "nothing here" } else { "frame magic" });
        }
        let (_, crc) = raw.split_last_chunk::<4>().ok_or("header is cut short")?;
        if u32::from_le_bytes(*crc) != self.hdr_crc(pos, raw) && !planted::is(Bug::HeaderCrcIgnored) {
            return Err("header checksum");
        }
        let header = FrameHeader::read(raw).ok_or("header length or flags")?;
        if header.payload_len > self.max_payload {
            return Err("payload length");
        }
        Ok(header)
    }
}

/// Checks a payload with its padding against its header.
pub(crate) fn check_payload(header: &FrameHeader, padded: &[u8]) -> Result<(), &'static str> {
    let Some((_, padding)) = padded.split_at_checked(at(header.payload_len)) else {
        return Err("payload is cut short");
    };
    if padded.len() != at(pad8(header.payload_len)) || !is_zero(padding) {
        return Err("payload padding");
    }
    if crc32fast::hash(padded) != header.payload_crc && !planted::is(Bug::PayloadCrcIgnored) {
        return Err("payload checksum");
    }
    Ok(())
}

/// Payload of a SegmentStart frame: the exact end of the segment before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentStart {
    pub(crate) prev_end: FramePos,
    pub(crate) prev_last_lsn: Lsn,
}

impl SegmentStart {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_START_LEN] {
        let mut out = [0; SEGMENT_START_LEN];
        let (seq, rest) = out.split_at_mut(8);
        let (end, lsn) = rest.split_at_mut(8);
        seq.copy_from_slice(&u64::from(self.prev_end.segment).to_le_bytes());
        end.copy_from_slice(&u64::from(self.prev_end.offset).to_le_bytes());
        lsn.copy_from_slice(&self.prev_last_lsn.0.to_le_bytes());
        out
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let mut f = Fields(payload);
        let segment = u32::try_from(f.u64()?).ok()?;
        let offset = u32::try_from(f.u64()?).ok()?;
        Some(Self { prev_end: FramePos { segment, offset }, prev_last_lsn: Lsn(f.u64()?) })
    }
}

/// Payload of a Gap frame: which events the log lost. The next event has the LSN after `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GapNote {
    pub(crate) from: Lsn,
    pub(crate) to: Lsn,
}

/// Why events are missing: they were damaged or missing, and an operator accepted their loss.
const GAP_SALVAGED: u32 = 1;

impl GapNote {
    pub(crate) fn encode(&self) -> [u8; GAP_LEN] {
        let mut out = [0; GAP_LEN];
        let (from, rest) = out.split_at_mut(8);
        let (to, reason) = rest.split_at_mut(8);
        from.copy_from_slice(&self.from.0.to_le_bytes());
        to.copy_from_slice(&self.to.0.to_le_bytes());
        reason.copy_from_slice(&u64::from(GAP_SALVAGED).to_le_bytes());
        out
    }

    /// `None` unless it is whole and names at least one LSN, below the last possible one.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let mut f = Fields(payload);
        let note = Self { from: Lsn(f.u64()?), to: Lsn(f.u64()?) };
        let sane = f.u32()? == GAP_SALVAGED && f.u32()? == 0 && f.0.is_empty();
        (sane && note.from <= note.to && note.to < Lsn::MAX && note.from >= Lsn::FIRST).then_some(note)
    }
}

/// Payload of an Open frame: who opened the log, and what that open found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenNote {
    pub(crate) epoch: u32,
    /// V of the recovery.
    pub(crate) recovered: Lsn,
    /// Where bytes were cut; segment 0 when nothing was.
    pub(crate) cut_at: FramePos,
    pub(crate) boot_id: [u8; 16],
    pub(crate) software: [u8; 32],
}

impl OpenNote {
    pub(crate) fn new(
        epoch: u32,
        recovered: Lsn,
        cut_at: FramePos,
        boot_id: [u8; 16],
        software: &str,
    ) -> Self {
        Self { epoch, recovered, cut_at, boot_id, software: software_field(software) }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(OPEN_LEN);
        b.extend_from_slice(&self.epoch.to_le_bytes());
        b.extend_from_slice(&[0; 4]);
        b.extend_from_slice(&self.recovered.0.to_le_bytes());
        b.extend_from_slice(&self.cut_at.to_u64().to_le_bytes());
        b.extend_from_slice(&self.boot_id);
        b.extend_from_slice(&self.software);
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::{GEOMETRY, check_damage};

    const POS: FramePos = FramePos { segment: 3, offset: 8192 };

    fn sealed(key: &FrameKey, kind: FrameKind) -> Vec<u8> {
        let header = FrameHeader {
            kind,
            flags: GROUP_FIRST,
            payload_len: 16,
            record_count: 1,
            first_lsn: Lsn(9),
            durable_lsn: Lsn(8),
            commit_time: UnixMicros(7),
            epoch: 6,
            group_len: 512,
            prev_hdr_crc: 5,
            payload_crc: 4,
            schema: 0,
            hdr_crc: 0,
        };
        let mut raw = [0; FRAME_HEADER_LEN];
        header.write(key.magic(), &mut raw);
        let crc = key.hdr_crc(POS, &raw);
        let mut bytes = raw.to_vec();
        bytes.truncate(60);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn round_trip_damage_and_all_kinds() {
        let key = FrameKey::new(&GEOMETRY);
        for code in 0..=255 {
            let kind = FrameKind::from_code(code);
            assert_eq!(kind.code(), code);
            assert_eq!(matches!(kind, FrameKind::Ignorable(_)), code >= 128, "{code}");
            assert_eq!(
                matches!(kind, FrameKind::Unknown(_)),
                code == 0 || (5..128).contains(&code),
                "{code}"
            );
            assert_eq!(
                key.parse(POS, &sealed(&key, kind)).map(|h| (h.kind, h.last_lsn())),
                Ok((kind, Lsn(9)))
            );
        }
        check_damage(&sealed(&key, FrameKind::Batch), |bytes| key.parse(POS, bytes).is_ok());
    }

    #[test]
    fn a_payload_may_be_as_long_as_the_log_allows_and_no_longer() {
        let key = FrameKey::new(&GEOMETRY);
        let with = |payload_len: u32| {
            let mut bytes = sealed(&key, FrameKind::Batch);
            bytes[8..12].copy_from_slice(&payload_len.to_le_bytes());
            let raw: [u8; FRAME_HEADER_LEN] = bytes[..FRAME_HEADER_LEN].try_into().unwrap();
            bytes[60..].copy_from_slice(&key.hdr_crc(POS, &raw).to_le_bytes());
            key.parse(POS, &bytes).map(|header| header.payload_len)
        };
        let max = GEOMETRY.max_payload;
        assert_eq!((with(max), with(max + 1)), (Ok(max), Err("payload length")));
    }

    /// Under a right checksum: another header length or an unknown flag, alone, is refused.
    #[test]
    fn header_length_and_flags_are_checked_each() {
        let key = FrameKey::new(&GEOMETRY);
        let changed = |at: usize, value: u8| {
            let mut raw =
                *sealed(&key, FrameKind::Batch).first_chunk::<FRAME_HEADER_LEN>().expect("64 bytes");
            raw[at] = value;
            let crc = key.hdr_crc(POS, &raw);
            raw[60..].copy_from_slice(&crc.to_le_bytes());
            key.parse(POS, &raw).map(|header| header.flags)
        };
        assert_eq!(changed(5, GROUP_FIRST | GROUP_LAST), Ok(GROUP_FIRST | GROUP_LAST));
        for (at, value) in [(5, 4), (5, 128), (6, 65), (7, 1)] {
            assert_eq!(changed(at, value), Err("header length or flags"), "byte {at} is {value}");
        }
    }

    /// A misdirected write, a recycled segment, another log or timeline: the same bytes do not validate elsewhere.
    #[test]
    fn a_frame_validates_only_where_it_was_written() {
        let key = FrameKey::new(&GEOMETRY);
        let bytes = sealed(&key, FrameKind::Batch);
        for pos in [FramePos { offset: 8704, ..POS }, FramePos { segment: 4, ..POS }] {
            assert_eq!(key.parse(pos, &bytes).err(), Some("header checksum"), "{pos}");
        }
        let timeline = Geometry { timeline: 2, ..GEOMETRY };
        let log = Geometry { log_id: [0; 16], ..GEOMETRY };
        for other in [timeline, log] {
            assert_eq!(FrameKey::new(&other).parse(POS, &bytes).err(), Some("header checksum"));
        }
    }

    #[test]
    fn payload_checks() {
        let key = FrameKey::new(&GEOMETRY);
        let mut header = key.parse(POS, &sealed(&key, FrameKind::Batch)).expect("sound");
        header.payload_len = 13;
        let good = *b"0123456789abc\0\0\0";
        header.payload_crc = crc32fast::hash(&good);
        check_damage(&good, |bytes| check_payload(&header, bytes).is_ok());
        // Under a right checksum: padding that is not zero, or longer than it has to be, alone, is refused.
        for wrong in [&b"0123456789abc\0\x01\0"[..], b"0123456789abc\0\0\0\0\0\0\0\0\0\0\0"] {
            header.payload_crc = crc32fast::hash(wrong);
            assert_eq!(check_payload(&header, wrong), Err("payload padding"));
        }
    }

    #[test]
    fn gap_round_trip_and_values_that_make_no_sense() {
        let note = GapNote { from: Lsn(5), to: Lsn(7) };
        assert_eq!(GapNote::decode(&note.encode()), Some(note));
        for (from, to) in [(5, 4), (0, 4), (5, u64::MAX)] {
            assert_eq!(
                GapNote::decode(&GapNote { from: Lsn(from), to: Lsn(to) }.encode()),
                None,
                "{from}-{to}"
            );
        }
        let mut strange = note.encode();
        strange[16] = 2;
        assert_eq!(GapNote::decode(&strange), None, "a reason that this build does not know");
        assert_eq!(GapNote::decode(&note.encode()[..23]), None);
        let mut more = note.encode();
        more[20] = 1;
        assert_eq!(GapNote::decode(&more), None, "what must be zero is not");
        assert_eq!(GapNote::decode(&[&note.encode()[..], &[0]].concat()), None, "one byte more");
    }

    #[test]
    fn segment_start_round_trip() {
        let note = SegmentStart { prev_end: POS, prev_last_lsn: Lsn(7) };
        assert_eq!(SegmentStart::decode(&note.encode()), Some(note));
        assert_eq!(SegmentStart::decode(&[0; 23]), None);
    }
}
