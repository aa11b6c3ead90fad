//! Writing a snapshot: items in, a file that is installed whole or not at all out.
//!
//! Owns: the temporary file, and the order write, sync, read back, verify, rename, sync of the directory (L13). Never
//! does: touch what is in force before that (`install.rs` does, after it).

use std::path::PathBuf;

use crate::disk::{DiskFile, OpenMode};
use crate::error::SnapshotError;
use crate::format::len32;
use crate::format::snapshot::{
    BODY_LEN, Footer, Salt, SnapshotHeader, SnapshotKind, block_offset, snapshot_name, snapshot_tmp_name,
};
use crate::planted::{self, Bug};

use super::{SnapshotInfo, Snapshots, open_file, verify_file};

/// A snapshot that is being written. Dropped before [`SnapshotWriter::finish`], it leaves nothing behind.
pub struct SnapshotWriter {
    snapshots: Snapshots,
    header: SnapshotHeader,
    salt: Salt,
    tmp: PathBuf,
    file: Option<Box<dyn DiskFile>>,
    body: Vec<u8>,
    footer: Footer,
}

impl std::fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotWriter").field("items", &self.footer.items).finish_non_exhaustive()
    }
}

impl SnapshotWriter {
    pub(super) fn create(snapshots: Snapshots, header: SnapshotHeader) -> Result<Self, SnapshotError> {
        let dir = snapshots.dir();
        snapshots.make_dir(&dir)?;
        let tmp = dir.join(snapshot_tmp_name(header.kind, header.last_lsn));
        let opened = snapshots.shared.disk.open(&tmp, OpenMode::Truncate);
        let file = opened.map_err(|source| SnapshotError::io("create", &tmp, source))?;
        let salt = header.salt();
        let writer = Self {
            snapshots,
            header,
            salt,
            tmp,
            file: Some(file),
            body: Vec::with_capacity(BODY_LEN),
            footer: Footer::default(),
        };
        writer.write(&writer.header.encode(), 0)?;
        Ok(writer)
    }

    /// Adds an item.
    ///
    /// # Errors
    /// `NoSpace`, `Io`: drop the writer, try again later.
    ///
    /// # Panics
    /// When the item is longer than 4 GiB.
    pub fn push(&mut self, item: &[u8]) -> Result<(), SnapshotError> {
        self.stream(&len32(item.len()).to_le_bytes())?;
        self.stream(item)?;
        self.footer.items += 1;
        Ok(())
    }

    /// Adds an item that belongs to the index over the others: behind them, nowhere else.
    pub(super) fn push_index(&mut self, item: &[u8]) -> Result<(), SnapshotError> {
        self.footer.index_items += 1;
        self.push(item)
    }

    /// Where in the stream the next item will stand.
    pub(super) const fn at(&self) -> u64 {
        self.footer.body_bytes
    }

    fn stream(&mut self, mut bytes: &[u8]) -> Result<(), SnapshotError> {
        while !bytes.is_empty() {
            let room = BODY_LEN - self.body.len();
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.body.extend_from_slice(now);
            self.footer.body_bytes += now.len() as u64;
            bytes = rest;
            if self.body.len() == BODY_LEN {
                self.end_block()?;
            }
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), SnapshotError> {
        let too_long = || SnapshotError::io("extend", &self.tmp, std::io::ErrorKind::FileTooLarge.into());
        let number = u32::try_from(self.footer.blocks).map_err(|_| too_long())?;
        let block = self.salt.block(number, &self.body);
        self.write(&block, block_offset(self.footer.blocks))?;
        self.footer.blocks += 1;
        self.body.clear();
        Ok(())
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), SnapshotError> {
        let Some(file) = &self.file else { return Ok(()) };
        file.write_all_at(bytes, offset).map_err(|source| SnapshotError::io("write", &self.tmp, source))
    }

    /// Installs the snapshot. `digest` is that of the state, as the caller computes it.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Damaged` (what was read back is not what was written): nothing changed, try again later.
    /// `Poisoned`: a sync failed, exit.
    pub fn finish(mut self, digest: u128) -> Result<SnapshotInfo, SnapshotError> {
        self.footer.digest = digest;
        let info = self.seal()?;
        if info.kind == SnapshotKind::State {
            self.snapshots.put_in_force(info.clone())?;
        }
        Ok(info)
    }

    /// Everything up to the durable name (L13).
    fn seal(&mut self) -> Result<SnapshotInfo, SnapshotError> {
        if !self.body.is_empty() {
            self.end_block()?;
        }
        self.footer.total_len = self.footer.file_len();
        self.write(&self.salt.encode_footer(&self.footer), block_offset(self.footer.blocks))?;
        let shared = &self.snapshots.shared;
        let Some(file) = self.file.as_ref() else {
            return Err(SnapshotError::Missing { lsn: self.header.last_lsn });
        };
        if !planted::is(Bug::SnapshotNotSynced) {
            file.sync_all().map_err(|source| self.snapshots.sync_failed("sync", &self.tmp, &source))?;
        }
        file.drop_cache().map_err(|source| SnapshotError::io("drop the cache of", &self.tmp, source))?;
        let (kind, lsn) = (self.header.kind, self.header.last_lsn);
        let opened = open_file(shared.disk.as_ref(), &self.tmp, &shared.geometry, kind, lsn)?;
        let info = verify_file(opened)?;
        let dir = self.snapshots.dir();
        shared
            .disk
            .rename(&self.tmp, &dir.join(snapshot_name(kind, lsn)))
            .map_err(|source| SnapshotError::io("rename", &self.tmp, source))?;
        self.file = None;
        if !planted::is(Bug::SnapshotNoDirSync) {
            shared
                .disk
                .sync_dir(&dir)
                .map_err(|source| self.snapshots.sync_failed("sync directory", &dir, &source))?;
        }
        Ok(info)
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Best effort: the next start removes it.
            drop(self.snapshots.shared.disk.unlink(&self.tmp));
        }
    }
}
