//! A new log out of a damaged one: everything that validates, at its LSN, and a Gap frame for everything that is lost.
//!
//! Owns: that copy, and that its losses are exactly those that were accepted (L41). Never does: write to the damaged
//! log; write anything before the list was accepted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::batch::Batch;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::format::frame::FrameKind;
use crate::options::LogOptions;
use crate::recovery::{LOCK, io_error, sync_parent};
use crate::{Gap, Lsn};

use super::build::Builder;
use super::survey::{Survey, each_kept, survey_held};
use super::{Progress, hold};

/// What a salvage made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Salvaged {
    /// The first LSN of the new log.
    pub first_lsn: Lsn,
    /// The last LSN of the new log, gaps included.
    pub last_lsn: Lsn,
    /// Events that were copied.
    pub events: u64,
    /// Batches that were copied.
    pub batches: u64,
    /// Events that are lost now: a Gap frame stands for each range.
    pub lost: Vec<Gap>,
    /// Events that an earlier salvage had lost.
    pub lost_before: Vec<Gap>,
    /// The timeline of the new log.
    pub timeline: u32,
}

/// Why nothing was salvaged.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// The damaged log cannot be read, or the new one not be written.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What was accepted is not what is lost. Nothing was written.
    #[error("the losses are {}, accepted were {}", list(losses), list(accepted))]
    NotAccepted {
        /// What would be lost.
        losses: Vec<Gap>,
        /// What was accepted.
        accepted: Vec<Gap>,
    },
    /// Not supported yet: the events below the log's start stand in snapshots, which name places in this log.
    #[error(
        "the log begins at LSN {start}: a log whose beginning was cut cannot be salvaged by this version; restore a backup"
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
    /// The copy would not be what the survey promised: the disk gave other bytes the second time. The new directory has
    /// no MANIFEST and is of no use.
    #[error("the log changed while it was read: expected LSN {expected}, found {found}")]
    Changed {
        /// The LSN that had to come.
        expected: Lsn,
        /// The LSN that came.
        found: Lsn,
    },
}

fn list(gaps: &[Gap]) -> String {
    if gaps.is_empty() {
        return "none".to_owned();
    }
    gaps.iter().map(Gap::to_string).collect::<Vec<_>>().join(",")
}

/// Copies what can be kept of the log in `dir` to the empty or absent directory `out`.
///
/// # Errors
/// [`SalvageError`]; except after an `Io` error or `Changed`, nothing was written.
pub fn salvage(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    out: &Path,
    accepted: &[Gap],
    options: &LogOptions,
    progress: Progress<'_>,
) -> Result<Salvaged, SalvageError> {
    let _held = hold(disk, dir)?;
    let survey = survey_held(disk, dir, &mut |_, _| {})?;
    if survey.log_start > Lsn::FIRST {
        return Err(SalvageError::WasCut { start: survey.log_start });
    }
    if survey.losses != accepted {
        return Err(SalvageError::NotAccepted { losses: survey.losses, accepted: accepted.to_vec() });
    }
    let _out = begin_out(disk.as_ref(), out)?;
    let mut manifest = survey.manifest.clone();
    manifest.geometry.timeline += 1;
    manifest.snapshots.clear();
    let timeline = manifest.geometry.timeline;
    let mut builder = Builder::begin(disk.as_ref(), out, manifest, survey.epoch + 1, options)?;
    let (events, batches) = copy(disk.as_ref(), dir, &survey, &mut builder, progress)?;
    if builder.next_lsn() <= survey.proven_lsn {
        builder.gap(survey.proven_lsn);
    }
    let last_lsn = builder.next_lsn().prev();
    builder.finish()?;
    Ok(Salvaged {
        first_lsn: survey.log_start,
        last_lsn,
        events,
        batches,
        lost: survey.losses,
        lost_before: survey.gaps,
        timeline,
    })
}

/// The new directory, locked.
pub(super) fn begin_out(disk: &dyn Disk, out: &Path) -> Result<crate::disk::LockGuard, SalvageError> {
    match disk.list(out) {
        Ok(entries) => {
            if let Some(entry) = entries.into_iter().find(|entry| entry.name != LOCK) {
                return Err(SalvageError::NotEmpty { out: out.to_owned(), entry: entry.name });
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            disk.mkdir(out).map_err(io_error("make", out))?;
        }
        Err(error) => return Err(io_error("list", out)(error).into()),
    }
    // The name of the directory must be durable before anything in it counts.
    sync_parent(disk, out)?;
    let path = out.join(LOCK);
    let lock = disk.try_lock(&path).map_err(io_error("lock", &path))?;
    Ok(lock.ok_or_else(|| OpenError::Locked { dir: out.to_owned() })?)
}

/// Copies every batch that is kept; how many events and batches.
fn copy(
    disk: &dyn Disk,
    dir: &Path,
    survey: &Survey,
    builder: &mut Builder<'_>,
    progress: Progress<'_>,
) -> Result<(u64, u64), SalvageError> {
    let (mut events, mut batches) = (0, 0);
    each_kept(disk, dir, &survey.manifest, &survey.kept, progress, &mut |frame| {
        let (expected, first) = (builder.next_lsn(), frame.header.first_lsn);
        if first > expected {
            let lost = Gap { from: expected, to: first.prev() };
            if !survey.losses.contains(&lost) {
                return Err(SalvageError::Changed { expected, found: first });
            }
            builder.gap(lost.to);
        }
        if frame.header.kind == FrameKind::Gap {
            builder.gap(frame.next_lsn.prev());
            return Ok(());
        }
        events += u64::from(frame.header.record_count);
        batches += 1;
        let batch = Batch::from_payload(frame.payload, frame.header.record_count);
        Ok(builder.batch(&batch, frame.header.commit_time)?)
    })?;
    if events == survey.events {
        Ok((events, batches))
    } else {
        Err(SalvageError::Changed { expected: survey.last_lsn, found: builder.next_lsn().prev() })
    }
}
