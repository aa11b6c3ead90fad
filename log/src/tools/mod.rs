//! What an operator does to a log that no engine has open: look, verify, repair, salvage, rebuild. The same library
//! code as the engine's: the same walk, the same judgement, the same writes.
//!
//! Owns: [`survey()`] (what stands where, whatever the damage), [`verify`], [`repair`], [`salvage`], [`fork()`],
//! [`rebuild_manifest`], [`rebuild_watermark`], [`OfflineLog`] (reading without opening for writing). Never does: print,
//! exit, fold events; write anything but what its function says.
//!
//! Every function takes the directory's lock first, so that a running engine answers 75 at once. Upholds L40
//! (looking never writes) and L41 (a salvage holds nothing that its input did not hold, and its gaps are the losses that
//! were accepted).

mod build;
mod carry;
mod fork;
mod offline;
mod rebuild;
mod salvage;
mod scan;
mod survey;
mod verify;

use std::path::Path;
use std::sync::Arc;

pub use fork::{ForkError, ForkPlan, ForkedLog, check_fork, fork};
pub use offline::{OfflineLog, OfflineSnapshots, Upto};
pub use rebuild::{Rebuilt, rebuild_manifest, rebuild_watermark};
pub use salvage::{Beginning, SalvageError, Salvaged, salvage};
pub use survey::{SegmentSurvey, Span, SpanStatus, Survey, survey};
pub use verify::{Depth, Repaired, SnapshotCheck, Verified, repair, verify};

use crate::disk::{Disk, LockGuard};
use crate::error::OpenError;
use crate::recovery::gather::damaged;
use crate::recovery::{LOCK, LOG_DIR, MANIFEST, MANIFEST_BAK, WATERMARK, io_error};

/// Bytes done and bytes to do, told as a long function goes on.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// A directory that holds a log, locked against engines for as long as this lives.
struct Held {
    _lock: Option<LockGuard>,
}

/// Takes the lock without making its file: where there is none, no engine was ever started (L40).
fn hold(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Held, OpenError> {
    let entries = match disk.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(OpenError::NoLog { dir: dir.to_owned() });
        }
        Err(error) => return Err(io_error("list", dir)(error)),
    };
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    let lock = if has(LOCK) {
        let path = dir.join(LOCK);
        let lock = disk.try_lock(&path).map_err(io_error("lock", &path))?;
        Some(lock.ok_or_else(|| OpenError::Locked { dir: dir.to_owned() })?)
    } else {
        None
    };
    if ![MANIFEST, MANIFEST_BAK, WATERMARK, LOG_DIR].into_iter().any(has) {
        return Err(OpenError::NoLog { dir: dir.to_owned() });
    }
    Ok(Held { _lock: lock })
}

/// What a missing MANIFEST means to a tool that cannot do without.
fn no_manifest(dir: &Path) -> OpenError {
    damaged(dir, "MANIFEST and its copy are missing; `relive log rebuild-manifest` makes one".to_owned())
}

/// Goes over the sound frames of a segment: where each stands and how long it is.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn scan_segment(
    bytes: &[u8],
    segment: u32,
    geometry: &crate::format::Geometry,
    key: &crate::format::frame::FrameKey,
    tell: &mut dyn FnMut(crate::FramePos, u32),
) {
    scan::scan(bytes, segment, geometry, key, &mut |met| {
        if let scan::Met::Frame { header, pos, .. } = met {
            tell(pos, header.frame_len());
        }
    });
}
