//! The real disk without its syncs (the tests of logic make thousands of checkpoints), with a fuse: after so many
//! changes every further one fails, as if the process had been killed there.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use relive_log::disk::{DirEntry, Disk, DiskFile, LockGuard, OpenMode, RealDisk};

/// See the module.
pub(crate) struct NoSync {
    real: RealDisk,
    /// Changes that still go through.
    fuse: Arc<AtomicI64>,
}

impl NoSync {
    pub(crate) fn new() -> NoSync {
        NoSync::with_fuse(Arc::new(AtomicI64::new(i64::MAX)))
    }

    pub(crate) fn with_fuse(fuse: Arc<AtomicI64>) -> NoSync {
        NoSync { real: RealDisk::new(), fuse }
    }
}

/// One change; an error once the fuse has blown.
fn burn(fuse: &AtomicI64) -> io::Result<()> {
    if fuse.fetch_sub(1, Ordering::Relaxed) > 0 { Ok(()) } else { Err(io::Error::other("killed here")) }
}

struct NoSyncFile {
    real: Box<dyn DiskFile>,
    fuse: Arc<AtomicI64>,
}

impl Disk for NoSync {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        if matches!(mode, OpenMode::CreateNew | OpenMode::Truncate) {
            burn(&self.fuse)?;
        }
        Ok(Box::new(NoSyncFile { real: self.real.open(path, mode)?, fuse: Arc::clone(&self.fuse) }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        burn(&self.fuse)?;
        self.real.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        burn(&self.fuse)?;
        self.real.unlink(path)
    }
    fn mkdir(&self, path: &Path) -> io::Result<()> {
        burn(&self.fuse)?;
        self.real.mkdir(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.real.list(dir)
    }
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        burn(&self.fuse)
    }
    fn network_filesystem(&self, path: &Path) -> io::Result<Option<&'static str>> {
        self.real.network_filesystem(path)
    }
    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.real.free_space(path)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        self.real.try_lock(path)
    }
    fn boot_id(&self) -> [u8; 16] {
        self.real.boot_id()
    }
}

impl DiskFile for NoSyncFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.real.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        burn(&self.fuse)?;
        self.real.write_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        burn(&self.fuse)
    }
    fn sync_all(&self) -> io::Result<()> {
        burn(&self.fuse)
    }
    fn len(&self) -> io::Result<u64> {
        self.real.len()
    }
    fn allocate_zeroed(&self, bytes: u64, pace: relive_log::disk::ZeroPace) -> io::Result<()> {
        self.real.allocate_zeroed(bytes, pace)
    }
    fn drop_cache(&self) -> io::Result<()> {
        self.real.drop_cache()
    }
}
