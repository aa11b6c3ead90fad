//! A file that only takes up room: `DATA/reserve`. A start on a disk that is full gives it up, so that the views can be
//! opened; with room it is made again.
//!
//! Owns: that file. Never does: anything to what counts. What ends work has a reserve of its own within the log
//! (`relive_log::Purpose`).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use relive_log::disk::Disk;

/// Its name.
const NAME: &str = "reserve";
/// Its size, at most …
const BYTES_MAX: u64 = 8 << 20;
/// … and at most this part of the filesystem.
const PART: u64 = 20;
/// It is made only where so many times its size is free.
const FREE_TIMES: u64 = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    /// Of a data directory; nothing is touched.
    pub(crate) fn of(disk: &dyn Disk, data: &Path) -> Reserve {
        let total = disk.total_space(data).unwrap_or(0);
        Reserve { path: data.join(NAME), bytes: (total / PART).min(BYTES_MAX) }
    }

    /// Whether it is there.
    pub(crate) fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Gives the room up; whether there was any.
    pub(crate) fn give_up(&self) -> bool {
        match fs::remove_file(&self.path) {
            Ok(()) => true,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, "the reserve could not be given up");
                }
                false
            }
        }
    }

    /// Makes it if it is not there and there is room to spare. Best effort: a start without it says what it needs.
    pub(crate) fn keep(&self, disk: &dyn Disk) {
        let free = disk.free_space(self.path.parent().unwrap_or(&self.path)).unwrap_or(0);
        if self.is_there() || self.bytes == 0 || free / FREE_TIMES < self.bytes {
            return;
        }
        if let Err(error) = self.make() {
            tracing::debug!(%error, "no reserve was made");
            drop(fs::remove_file(&self.path));
        }
    }

    fn make(&self) -> io::Result<()> {
        let mut file = File::create_new(&self.path)?;
        if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.bytes).is_err() {
            // Where room cannot be asked for, it is written.
            let zeros = vec![0; 1 << 16];
            let mut left = self.bytes;
            while left > 0 {
                let piece = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
                file.write_all(zeros.get(..piece).unwrap_or_default())?;
                left -= piece as u64;
            }
        }
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use relive_log::disk::RealDisk;

    use super::*;

    #[test]
    fn it_is_made_once_given_up_once_and_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        let reserve = Reserve { bytes: 100_000, ..Reserve::of(&disk, dir.path()) };
        assert!(!reserve.is_there() && !reserve.give_up());
        for _ in 0..2 {
            reserve.keep(&disk);
            reserve.keep(&disk);
            let meta = fs::metadata(&reserve.path).unwrap();
            assert_eq!(meta.len(), 100_000);
            assert!(std::os::unix::fs::MetadataExt::blocks(&meta) * 512 >= 100_000, "it takes room");
            assert!(reserve.give_up() && !reserve.give_up());
        }
        let huge = Reserve { bytes: u64::MAX / 8, ..reserve };
        huge.keep(&disk);
        assert!(!huge.is_there(), "no room to spare");
    }
}
