//! What all runs of a generation have in common: the mark of damage, and the blocks that were read lately.
//!
//! Owns: [`Common`], a bounded cache of decoded blocks. Never does: read a file. A cached block was verified when it
//! was read (P8) and its run never changes, so an entry is never stale; entries of runs that are gone age out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::block::Block;

/// Bytes of decoded blocks that are kept.
const BLOCKS_BYTES_MAX: u64 = 8 << 20;
/// About how many blocks that is; sizes the cache's tables.
const BLOCKS_ESTIMATE: usize = 1024;

/// A run's serial number within this process, and the number of the block in it.
type BlockId = (u64, usize);

#[derive(Clone)]
struct ByBytes;

impl Weighter<BlockId, Arc<Block>> for ByBytes {
    fn weight(&self, _: &BlockId, block: &Arc<Block>) -> u64 {
        block.memory_bytes()
    }
}

/// See the module.
pub(crate) struct Common {
    damaged: AtomicBool,
    serial: AtomicU64,
    blocks: Cache<BlockId, Arc<Block>, ByBytes>,
}

impl Default for Common {
    fn default() -> Common {
        Common {
            damaged: AtomicBool::new(false),
            serial: AtomicU64::new(0),
            blocks: Cache::with_weighter(BLOCKS_ESTIMATE, BLOCKS_BYTES_MAX, ByBytes),
        }
    }
}

impl Common {
    /// Bytes were found that are not those that were written.
    pub(crate) fn mark_damaged(&self) {
        self.damaged.store(true, Ordering::Release);
    }

    /// Whether any run was found damaged.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// A number for a run that is opened, never given again.
    pub(super) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn block(&self, run: u64, number: usize) -> Option<Arc<Block>> {
        self.blocks.get(&(run, number))
    }

    pub(super) fn keep(&self, run: u64, number: usize, block: &Arc<Block>) {
        self.blocks.insert((run, number), Arc::clone(block));
    }
}
