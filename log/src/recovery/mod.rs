//! Recovery: from a directory in any state that a crash can leave to an open log, or to a refusal that names what
//! is damaged.
//!
//! Owns: the order of the steps R0–R14 (`docs/recovery.md`). Four stages, each with one job: *gather* reads,
//! *classify* judges (pure, returns the row of the table it chose), *plan* decides what to do (pure), *carry out*
//! writes. Never does: write anything before the judgement; a refusal leaves every byte as it was (L11).

mod ahead;
mod carry_out;
mod choose;
mod classify;
mod fresh;
pub(crate) mod gather;
pub(crate) mod open;
mod plan;
pub(crate) mod walk;

use std::io;
use std::path::Path;

use serde::Serialize;

use crate::error::OpenError;
use crate::{FramePos, Gap, Lsn};

pub use classify::{Facts, Row, classify};
pub use open::{OpenedLog, open};

pub(crate) use ahead::look_ahead;
pub(crate) use choose::{find_snapshots, walk_from};
pub(crate) use fresh::{FIRST_SEGMENT, check_new, sync_parent};

/// Directory of the segments.
pub(crate) const LOG_DIR: &str = "log";
/// The lock's file.
pub(crate) const LOCK: &str = "LOCK";
/// The parameters.
pub(crate) const MANIFEST: &str = "MANIFEST";
/// Their copy.
pub(crate) const MANIFEST_BAK: &str = "MANIFEST.bak";
/// The advisory evidence.
pub(crate) const WATERMARK: &str = "WATERMARK";
/// Copies of what was cut.
pub(crate) const QUARANTINE_DIR: &str = "quarantine";
/// Reports of recoveries that cut something.
pub(crate) const REPORTS_DIR: &str = "reports";

/// What a start found and did. LSNs and numbers only, so that it may be shown to anyone who runs the instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RecoveryReport {
    /// Whether the directory was new and a log was made.
    pub created: bool,
    /// The row of the classification table.
    pub row: Row,
    /// V: the last LSN of the valid prefix.
    pub valid_lsn: Lsn,
    /// D: the highest LSN that any evidence proves durable.
    pub proven_lsn: Lsn,
    /// Df: evidence in frames.
    pub frames_lsn: Lsn,
    /// Dw: evidence in WATERMARK.
    pub watermark_lsn: Lsn,
    /// Dp: evidence of the views, if there is any.
    pub applied_lsn: Option<Lsn>,
    /// Ds: the newest snapshot that verifies, if there is one.
    pub snapshot_lsn: Option<Lsn>,
    /// Snapshots that MANIFEST names and that are damaged, in words.
    pub damaged_snapshots: Vec<String>,
    /// The first LSN of the log.
    pub start_lsn: Lsn,
    /// The first LSN of the walk; below it only headers, sizes and the sequence of segments were checked.
    pub walked_from: Lsn,
    /// T: where the valid prefix ends.
    pub end_segment: u32,
    /// T: offset in that segment.
    pub end_offset: u32,
    /// The first check that failed at T.
    pub first_bad_check: String,
    /// Frame headers after T that validate, and are cut or refused.
    pub headers_after: u64,
    /// The highest LSN that any of them names.
    pub last_lsn_after: Lsn,
    /// Bytes after T that are not zero (in 512-byte sectors).
    pub truncated_bytes: u64,
    /// LSNs after V that were seen and cut; none of them was proven durable.
    pub truncated_lsns: u64,
    /// Groups that were written and synced again because nothing proved them durable.
    pub reaffirmed_groups: u64,
    /// Files removed: unfinished segments, segments below the log's start.
    pub removed_files: Vec<String>,
    /// Whether MANIFEST or its copy was missing or damaged and was written again.
    pub manifest_restored: bool,
    /// File in `quarantine/` with the bytes that were cut, or why there is none.
    pub quarantine: Option<String>,
    /// The epoch of this open.
    pub epoch: u32,
    /// Whether this is the boot of the kernel in which the log was last written.
    pub same_boot: bool,
    /// Whether the log had been stopped in order.
    pub clean: bool,
    /// Batches that were walked over.
    pub batches: u64,
    /// Segments that hold frames.
    pub segments: u64,
    /// Events that the log is known to have lost: Gap frames of a salvage, as far as this start walked.
    pub gaps: Vec<Gap>,
    /// The judgement in words.
    pub reason: String,
}

impl RecoveryReport {
    /// T as a position.
    #[must_use]
    pub const fn end(&self) -> FramePos {
        FramePos { segment: self.end_segment, offset: self.end_offset }
    }
}

/// Names a failed call for the person who reads the message.
pub(crate) fn io_error(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { op, path, source }
}
