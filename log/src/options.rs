//! Every bound of the log in one place, each with a name, checked against each other.
//!
//! Owns: [`LogOptions`] and [`FreshIdentity`]. Never does: read an environment variable or a file.

use std::time::Duration;

use crate::error::OpenError;
use crate::format::manifest::SNAPSHOTS_MAX;
use crate::format::{
    ALIGN_LOG2, BATCH_BYTES_MAX, SEGMENT_ALIGNMENTS_MIN, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
    SEGMENT_HEADER_LEN, SEGMENT_SLACK_BYTES,
};

/// Size of the segments of a new log.
const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// A group is cut here; a larger batch forms a group of its own.
const GROUP_BYTES_MAX_DEFAULT: u64 = 8 << 20;
/// Appended and not durable.
const BUFFER_BYTES_MAX_DEFAULT: u64 = 32 << 20;
/// Prepared segments ahead of the one being filled: the last of them is the reserve.
const SPARES_DEFAULT: u32 = 2;
/// The most that are kept ahead.
const SPARES_MAX: u32 = 64;
/// One part in this many of a segment is reserved beside the last spare: 5 %.
pub(crate) const RESERVE_PART: u64 = 20;
/// One part in this many of the filesystem is left to others: 5 %, up to a bound.
const FREE_PART: u64 = 20;
/// That bound.
const FREE_BYTES_MAX: u64 = 1 << 30;
/// The smallest buffer and the smallest group that make sense.
const BUFFER_BYTES_MIN: u64 = 4096;
const GROUP_BYTES_MIN: u64 = 512;

const _: () =
    assert!(SEGMENT_BYTES_DEFAULT <= SEGMENT_BYTES_MAX && SEGMENT_BYTES_DEFAULT >= SEGMENT_BYTES_MIN);
const _: () =
    assert!(GROUP_BYTES_MAX_DEFAULT < SEGMENT_BYTES_DEFAULT && GROUP_BYTES_MAX_DEFAULT >= GROUP_BYTES_MIN);
const _: () =
    assert!(BUFFER_BYTES_MAX_DEFAULT >= 2 * GROUP_BYTES_MAX_DEFAULT, "one fills while one is written");
const _: () =
    assert!(BUFFER_BYTES_MAX_DEFAULT >= BUFFER_BYTES_MIN && BUFFER_BYTES_MAX_DEFAULT >= BATCH_BYTES_MAX);
const _: () = assert!(SPARES_DEFAULT >= 2 && SPARES_DEFAULT <= SPARES_MAX, "one to fill, one in reserve");
const _: () = assert!(SEGMENT_BYTES_MIN / RESERVE_PART > 512, "the reserve holds a frame");

/// What a log is opened with. `segment_bytes` and `align_log2` shape a new log; an existing one keeps its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Size of every segment file of a new log: a multiple of 4096, at least 16 KiB, at most 1 GiB.
    pub segment_bytes: u64,
    /// Groups start at multiples of `1 << align_log2` in a new log: 9 (512 B) to 16 (64 KiB). `None`: the larger of
    /// 512 B and the logical block size of the device.
    pub align_log2: Option<u8>,
    /// Name and version of the software, ASCII, at most 32 bytes are kept.
    pub software: String,
    /// A group is cut when it would grow over this many bytes (a larger batch forms its own group).
    pub group_bytes_max: u64,
    /// Payload bytes of a batch; also bounded by the segment size.
    pub batch_bytes_max: u64,
    /// Bytes appended and not yet durable; above it `append` answers `Busy`.
    pub buffer_bytes_max: u64,
    /// Prepared segments kept ahead of the one being filled, 1 to 64. With 2 and more, the last one is reserved for
    /// what ends work while the disk is low; with 1, only 5 % of a segment are.
    pub spares: u32,
    /// What becomes of segments that a cut of the log's beginning retires.
    pub recycle: Recycle,
    /// Bytes of the filesystem that new segments leave to others (views, snapshots); below that the disk counts as
    /// low. `None`: 5 % of it, at most 1 GiB.
    pub free_bytes_min: Option<u64>,
    /// A changed WATERMARK is synced at most this often.
    pub watermark_sync_every: Duration,
    /// First wait before a segment is tried again while the disk is low; twice as long after each attempt.
    pub no_space_retry: Duration,
    /// The longest of these waits.
    pub no_space_retry_max: Duration,
    /// How long a batch that nobody waits for may stand in the buffer before it is committed by itself.
    pub unhurried_wait: Duration,
    /// Bytes in the buffer above which they are committed although nobody waits.
    pub unhurried_bytes_max: u64,
    /// Bytes that a recovery cuts are copied to `quarantine/` up to this many.
    pub quarantine_bytes_max: u64,
    /// Handles to segment files kept open for reading.
    pub open_files_max: usize,
    /// What to do with a data directory behind a network (R0).
    pub network_filesystem: NetworkFilesystem,
    /// An open walks over so many bytes of log before the last frame, and over all above the newest snapshot (R4).
    pub walk_bytes_min: u64,
    /// State snapshots that are kept, at least 2: the log is never cut above what the older one needs.
    pub snapshots_kept: u32,
    /// What a failed sync of a snapshot means.
    pub snapshot_sync_errors: SnapshotSyncErrors,
}

