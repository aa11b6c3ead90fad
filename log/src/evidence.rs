//! Evidence that the views keep for the log: `views/<generation>/applied`, 64 bytes that say up to which LSN
//! the views on disk were written. Recovery reads it as proof that those LSNs were durable (rule R7).
//!
//! Owns: the 64 bytes. Never does: write them; the projections do, through the disk seam, with [`encode`].
//!
//! ```text
//! 0        8        24       28       32       40                              60    64
//! | magic  | log_id | timel. | 0      | applied| zero                          | crc |
//! ```

use crate::Lsn;

/// Length of the file.
pub const APPLIED_LEN: usize = 64;
/// Name of the file within a generation's directory.
pub const APPLIED_NAME: &str = "applied";
/// Directory of the views within the data directory.
pub const VIEWS_DIR: &str = "views";
/// File within [`VIEWS_DIR`] that names the current generation's directory (UTF-8, one line).
pub const CURRENT_NAME: &str = "CURRENT";

const MAGIC: [u8; 8] = *b"EVLAPP\x00\x01";

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Identity of the log that the views were folded from.
    pub log_id: [u8; 16],
    /// Timeline of that log.
    pub timeline: u32,
    /// Every event up to this one was durable and is in the views on disk.
    pub applied_lsn: Lsn,
}

/// The 64 bytes for `applied`.
#[must_use]
pub fn encode(applied: &Applied) -> [u8; APPLIED_LEN] {
    let mut bytes = Vec::with_capacity(APPLIED_LEN);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&applied.log_id);
    bytes.extend_from_slice(&applied.timeline.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&applied.applied_lsn.0.to_le_bytes());
    bytes.resize(APPLIED_LEN - 4, 0);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let mut out = [0; APPLIED_LEN];
    out.copy_from_slice(&bytes);
    out
}

/// Reads the file's bytes; `None` when they are not 64 sound bytes of this format.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Applied> {
    let whole: &[u8; APPLIED_LEN] = bytes.try_into().ok()?;
    let (body, crc) = whole.split_last_chunk::<4>()?;
    if u32::from_le_bytes(*crc) != crc32fast::hash(body) {
        return None;
    }
    let (magic, rest) = body.split_first_chunk::<8>()?;
    let (log_id, rest) = rest.split_first_chunk::<16>()?;
    let (timeline, rest) = rest.split_first_chunk::<4>()?;
    let (reserved, rest) = rest.split_first_chunk::<4>()?;
    let (applied_lsn, rest) = rest.split_first_chunk::<8>()?;
    if *magic != MAGIC || *reserved != [0; 4] || rest.iter().any(|&b| b != 0) {
        return None;
    }
    Some(Applied {
        log_id: *log_id,
        timeline: u32::from_le_bytes(*timeline),
        applied_lsn: Lsn(u64::from_le_bytes(*applied_lsn)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Applied = Applied { log_id: [7; 16], timeline: 3, applied_lsn: Lsn(0x0102_0304_0506_0708) };

    #[test]
    fn round_trip_and_every_single_bit_flip() {
        let good = encode(&SAMPLE);
        assert_eq!(decode(&good), Some(SAMPLE));
        for bit in 0..APPLIED_LEN * 8 {
            let mut bad = good;
            if let Some(byte) = bad.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            assert_eq!(decode(&bad), None, "bit {bit}");
        }
        for len in 0..APPLIED_LEN {
            assert_eq!(decode(good.get(..len).unwrap_or_default()), None, "length {len}");
        }
    }
}
