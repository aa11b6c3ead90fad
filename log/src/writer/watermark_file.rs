//! WATERMARK on disk: which of the two slots is written when.
//!
//! Owns: the ping-pong rule. Never does: decide what is durable.
//!
//! Upholds L7: the same slot is overwritten until a sync succeeded, then the other one; so at any moment one slot
//! is sound on disk and was synced. While a sync is under way nothing is written: what would be is kept and
//! written right after, into the slot that the rule then names.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::format::watermark::{SLOT_STRIDE, Slot};
use crate::planted::{self, Bug};

/// The open file with its state; the caller keeps it under a lock that is never held during a sync.
pub(crate) struct WatermarkFile {
    file: Arc<dyn DiskFile>,
    /// The slot that is written next: 0 or 1.
    slot: u64,
    last: Slot,
    /// Written and not yet covered by a sync.
    dirty: bool,
    syncing: bool,
    /// Came while a sync was under way.
    held_back: Option<Slot>,
}

impl WatermarkFile {
    /// `last` stands in the other slot and is durable.
    pub(crate) fn new(file: Arc<dyn DiskFile>, slot: u64, last: Slot) -> Self {
        Self { file, slot, last, dirty: false, syncing: false, held_back: None }
    }

    pub(crate) const fn last(&self) -> &Slot {
        &self.last
    }

    pub(crate) const fn is_dirty(&self) -> bool {
        self.dirty || self.held_back.is_some()
    }

    /// Writes a new state, with the next counter; or keeps it while a sync is under way.
    pub(crate) fn write(&mut self, mut slot: Slot) -> io::Result<()> {
        slot.counter = self.last.counter + 1;
        if self.syncing {
            self.held_back = Some(slot);
            return Ok(());
        }
        self.file.write_all_at(&slot.encode(), self.slot * SLOT_STRIDE)?;
        if planted::is(Bug::BlindWatermark) {
            self.slot = 1 - self.slot;
        }
        self.last = slot;
        self.dirty = true;
        Ok(())
    }

    /// Starts a sync: the file to sync without the lock; `None` when there is nothing to sync.
    pub(crate) fn begin_sync(&mut self) -> Option<Arc<dyn DiskFile>> {
        if !self.dirty || self.syncing {
            return None;
        }
        self.syncing = true;
        Some(Arc::clone(&self.file))
    }

    /// Ends a sync that succeeded: switches the slot and writes what was kept back.
    pub(crate) fn end_sync(&mut self) -> io::Result<()> {
        self.syncing = false;
        self.dirty = false;
        if !planted::is(Bug::BlindWatermark) {
            self.slot = 1 - self.slot;
        }
        match self.held_back.take() {
            Some(slot) => self.write(slot),
            None => Ok(()),
        }
    }
}