/// What a failed sync of a snapshot means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotSyncErrors {
    /// The end of this writer: it is the device of the log, as far as anybody knows.
    #[default]
    Poison,
    /// An error of the snapshot alone: it is on a device of its own.
    Report,
}

/// Whether a data directory may be on a network filesystem, where a lock may be held twice and a sync may return
/// before the data is anywhere safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkFilesystem {
    /// The open is refused.
    #[default]
    Refuse,
    /// The operator knows better.
    Allow,
}

/// What becomes of segment files that the log no longer needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recycle {
    /// They become spares, overwritten with zeros first: no deleted event stays in them.
    #[default]
    Zero,
    /// They become spares as they are: half the writing, but **deleted events stay readable on the raw disk** until new
    /// ones overwrite them.
    Reuse,
    /// They are removed.
    Off,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            align_log2: None,
            software: concat!("relive ", env!("CARGO_PKG_VERSION")).to_owned(),
            group_bytes_max: GROUP_BYTES_MAX_DEFAULT,
            batch_bytes_max: BATCH_BYTES_MAX,
            buffer_bytes_max: BUFFER_BYTES_MAX_DEFAULT,
            spares: SPARES_DEFAULT,
            recycle: Recycle::Zero,
            free_bytes_min: None,
            watermark_sync_every: Duration::from_secs(1),
            no_space_retry: Duration::from_millis(250),
            no_space_retry_max: Duration::from_secs(4),
            unhurried_wait: Duration::from_millis(20),
            unhurried_bytes_max: 1 << 20,
            quarantine_bytes_max: 64 << 20,
            open_files_max: 256,
            network_filesystem: NetworkFilesystem::Refuse,
            walk_bytes_min: 64 << 20,
            snapshots_kept: 2,
            snapshot_sync_errors: SnapshotSyncErrors::Poison,
        }
    }
}

impl LogOptions {
    /// The largest batch payload that a log with this segment size and alignment takes.
    #[must_use]
    pub const fn max_payload(&self, align_log2: u32) -> u64 {
        let align = 1_u64 << align_log2;
        let first = (SEGMENT_HEADER_LEN as u64).next_multiple_of(align);
        let fits = self.segment_bytes.saturating_sub(first + SEGMENT_SLACK_BYTES);
        let limit =
            if self.batch_bytes_max < BATCH_BYTES_MAX { self.batch_bytes_max } else { BATCH_BYTES_MAX };
        if fits < limit { fits } else { limit }
    }

    /// The alignment of a new log on a device with that block size.
    pub(crate) fn align_for(&self, block_bytes: Option<u32>) -> u32 {
        let automatic = || {
            let log2 = block_bytes.unwrap_or(1).max(1).next_power_of_two().trailing_zeros();
            log2.clamp(*ALIGN_LOG2.start(), *ALIGN_LOG2.end())
        };
        self.align_log2.map_or_else(automatic, u32::from)
    }

