//! The seam to the disk: everything that the log, and whoever writes beside it, does to files.
//!
//! Owns: the traits [`Disk`] and [`DiskFile`]. Two implementations: [`RealDisk`] and [`sim::SimDisk`]. Never
//! does: interpret bytes. Every *mutating* call (marked M) carries a number, counted from 1 in the order of the
//! calls on one disk; `RELIVE_CRASH_AT` and `RELIVE_FAIL_AT` name calls by it, and the simulated disk counts
//! the same calls.

pub(crate) mod points;
mod real;
pub mod sim;

use std::any::Any;
use std::io;
use std::path::Path;

use crate::planted::{self, Bug};

pub use real::RealDisk;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The file exists and is only read.
    Read,
    /// The file exists and is read and written.
    ReadWrite,
    /// The file must not exist; it is created (M).
    CreateNew,
    /// The file is created or emptied (M).
    Truncate,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: String,
    /// Length in bytes; 0 for directories.
    pub bytes: u64,
    /// What it is.
    pub kind: EntryKind,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
}

/// Held while the lock is held; dropping it releases the lock.
pub type LockGuard = Box<dyn Any + Send + Sync>;

/// A file system, as far as the log needs one.
pub trait Disk: Send + Sync {
    /// Opens a file (M when it creates or truncates).
    ///
    /// # Errors
    /// As the system says; `NotFound` and `AlreadyExists` are meaningful.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file over whatever has the new name (M). Durable after `sync_dir` of both parents.
    ///
    /// # Errors
    /// As the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file (M).
    ///
    /// # Errors
    /// As the system says.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory (M); fine when it exists.
    ///
    /// # Errors
    /// As the system says.
    fn mkdir(&self, path: &Path) -> io::Result<()>;
    /// Lists a directory, sorted by name.
    ///
    /// # Errors
    /// As the system says; `NotFound` when it does not exist.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Makes the names in a directory durable (M).
    ///
    /// # Errors
    /// As the system says. Never retry.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes free for this process where `path` is.
    ///
    /// # Errors
    /// As the system says.
    fn free_space(&self, path: &Path) -> io::Result<u64>;
    /// Bytes of the whole filesystem where `path` is, free or not.
    ///
    /// # Errors
    /// As the system says.
    fn total_space(&self, path: &Path) -> io::Result<u64> {
        let _ = path;
        Ok(u64::MAX)
    }
    /// Bytes that the device below `path` writes at once at least; `None` when that is not known.
    fn logical_block_bytes(&self, path: &Path) -> Option<u32> {
        let _ = path;
        None
    }
    /// The kind of network filesystem that `path` is on, if it is on one: there, locks and syncs promise less.
    ///
    /// # Errors
    /// As the system says.
    fn network_filesystem(&self, path: &Path) -> io::Result<Option<&'static str>>;
    /// Takes the lock of a file that is created when missing; `None` when somebody else holds it.
    ///
    /// # Errors
    /// As the system says.
    fn try_lock(&self, path: &Path) -> io::Result<Option<LockGuard>>;
    /// Identifies this boot of the kernel; all zero when unknown.
    fn boot_id(&self) -> [u8; 16];
}

/// How zeros are written in front of a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroPace {
    /// In small portions: other syncs of the disk wait for one of them at most.
    Gentle,
    /// As fast as the disk takes them: fewest stalls in sum, each of them longer.
    Swift,
}

/// An open file. All calls take positions, so one handle serves many threads.
pub trait DiskFile: Send + Sync {
    /// Reads at a position; may be short; 0 at the end.
    ///
    /// # Errors
    /// As the system says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at a position (M); may be short.
    ///
    /// # Errors
    /// As the system says.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes the written bytes durable: fdatasync (M).
    ///
    /// # Errors
    /// As the system says. Never retry: what is on disk is unknown from then on.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes bytes and metadata durable: fsync (M).
    ///
    /// # Errors
    /// As for `sync_data`.
    fn sync_all(&self) -> io::Result<()>;
    /// The current length in bytes.
    ///
    /// # Errors
    /// As the system says.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no byte.
    ///
    /// # Errors
    /// As the system says.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|n| n == 0)
    }
    /// Makes the file `bytes` long, all of it written zeros, so that later writes change no metadata (M). Either
    /// pace ends with zeros in the file; they are durable after a sync.
    ///
    /// # Errors
    /// `StorageFull` or `QuotaExceeded` when there is no room; otherwise as the system says.
    fn allocate_zeroed(&self, bytes: u64, pace: ZeroPace) -> io::Result<()>;
    /// Forgets cached pages, so that the next read asks the device. A hint.
    ///
    /// # Errors
    /// As the system says.
    fn drop_cache(&self) -> io::Result<()>;
}

impl dyn DiskFile + '_ {
    /// Reads exactly `buf.len()` bytes, looping over short reads and interruptions.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file is shorter; otherwise as the system says.
    pub fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes all of `buf`, looping over short writes and interruptions.
    ///
    /// # Errors
    /// `WriteZero` when the file takes nothing; otherwise as the system says.
    pub fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
            match self.write_at(rest, offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) if planted::is(Bug::ShortWriteAccepted) => return Ok(()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Reads a whole small file; `None` when it does not exist.
///
/// # Errors
/// As the system says; `FileTooLarge` when it is longer than `bytes_max`.
pub fn read_small(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let len = file.len()?;
    if len > bytes_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}

/// Installs a small file atomically: `tmp` beside it, sync, rename, sync of the directory. Either the old bytes
/// or the new ones are found after a crash at any point.
///
/// # Errors
/// As the system says; on an error the old file may or may not have been replaced.
pub fn replace_small(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let tmp = dir.join(format!("tmp-{name}"));
    let file = disk.open(&tmp, OpenMode::Truncate)?;
    file.write_all_at(bytes, 0)?;
    if !planted::is(Bug::ManifestNotSynced) {
        file.sync_all()?;
    }
    drop(file);
    disk.rename(&tmp, &dir.join(name))?;
    if planted::is(Bug::ManifestNoDirSync) {
        return Ok(());
    }
    disk.sync_dir(dir)
}
