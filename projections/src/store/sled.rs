//! The store on sled 0.34.7, with its known faults fenced in (`durability.md` 2.9, V6, V7).
//!
//! Owns: opening within a time limit on a thread of its own, removing `snap.*.generating` first, and turning every
//! panic of sled into an error. Never does: `flush_async`, transactions, merge operators (all of which can hang).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use relive_log::disk::{Disk, EntryKind};

use super::{Change, ProjectionStore, Rows};
use crate::error::{StoreError, is_full};

/// A sled database.
pub(crate) struct SledStore {
    db: sled::Db,
}

/// How long sled may take, and how much it may cache.
#[derive(Clone, Copy)]
pub(crate) struct SledLimits {
    pub(crate) open_timeout: Duration,
    pub(crate) cache_bytes: u64,
}

/// What sled says when the lock is held; it has no error of its own for that.
const LOCKED: &str = "could not acquire lock";
/// Pause between two tries to get the lock.
const LOCK_RETRY: Duration = Duration::from_millis(10);

impl SledStore {
    /// Opens the database and reads all of it, both within the limit. A database that hangs keeps its thread:
    /// there is no way to end one.
    pub(crate) fn open(
        disk: &dyn Disk,
        dir: &Path,
        limits: SledLimits,
    ) -> Result<(SledStore, Rows), StoreError> {
        remove_half_written_snapshots(disk, dir);
        let (answer, answers) = sync_channel(1);
        let path = dir.to_path_buf();
        #[expect(
            clippy::disallowed_methods,
            reason = "V6: sled may hang or panic in open, and must not take us along"
        )]
        let started = std::thread::Builder::new().name("views-open".into()).spawn(move || {
            // The receiver is gone if we were too slow: then nobody wants the answer.
            let _ = answer.send(open_and_scan(&path, limits));
        });
        started.map_err(|e| StoreError::Failed { op: "start its thread", message: e.to_string() })?;
        match answers.recv_timeout(limits.open_timeout) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(StoreError::TimedOut {
                limit_ms: u64::try_from(limits.open_timeout.as_millis()).unwrap_or(u64::MAX),
            }),
            Err(RecvTimeoutError::Disconnected) => {
                Err(StoreError::Panicked { op: "open", message: "its thread ended without an answer".into() })
            }
        }
    }
}

fn open_and_scan(path: &Path, limits: SledLimits) -> Result<(SledStore, Rows), StoreError> {
    let store = SledStore { db: open_unlocked(path, limits)? };
    let rows = store.scan()?;
    Ok((store, rows))
}

/// Opens the database, waiting for its lock within the limit: a database that this process has just dropped stays
/// locked until sled's own threads have noticed. No other process can hold it: the data directory has a lock too.
fn open_unlocked(path: &Path, limits: SledLimits) -> Result<sled::Db, StoreError> {
    let tries = limits.open_timeout.as_millis() / LOCK_RETRY.as_millis();
    let open =
        || guarded("open", || sled::Config::new().path(path).cache_capacity(limits.cache_bytes).open());
    for _ in 1..tries {
        match open() {
            Err(StoreError::Failed { message, .. }) if message.contains(LOCKED) => {
                #[expect(clippy::disallowed_methods, reason = "on V6's own thread, bounded by its limit")]
                std::thread::sleep(LOCK_RETRY);
            }
            opened => return opened,
        }
    }
    open()
}

/// A crash while sled writes its snapshot leaves a `snap.*.generating` that its recovery takes for a snapshot:
/// the database can then never be opened again (sled #1527, #1533). The snapshot before it is still there.
fn remove_half_written_snapshots(disk: &dyn Disk, dir: &Path) {
    for entry in disk.list(dir).unwrap_or_default() {
        if entry.kind == EntryKind::File
            && entry.name.starts_with("snap.")
            && entry.name.ends_with(".generating")
        {
            // A file that stays makes the open fail, which is handled.
            let _ = disk.unlink(&dir.join(&entry.name));
        }
    }
}

fn guarded<T>(op: &'static str, run: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(source))) if is_full(&source) => {
            Err(StoreError::NoSpace { op, message: source.to_string() })
        }
        Ok(Err(e)) => Err(StoreError::Failed { op, message: e.to_string() }),
        Err(panic) => {
            let message = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(StoreError::Panicked { op, message: message.to_owned() })
        }
    }
}

impl ProjectionStore for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        guarded("read", || self.db.get(key)).map(|found| found.map(|value| value.to_vec()))
    }

    fn scan(&self) -> Result<Rows, StoreError> {
        guarded("scan", || {
            self.db.iter().map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
        })
    }

    fn apply(&self, batch: &[Change]) -> Result<(), StoreError> {
        let mut changes = sled::Batch::default();
        for (key, value) in batch {
            match value {
                Some(value) => changes.insert(key.as_slice(), value.as_slice()),
                None => changes.remove(key.as_slice()),
            }
        }
        guarded("write", || self.db.apply_batch(changes))
    }

    fn flush(&self) -> Result<(), StoreError> {
        guarded("flush", || self.db.flush()).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relive_log::disk::RealDisk;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a thread that lets go late")]
    fn v6_a_lock_that_is_given_up_late_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let held = sled::open(dir.path()).unwrap();
        held.insert(b"k", b"v").unwrap();
        let letting_go = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150));
            drop(held);
        });
        let limits = SledLimits { open_timeout: Duration::from_secs(30), cache_bytes: 1 << 20 };
        let (store, rows) = SledStore::open(&RealDisk::new(), dir.path(), limits).unwrap();
        assert_eq!(rows, [(b"k".to_vec(), b"v".to_vec())]);
        letting_go.join().unwrap();
        let limits = SledLimits { open_timeout: Duration::from_millis(60), ..limits };
        let locked = SledStore::open(&RealDisk::new(), dir.path(), limits).map(|_| ()).unwrap_err();
        assert!(matches!(locked, StoreError::Failed { .. } | StoreError::TimedOut { .. }), "{locked}");
        drop(store);
    }
}