    /// Bytes of a filesystem of that size which new segments leave to others.
    pub(crate) fn free_bytes_min(&self, total: u64) -> u64 {
        self.free_bytes_min.unwrap_or_else(|| (total / FREE_PART).min(FREE_BYTES_MAX))
    }

    /// Checks the bounds against each other.
    pub(crate) fn validate(&self) -> Result<(), OpenError> {
        let bad = |reason: String| Err(OpenError::Options { reason });
        if self.segment_bytes < SEGMENT_BYTES_MIN
            || self.segment_bytes > SEGMENT_BYTES_MAX
            || !self.segment_bytes.is_multiple_of(4096)
        {
            return bad(format!(
                "segment_bytes {} is not a multiple of 4096 in 16 KiB..=1 GiB",
                self.segment_bytes
            ));
        }
        if let Some(align) = self.align_log2 {
            if !ALIGN_LOG2.contains(&u32::from(align)) {
                return bad(format!("align_log2 {align} is not in 9..=16"));
            }
            let unit = 1_u64 << align;
            if !self.segment_bytes.is_multiple_of(unit) || self.segment_bytes < SEGMENT_ALIGNMENTS_MIN * unit
            {
                return bad(format!(
                    "segment_bytes {} is not a multiple, at least fourfold, of the alignment of {unit} bytes",
                    self.segment_bytes
                ));
            }
        }
        if self.watermark_sync_every.is_zero() || self.no_space_retry.is_zero() {
            return bad("watermark_sync_every or no_space_retry is 0".to_owned());
        }
        if !(2..=SNAPSHOTS_MAX).contains(&self.snapshots_kept) {
            return bad(format!("snapshots_kept {} is not in 2..={SNAPSHOTS_MAX}", self.snapshots_kept));
        }
        if !(1..=SPARES_MAX).contains(&self.spares) {
            return bad(format!("spares {} is not in 1..={SPARES_MAX}", self.spares));
        }
        if self.buffer_bytes_max < BUFFER_BYTES_MIN || self.group_bytes_max < GROUP_BYTES_MIN {
            return bad("buffer_bytes_max or group_bytes_max is too small".to_owned());
        }
        Ok(())
    }
}

/// Random bytes for a new log, drawn by the caller. Unused when the directory already holds a log.
#[derive(Clone, Copy, Debug)]
pub struct FreshIdentity {
    /// Becomes the identity of the log.
    pub log_id: [u8; 16],
    /// Becomes the frame magic (forced to be non-zero in its low byte). Secret: never expose it in an API.
    pub frame_magic: [u8; 4],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignment_follows_the_device_unless_it_is_set() {
        for (set, block, expect) in [
            (None, None, 9),
            (None, Some(512), 9),
            (None, Some(4096), 12),
            (None, Some(16 << 10), 14),
            (None, Some(1 << 20), 16),
            (None, Some(0), 9),
            (Some(12), Some(512), 12),
            (Some(9), Some(4096), 9),
        ] {
            let options = LogOptions { align_log2: set, ..LogOptions::default() };
            assert_eq!(options.align_for(block), expect, "{set:?} on {block:?}");
        }
    }

    #[test]
    fn bounds_are_checked_against_each_other() {
        let ok = |options: LogOptions| options.validate().is_ok();
        let default = LogOptions::default;
        assert!(ok(default()));
        for align in [8, 17] {
            assert!(!ok(LogOptions { align_log2: Some(align), ..default() }), "{align}");
        }
        assert!(ok(LogOptions { align_log2: Some(16), segment_bytes: 256 << 10, ..default() }));
        for segment_bytes in [128 << 10, (256 << 10) + 4096, 8 << 10] {
            assert!(!ok(LogOptions { align_log2: Some(16), segment_bytes, ..default() }), "{segment_bytes}");
        }
        for spares in [0, SPARES_MAX + 1] {
            assert!(!ok(LogOptions { spares, ..default() }), "{spares}");
        }
        assert_eq!(default().free_bytes_min(100 << 20), 5 << 20);
        assert_eq!(default().free_bytes_min(u64::MAX), FREE_BYTES_MAX);
    }
}
