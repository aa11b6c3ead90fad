//! A log of its own out of another one: every batch up to a position, at its LSN, under a new identity; where the other
//! one's beginning was cut, what stands for that too.
//!
//! Owns: that copy and the batch that comes after it. Never does: write to the log that it copies; choose what that batch
//! says. Events name each other by LSN, never by place, so what they say stays true in a copy.
//!
//! Upholds L42: where base and snapshots go along, the new log begins above every segment that a place in them can name.
//! Invariant: L43 nothing of a fork validates in the log that it was made of, nor the other way round.
//!
//! It costs a read and a write of what is copied. Segments are not linked: their frames name the log that they belong to,
//! and a segment that the other log gives up is written over where it stands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::build::Builder;
use super::carry::Carried;
use super::offline::OfflineLog;
use super::salvage::{SalvageError, begin_out};
use crate::batch::Batch;
use crate::disk::Disk;
use crate::error::{OpenError, ReadError};
use crate::format::Geometry;
use crate::format::manifest::Manifest;
use crate::options::{FreshIdentity, LogOptions};
use crate::recovery::FIRST_SEGMENT;
use crate::recovery::gather::damaged;
use crate::{FramePos, Lsn, UnixMicros};

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
    /// What the state was then stands in no snapshot. Nothing was written.
    #[error(
        "as of LSN {upto} there is nothing to fork: the log begins at LSN {start}, and with its oldest snapshot what can be \
         forked goes back to LSN {earliest}"
    )]
    TooEarly {
        /// The first LSN of the log.
        start: Lsn,
        /// The oldest snapshot's.
        earliest: Lsn,
        /// What was asked for.
        upto: Lsn,
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

/// Whether a log can be forked as of a moment.
///
/// # Errors
/// `TooEarly`; `Open` when its beginning was cut and it has no snapshot.
pub fn check_fork(from: &OfflineLog, upto: Lsn) -> Result<(), ForkError> {
    let start = from.reader.first_lsn();
    match from.foldable_from() {
        Some(earliest) if earliest > upto => Err(ForkError::TooEarly { start, earliest, upto }),
        Some(_) => Ok(()),
        None => {
            let what =
                format!("the log begins at LSN {start}, and there is no snapshot of what was before it");
            Err(damaged(from.snapshots.folder(), what).into())
        }
    }
}

/// Copies a log up to a moment into the empty or absent directory `out`.
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
    check_fork(from, plan.upto)?;
    let was_cut = start > Lsn::FIRST;
    let carried = was_cut.then(|| Carried::as_of(from, plan.upto)).transpose()?;
    let _out = begin_out(disk.as_ref(), out)?;
    let FreshIdentity { log_id, frame_magic } = plan.identity;
    let frame_magic = u32::from_le_bytes(frame_magic) | 1; // its low byte is never 0
    let geometry = Geometry { log_id, frame_magic, timeline: 1, ..from.geometry };
    let above = |carried: &Carried| from.reader.durable_end().segment.max(carried.last_segment()) + 1;
    let first_seq = carried.as_ref().map_or(FIRST_SEGMENT, above);
    let begins = FramePos { segment: first_seq, offset: geometry.first_offset() };
    let manifest = Manifest {
        geometry,
        first_seq,
        log_start_lsn: start,
        log_start_chain: carried.as_ref().map_or(0, Carried::chain),
        snapshots: Vec::new(),
        created: plan.at,
    };
    let mut builder = Builder::begin(disk.as_ref(), out, manifest, 1, options)?;
    let mut batches = 0;
    let mut last_commit = UnixMicros(0);
    let wanted = carried.as_ref().map(Carried::lsns).unwrap_or_default();
    let mut ends = BTreeMap::new();
    let mut scan = from.reader.scan(start)?;
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
        let pos = builder.batch(&batch, frame.commit_time)?;
        if wanted.contains(&frame.last_lsn) {
            ends.insert(frame.last_lsn, pos);
        }
        last_commit = frame.commit_time;
        batches += 1;
        progress(frame.last_lsn);
    }
    let copied_lsn = builder.next_lsn().prev();
    if !plan.then.is_empty() {
        builder.batch(plan.then, plan.at.max(last_commit))?;
    }
    let last_lsn = builder.next_lsn().prev();
    if let Some(carried) = carried {
        carried.install(disk.as_ref(), out, (&geometry, begins), &ends, &mut builder)?;
    }
    builder.finish()?;
    Ok(ForkedLog { copied_lsn, last_lsn, batches })
}
