//! Making a segment: all of it written zeros, its header, a sync, the rename, a sync of the directory.
//!
//! Owns: that order. Never does: use a segment; nobody may before `publish` returned (L6).

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, OpenMode};
use crate::format::segment::{SegmentHeader, segment_name, segment_tmp_name};
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
pub(crate) fn publish(disk: &dyn Disk, log_dir: &Path, header: &SegmentHeader) -> Result<(), StepFailed> {
    let tmp = log_dir.join(segment_tmp_name(header.seq));
    let made = make(disk, &tmp, header);
    if let Err(failed) = made {
        if failed.is_no_space() {
            // Best effort: at the next start it is removed as a leftover.
            drop(disk.unlink(&tmp));
        }
        return Err(failed);
    }
    let name = log_dir.join(segment_name(header.seq));
    disk.rename(&tmp, &name).map_err(|source| StepFailed { op: "rename", path: tmp.clone(), source })?;
    if planted::is(Bug::NoDirSync) {
        return Ok(());
    }
    disk.sync_dir(log_dir).map_err(|source| StepFailed {
        op: "sync directory",
        path: log_dir.to_owned(),
        source,
    })
}

fn make(disk: &dyn Disk, tmp: &Path, header: &SegmentHeader) -> Result<(), StepFailed> {
    let failed = |op| move |source| StepFailed { op, path: tmp.to_owned(), source };
    let file = disk.open(tmp, OpenMode::Truncate).map_err(failed("create"))?;
    file.allocate_zeroed(u64::from(header.geometry.segment_bytes)).map_err(failed("allocate"))?;
    file.write_all_at(&header.encode(), 0).map_err(failed("write header of"))?;
    if planted::is(Bug::RenameBeforeSync) {
        return Ok(());
    }
    file.sync_all().map_err(failed("sync"))
}
