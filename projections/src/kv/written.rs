//! The KV table as a sorted run: a row per version.
//!
//! ```text
//! key    see `key.rs`        LSN   that of the write
//! value  u64 frame position | u8 0 put, 1 deleted or expired, 2 put until a time | for 2: u64 that time, µs
//! ```

use relive_log::{FramePos, Lsn, UnixMicros};

use super::table::{Table, Write};
use super::types::KvVersion;
use crate::error::ViewsError;
use crate::run::{RowRef, RunWriter};

const PUT: u8 = 0;
const DELETED: u8 = 1;
const PUT_UNTIL: u8 = 2;

fn encode(write: &Write, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&write.pos.to_u64().to_le_bytes());
    match (&write.value, write.expires_at) {
        (None, _) => out.push(DELETED),
        (Some(_), None) => out.push(PUT),
        (Some(_), Some(end)) => {
            out.push(PUT_UNTIL);
            out.extend_from_slice(&end.0.to_le_bytes());
        }
    }
}

/// The version that a row stands for; `None` if it is not ours.
pub(super) fn decode(lsn: Lsn, value: &[u8]) -> Option<KvVersion> {
    let (pos, rest) = value.split_first_chunk::<8>()?;
    let (deleted, expires_at) = match rest {
        [PUT] => (false, None),
        [DELETED] => (true, None),
        [PUT_UNTIL, end @ ..] => (false, Some(UnixMicros(u64::from_le_bytes(end.try_into().ok()?)))),
        _ => return None,
    };
    Some(KvVersion { lsn, pos: FramePos::from_u64(u64::from_le_bytes(*pos)), deleted, expires_at })
}

/// Whether a row's value says that the key was deleted.
pub(crate) fn is_deleted(value: &[u8]) -> bool {
    value.get(8) == Some(&DELETED)
}

/// Writes a frozen table.
pub(crate) fn write_run(table: &Table, writer: &mut RunWriter<'_>) -> Result<(), ViewsError> {
    let mut value = Vec::new();
    table.for_each(|key, write| {
        encode(write, &mut value);
        writer.push(RowRef { key, lsn: write.lsn, value: &value })
    })
}
