//! Sorted runs: immutable, checksummed files of rows (key, LSN) → value, in the order key ascending, LSN
//! descending. What grows with traffic stands in them.
//!
//! Owns: the bytes of a run. Never does: know what a key or a value means, or which runs are in force (the store's
//! `!meta` row lists them).
//!
//! ```text
//! file     header | block 0 | block 1 | … | filter | index | footer
//!
//! header   0        8        10       12       16                       32       36       40       48      56   60   64
//!          | magic  | version| kind   | 0      | log_id                 | timel. | 0      | number | zero  | 0  | crc |
//! block    rows | u32 row count | u32 crc(salt, rows, row count)
//! row      varint shared | varint unshared | varint value_len | u64 lsn | unshared key bytes | value bytes
//! filter   u32 words-of-64 count | u32 probes | words | u32 crc(salt, filter)
//! index    per block: u64 offset | u32 bytes | u32 key_len | u64 lsn | key (of its first row)
//!          then u32 key_len | u64 lsn | key (of the last row of all) | u32 crc(salt, index)
//! footer   0        8          16         24         32         40         48        56         60        64
//!          | rows   | keys     | first_lsn| last_lsn | filter_at| index_at | file_len| blocks   | 0       |
//!          64 magic 72 … 76 crc(header, footer bytes) 80
//! ```
//!
//! All integers little-endian, CRC-32/ISO-HDLC. `salt` is the header's CRC and the offset of the part: a block of
//! another file, or of another place, never validates. The first row of a block shares nothing.
//!
//! Invariants: P8 every byte of a run is covered by a checksum that is verified before the byte is used; P9 the
//! filter is on the key without the LSN, and never denies a key that is there.

mod block;
mod codec;
mod common;
mod cursor;
mod filter;
mod format;
mod merge;
mod reader;
mod writer;

pub(crate) use block::RowRef;
pub(crate) use codec::{Bytes, len32};
pub(crate) use common::Common;
pub(crate) use cursor::Cursor;
pub(crate) use format::{RunId, RunKind, RunMeta};
pub(crate) use merge::{Collapse, Reach, each_newest, merge};
pub(crate) use reader::Run;
pub(crate) use writer::RunWriter;

#[cfg(test)]
mod tests;
