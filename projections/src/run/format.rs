//! Header and footer of a run, and what the list of runs says about it.

use bincode::{Decode, Encode};
use relive_log::Lsn;

use super::codec::Bytes;

pub(super) const HEADER_LEN: usize = 64;
pub(super) const FOOTER_LEN: usize = 80;
const MAGIC: [u8; 8] = *b"RLVRUN\x00\x01";
const FOOTER_MAGIC: [u8; 8] = *b"RLVRUN\x00\x02";
const VERSION: u16 = 1;

/// What the rows of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub(crate) enum RunKind {
    /// Versions of keys.
    Kv,
    /// Executions that ended.
    Ended,
    /// What is found by something else than its key.
    Index,
    /// Calls with an `Idempotency-Key`.
    Keyed,
    /// Executions that wait for their first attempt.
    Waiting,
}

impl RunKind {
    const fn number(self) -> u16 {
        match self {
            RunKind::Kv => 1,
            RunKind::Ended => 2,
            RunKind::Index => 3,
            RunKind::Keyed => 4,
            RunKind::Waiting => 5,
        }
    }

    /// The extension of its files.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            RunKind::Kv => "kv",
            RunKind::Ended => "ended",
            RunKind::Index => "index",
            RunKind::Keyed => "keyed",
            RunKind::Waiting => "waiting",
        }
    }
}

/// Which run a file must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunId {
    pub(crate) log_id: [u8; 16],
    pub(crate) timeline: u32,
    pub(crate) kind: RunKind,
    /// Unique within a generation.
    pub(crate) number: u64,
}

impl RunId {
    pub(crate) fn file_name(&self) -> String {
        format!("run-{:012}.{}", self.number, self.kind.extension())
    }

    /// The header, its CRC included.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.kind.number().to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.log_id);
        out.extend_from_slice(&self.timeline.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.resize(HEADER_LEN - 4, 0);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The seed of every checksum behind the header.
    pub(super) fn salt(&self) -> Salt {
        Salt(crc32fast::hash(&self.header()))
    }
}

/// Ties a part to its file; with the offset, to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Salt(u32);

impl Salt {
    pub(super) fn crc(self, offset: u64, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.0.to_le_bytes());
        hasher.update(&offset.to_le_bytes());
        hasher.update(bytes);
        hasher.finalize()
    }

    /// Appends the CRC of what stands in `out` from `start` on.
    pub(super) fn seal(self, offset: u64, out: &mut Vec<u8>) {
        let crc = self.crc(offset, out);
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// The bytes without their CRC, if it is right.
    pub(super) fn open(self, offset: u64, bytes: &[u8]) -> Option<&[u8]> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        (u32::from_le_bytes(*crc) == self.crc(offset, body)).then_some(body)
    }
}

/// What the list of runs keeps of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct RunMeta {
    /// What its rows are.
    pub(crate) kind: RunKind,
    /// Names the file.
    pub(crate) number: u64,
    /// Rows.
    pub(crate) rows: u64,
    /// The lowest LSN of a row.
    pub(crate) first: Lsn,
    /// The highest LSN of a row.
    pub(crate) last: Lsn,
    /// Length of the file.
    pub(crate) bytes: u64,
}

/// The last bytes of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) rows: u64,
    pub(super) keys: u64,
    pub(super) first: Lsn,
    pub(super) last: Lsn,
    pub(super) filter_at: u64,
    pub(super) index_at: u64,
    pub(super) file_len: u64,
    pub(super) blocks: u32,
}

impl Footer {
    pub(super) fn encode(&self, salt: Salt) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_LEN);
        for value in
            [self.rows, self.keys, self.first.0, self.last.0, self.filter_at, self.index_at, self.file_len]
        {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&self.blocks.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&FOOTER_MAGIC);
        out.extend_from_slice(&[0; 4]);
        salt.seal(self.file_len, &mut out);
        out
    }

    pub(super) fn decode(bytes: &[u8], salt: Salt, file_len: u64) -> Option<Footer> {
        let mut rest = Bytes(salt.open(file_len, bytes)?);
        let footer = Footer {
            rows: rest.u64()?,
            keys: rest.u64()?,
            first: Lsn(rest.u64()?),
            last: Lsn(rest.u64()?),
            filter_at: rest.u64()?,
            index_at: rest.u64()?,
            file_len: rest.u64()?,
            blocks: rest.u32()?,
        };
        let zero = rest.u32()?;
        let magic = rest.array::<8>()?;
        (zero == 0 && magic == FOOTER_MAGIC && footer.file_len == file_len).then_some(footer)
    }
}
