//! The real file system.
#![expect(clippy::todo, reason="skeleton")]
use super::{DirEntry, Disk, DiskFile, LockGuard, OpenMode};
use std::io;
use std::path::Path;
/// The real file system.
#[derive(Debug, Default)]
pub struct RealDisk;
impl RealDisk {
    /// The real file system; fault points are armed from the environment in builds with `fault-points`.
    #[must_use]
    pub fn new() -> Self { Self }
}
impl Disk for RealDisk {
    fn open(&self, _path: &Path, _mode: OpenMode) -> io::Result<Box<dyn DiskFile>> { todo!() }
    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> { todo!() }
    fn unlink(&self, _path: &Path) -> io::Result<()> { todo!() }
    fn mkdir(&self, _path: &Path) -> io::Result<()> { todo!() }
    fn list(&self, _dir: &Path) -> io::Result<Vec<DirEntry>> { todo!() }
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> { todo!() }
    fn free_space(&self, _path: &Path) -> io::Result<u64> { todo!() }
    fn try_lock(&self, _path: &Path) -> io::Result<Option<LockGuard>> { todo!() }
    fn boot_id(&self) -> [u8; 16] { todo!() }
}
