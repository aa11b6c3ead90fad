//! The snapshot container: a header, blocks of one size, a footer. What stands in it is the caller's.
//!
//! Owns: these bytes and the file names. Never does: I/O, know what an item means.
//!
//! ```text
//! header  0      8    10   12   16       24        32     40     56    60   64       72    76    80      88     96
//!         | magic|maj |min |len |incompat|ro_compat|compat|log_id|timel|kind|last_lsn|chain|epoch|created|schema|
//!         96       104         112    144   4092 4096
//!         | log start| frame pos | softw. | zero | crc |
//! block   0     4          8                          65532  65536
//!         | len | block no | body, zero behind it     | crc of (log_id ‖ last_lsn u64 ‖ block no u32 ‖ body) |
//! footer  0          4   8        16         24      32       48           56          60    64
//!         | ff ff.. | 0 | blocks | total len | items | digest | body bytes | index items | crc of (log_id ‖ last_lsn ‖ 0..60)
//! ```
//!
//! The bodies, one after the other, are a stream of items: `u32 length ‖ bytes`. Every block but the last is full, so
//! that a place in the stream says where it stands in the file.

use super::{
    BlockError, FORMAT_MAJOR, FORMAT_MINOR, Fields, Geometry, at, check_versions, open_block, seal_block,
    software_field,
};
use crate::{FramePos, Lsn, UnixMicros};

const MAGIC: [u8; 8] = *b"EVLSNP\x00\x01";

/// Bytes of the header.
pub(crate) const SNAPSHOT_HEADER_LEN: u32 = 4096;
/// Bytes of a block on disk.
pub(crate) const BLOCK_LEN: usize = 64 << 10;
/// Bytes of a block beside its body.
const BLOCK_FRAME_LEN: usize = 12;
/// Bytes of a full body.
pub(crate) const BODY_LEN: usize = BLOCK_LEN - BLOCK_FRAME_LEN;
/// Bytes of the footer.
pub(crate) const FOOTER_LEN: usize = 64;
/// Where a block's length would stand: no body is as long.
const FOOTER_MARK: u32 = u32::MAX;

const _: () = assert!(BODY_LEN < FOOTER_MARK as usize);

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SnapshotKind {
    /// The state at an LSN; values by reference into the log.
    State,
    /// The events below the start of the log that something still refers to.
    Base,
}

impl SnapshotKind {
    const fn code(self) -> u32 {
        match self {
            SnapshotKind::State => 1,
            SnapshotKind::Base => 2,
        }
    }

    const fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(SnapshotKind::State),
            2 => Some(SnapshotKind::Base),
            _ => None,
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            SnapshotKind::State => "snap-",
            SnapshotKind::Base => "base-",
        }
    }
}

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotHeader {
    pub(crate) log_id: [u8; 16],
    pub(crate) timeline: u32,
    pub(crate) kind: SnapshotKind,
    /// It holds what follows from every event up to here, and from none above.
    pub(crate) last_lsn: Lsn,
    /// `hdr_crc` of the frame that ends with `last_lsn`.
    pub(crate) chain: u32,
    /// The epoch in which it was written.
    pub(crate) epoch: u32,
    pub(crate) created: UnixMicros,
    /// Shape of the items, named by whoever wrote them.
    pub(crate) schema: u64,
    /// The first LSN of the log when it was written.
    pub(crate) log_start: Lsn,
    /// The frame that ends with `last_lsn`.
    pub(crate) pos: FramePos,
    pub(crate) software: [u8; 32],
}

