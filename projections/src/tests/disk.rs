//! The real disk without its syncs: the tests of logic make thousands of checkpoints.

use std::io;
use std::path::Path;

use relive_log::disk::{DirEntry, Disk, DiskFile, LockGuard, OpenMode, RealDisk};

/// See the module.
pub(crate) struct NoSync(pub(crate) RealDisk);

struct NoSyncFile(Box<dyn DiskFile>);

impl Disk for NoSync {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(NoSyncFile(self.0.open(path, mode)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.0.unlink(path)
    }
    fn mkdir(&self, path: &Path) -> io::Result<()> {
        self.0.mkdir(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.list(dir)
    }
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.0.free_space(path)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        self.0.try_lock(path)
    }
    fn boot_id(&self) -> [u8; 16] {
        self.0.boot_id()
    }
}

impl DiskFile for NoSyncFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn allocate_zeroed(&self, bytes: u64) -> io::Result<()> {
        self.0.allocate_zeroed(bytes)
    }
    fn drop_cache(&self) -> io::Result<()> {
        self.0.drop_cache()
    }
}
