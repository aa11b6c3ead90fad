//! The index in memory: what was added since the last cut.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::atomic::{AtomicUsize, Ordering};

use relive_log::Lsn;

use crate::error::ViewsError;
use crate::layers::MemoryTable;
use crate::lazy_map::LazyMap;
use crate::run::{RowRef, RunWriter};

/// About what a row costs beside its bytes.
const ROW_BYTES: usize = 80;

/// A row's LSN and value.
type Row = (Lsn, Box<[u8]>);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct IndexTable {
    rows: LazyMap<Box<[u8]>, Row>,
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl IndexTable {
    /// Adds a row; the same row again changes nothing.
    pub(super) fn put(&self, key: Vec<u8>, lsn: Lsn, value: &[u8]) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(ROW_BYTES + key.len() + value.len(), Ordering::Relaxed);
        self.rows.put(key.into(), (lsn, value.into()));
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<(Lsn, Vec<u8>)> {
        self.rows.ordered().get(key).map(|(lsn, value)| (*lsn, value.to_vec()))
    }

    /// Writes a frozen table.
    pub(crate) fn write_run(&self, writer: &mut RunWriter<'_>) -> Result<(), ViewsError> {
        for (key, (lsn, value)) in self.rows.ordered().iter() {
            writer.push(RowRef { key, lsn: *lsn, value })?;
        }
        Ok(())
    }
}

impl MemoryTable for IndexTable {
    fn rows(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn key_from(&self, bound: &[u8]) -> Option<Vec<u8>> {
        let rows = self.rows.ordered();
        rows.range::<[u8], _>((Included(bound), Unbounded)).next().map(|(key, _)| key.to_vec())
    }

    fn key_before(&self, bound: &[u8]) -> Option<Vec<u8>> {
        let rows = self.rows.ordered();
        rows.range::<[u8], _>((Unbounded, Excluded(bound))).next_back().map(|(key, _)| key.to_vec())
    }
}
