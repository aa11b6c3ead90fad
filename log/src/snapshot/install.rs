//! What is in force: MANIFEST names it, and only then older snapshots go.
//!
//! Owns: the order MANIFEST, its copy, unlinking (L15); which failure ends the writer. Never does: look into a
//! snapshot.

use std::io;
use std::path::Path;

use crate::disk::{EntryKind, replace_small};
use crate::error::SnapshotError;
use crate::format::manifest::Manifest;
use crate::format::snapshot::{SnapshotKind, parse_snapshot_name};
use crate::options::SnapshotSyncErrors;
use crate::recovery::{MANIFEST, MANIFEST_BAK};
use crate::writer::segment_file::is_no_space;

use super::{SnapshotInfo, Snapshots};

impl Snapshots {
    /// A failed sync says nothing about what is on disk, and the device may be the log's: by default it ends the
    /// writer.
    pub(super) fn sync_failed(&self, op: &'static str, path: &Path, error: &io::Error) -> SnapshotError {
        let copy = match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::other(error.to_string()),
        };
        if self.shared.snapshot_sync_errors == SnapshotSyncErrors::Poison {
            self.shared.poison(op, path, error);
        }
        match self.shared.durability.poisoned() {
            Some(poison) => SnapshotError::Poisoned(poison),
            None => SnapshotError::io(op, path, copy),
        }
    }

    pub(super) fn make_dir(&self, dir: &Path) -> Result<(), SnapshotError> {
        let disk = &self.shared.disk;
        match disk.list(dir) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(SnapshotError::io("list", dir, error)),
        }
        disk.mkdir(dir).map_err(|source| SnapshotError::io("make", dir, source))?;
        let parent = &self.shared.dir;
        disk.sync_dir(parent).map_err(|source| self.sync_failed("sync directory", parent, &source))
    }

    /// References a state snapshot in MANIFEST; keeps the newest ones and removes the others.
    pub(super) fn put_in_force(&self, info: SnapshotInfo) -> Result<(), SnapshotError> {
        let mut manifest = self.shared.manifest.lock();
        let mut states = self.in_force.lock().states.clone();
        states.push(info);
        states.sort_by_key(|info| info.last_lsn);
        let kept = usize::try_from(self.shared.snapshots_kept).unwrap_or(usize::MAX).max(2);
        let older = states.len().saturating_sub(kept);
        states.drain(..older);
        let next =
            Manifest { snapshots: states.iter().map(|info| info.last_lsn).collect(), ..manifest.clone() };
        self.replace_manifest(&next)?;
        *manifest = next;
        self.in_force.lock().states = states;
        self.sweep(&manifest)
    }

    /// Replaces MANIFEST, then its copy.
    pub(super) fn replace_manifest(&self, next: &Manifest) -> Result<(), SnapshotError> {
        let (disk, dir) = (self.shared.disk.as_ref(), &self.shared.dir);
        for name in [MANIFEST, MANIFEST_BAK] {
            replace_small(disk, dir, name, &next.encode()).map_err(|source| {
                let path = dir.join(name);
                if is_no_space(&source) {
                    SnapshotError::io("replace", &path, source)
                } else {
                    // Which of the two is on disk is unknown: the next start finds out.
                    self.shared.poison("replace", &path, &source);
                    self.sync_failed("replace", &path, &source)
                }
            })?;
        }
        Ok(())
    }

    /// Removes snapshots that MANIFEST does not name, and bases but the one at the log's start.
    pub(super) fn sweep(&self, manifest: &Manifest) -> Result<(), SnapshotError> {
        let dir = self.dir();
        let disk = &self.shared.disk;
        let base = manifest.log_start_lsn.prev();
        let mut removed = false;
        for entry in disk.list(&dir).map_err(|source| SnapshotError::io("list", &dir, source))? {
            let stays = match parse_snapshot_name(&entry.name) {
                Some((SnapshotKind::State, lsn)) => manifest.snapshots.contains(&lsn),
                Some((SnapshotKind::Base, lsn)) => lsn >= base,
                None => true,
            };
            if entry.kind == EntryKind::File && !stays {
                let path = dir.join(&entry.name);
                disk.unlink(&path).map_err(|source| SnapshotError::io("remove", &path, source))?;
                removed = true;
            }
        }
        if removed {
            disk.sync_dir(&dir).map_err(|source| self.sync_failed("sync directory", &dir, &source))?;
        }
        Ok(())
    }
}
