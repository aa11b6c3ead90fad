//! A store of which little is alive is written anew when it is opened: sled uses the dead parts of its files again, but never
//! gives them back.
//!
//! Owns: when that is worth it, and the way there. Never does: change a row.
//!
//! ```text
//! sled        the store
//! sled.new    one that is being written: removed by the next open
//! sled.old    what was the store; it still is if there is no `sled`
//! ```
//!
//! Invariant: P27 a process that dies at any point of it leaves a store that opens with the same rows. (A power loss discards
//! the views anyway, V5: nothing is synced here.)

use std::path::{Path, PathBuf};

use relive_log::disk::{Disk, EntryKind};

use super::{Change, ProjectionStore, Rows, SledLimits, SledStore};
use crate::disk::generation::remove_tree;
use crate::error::StoreError;

/// Worth it: the files have so many times the bytes of the rows…
const SIZE_FACTOR: u64 = 4;
/// Rows of one batch: sled's memory grows with it.
const BATCH_ROWS: usize = 1_000;

/// Opens the store at `dir`; writes it anew when its files have `waste_bytes` more than [`SIZE_FACTOR`] times its rows.
pub(crate) fn open(
    disk: &dyn Disk,
    dir: &Path,
    limits: SledLimits,
    waste_bytes: u64,
) -> Result<(SledStore, Rows), StoreError> {
    settle(disk, dir)?;
    let (store, rows) = SledStore::open(disk, dir, limits)?;
    let alive: usize = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
    let bound = waste_bytes.saturating_add(SIZE_FACTOR.saturating_mul(alive as u64));
    let bytes = tree_bytes(disk, dir);
    if bytes <= bound {
        return Ok((store, rows));
    }
    if let Err(error) = write_new(disk, dir, limits, &rows) {
        tracing::warn!(%error, "the store of the views is large and could not be written anew; it stays as it is");
        remove_tree(disk, &beside(dir, "new"));
        return Ok((store, rows));
    }
    drop(store);
    put_in_place(disk, dir)?;
    let (store, found) = SledStore::open(disk, dir, limits)?;
    if found != rows {
        return Err(StoreError::Damaged { check: "the rows of a store that was written anew" });
    }
    tracing::info!(before = bytes, after = tree_bytes(disk, dir), "the store of the views was written anew");
    Ok((store, found))
}

fn beside(dir: &Path, what: &str) -> PathBuf {
    dir.with_extension(what)
}

/// Ends what a process that died had begun.
fn settle(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let (new, old) = (beside(dir, "new"), beside(dir, "old"));
    if is_there(disk, &old) && !is_there(disk, dir) {
        rename(disk, &old, dir)?;
    }
    [new, old].iter().for_each(|left| remove_tree(disk, left));
    Ok(())
}

fn write_new(disk: &dyn Disk, dir: &Path, limits: SledLimits, rows: &Rows) -> Result<(), StoreError> {
    let (new, _) = SledStore::open(disk, &beside(dir, "new"), limits)?;
    for rows in rows.chunks(BATCH_ROWS) {
        let batch: Vec<Change> = rows.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        new.apply(&batch)?;
    }
    new.flush()
}

fn put_in_place(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    rename(disk, dir, &beside(dir, "old"))?;
    rename(disk, &beside(dir, "new"), dir)?;
    remove_tree(disk, &beside(dir, "old"));
    Ok(())
}

fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::Failed { op: "rename", message: error.to_string() };
    disk.rename(from, to).map_err(failed)
}

fn is_there(disk: &dyn Disk, dir: &Path) -> bool {
    disk.list(dir).is_ok_and(|entries| !entries.is_empty())
}

/// Bytes of all files below.
fn tree_bytes(disk: &dyn Disk, dir: &Path) -> u64 {
    let entries = disk.list(dir).unwrap_or_default();
    let bytes = entries.iter().map(|entry| match entry.kind {
        EntryKind::File => entry.bytes,
        EntryKind::Dir => tree_bytes(disk, &dir.join(&entry.name)),
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use relive_log::disk::RealDisk;

    use super::*;

    const LIMITS: SledLimits = SledLimits { open_timeout: Duration::from_secs(30), cache_bytes: 1 << 20 };
    const WASTE: u64 = 1 << 20;

    /// Fills a store with rows, most of which are removed again; answers what stays.
    fn wasteful(dir: &Path) -> Rows {
        let (store, _) = SledStore::open(&RealDisk::new(), dir, LIMITS).unwrap();
        let key = |n: u32| n.to_be_bytes().to_vec();
        for from in (0..20_000_u32).step_by(BATCH_ROWS) {
            let batch: Vec<Change> = (from..from + 1000).map(|n| (key(n), Some(vec![b'v'; 300]))).collect();
            store.apply(&batch).unwrap();
        }
        for from in (100..20_000_u32).step_by(100) {
            let batch: Vec<Change> = (from..from + 100).map(|n| (key(n), None)).collect();
            store.apply(&batch).unwrap();
        }
        store.flush().unwrap();
        store.scan().unwrap()
    }

    #[test]
    fn p27_a_store_of_dead_rows_gives_its_room_back_and_keeps_the_others() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("sled");
        let rows = wasteful(&dir);
        assert_eq!(rows.len(), 100);
        let disk = RealDisk::new();
        let before = tree_bytes(&disk, &dir);
        assert!(before > 2 * WASTE, "{before}");
        // Not worth it: it stays about as large (sled rounds its files off as it opens and closes them).
        let (store, found) = open(&disk, &dir, LIMITS, u64::MAX).unwrap();
        assert!(found == rows && tree_bytes(&disk, &dir) > 2 * WASTE, "{}", tree_bytes(&disk, &dir));
        drop(store);
        let (store, found) = open(&disk, &dir, LIMITS, WASTE).unwrap();
        assert!(found == rows, "{} rows", found.len());
        store.apply(&[(b"more".to_vec(), Some(b"row".to_vec()))]).unwrap();
        drop(store);
        let after = tree_bytes(&disk, &dir);
        assert!(after <= WASTE, "{after} bytes of {before} stay");
        assert_eq!(open(&disk, &dir, LIMITS, WASTE).unwrap().1.len(), rows.len() + 1);
        let names: Vec<_> = disk.list(temp.path()).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["sled"]);
    }

    #[test]
    fn p27_a_process_that_dies_on_the_way_loses_nothing() {
        let disk = RealDisk::new();
        let steps: [fn(&dyn Disk, &Path); 4] = [
            |disk, dir| disk.mkdir(&beside(dir, "new")).unwrap(),
            |disk, dir| {
                let rows = vec![(b"half".to_vec(), b"written".to_vec())];
                write_new(disk, dir, LIMITS, &rows).unwrap();
            },
            |disk, dir| rename(disk, dir, &beside(dir, "old")).unwrap(),
            |disk, dir| {
                let rows = SledStore::open(disk, dir, LIMITS).unwrap().1;
                write_new(disk, dir, LIMITS, &rows).unwrap();
                rename(disk, dir, &beside(dir, "old")).unwrap();
                rename(disk, &beside(dir, "new"), dir).unwrap();
            },
        ];
        for (at, step) in steps.iter().enumerate() {
            let temp = tempfile::tempdir().unwrap();
            let dir = temp.path().join("sled");
            let rows = wasteful(&dir);
            step(&disk, &dir);
            let (_, found) = open(&disk, &dir, LIMITS, u64::MAX).unwrap();
            assert!(found == rows, "{} rows after step {at}", found.len());
            assert_eq!(disk.list(temp.path()).unwrap().len(), 1, "after step {at}");
        }
    }
}
