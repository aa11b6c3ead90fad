//! Every bound of the log in one place, each with a name, checked against each other.
//!
//! Owns: [`LogOptions`] and [`FreshIdentity`]. Never does: read an environment variable or a file.

use std::time::Duration;

use crate::error::OpenError;
use crate::format::manifest::SNAPSHOTS_MAX;
use crate::format::{BATCH_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENT_SLACK_BYTES};

/// What a log is opened with. `segment_bytes` and `align_log2` shape a new log; an existing one keeps its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Size of every segment file of a new log: a multiple of 4096, at least 16 KiB, at most 1 GiB.
    pub segment_bytes: u64,
    /// Groups start at multiples of `1 << align_log2` in a new log: 9 (512 B) to 12 (4096 B).
    pub align_log2: u8,
    /// Name and version of the software, ASCII, at most 32 bytes are kept.
    pub software: String,
    /// A group is cut when it would grow over this many bytes (a larger batch forms its own group).
    pub group_bytes_max: u64,
    /// Payload bytes of a batch; also bounded by the segment size.
    pub batch_bytes_max: u64,
    /// Bytes appended and not yet durable; above it `append` answers `Busy`.
    pub buffer_bytes_max: u64,
    /// Prepared segments kept ahead of the one being filled.
    pub spares: u32,
    /// A changed WATERMARK is synced at most this often.
    pub watermark_sync_every: Duration,
    /// Wait between attempts to prepare a segment while the disk is full.
    pub no_space_retry: Duration,
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

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            align_log2: 9,
            software: concat!("relive ", env!("CARGO_PKG_VERSION")).to_owned(),
            group_bytes_max: 8 << 20,
            batch_bytes_max: BATCH_BYTES_MAX,
            buffer_bytes_max: 32 << 20,
            spares: 2,
            watermark_sync_every: Duration::from_secs(1),
            no_space_retry: Duration::from_secs(1),
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
    /// The largest batch payload that a log with this segment size takes.
    #[must_use]
    pub const fn max_payload(&self) -> u64 {
        let fits = self.segment_bytes.saturating_sub(SEGMENT_SLACK_BYTES);
        let limit =
            if self.batch_bytes_max < BATCH_BYTES_MAX { self.batch_bytes_max } else { BATCH_BYTES_MAX };
        if fits < limit { fits } else { limit }
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
        if !(9..=12).contains(&self.align_log2) {
            return bad(format!("align_log2 {} is not in 9..=12", self.align_log2));
        }
        if self.spares == 0 {
            return bad("spares is 0".to_owned());
        }
        if !(2..=SNAPSHOTS_MAX).contains(&self.snapshots_kept) {
            return bad(format!("snapshots_kept {} is not in 2..={SNAPSHOTS_MAX}", self.snapshots_kept));
        }
        if self.buffer_bytes_max < 4096 || self.group_bytes_max < 512 {
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
