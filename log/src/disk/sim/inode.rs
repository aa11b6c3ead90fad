//! One simulated file: what reads return, what is on the platter, and every version in between.
//!
//! Owns: the three layers, and what each of power loss, kill, sync and failed sync does to them.

use std::collections::{BTreeMap, BTreeSet};

use super::FailedSync;
use super::rng::SimRng;

/// The unit that the device writes atomically (unless [`super::Tearing::InsideSectors`]).
pub(crate) const SECTOR: usize = 512;

type Sector = [u8; SECTOR];

/// How one power loss treats unsynced sectors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// Nothing unsynced survives.
    Everything,
    /// Everything does.
    Nothing,
    /// Every sector keeps any of its versions.
    PerSector,
    /// Eight sectors at a time share their fate.
    PerPage,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Inode {
    /// What reads return.
    pub(crate) cache: Vec<u8>,
    /// What a power loss leaves, apart from `dirty`.
    pub(super) disk: Vec<u8>,
    /// Versions of each sector since the last sync, oldest first.
    pub(super) dirty: BTreeMap<usize, Vec<Sector>>,
    /// Emptied since the last sync.
    pub(super) truncated: bool,
    /// Sectors whose reads fail until they are written.
    pub(super) unreadable: BTreeSet<usize>,
}

impl Inode {
    pub(crate) fn truncate(&mut self) {
        self.cache.clear();
        self.dirty.clear();
        self.truncated = true;
    }

    pub(crate) fn read(&self, buf: &mut [u8], offset: usize) -> Option<usize> {
        let rest = self.cache.get(offset..).unwrap_or_default();
        let n = buf.len().min(rest.len());
        if n > 0 && self.unreadable.range(offset / SECTOR..=(offset + n - 1) / SECTOR).next().is_some() {
            return None;
        }
        for (to, from) in buf.iter_mut().zip(rest) {
            *to = *from;
        }
        Some(n)
    }

    pub(crate) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        if let Some(place) = self.cache.get_mut(offset..end) {
            place.copy_from_slice(bytes);
        }
        if bytes.is_empty() {
            return;
        }
        for sector in offset / SECTOR..=(end - 1) / SECTOR {
            let version = sector_of(&self.cache, sector);
            self.dirty.entry(sector).or_default().push(version);
            self.unreadable.remove(&sector);
        }
    }

    /// Only dirty sectors are written: what an earlier failed sync left clean stays as it is on the disk.
    pub(crate) fn sync(&mut self) {
        if self.truncated {
            self.disk.clear();
            self.truncated = false;
        }
        self.disk.resize(self.cache.len(), 0);
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            if let Some(last) = versions.last() {
                put_sector(&mut self.disk, sector, last);
            }
        }
        self.disk.truncate(self.cache.len());
    }

    /// A sync that failed: some sectors reached the disk, all pages are clean now.
    pub(crate) fn sync_failed(&mut self, rng: &mut SimRng, mode: FailedSync) {
        if self.cache.len() > self.disk.len() && rng.per_mille(500) {
            self.disk.resize(self.cache.len(), 0);
        }
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            if rng.per_mille(500)
                && let Some(last) = versions.last()
            {
                put_sector(&mut self.disk, sector, last);
            }
        }
        if mode == FailedSync::RevertCache {
            self.cache.clone_from(&self.disk);
        }
    }

    /// The process died: the page cache stays; clean pages may have been evicted, so that what is read next is what
    /// is on the disk.
    pub(crate) fn kill(&mut self, rng: &mut SimRng, evict_per_mille: u32) {
        for sector in 0..self.cache.len().div_ceil(SECTOR) {
            if !self.dirty.contains_key(&sector) && rng.per_mille(evict_per_mille) {
                self.evict(sector);
            }
        }
    }

    /// Forgets every clean page.
    pub(crate) fn drop_cache(&mut self) {
        for sector in 0..self.cache.len().div_ceil(SECTOR) {
            if !self.dirty.contains_key(&sector) {
                self.evict(sector);
            }
        }
    }

    fn evict(&mut self, sector: usize) {
        if !self.truncated && sector * SECTOR < self.disk.len() {
            let bytes = sector_of(&self.disk, sector);
            let len = self.cache.len();
            put_sector(&mut self.cache, sector, &bytes);
            self.cache.truncate(len);
        }
    }

    /// The power went: every unsynced sector keeps one of its versions, or the one before all of them. `tears` is the
    /// chance that such a version is torn, on a disk that tears sectors.
    pub(crate) fn power_loss(&mut self, rng: &mut SimRng, loss: Loss, tears: Option<u32>) {
        if self.truncated && rng.per_mille(500) {
            self.disk.clear();
        }
        let never_synced_from = self.disk.len().div_ceil(SECTOR);
        if self.cache.len() > self.disk.len() && !matches!(loss, Loss::Everything) && rng.per_mille(800) {
            let garbage = tears.is_some() && rng.per_mille(200);
            let filler = if garbage { 0xa5 } else { 0 };
            self.disk.resize(self.cache.len(), filler);
        }
        let mut page = (usize::MAX, false);
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            if page.0 != sector / 8 {
                page = (sector / 8, rng.per_mille(500));
            }
            let kept = match loss {
                Loss::Everything => 0,
                Loss::Nothing => versions.len(),
                Loss::PerSector => rng.index(versions.len() + 1),
                Loss::PerPage => usize::from(page.1) * versions.len(),
            };
            if kept == 0 || sector * SECTOR >= self.disk.len() {
                continue;
            }
            let Some(version) = versions.get(kept - 1) else { continue };
            let mut bytes = *version;
            if sector < never_synced_from && tears.is_some_and(|chance| rng.per_mille(chance)) {
                tear(&mut bytes, &sector_of(&self.disk, sector), rng);
            }
            let len = self.disk.len();
            put_sector(&mut self.disk, sector, &bytes);
            self.disk.truncate(len);
        }
        self.cache.clone_from(&self.disk);
        self.truncated = false;
    }

    /// Changes bytes on the disk and in the cache, as rot would.
    pub(crate) fn rot(&mut self, offset: usize, change: impl Fn(u8) -> u8) {
        for layer in [&mut self.cache, &mut self.disk] {
            if let Some(byte) = layer.get_mut(offset) {
                *byte = change(*byte);
            }
        }
    }

    pub(crate) fn cut(&mut self, len: usize) {
        self.cache.truncate(len);
        self.disk.truncate(len);
        self.dirty.retain(|sector, _| sector * SECTOR < len);
    }

    pub(crate) fn make_unreadable(&mut self, offset: usize) {
        self.unreadable.insert(offset / SECTOR);
    }
}

/// The first part is new, the rest is old.
fn tear(new: &mut Sector, old: &Sector, rng: &mut SimRng) {
    let keep = rng.index(SECTOR);
    for (to, from) in new.iter_mut().zip(old).skip(keep) {
        *to = *from;
    }
}

pub(super) fn sector_of(bytes: &[u8], sector: usize) -> Sector {
    let mut out = [0; SECTOR];
    for (to, from) in out.iter_mut().zip(bytes.get(sector * SECTOR..).unwrap_or_default()) {
        *to = *from;
    }
    out
}

pub(super) fn put_sector(bytes: &mut Vec<u8>, sector: usize, content: &Sector) {
    let end = (sector + 1) * SECTOR;
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(sector * SECTOR..end) {
        place.copy_from_slice(content);
    }
}
