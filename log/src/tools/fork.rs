//! A log of its own out of the beginning of another one: every batch up to a position, at its LSN, under a new identity.
//!
//! Owns: that copy and the batch that comes after it. Never does: write to the log that it copies; choose what that batch
//! says. Events name each other by LSN, never by place, so what they say stays true in a copy.
//!
//! It costs a read and a write of what is copied. Segments are not linked: their frames name the log that they belong to,
//! and a segment that the other log gives up is written over where it stands.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::build::Builder;
use super::offline::OfflineLog;
use super::salvage::{SalvageError, begin_out};
use crate::batch::Batch;
use crate::disk::Disk;
use crate::error::{OpenError, ReadError};
use crate::format::Geometry;
use crate::format::manifest::Manifest;
use crate::options::{FreshIdentity, LogOptions};
use crate::recovery::FIRST_SEGMENT;
use crate::{Lsn, UnixMicros};

/// What a fork made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForkedLog {
    /// The last LSN that was copied.
    pub copied_lsn: Lsn,
    /// The last LSN of the new log.
    pub last_lsn: Lsn,
    /// Batches that were copied.
    pub batches: u64,
}

/// Why nothing was forked.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// The new log cannot be written.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The events below the log's start stand in a base that names places in this log.
    #[error(
        "the log begins at LSN {start}: a directory whose log was cut cannot be forked by this version; `relive fork SLUG` \
         forks one of its apps"
    )]
    WasCut {
        /// The first LSN of the log.
        start: Lsn,
    },
    /// The new directory exists and is not empty. Nothing was written.
    #[error("{out} is not empty: it holds {entry}")]
    NotEmpty {
        /// The directory.
        out: PathBuf,
        /// Something in it.
        entry: String,
    },
}

impl From<SalvageError> for ForkError {
    fn from(error: SalvageError) -> ForkError {
        match error {
            SalvageError::Open(error) => ForkError::Open(error),
            SalvageError::NotEmpty { out, entry } => ForkError::NotEmpty { out, entry },
            other @ (SalvageError::NotAccepted { .. } | SalvageError::Changed { .. }) => {
                let source = std::io::Error::other(other.to_string());
                ForkError::Open(OpenError::Io { op: "write", path: PathBuf::new(), source })
            }
        }
    }
}

/// What comes of it: which batches, and what is said after them.
#[derive(Debug)]
pub struct ForkPlan<'a> {
    /// Every batch whose first LSN is at or below.
    pub upto: Lsn,
    /// The batch that follows them; nothing if empty.
    pub then: &'a Batch,
    /// Its commit time.
    pub at: UnixMicros,
    /// Who the new log is.
    pub identity: FreshIdentity,
}

/// Copies the beginning of a log into the empty or absent directory `out`.
///
/// # Errors
/// [`ForkError`]; after `Open` or `Read` the new directory has no MANIFEST and is of no use, else nothing was written.
pub fn fork(
    disk: &Arc<dyn Disk>,
    from: &OfflineLog,
    out: &Path,
    plan: &ForkPlan<'_>,
    options: &LogOptions,
    progress: &mut dyn FnMut(Lsn),
) -> Result<ForkedLog, ForkError> {
    let start = from.reader.first_lsn();
    if start > Lsn::FIRST {
        return Err(ForkError::WasCut { start });
    }
    let _out = begin_out(disk.as_ref(), out)?;
    let FreshIdentity { log_id, frame_magic } = plan.identity;
    let frame_magic = u32::from_le_bytes(frame_magic) | 1; // its low byte is never 0
    let geometry = Geometry { log_id, frame_magic, timeline: 1, ..from.geometry };
    let manifest = Manifest {
        geometry,
        first_seq: FIRST_SEGMENT,
        log_start_lsn: Lsn::FIRST,
        log_start_chain: 0,
        snapshots: Vec::new(),
        created: plan.at,
    };
    let mut builder = Builder::begin(disk.as_ref(), out, manifest, 1, options)?;
    let mut batches = 0;
    let mut last_commit = UnixMicros(0);
    let mut scan = from.reader.scan(Lsn::FIRST)?;
    while let Some(frame) = scan.next() {
        let frame = match frame {
            Ok(frame) => frame,
            Err(ReadError::Gap { gap }) if gap.from <= plan.upto => {
                builder.gap(gap.to);
                scan.pass_gap(gap);
                continue;
            }
            Err(ReadError::Gap { .. }) => break,
            Err(error) => return Err(error.into()),
        };
        if frame.first_lsn > plan.upto {
            break;
        }
        let mut batch = Batch::new();
        for record in frame.records() {
            batch.push_raw(record.type_, record.type_version, record.body);
        }
        builder.batch(&batch, frame.commit_time)?;
        last_commit = frame.commit_time;
        batches += 1;
        progress(frame.last_lsn);
    }
    let copied_lsn = builder.next_lsn().prev();
    if !plan.then.is_empty() {
        builder.batch(plan.then, plan.at.max(last_commit))?;
    }
    let last_lsn = builder.next_lsn().prev();
    builder.finish()?;
    Ok(ForkedLog { copied_lsn, last_lsn, batches })
}
