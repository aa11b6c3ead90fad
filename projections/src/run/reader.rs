//! Reads one run. Filter and fences are in memory, blocks are read when they are asked for.
//!
//! A run that was merged away is *retired*: its file goes when its last reader drops it.

use std::cmp::Ordering as Order;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use relive_log::Lsn;
use relive_log::disk::{Disk, DiskFile, OpenMode};

use super::block::{Block, row_order};
use super::codec::{Bytes, len64};
use super::common::Common;
use super::filter::{self, Filter};
use super::format::{FOOTER_LEN, Footer, HEADER_LEN, RunId, RunMeta, Salt};
use crate::error::RunError;

/// Filter and index are read into memory; a length above this is not ours.
const PART_BYTES_MAX: u64 = 4 << 30;

/// One block: where it stands, and its first row.
#[derive(Debug)]
struct Fence {
    offset: u64,
    bytes: u32,
    key: Box<[u8]>,
    lsn: Lsn,
}

/// A run that is open for reading.
pub(crate) struct Run {
    disk: Arc<dyn Disk>,
    path: Arc<PathBuf>,
    file: Box<dyn DiskFile>,
    salt: Salt,
    meta: RunMeta,
    filter: Filter,
    fences: Vec<Fence>,
    last_key: Box<[u8]>,
    retired: AtomicBool,
    common: Arc<Common>,
    /// Names this run in `common`.
    serial: u64,
}

/// What a reader of blocks is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// A few rows: blocks are taken from the cache, and kept in it.
    Point,
    /// All of it: a merge must not push out what readers use.
    Scan,
}

impl Run {
    /// Opens a run and verifies all of it but its blocks.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        id: RunId,
        meta: RunMeta,
        common: Arc<Common>,
    ) -> Result<Run, RunError> {
        let path = Arc::new(dir.join(id.file_name()));
        let file = disk.open(&path, OpenMode::Read).map_err(|e| io_error(&path, 0, e))?;
        let file_len = file.len().map_err(|e| io_error(&path, 0, e))?;
        let salt = id.salt();
        if file_len != meta.bytes || file_len < len64(HEADER_LEN + FOOTER_LEN) {
            return Err(damaged(&path, file_len, "length of the file"));
        }
        let part = |from: u64, to: u64| read_part(&*file, &path, from, to);
        if part(0, len64(HEADER_LEN))? != id.header() {
            return Err(damaged(&path, 0, "header"));
        }
        let footer_at = file_len - len64(FOOTER_LEN);
        let footer = Footer::decode(&part(footer_at, file_len)?, salt, file_len)
            .ok_or_else(|| damaged(&path, footer_at, "footer"))?;
        if (footer.rows, footer.first, footer.last) != (meta.rows, meta.first, meta.last) {
            return Err(damaged(&path, footer_at, "footer and list of runs differ"));
        }
        let bytes = part(footer.filter_at, footer.index_at)?;
        let filter = salt
            .open(footer.filter_at, &bytes)
            .and_then(Filter::decode)
            .ok_or_else(|| damaged(&path, footer.filter_at, "filter"))?;
        let bytes = part(footer.index_at, footer_at)?;
        let (fences, last_key) = salt
            .open(footer.index_at, &bytes)
            .and_then(|body| decode_index(body, footer.blocks))
            .ok_or_else(|| damaged(&path, footer.index_at, "index"))?;
        let retired = AtomicBool::new(false);
        let serial = common.next_serial();
        Ok(Run {
            disk: Arc::clone(disk),
            path,
            file,
            salt,
            meta,
            filter,
            fences,
            last_key,
            retired,
            common,
            serial,
        })
    }

    pub(crate) fn meta(&self) -> &RunMeta {
        &self.meta
    }

    /// Whether the run may hold rows of this key.
    pub(crate) fn may_contain(&self, key: &[u8]) -> bool {
        *key <= *self.last_key
            && self.fences.first().is_some_and(|fence| *fence.key <= *key)
            && self.filter.may_contain(filter::hash(key))
    }

    /// The file goes when the last reader does.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(super) fn block_count(&self) -> usize {
        self.fences.len()
    }

    /// The block in which the first row not before `(key, lsn)` stands, or whose end it follows.
    pub(super) fn block_of(&self, key: &[u8], lsn: Lsn) -> usize {
        let after = self.fences.partition_point(|f| row_order((&f.key, f.lsn), (key, lsn)) != Order::Greater);
        after.saturating_sub(1)
    }

    pub(super) fn block(&self, number: usize, access: Access) -> Result<Option<Arc<Block>>, RunError> {
        if access == Access::Point
            && let Some(block) = self.common.block(self.serial, number)
        {
            return Ok(Some(block));
        }
        let block = self.read_block(number).inspect_err(|_| self.common.mark_damaged())?.map(Arc::new);
        if access == Access::Point
            && let Some(block) = &block
        {
            self.common.keep(self.serial, number, block);
        }
        Ok(block)
    }

    fn read_block(&self, number: usize) -> Result<Option<Block>, RunError> {
        let Some(fence) = self.fences.get(number) else { return Ok(None) };
        let bytes = read_part(&*self.file, &self.path, fence.offset, fence.offset + u64::from(fence.bytes))?;
        let body = self
            .salt
            .open(fence.offset, &bytes)
            .ok_or_else(|| damaged(&self.path, fence.offset, "checksum of a block"))?;
        let block =
            Block::decode(body).ok_or_else(|| damaged(&self.path, fence.offset, "rows of a block"))?;
        let first = block.row(0).map(|row| (row.key, row.lsn));
        if first != Some((&*fence.key, fence.lsn)) {
            return Err(damaged(&self.path, fence.offset, "first row of a block"));
        }
        Ok(Some(block))
    }

    /// Reads and verifies every block.
    pub(crate) fn verify(&self) -> Result<(), RunError> {
        let mut rows = 0;
        for number in 0..self.fences.len() {
            rows += self.block(number, Access::Scan)?.map_or(0, |block| len64(block.len()));
        }
        if rows == self.meta.rows { Ok(()) } else { Err(damaged(&self.path, 0, "number of rows")) }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.retired.load(Ordering::Acquire) {
            // A file that stays is an orphan: the next start removes it.
            let _ = self.disk.unlink(&self.path);
        }
    }
}

