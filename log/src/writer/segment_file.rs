//! Making a segment: all of it written zeros, its header, a sync, the rename, a sync of the directory. And making one
//! from a retired file, which was renamed to an unfinished one before: its new header is made durable, then it gets its
//! new name.
//!
//! Owns: these orders. Never does: use a segment; nobody may before `publish` or `republish` returned (L6).

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, OpenMode, ZeroPace};
use crate::format::segment::{Rest, SegmentHeader, segment_name, segment_tmp_name};
use crate::options::Recycle;
use crate::planted::{self, Bug};

/// A step that failed.
#[derive(Debug)]
pub(crate) struct StepFailed {
    pub(crate) op: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

impl StepFailed {
    /// Whether it only says that the disk is full, and nothing that counts was touched.
    pub(crate) fn is_no_space(&self) -> bool {
        self.op != "sync directory" && is_no_space(&self.source)
    }
}

/// Whether the disk is full or the quota used up.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes and publishes the segment that `header` describes, in `log_dir`.
pub(crate) fn publish(
    disk: &dyn Disk,
    log_dir: &Path,
    header: &SegmentHeader,
    pace: ZeroPace,
) -> Result<(), StepFailed> {
    let tmp = log_dir.join(segment_tmp_name(header.seq));
    give_back_on_no_space(disk, &tmp, make(disk, &tmp, header, pace))?;
    give_name(disk, log_dir, &tmp, header.seq)
}

/// Publishes the file of the retired segment `retired`, which has the name of an unfinished one, as the segment that
/// `header` describes.
pub(crate) fn republish(
    disk: &dyn Disk,
    log_dir: &Path,
    retired: u32,
    mut header: SegmentHeader,
    how: Recycle,
    pace: ZeroPace,
) -> Result<(), StepFailed> {
    let tmp = log_dir.join(segment_tmp_name(retired));
    header.rest = if how == Recycle::Zero { Rest::Zeros } else { Rest::OldBytes };
    give_back_on_no_space(disk, &tmp, remake(disk, &tmp, &header, pace))?;
    give_name(disk, log_dir, &tmp, header.seq)
}

/// Removes what there was no room for. Best effort: at the next start it is removed as a leftover.
fn give_back_on_no_space(
    disk: &dyn Disk,
    tmp: &Path,
    made: Result<(), StepFailed>,
) -> Result<(), StepFailed> {
    if made.as_ref().is_err_and(StepFailed::is_no_space) {
        drop(disk.unlink(tmp));
    }
    made
}

fn give_name(disk: &dyn Disk, log_dir: &Path, tmp: &Path, seq: u32) -> Result<(), StepFailed> {
    let name = log_dir.join(segment_name(seq));
    disk.rename(tmp, &name).map_err(|source| StepFailed { op: "rename", path: tmp.to_owned(), source })?;
    if planted::is(Bug::NoDirSync) {
        return Ok(());
    }
    disk.sync_dir(log_dir).map_err(|source| StepFailed {
        op: "sync directory",
        path: log_dir.to_owned(),
        source,
    })
}

fn make(disk: &dyn Disk, tmp: &Path, header: &SegmentHeader, pace: ZeroPace) -> Result<(), StepFailed> {
    let failed = |op| move |source| StepFailed { op, path: tmp.to_owned(), source };
    let file = disk.open(tmp, OpenMode::Truncate).map_err(failed("create"))?;
    file.allocate_zeroed(u64::from(header.geometry.segment_bytes), pace).map_err(failed("allocate"))?;
    file.write_all_at(&header.encode(), 0).map_err(failed("write header of"))?;
    if planted::is(Bug::RenameBeforeSync) {
        return Ok(());
    }
    file.sync_all().map_err(failed("sync"))
}

fn remake(disk: &dyn Disk, tmp: &Path, header: &SegmentHeader, pace: ZeroPace) -> Result<(), StepFailed> {
    let failed = |op| move |source| StepFailed { op, path: tmp.to_owned(), source };
    let file = disk.open(tmp, OpenMode::ReadWrite).map_err(failed("open"))?;
    if header.rest == Rest::Zeros {
        file.allocate_zeroed(u64::from(header.geometry.segment_bytes), pace).map_err(failed("overwrite"))?;
    }
    file.write_all_at(&header.encode(), 0).map_err(failed("write header of"))?;
    file.sync_all().map_err(failed("sync"))
}