impl SnapshotHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(at(SNAPSHOT_HEADER_LEN));
        b.extend_from_slice(&MAGIC);
        b.extend_from_slice(&FORMAT_MAJOR.to_le_bytes());
        b.extend_from_slice(&FORMAT_MINOR.to_le_bytes());
        b.extend_from_slice(&SNAPSHOT_HEADER_LEN.to_le_bytes());
        b.extend_from_slice(&[0; 24]); // incompat, ro_compat, compat
        b.extend_from_slice(&self.log_id);
        b.extend_from_slice(&self.timeline.to_le_bytes());
        b.extend_from_slice(&self.kind.code().to_le_bytes());
        b.extend_from_slice(&self.last_lsn.0.to_le_bytes());
        b.extend_from_slice(&self.chain.to_le_bytes());
        b.extend_from_slice(&self.epoch.to_le_bytes());
        b.extend_from_slice(&self.created.0.to_le_bytes());
        b.extend_from_slice(&self.schema.to_le_bytes());
        b.extend_from_slice(&self.log_start.0.to_le_bytes());
        b.extend_from_slice(&self.pos.to_u64().to_le_bytes());
        b.extend_from_slice(&self.software);
        seal_block(b, at(SNAPSHOT_HEADER_LEN))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        let body = open_block(bytes, at(SNAPSHOT_HEADER_LEN)).map_err(BlockError::Damaged)?;
        let mut f = Fields(body);
        let short = BlockError::Damaged("fields out of range");
        let (Some(magic), Some(major), Some(minor), Some(header_len)) =
            (f.bytes::<8>(), f.u16(), f.u16(), f.u32())
        else {
            return Err(short);
        };
        if magic != MAGIC {
            return Err(BlockError::Damaged("magic is not that of a snapshot"));
        }
        let (Some(incompat), Some(ro_compat), Some(_compat)) = (f.u64(), f.u64(), f.u64()) else {
            return Err(short);
        };
        check_versions(major, minor, incompat, ro_compat)?;
        if header_len != SNAPSHOT_HEADER_LEN {
            return Err(short);
        }
        Self::rest(&mut f).ok_or(short)
    }

    fn rest(f: &mut Fields<'_>) -> Option<Self> {
        let header = Self {
            log_id: f.bytes()?,
            timeline: f.u32()?,
            kind: SnapshotKind::from_code(f.u32()?)?,
            last_lsn: Lsn(f.u64()?),
            chain: f.u32()?,
            epoch: f.u32()?,
            created: UnixMicros(f.u64()?),
            schema: f.u64()?,
            log_start: Lsn(f.u64()?),
            pos: FramePos::from_u64(f.u64()?),
            software: f.bytes()?,
        };
        f.rest_is_zero().then_some(header)
    }

    /// The seed of every checksum behind the header.
    pub(crate) fn salt(&self) -> Salt {
        let mut seed = crc32fast::Hasher::new();
        seed.update(&self.log_id);
        seed.update(&self.last_lsn.0.to_le_bytes());
        Salt(seed)
    }

    /// Whether it is of that log.
    pub(crate) fn is_of(&self, geometry: &Geometry) -> bool {
        self.log_id == geometry.log_id && self.timeline == geometry.timeline
    }

    pub(crate) fn new(geometry: &Geometry, kind: SnapshotKind, last_lsn: Lsn, software: &str) -> Self {
        Self {
            log_id: geometry.log_id,
            timeline: geometry.timeline,
            kind,
            last_lsn,
            chain: 0,
            epoch: 0,
            created: UnixMicros(0),
            schema: 0,
            log_start: Lsn::FIRST,
            pos: FramePos::default(),
            software: software_field(software),
        }
    }
}

/// Checksums of one snapshot: a block of another one, or of another place, never validates.
#[derive(Clone)]
pub(crate) struct Salt(crc32fast::Hasher);

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt")
    }
}

impl Salt {
    fn block_crc(&self, number: u32, body: &[u8]) -> u32 {
        let mut hasher = self.0.clone();
        hasher.update(&number.to_le_bytes());
        hasher.update(body);
        hasher.finalize()
    }

