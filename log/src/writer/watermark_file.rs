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
        if !self.dirty || self.syncing || planted::is(Bug::WatermarkNeverSynced) {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::ZeroPace;
    use crate::disk::sim::{SimDisk, SimOptions};
    use crate::disk::{Disk, OpenMode};
    use crate::format::watermark::{Clean, SLOT_LEN};
    use crate::{FramePos, Lsn};

    fn slot(durable: u64) -> Slot {
        Slot {
            log_id: [1; 16],
            timeline: 1,
            counter: 1,
            epoch: 1,
            durable: Lsn(durable),
            end: FramePos::default(),
            chain: 0,
            boot_id: [0; 16],
            clean: Clean::No,
        }
    }

    /// The durable LSNs in both slots.
    fn slots(file: &dyn DiskFile) -> [Option<u64>; 2] {
        [0, SLOT_STRIDE].map(|offset| {
            let mut bytes = [0; SLOT_LEN];
            file.read_exact_at(&mut bytes, offset).ok()?;
            Slot::decode(&bytes).map(|slot| slot.durable.0)
        })
    }

    #[test]
    fn l7_the_same_slot_until_a_sync_succeeded() {
        let disk = SimDisk::new(SimOptions::new(1));
        let file: Arc<dyn DiskFile> =
            disk.open(Path::new("/w"), OpenMode::CreateNew).expect("created").into();
        file.allocate_zeroed(2 * SLOT_STRIDE, ZeroPace::Gentle).expect("room");
        file.write_all_at(&slot(1).encode(), 0).expect("written");
        let mut watermark = WatermarkFile::new(Arc::clone(&file), 1, slot(1));
        for (lsn, expect) in [(2, [Some(1), Some(2)]), (3, [Some(1), Some(3)])] {
            watermark.write(slot(lsn)).expect("written");
            assert_eq!(slots(file.as_ref()), expect, "L7");
        }
        assert!(watermark.begin_sync().is_some());
        watermark.write(slot(4)).expect("kept back");
        assert_eq!(slots(file.as_ref()), [Some(1), Some(3)], "L7: nothing is written during a sync");
        watermark.end_sync().expect("written");
        assert_eq!(slots(file.as_ref()), [Some(4), Some(3)], "L7: then the other slot");
        assert!(watermark.is_dirty());
    }
}
