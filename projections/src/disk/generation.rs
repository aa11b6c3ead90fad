//! Generations of the views on disk: `views/<n>/`, and `views/CURRENT` that names the one in force.
//!
//! Owns: directories, `CURRENT`, the marker of a broken generation, quarantine. Never does: look into a generation.
//!
//! ```text
//! views/CURRENT           number of the generation in force, decimal, one line; replaced atomically
//! views/<n>/applied       evidence for the log (relive_log::evidence)
//! views/<n>/broken        there if a process found this generation damaged: the next start rebuilds
//! views/<n>/run-*.kv      sorted runs of the KV table            run-*.ended   of executions that ended
//! views/<n>/sled/         the store
//! quarantine/views-<n>/   the last generation that could not be opened
//! ```
//!
//! Invariant: P10 a generation is named by `CURRENT` only when it holds everything that the log held when it was
//! begun (V9); every other one is removed at the next start.

use std::io;
use std::path::{Path, PathBuf};

use relive_log::disk::{Disk, EntryKind, read_small, replace_small};
use relive_log::evidence::{self, APPLIED_LEN, APPLIED_NAME, Applied, CURRENT_NAME};

use crate::error::ViewsError;

const BROKEN_NAME: &str = "broken";
/// Directory of the store within a generation.
pub(crate) const STORE_NAME: &str = "sled";
const CURRENT_BYTES_MAX: u64 = 64;
const QUARANTINED: &str = "views-";

pub(crate) fn io_error(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ViewsError {
    move |source| ViewsError::Io { op, path: path.to_path_buf(), source }
}

/// The generation in force. `None`: there is none, or `CURRENT` says nothing that can be understood.
pub(crate) fn current(disk: &dyn Disk, dir: &Path) -> Option<u64> {
    let bytes = read_small(disk, &dir.join(CURRENT_NAME), CURRENT_BYTES_MAX).ok()??;
    let text = std::str::from_utf8(&bytes).ok()?.strip_suffix('\n')?;
    let canonical = |number: &u64| number.to_string() == text;
    text.parse().ok().filter(canonical)
}

/// Names the generation in force.
pub(crate) fn switch(disk: &dyn Disk, dir: &Path, number: u64) -> Result<(), ViewsError> {
    replace_small(disk, dir, CURRENT_NAME, format!("{number}\n").as_bytes())
        .map_err(io_error("replace", &dir.join(CURRENT_NAME)))
}

/// Every generation that has a directory, ascending.
pub(crate) fn all(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, ViewsError> {
    let entries = disk.list(dir).map_err(io_error("list", dir))?;
    let mut numbers: Vec<u64> = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Dir)
        .filter_map(|entry| entry.name.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The directory of a generation.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(number.to_string())
}

/// What the evidence of a generation says.
pub(crate) fn applied(disk: &dyn Disk, generation: &Path) -> Option<Applied> {
    let bytes = read_small(disk, &generation.join(APPLIED_NAME), evidence_bytes()).ok()??;
    evidence::decode(&bytes)
}

fn evidence_bytes() -> u64 {
    u64::try_from(APPLIED_LEN).unwrap_or(u64::MAX)
}

/// Writes the evidence of a generation.
pub(crate) fn write_applied(disk: &dyn Disk, generation: &Path, applied: &Applied) -> Result<(), ViewsError> {
    replace_small(disk, generation, APPLIED_NAME, &evidence::encode(applied))
        .map_err(io_error("replace", &generation.join(APPLIED_NAME)))
}

/// Leaves a mark: the next start rebuilds. Best effort: what is damaged is found again by whoever reads it.
pub(crate) fn mark_broken(disk: &dyn Disk, generation: &Path, why: &str) {
    if let Err(error) = replace_small(disk, generation, BROKEN_NAME, why.as_bytes()) {
        tracing::warn!(%error, "views could not be marked as broken");
    }
}

/// Whether an earlier process left the mark.
pub(crate) fn is_marked_broken(disk: &dyn Disk, generation: &Path) -> bool {
    disk.list(generation).is_ok_and(|entries| entries.iter().any(|entry| entry.name == BROKEN_NAME))
}

/// Moves a generation to quarantine and removes what was there before; removes it if it cannot be moved.
pub(crate) fn quarantine(
    disk: &dyn Disk,
    generation: &Path,
    number: u64,
    quarantine: &Path,
) -> Option<PathBuf> {
    let to = quarantine.join(format!("{QUARANTINED}{number}"));
    let moved = disk.mkdir(quarantine).and_then(|()| {
        for old in disk.list(quarantine)?.iter().filter(|entry| entry.name.starts_with(QUARANTINED)) {
            remove_tree(disk, &quarantine.join(&old.name));
        }
        disk.rename(generation, &to)
    });
    match moved {
        Ok(()) => Some(to),
        Err(error) => {
            tracing::warn!(%error, "views could not be moved to quarantine: removed");
            remove_tree(disk, generation);
            None
        }
    }
}

/// Removes a directory. What stays is removed by the next start; nothing is ever read from it.
pub(crate) fn remove_tree(disk: &dyn Disk, dir: &Path) {
    for entry in disk.list(dir).unwrap_or_default() {
        let path = dir.join(&entry.name);
        let removed = match entry.kind {
            EntryKind::Dir => {
                remove_tree(disk, &path);
                Ok(())
            }
            EntryKind::File => disk.unlink(&path),
        };
        if let Err(error) = removed {
            tracing::debug!(%error, path = %path.display(), "file of old views stays");
        }
    }
    remove_empty_dir(dir);
}

#[expect(
    clippy::disallowed_methods,
    reason = "the seam has no rmdir; sled's directories are real ones anyway"
)]
fn remove_empty_dir(dir: &Path) {
    // On a simulated disk there is no such directory; on a real one an empty directory that stays does no harm.
    let _ = std::fs::remove_dir(dir);
}