    /// A whole block.
    ///
    /// # Panics
    /// When the body is longer than [`BODY_LEN`].
    pub(crate) fn block(&self, number: u32, body: &[u8]) -> Vec<u8> {
        assert!(body.len() <= BODY_LEN, "a body is bounded by its block");
        let mut b = Vec::with_capacity(BLOCK_LEN);
        b.extend_from_slice(&super::len32(body.len()).to_le_bytes());
        b.extend_from_slice(&number.to_le_bytes());
        b.extend_from_slice(body);
        b.resize(BLOCK_LEN - 4, 0);
        b.extend_from_slice(&self.block_crc(number, body).to_le_bytes());
        b
    }

    /// The body of a block; or the check that failed.
    pub(crate) fn open<'a>(&self, number: u32, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let block: &[u8; BLOCK_LEN] = bytes.try_into().map_err(|_| "block is cut short")?;
        let (rest, crc) = block.split_last_chunk::<4>().ok_or("block is cut short")?;
        let mut f = Fields(rest);
        let (Some(len), Some(found)) = (f.u32(), f.u32()) else { return Err("block is cut short") };
        if found != number {
            return Err("block number");
        }
        let (body, padding) = f.0.split_at_checked(at(len)).ok_or("block length")?;
        if !super::is_zero(padding) {
            return Err("block padding");
        }
        if u32::from_le_bytes(*crc) != self.block_crc(number, body) {
            return Err("block checksum");
        }
        Ok(body)
    }

    pub(crate) fn encode_footer(&self, footer: &Footer) -> Vec<u8> {
        let mut b = Vec::with_capacity(FOOTER_LEN);
        b.extend_from_slice(&FOOTER_MARK.to_le_bytes());
        b.extend_from_slice(&[0; 4]);
        b.extend_from_slice(&footer.blocks.to_le_bytes());
        b.extend_from_slice(&footer.total_len.to_le_bytes());
        b.extend_from_slice(&footer.items.to_le_bytes());
        b.extend_from_slice(&footer.digest.to_le_bytes());
        b.extend_from_slice(&footer.body_bytes.to_le_bytes());
        b.extend_from_slice(&footer.index_items.to_le_bytes());
        let mut hasher = self.0.clone();
        hasher.update(&b);
        b.extend_from_slice(&hasher.finalize().to_le_bytes());
        b
    }

    pub(crate) fn decode_footer(&self, bytes: &[u8]) -> Result<Footer, &'static str> {
        let whole: &[u8; FOOTER_LEN] = bytes.try_into().map_err(|_| "footer is cut short")?;
        let (rest, crc) = whole.split_last_chunk::<4>().ok_or("footer is cut short")?;
        let mut hasher = self.0.clone();
        hasher.update(rest);
        if hasher.finalize() != u32::from_le_bytes(*crc) {
            return Err("footer checksum");
        }
        let mut f = Fields(rest);
        let fields = |f: &mut Fields<'_>| {
            let (mark, reserved) = (f.u32()?, f.u32()?);
            let footer = Footer {
                blocks: f.u64()?,
                total_len: f.u64()?,
                items: f.u64()?,
                digest: u128::from_le_bytes(f.bytes()?),
                body_bytes: f.u64()?,
                index_items: f.u32()?,
            };
            let sound = mark == FOOTER_MARK && reserved == 0 && footer.total_len == footer.file_len();
            sound.then_some(footer)
        };
        fields(&mut f).ok_or("footer fields")
    }
}

/// What the footer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) blocks: u64,
    /// Bytes of the file, footer included.
    pub(crate) total_len: u64,
    pub(crate) items: u64,
    /// Of the state, as whoever wrote it computes it.
    pub(crate) digest: u128,
    /// Bytes of the stream of items.
    pub(crate) body_bytes: u64,
    /// How many of the last items are an index over the others.
    pub(crate) index_items: u32,
}

impl Footer {
    /// What `total_len` must be.
    pub(crate) const fn file_len(&self) -> u64 {
        block_offset(self.blocks) + FOOTER_LEN as u64
    }
}

