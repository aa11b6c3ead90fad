//! A store in memory: for simulation and tests, and for views that have no directory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::{Change, ProjectionStore, Rows};
use crate::error::StoreError;

/// Rows in a map. Clones of the `Arc` around it outlive the views, as files would.
#[derive(Debug, Default)]
pub struct MemoryStore {
    rows: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    changes: AtomicUsize,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// How many rows were ever written or removed.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.changes.load(Ordering::Relaxed)
    }

    /// Forgets everything, as deleting the files would.
    pub fn clear(&self) {
        self.rows.lock().clear();
    }
}

impl ProjectionStore for Arc<MemoryStore> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.lock().get(key).cloned())
    }

    fn scan(&self) -> Result<Rows, StoreError> {
        Ok(self.rows.lock().iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn apply(&self, batch: &[Change]) -> Result<(), StoreError> {
        self.changes.fetch_add(batch.len(), Ordering::Relaxed);
        let mut rows = self.rows.lock();
        for (key, value) in batch {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
