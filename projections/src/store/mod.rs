//! The store of what grows with configuration and open trouble: registry, open work, dead letters.
//!
//! Owns: the narrow seam [`ProjectionStore`] and its two implementations. Never does: know what a row means.
//! A store is read in full when it is opened and only written afterwards: reads of the views never wait for it.

mod memory;
pub(crate) mod renew;
mod sled;

pub use memory::MemoryStore;
pub(crate) use sled::{SledLimits, SledStore};

use crate::error::StoreError;

/// One change of a batch: a key and its new value, or none to remove it.
pub(crate) type Change = (Vec<u8>, Option<Vec<u8>>);

/// Keys and values, by key.
pub(crate) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// A map of bytes with atomic batches.
pub(crate) trait ProjectionStore: Send + Sync {
    /// The value of one key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Every row, by key.
    fn scan(&self) -> Result<Rows, StoreError>;
    /// Makes all changes or none (V2).
    fn apply(&self, batch: &[Change]) -> Result<(), StoreError>;
    /// Hands what was written to the system. Proves nothing (V11): only a tidy stop calls it.
    fn flush(&self) -> Result<(), StoreError>;
}
