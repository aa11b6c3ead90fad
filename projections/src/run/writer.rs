//! Writes one run: rows come in order, the file appears whole or not at all.

use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};

use relive_log::Lsn;
use relive_log::disk::{Disk, DiskFile, OpenMode};

use super::block::{RowRef, put_row, row_order};
use super::codec::{len32, len64};
use super::filter::{self, Filter};
use super::format::{Footer, RunId, RunMeta, Salt};
use crate::error::ViewsError;

/// Bytes that are gathered before a write.
const WRITE_BYTES: usize = 256 * 1024;

/// A run that is being written, as `tmp-…`; [`RunWriter::finish`] gives it its name.
pub(crate) struct RunWriter<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    id: RunId,
    salt: Salt,
    file: Box<dyn DiskFile>,
    block_bytes: usize,
    /// What is not written yet, from `written` on.
    pending: Vec<u8>,
    written: u64,
    block: Vec<u8>,
    block_rows: u32,
    block_first: (Vec<u8>, Lsn),
    last: (Vec<u8>, Lsn),
    hashes: Vec<u64>,
    index: Vec<u8>,
    footer: Footer,
}

impl<'a> RunWriter<'a> {
    /// Begins a run in `dir`.
    pub(crate) fn create(
        disk: &'a dyn Disk,
        dir: &Path,
        id: RunId,
        block_bytes: usize,
    ) -> Result<Self, ViewsError> {
        let path = dir.join(tmp_name(&id));
        let file = disk.open(&path, OpenMode::Truncate).map_err(|source| ViewsError::Io {
            op: "create",
            path,
            source,
        })?;
        Ok(RunWriter {
            disk,
            dir: dir.to_path_buf(),
            id,
            salt: id.salt(),
            file,
            block_bytes,
            pending: id.header(),
            written: 0,
            block: Vec::with_capacity(block_bytes * 2),
            block_rows: 0,
            block_first: (Vec::new(), Lsn::ZERO),
            last: (Vec::new(), Lsn::ZERO),
            hashes: Vec::new(),
            index: Vec::new(),
            footer: Footer { first: Lsn::MAX, ..Footer::default() },
        })
    }

    fn offset(&self) -> u64 {
        self.written + len64(self.pending.len())
    }

    /// Adds the next row.
    pub(crate) fn push(&mut self, row: RowRef<'_>) -> Result<(), ViewsError> {
        let first = self.footer.rows == 0;
        assert!(
            first || row_order((&self.last.0, self.last.1), (row.key, row.lsn)) == Ordering::Less,
            "rows of a run must come in order"
        );
        if first || self.last.0 != row.key {
            self.hashes.push(filter::hash(row.key));
            self.footer.keys += 1;
        }
        let before: &[u8] = if self.block_rows == 0 { &[] } else { &self.last.0 };
        put_row(&mut self.block, before, row);
        if self.block_rows == 0 {
            self.block_first = (row.key.to_vec(), row.lsn);
        }
        self.block_rows += 1;
        self.footer.rows += 1;
        self.footer.first = self.footer.first.min(row.lsn);
        self.footer.last = self.footer.last.max(row.lsn);
        self.last.0.clear();
        self.last.0.extend_from_slice(row.key);
        self.last.1 = row.lsn;
        if self.block.len() >= self.block_bytes { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<(), ViewsError> {
        if self.block_rows == 0 {
            return Ok(());
        }
        let offset = self.offset();
        self.block.extend_from_slice(&self.block_rows.to_le_bytes());
        self.salt.seal(offset, &mut self.block);
        self.index.extend_from_slice(&offset.to_le_bytes());
        self.index.extend_from_slice(&len32(self.block.len()).to_le_bytes());
        put_place(&mut self.index, &self.block_first.0, self.block_first.1);
        self.footer.blocks += 1;
        self.pending.append(&mut self.block);
        self.block_rows = 0;
        if self.pending.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ViewsError> {
        let result = self.file.write_all_at(&self.pending, self.written);
        self.io("write", result)?;
        self.written += len64(self.pending.len());
        self.pending.clear();
        Ok(())
    }

    fn io<T>(&self, op: &'static str, result: io::Result<T>) -> Result<T, ViewsError> {
        result.map_err(|source| ViewsError::Io { op, path: self.dir.join(tmp_name(&self.id)), source })
    }

    /// Writes filter, index and footer, syncs, and gives the file its name. `None`: there is no row, and no file.
    pub(crate) fn finish(mut self) -> Result<Option<RunMeta>, ViewsError> {
        if self.footer.rows == 0 {
            // A file that stays is an orphan: the next start removes it.
            let _ = self.disk.unlink(&self.dir.join(tmp_name(&self.id)));
            return Ok(None);
        }
        self.end_block()?;
        self.footer.filter_at = self.offset();
        let mut part = Filter::build(&self.hashes).encode();
        self.salt.seal(self.footer.filter_at, &mut part);
        self.pending.append(&mut part);
        self.footer.index_at = self.offset();
        let mut part = std::mem::take(&mut self.index);
        put_place(&mut part, &self.last.0, self.last.1);
        self.salt.seal(self.footer.index_at, &mut part);
        self.pending.append(&mut part);
        self.footer.file_len = self.offset() + len64(super::format::FOOTER_LEN);
        let mut part = self.footer.encode(self.salt);
        self.pending.append(&mut part);
        self.flush()?;
        let synced = self.file.sync_all();
        self.io("sync", synced)?;
        let tmp = self.dir.join(tmp_name(&self.id));
        let renamed = self.disk.rename(&tmp, &self.dir.join(self.id.file_name()));
        self.io("rename", renamed)?;
        let synced = self.disk.sync_dir(&self.dir);
        self.io("sync directory of", synced)?;
        Ok(Some(RunMeta {
            kind: self.id.kind,
            number: self.id.number,
            rows: self.footer.rows,
            first: self.footer.first,
            last: self.footer.last,
            bytes: self.footer.file_len,
        }))
    }
}

fn tmp_name(id: &RunId) -> String {
    format!("tmp-{}", id.file_name())
}

fn put_place(out: &mut Vec<u8>, key: &[u8], lsn: Lsn) {
    out.extend_from_slice(&len32(key.len()).to_le_bytes());
    out.extend_from_slice(&lsn.0.to_le_bytes());
    out.extend_from_slice(key);
}
