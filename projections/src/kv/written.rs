//! The KV table as a sorted run: a row per version.
//!
//! ```text
//! key    see `key.rs`        LSN   that of the write
//! value  u64 frame position | u8 0 put, 1 deleted
//! ```

use relive_log::{FramePos, Lsn};

use super::table::{Table, Write};
use super::types::KvVersion;
use crate::error::ViewsError;
use crate::run::{RowRef, RunWriter};

const PUT: u8 = 0;
const DELETED: u8 = 1;
const VALUE_LEN: usize = 9;

fn encode(write: &Write) -> [u8; VALUE_LEN] {
    let mut out = [if write.value.is_some() { PUT } else { DELETED }; VALUE_LEN];
    if let Some(pos) = out.first_chunk_mut::<8>() {
        *pos = write.pos.to_u64().to_le_bytes();
    }
    out
}

/// The version that a row stands for; `None` if it is not ours.
pub(super) fn decode(lsn: Lsn, value: &[u8]) -> Option<KvVersion> {
    let (pos, rest) = value.split_first_chunk::<8>()?;
    let deleted = match rest {
        [PUT] => false,
        [DELETED] => true,
        _ => return None,
    };
    Some(KvVersion { lsn, pos: FramePos::from_u64(u64::from_le_bytes(*pos)), deleted })
}

/// Writes a frozen table.
pub(crate) fn write_run(table: &Table, writer: &mut RunWriter<'_>) -> Result<(), ViewsError> {
    table.for_each(|key, write| writer.push(RowRef { key, lsn: write.lsn, value: &encode(write) }))
}
