//! What a power loss may make of one file: every length and every version of every unsynced sector.
//!
//! Owns: that list, sector by sector, with what is equal counted once. Never does: chance, tearing inside sectors.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::inode::{Inode, SECTOR, put_sector, sector_of};

/// One length that a file may have, and what its unsynced sectors may hold then.
#[derive(Clone, Debug)]
pub(super) struct Fate {
    /// The bytes when every unsynced sector is lost.
    base: Vec<u8>,
    /// The sum of [`sector_hash`] over the sectors that have no choice.
    settled: u64,
    /// The sectors that may differ.
    sectors: Vec<Choices>,
}

/// The distinct contents that one sector may have: the version that was synced first.
#[derive(Clone, Debug)]
struct Choices {
    sector: usize,
    /// The bytes, and their [`sector_hash`].
    contents: Vec<([u8; SECTOR], u64)>,
}

/// How many versions of a file's sectors count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grain {
    /// Every sector has its own fate.
    Sectors,
    /// The file is as it was synced, or as it was written last.
    Whole,
}

/// Every fate of a file.
pub(super) fn fates(inode: &Inode) -> Vec<Fate> {
    let mut bases = vec![inode.disk.clone()];
    if inode.truncated && !inode.disk.is_empty() {
        bases.push(Vec::new());
    }
    for n in 0..bases.len() {
        let Some(base) = bases.get(n).filter(|base| base.len() < inode.cache.len()) else { continue };
        let mut longer = base.clone();
        longer.resize(inode.cache.len(), 0);
        bases.push(longer);
    }
    bases.sort_unstable();
    bases.dedup();
    bases.into_iter().map(|base| Fate::new(inode, base)).collect()
}

impl Fate {
    fn new(inode: &Inode, base: Vec<u8>) -> Self {
        let mut sectors = Vec::new();
        for (sector, versions) in inode.dirty.range(..base.len().div_ceil(SECTOR)) {
            let mut contents = Vec::new();
            for mut bytes in std::iter::once(sector_of(&base, *sector)).chain(versions.iter().copied()) {
                // What lies behind the end of the file is not there.
                for byte in bytes.iter_mut().skip(base.len() - sector * SECTOR) {
                    *byte = 0;
                }
                let hash = sector_hash(*sector, &bytes);
                if contents.iter().all(|(_, known)| *known != hash) {
                    contents.push((bytes, hash));
                }
            }
            if contents.len() > 1 {
                sectors.push(Choices { sector: *sector, contents });
            }
        }
        let chosen = |sector: &usize| sectors.iter().any(|choices| choices.sector == *sector);
        let settled = (0..base.len().div_ceil(SECTOR)).filter(|sector| !chosen(sector));
        let settled = settled
            .fold(0_u64, |sum, sector| sum.wrapping_add(sector_hash(sector, &sector_of(&base, sector))));
        Self { base, settled, sectors }
    }

    /// How many contents each undecided sector may have.
    pub(super) fn arities(&self) -> impl Iterator<Item = usize> {
        self.sectors.iter().map(|choices| choices.contents.len())
    }

    /// A number for the file with these contents of its sectors.
    pub(super) fn hash(&self, chosen: &[usize]) -> u64 {
        let contents = self.sectors.iter().zip(chosen).filter_map(|(choices, n)| choices.contents.get(*n));
        contents.fold(self.settled, |sum, (_, hash)| sum.wrapping_add(*hash)) ^ self.base.len() as u64
    }

    /// The file with these contents of its sectors, all of it on the disk.
    pub(super) fn file(&self, chosen: &[usize]) -> Inode {
        let mut disk = self.base.clone();
        for (choices, n) in self.sectors.iter().zip(chosen) {
            if let Some((bytes, _)) = choices.contents.get(*n) {
                put_sector(&mut disk, choices.sector, bytes);
            }
        }
        disk.truncate(self.base.len());
        Inode { cache: disk.clone(), disk, ..Inode::default() }
    }

    /// A number for all that this file may become.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.base.len(), self.settled).hash(&mut hasher);
        for choices in &self.sectors {
            choices.sector.hash(&mut hasher);
            for (_, hash) in &choices.contents {
                hash.hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

/// Zeros count for nothing, so that sums say what a file holds and not how it came to be.
fn sector_hash(sector: usize, bytes: &[u8; SECTOR]) -> u64 {
    if bytes.iter().all(|byte| *byte == 0) {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    (sector, bytes).hash(&mut hasher);
    hasher.finish()
}
