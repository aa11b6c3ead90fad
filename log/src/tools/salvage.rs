//! A new log out of a damaged one: everything that validates, at its LSN, and a Gap frame for everything that is lost.
//!
//! Owns: that copy, and that its losses are exactly those that were accepted (L41). A log whose beginning was cut takes
//! over the snapshots that stand for it (`carry`). Never does: write to the damaged log; write anything before the list
//! was accepted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::batch::Batch;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::format::frame::FrameKind;
use crate::options::LogOptions;
use crate::recovery::{LOCK, io_error, sync_parent};
use crate::{FramePos, Gap, Lsn};

use super::build::Builder;
use super::carry::Carried;
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
    /// Of a log whose beginning was cut: what stands for it.
    pub beginning: Option<Beginning>,
}

/// What stands for the cut beginning of a salvaged log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Beginning {
    /// Last LSNs of the state snapshots that were taken over, ascending. The next start begins from the last one.
    pub snapshots: Vec<Lsn>,
    /// State snapshots that stayed behind, each with the reason.
    pub left_behind: Vec<String>,
    /// What is damaged in the base: values from before the log's start that stand there cannot be read.
    pub base_damage: Option<String>,
    /// Of the losses those that lie below every snapshot that was taken over: the state refers to them, values among them
    /// cannot be read, and what was open then is not known.
    pub lost_below: Vec<Gap>,
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
    if survey.losses != accepted {
        return Err(SalvageError::NotAccepted { losses: survey.losses, accepted: accepted.to_vec() });
    }
    let was_cut = survey.log_start > Lsn::FIRST;
    let carried = was_cut.then(|| Carried::find(disk, dir, &survey)).transpose()?;
    let _out = begin_out(disk.as_ref(), out)?;
    let mut manifest = survey.manifest.clone();
    manifest.geometry.timeline += 1;
    manifest.snapshots.clear();
    if let Some(carried) = &carried {
        // Above every segment that places in the snapshots can name; the last ones may be lost.
        let last = survey.segments.last().map_or(manifest.first_seq, |last| last.segment);
        manifest.first_seq = last.max(carried.last_segment()) + 1;
    }
    let geometry = manifest.geometry;
    let start = FramePos { segment: manifest.first_seq, offset: geometry.first_offset() };
    let mut builder = Builder::begin(disk.as_ref(), out, manifest, survey.epoch + 1, options)?;
    let wanted = carried.as_ref().map(Carried::lsns).unwrap_or_default();
    let Copied { events, batches, ends } =
        copy(disk.as_ref(), dir, &survey, &mut builder, &wanted, progress)?;
    if builder.next_lsn() <= survey.proven_lsn {
        builder.gap(survey.proven_lsn);
    }
    let last_lsn = builder.next_lsn().prev();
    let beginning = match carried {
        Some(carried) => {
            carried.install(disk.as_ref(), out, (&geometry, start), &ends, &mut builder)?;
            let snapshots = carried.lsns();
            let Carried { left_behind, base_damage, lost_below, .. } = carried;
            Some(Beginning { snapshots, left_behind, base_damage, lost_below })
        }
        None => None,
    };
    builder.finish()?;
    Ok(Salvaged {
        first_lsn: survey.log_start,
        last_lsn,
        events,
        batches,
        lost: survey.losses,
        lost_before: survey.gaps,
        timeline: geometry.timeline,
        beginning,
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

/// What was copied.
struct Copied {
    events: u64,
    batches: u64,
    /// Where the frames stand that end with an LSN that was asked for.
    ends: BTreeMap<Lsn, FramePos>,
}

/// Copies every batch that is kept.
fn copy(
    disk: &dyn Disk,
    dir: &Path,
    survey: &Survey,
    builder: &mut Builder<'_>,
    wanted: &[Lsn],
    progress: Progress<'_>,
) -> Result<Copied, SalvageError> {
    let (mut events, mut batches, mut ends) = (0, 0, BTreeMap::new());
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
        let pos = builder.batch(&batch, frame.header.commit_time)?;
        let last = frame.next_lsn.prev();
        if wanted.contains(&last) {
            ends.insert(last, pos);
        }
        Ok(())
    })?;
    if events == survey.events {
        Ok(Copied { events, batches, ends })
    } else {
        Err(SalvageError::Changed { expected: survey.last_lsn, found: builder.next_lsn().prev() })
    }
}
