//! Looking at a log as a start would, and doing what a start would do before it hands the log out.
//!
//! Owns: [`verify`] (R0–R9 and a report) and [`repair`] (R10–R14). Never does: go on where a start would refuse.

use std::path::Path;
use std::sync::Arc;

use crate::UnixMicros;
use serde::Serialize;

use crate::Lsn;
use crate::disk::Disk;
use crate::error::{OpenError, SnapshotError};
use crate::format::manifest::Manifest;
use crate::format::snapshot::{SnapshotKind, snapshot_name};
use crate::options::LogOptions;
use crate::recovery::gather::read_manifest;
use crate::recovery::open::{judge, recover};
use crate::recovery::{RecoveryReport, check_new};
use crate::snapshot::{SNAPSHOTS_DIR, open_file, verify_file};

use super::survey::{Survey, survey_held};
use super::{Progress, hold, no_manifest};

/// How closely [`verify`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// As a start does.
    Start,
    /// Every byte of every segment and snapshot as well.
    Everything,
}

/// What [`verify`] found.
#[derive(Debug)]
pub struct Verified {
    /// What a start would find, as far as it would get.
    pub report: Option<RecoveryReport>,
    /// Why a start would refuse.
    pub refusal: Option<OpenError>,
    /// Segment by segment: always when deep or when a start would refuse.
    pub survey: Option<Survey>,
    /// The snapshots that MANIFEST names, every block read: when deep.
    pub snapshots: Vec<SnapshotCheck>,
}

/// One snapshot, read to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotCheck {
    /// Its file, in `snapshots/`.
    pub file: String,
    /// The last LSN of what it holds; of a base, the first LSN of the log that it stands before.
    pub lsn: Lsn,
    /// Whether the log cannot do without it: values below its start stand in it alone.
    pub is_base: bool,
    /// What is wrong with it, if anything.
    pub problem: Option<String>,
    /// Whether the disk refused to give it; else what it gave is not what was written.
    pub unreadable: bool,
}

impl Verified {
    /// 0: clean, or only an unproven tail that the next start cuts. 65, 74: as for a start; 65 also when only the deep
    /// look found damage.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match (&self.refusal, &self.survey) {
            (Some(refusal), _) => refusal.exit_code(),
            (None, Some(survey)) if survey.has_read_errors() => 74,
            (None, Some(survey)) if !survey.is_sound() => 65,
            (None, _) if self.snapshots.iter().any(|found| found.unreadable) => 74,
            (None, _) if self.snapshots.iter().any(|found| found.problem.is_some()) => 65,
            (None, _) => 0,
        }
    }
}

/// R0–R9 without a write (L40), and a survey.
///
/// # Errors
/// `Locked`, `NoLog`, `Format`: there is nothing to verify. Damage and read errors are findings, not errors.
pub fn verify(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    depth: Depth,
    progress: Progress<'_>,
) -> Result<Verified, OpenError> {
    let _held = hold(disk, dir)?;
    let walk_bytes_min = match depth {
        Depth::Start => LogOptions::default().walk_bytes_min,
        Depth::Everything => u64::MAX,
    };
    let (report, refusal) = match judge(disk, dir, walk_bytes_min) {
        Ok(Some(judged)) => (Some(judged.report), judged.refusal),
        Ok(None) => match check_new(disk, dir) {
            Ok(()) => return Err(OpenError::NoLog { dir: dir.to_owned() }),
            Err(error) => (None, Some(error)),
        },
        Err(error @ (OpenError::Damaged { .. } | OpenError::Io { .. })) => (None, Some(error)),
        Err(error) => return Err(error),
    };
    let wanted = depth == Depth::Everything || refusal.is_some();
    let survey = match wanted.then(|| survey_held(disk, dir, progress)) {
        None => None,
        Some(Ok(survey)) => Some(survey),
        // A log of which not even the shape is known has no survey; the refusal says what a start would say.
        Some(Err(_)) if refusal.is_some() => None,
        Some(Err(error)) => return Err(error),
    };
    let snapshots = if depth == Depth::Everything { snapshots(disk, dir)? } else { Vec::new() };
    Ok(Verified { report, refusal, survey, snapshots })
}

/// Reads every block of what MANIFEST names; of large ones a start reads header and footer only.
fn snapshots(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<SnapshotCheck>, OpenError> {
    let manifest: Manifest = match read_manifest(disk.as_ref(), dir) {
        Ok(Some((manifest, _))) => manifest,
        // Without it nobody knows which are in force; that it is missing is a finding of its own.
        Ok(None) | Err(OpenError::Damaged { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let check = |kind: SnapshotKind, lsn: Lsn| {
        let file = snapshot_name(kind, lsn);
        let path = dir.join(SNAPSHOTS_DIR).join(&file);
        let read = open_file(disk.as_ref(), &path, &manifest.geometry, kind, lsn).and_then(|opened| {
            opened.file.drop_cache().map_err(|source| SnapshotError::Io { op: "read", path, source })?;
            verify_file(opened)
        });
        let error = read.err();
        let unreadable = matches!(error, Some(SnapshotError::Io { .. }));
        let problem = error.map(|error| error.to_string());
        SnapshotCheck { file, lsn, is_base: kind == SnapshotKind::Base, problem, unreadable }
    };
    let base = (manifest.log_start_lsn > Lsn::FIRST).then_some(manifest.log_start_lsn);
    let base = base.map(|start| check(SnapshotKind::Base, start.prev()));
    Ok(base
        .into_iter()
        .chain(manifest.snapshots.iter().map(|lsn| check(SnapshotKind::State, *lsn)))
        .collect())
}

/// What [`repair`] did.
#[derive(Debug)]
pub struct Repaired {
    /// What was found, cut and why.
    pub report: RecoveryReport,
}

/// R10–R14: exactly what a start does before it hands out the log.
///
/// # Errors
/// As for an open; a refusal has modified nothing.
pub fn repair(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &LogOptions,
    now: UnixMicros,
) -> Result<Repaired, OpenError> {
    let _held = hold(disk, dir)?;
    let judged = judge(disk, dir, options.walk_bytes_min)?.ok_or_else(|| no_manifest(dir))?;
    if let Some(refusal) = judged.refusal {
        return Err(refusal);
    }
    let mut report = judged.report;
    recover(disk.as_ref(), dir, options, &judged.gathered, &mut report, now)?;
    Ok(Repaired { report })
}