fn decode_index(body: &[u8], blocks: u32) -> Option<(Vec<Fence>, Box<[u8]>)> {
    let mut rest = Bytes(body);
    let mut fences = Vec::new();
    for _ in 0..blocks {
        let (offset, bytes) = (rest.u64()?, rest.u32()?);
        let (key, lsn) = take_place(&mut rest)?;
        fences.push(Fence { offset, bytes, key, lsn });
    }
    let (last_key, _) = take_place(&mut rest)?;
    (rest.0.is_empty() && !fences.is_empty()).then_some((fences, last_key))
}

fn take_place(rest: &mut Bytes<'_>) -> Option<(Box<[u8]>, Lsn)> {
    let len = usize::try_from(rest.u32()?).ok()?;
    let lsn = Lsn(rest.u64()?);
    Some((rest.take(len)?.into(), lsn))
}

fn read_part(file: &dyn DiskFile, path: &Arc<PathBuf>, from: u64, to: u64) -> Result<Vec<u8>, RunError> {
    let len = to
        .checked_sub(from)
        .filter(|&len| len <= PART_BYTES_MAX)
        .and_then(|len| usize::try_from(len).ok())
        .ok_or_else(|| damaged(path, from, "length of a part"))?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, from).map_err(|e| io_error(path, from, e))?;
    Ok(bytes)
}

fn damaged(path: &Arc<PathBuf>, offset: u64, check: &'static str) -> RunError {
    RunError::Damaged { path: Arc::clone(path), offset, check }
}

fn io_error(path: &Arc<PathBuf>, offset: u64, source: io::Error) -> RunError {
    RunError::Io { path: Arc::clone(path), offset, source }
}
