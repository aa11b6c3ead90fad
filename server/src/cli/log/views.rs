//! `relive log rebuild-views`, and the comparison of the views with the log.
//!
//! Owns: folding without an engine. Never does: change the log; claim in `views/` what is not proven durable (L2).

use std::path::Path;
use std::sync::Arc;

use relive_log::Lsn;
use relive_log::evidence::VIEWS_DIR;
use relive_log::tools::{OfflineLog, Upto};
use relive_projections::{IfAhead, Limits, StoreKind, Trust, Views, ViewsError, ViewsOptions};
use serde_json::json;
use tempfile::TempDir;

use super::progress::Progress;
use super::{disk, display, failed, tell};
use crate::cli::remote::Remote;
use crate::client::Failed;
use crate::start_error::StartError;

/// How views on disk compare with a fold of the log.
#[derive(Debug)]
pub(super) enum Compared {
    /// They say the same.
    Same,
    /// They do not.
    Differ,
    /// There is nothing to compare; the text says why.
    Not(String),
}

impl Compared {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Compared::Same => "same",
            Compared::Differ => "differ",
            Compared::Not(_) => "not_compared",
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Compared::Same => "say what the log says".to_owned(),
            Compared::Differ => "DIFFER from the log".to_owned(),
            Compared::Not(why) => format!("not compared: {why}"),
        }
    }
}

fn open_log(dir: &Path, upto: Upto) -> Result<OfflineLog, Failed> {
    let log = OfflineLog::open(disk(), dir, upto).map_err(|error| failed(&error))?;
    match &log.refusal {
        None => Ok(log),
        Some(refusal) => Err(failed(refusal)),
    }
}

fn open_views(
    log: &OfflineLog,
    upto: Lsn,
    (views, quarantine): (&Path, &Path),
    trust: Trust,
) -> Result<(Views, bool), ViewsError> {
    let options = ViewsOptions {
        dir: views.to_owned(),
        quarantine: quarantine.to_owned(),
        disk: disk(),
        log_id: log.log_id,
        timeline: log.timeline,
        last_lsn: upto,
        first_lsn: log.reader.first_lsn(),
        snapshots: Some(Arc::new(log.snapshots.clone())),
        trust,
        if_ahead: IfAhead::Refuse,
        store: StoreKind::Sled,
        limits: Limits::default(),
    };
    let (views, opened) = Views::open(options, Arc::new(log.reader.clone()))?;
    Ok((views, opened.rebuilt.is_some()))
}

fn of_views(error: &ViewsError) -> Failed {
    let StartError { code, message } = StartError::of_views(error);
    Failed { code, message, problem: None }
}

/// Opens a copy of the views, folds what they lack, and compares with a fold of the whole log in memory; of a log whose
/// beginning was cut, with a snapshot and a fold of what follows it.
pub(super) fn compare(dir: &Path) -> Result<Compared, Failed> {
    let log = open_log(dir, Upto::Valid)?;
    let original = dir.join(VIEWS_DIR);
    if !original.exists() {
        return Ok(Compared::Not("there are none; the next start makes them".to_owned()));
    }
    let scratch = tempfile::tempdir().map_err(|e| Failed::new(format!("no scratch directory: {e}")))?;
    let copy = scratch.path().join(VIEWS_DIR);
    copy_dir(&original, &copy)
        .map_err(|e| Failed { code: 74, ..Failed::new(format!("the views cannot be copied: {e}")) })?;
    let last = log.reader.durable();
    let opened = open_views(&log, last, (&copy, &scratch.path().join("quarantine")), Trust::Open);
    let (views, rebuilt) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            return Ok(Compared::Not(format!(
                "they cannot be opened ({error}); the next start rebuilds them"
            )));
        }
    };
    if rebuilt {
        return Ok(Compared::Not("the next start rebuilds them".to_owned()));
    }
    let mut progress = Progress::new("comparing views");
    let (fresh, _kept) = folded(&log, last, &mut |lsn| progress.at(lsn.0, last.0))?;
    views.catch_up(&log.reader, &mut |_| {}).map_err(|e| of_views(&e))?;
    let digest = |views: &Views| {
        views.digest().map_err(|e| Failed { code: 65, ..Failed::new(format!("a view cannot be read: {e}")) })
    };
    Ok(if digest(&views)? == digest(&fresh)? { Compared::Same } else { Compared::Differ })
}

/// The views of a log as of `upto`, folded away from its directory: in memory; of a log whose beginning was cut from a
/// snapshot, in a scratch directory that goes when the second value does.
pub(in crate::cli) fn folded(
    log: &OfflineLog,
    upto: Lsn,
    progress: &mut dyn FnMut(Lsn),
) -> Result<(Views, Option<TempDir>), Failed> {
    let (views, scratch) = if log.reader.first_lsn() > Lsn::FIRST {
        let scratch = tempfile::tempdir().map_err(|e| Failed::new(format!("no scratch directory: {e}")))?;
        let (views, quarantine) = (scratch.path().join(VIEWS_DIR), scratch.path().join("quarantine"));
        let opened = open_views(log, upto, (&views, &quarantine), Trust::Discard);
        let (views, _) = opened.map_err(|e| of_views(&e))?;
        (views, Some(scratch))
    } else {
        (Views::in_memory(Arc::new(log.reader.clone())), None)
    };
    views.catch_up_to(&log.reader, upto, progress).map_err(|e| of_views(&e))?;
    Ok((views, scratch))
}

fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Folds the proven log into a new generation of views.
pub(super) fn rebuild(remote: &Remote, dir: &Path) -> Result<(), Failed> {
    let log = open_log(dir, Upto::Proven)?;
    let last = log.reader.durable();
    let quarantine = dir.join("quarantine");
    let opened = open_views(&log, last, (&dir.join(VIEWS_DIR), &quarantine), Trust::Discard);
    let (views, _) = opened.map_err(|e| of_views(&e))?;
    let mut progress = Progress::new("folding");
    let applied =
        views.catch_up(&log.reader, &mut |lsn| progress.at(lsn.0, last.0)).map_err(|e| of_views(&e))?;
    views.close(last).map_err(|e| of_views(&e))?;
    drop(progress);
    let value = json!({"data": display(dir), "applied_lsn": applied});
    tell(remote, &value, &[format!("the views were folded anew, up to LSN {applied}")]);
    Ok(())
}