/// Where a block stands in the file.
pub(crate) const fn block_offset(number: u64) -> u64 {
    (SNAPSHOT_HEADER_LEN as u64).saturating_add(number.saturating_mul(BLOCK_LEN as u64))
}

/// Name of an installed snapshot.
pub(crate) fn snapshot_name(kind: SnapshotKind, last_lsn: Lsn) -> String {
    format!("{}{:020}.snap", kind.prefix(), last_lsn.0)
}

/// Name of a snapshot that is being written.
pub(crate) fn snapshot_tmp_name(kind: SnapshotKind, last_lsn: Lsn) -> String {
    format!("tmp-{}", snapshot_name(kind, last_lsn))
}

/// Kind and last LSN in the name of an installed snapshot.
pub(crate) fn parse_snapshot_name(name: &str) -> Option<(SnapshotKind, Lsn)> {
    [SnapshotKind::State, SnapshotKind::Base].into_iter().find_map(|kind| {
        let digits = name.strip_prefix(kind.prefix())?.strip_suffix(".snap")?;
        let lsn = Lsn(digits.parse().ok()?);
        (snapshot_name(kind, lsn) == name).then_some((kind, lsn))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::{GEOMETRY, check_damage};

    fn header() -> SnapshotHeader {
        SnapshotHeader {
            chain: 7,
            epoch: 3,
            created: UnixMicros(5),
            schema: 9,
            log_start: Lsn(40),
            pos: FramePos { segment: 2, offset: 4096 },
            ..SnapshotHeader::new(&GEOMETRY, SnapshotKind::State, Lsn(99), "software")
        }
    }

    #[test]
    fn header_round_trip_and_damage() {
        let bytes = header().encode();
        assert_eq!(SnapshotHeader::decode(&bytes), Ok(header()));
        check_damage(&bytes, |bytes| SnapshotHeader::decode(bytes).is_ok());
    }

    #[test]
    fn footer_round_trip_and_damage() {
        let salt = header().salt();
        let mut footer = Footer {
            blocks: 2,
            items: 5,
            digest: 1 << 100,
            body_bytes: 70_000,
            index_items: 1,
            total_len: 0,
        };
        footer.total_len = footer.file_len();
        let bytes = salt.encode_footer(&footer);
        assert_eq!(salt.decode_footer(&bytes), Ok(footer));
        check_damage(&bytes, |bytes| salt.decode_footer(bytes).is_ok());
    }

    /// Every bit of a block, its padding included, is covered; another number or another snapshot never validates.
    #[test]
    fn block_round_trip_and_damage() {
        let salt = header().salt();
        for body in [&b""[..], b"some bytes", &[7; BODY_LEN]] {
            let good = salt.block(3, body);
            assert_eq!(salt.open(3, &good), Ok(body));
            assert!(salt.open(4, &good).is_err());
            let other = SnapshotHeader { last_lsn: Lsn(100), ..header() };
            assert!(other.salt().open(3, &good).is_err());
            for len in [0, 1, 11, 12, BLOCK_LEN - 1] {
                assert!(salt.open(3, good.get(..len).unwrap()).is_err(), "cut to {len}");
            }
            for bit in
                (0..256).chain((BLOCK_LEN * 8 - 64)..BLOCK_LEN * 8).chain((256..BLOCK_LEN * 8).step_by(4099))
            {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(salt.open(3, &bad).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn names() {
        for kind in [SnapshotKind::State, SnapshotKind::Base] {
            assert_eq!(parse_snapshot_name(&snapshot_name(kind, Lsn(77))), Some((kind, Lsn(77))));
        }
        for name in ["snap-77.snap", "tmp-snap-00000000000000000077.snap", "snap-x.snap", "other"] {
            assert_eq!(parse_snapshot_name(name), None, "{name}");
        }
    }
}
