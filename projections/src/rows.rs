//! Rows of the views as bytes (bincode), for the store and for runs of ended executions.
//!
//! Owns: the one configuration, and [`SCHEMA`], which names the shape of every row. Rows of another schema are
//! never read: the views are rebuilt.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{BorrowDecode, Decode, Encode};

/// Bump this whenever the shape of anything that is written under `views/` changes.
pub(crate) const SCHEMA: u64 = 8;

/// No row is longer.
const ROW_BYTES_MAX: usize = 16 * 1024 * 1024;

const CONFIG: Configuration<LittleEndian, Varint, Limit<ROW_BYTES_MAX>> =
    bincode::config::standard().with_limit::<ROW_BYTES_MAX>();

/// The bytes of a row.
#[expect(clippy::expect_used, reason = "bincode encodes derived types into a Vec without a failure path")]
pub(crate) fn encode<T: Encode>(row: &T) -> Vec<u8> {
    bincode::encode_to_vec(row, CONFIG).expect("encoding into a Vec")
}

/// Appends the bytes of a row.
#[expect(clippy::expect_used, reason = "bincode encodes derived types into a Vec without a failure path")]
pub(crate) fn encode_to<T: Encode>(row: &T, out: &mut Vec<u8>) {
    bincode::encode_into_std_write(row, out, CONFIG).expect("encoding into a Vec");
}

/// What these bytes begin with; `None` if it is something else.
pub(crate) fn decode_prefix<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Option<T> {
    bincode::borrow_decode_from_slice(bytes, CONFIG).ok().map(|(row, _)| row)
}

/// The row of these bytes; `None` if they are not one, or more than one.
pub(crate) fn decode<T: Decode<()>>(bytes: &[u8]) -> Option<T> {
    let (row, used) = bincode::decode_from_slice(bytes, CONFIG).ok()?;
    (used == bytes.len()).then_some(row)
}

/// The parts of a composite key: a tag, then what the view appends.
pub(crate) fn key(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    out.push(tag);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// First bytes of the store's keys, one per kind of row. `!meta` sorts before all.
pub(crate) mod tag {
    pub(crate) const OPEN_EXECUTION: u8 = b'e';
    pub(crate) const LETTER: u8 = b'l';
    pub(crate) const APP: u8 = b'a';
    pub(crate) const CHANGE: u8 = b'h';
    pub(crate) const SCRIPT: u8 = b's';
    pub(crate) const ROUTE: u8 = b'r';
    pub(crate) const TRIGGER: u8 = b't';
    pub(crate) const SECRET: u8 = b'x';
    pub(crate) const TOKEN: u8 = b'k';
    pub(crate) const JOB: u8 = b'j';
    pub(crate) const JOB_EXECUTION: u8 = b'i';
    pub(crate) const ABANDONED: u8 = b'b';
    pub(crate) const CRON: u8 = b'c';
    pub(crate) const HOLD: u8 = b'o';
}
