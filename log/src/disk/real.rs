//! The real file system, and the only place of the core that touches it.
//!
//! Owns: the mapping of [`Disk`] to system calls. Never does: retry a sync, hide an error, choose a path.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the seam to the real file system"
)]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags, FlockOperation};

use super::points::Points;
use super::{DirEntry, Disk, DiskFile, EntryKind, LockGuard, OpenMode, ZeroPace};

/// `f_type` of filesystems behind a network (statfs(2), linux/magic.h).
const NETWORK_FILESYSTEMS: [(rustix::fs::FsWord, &str); 8] = [
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x0102_1997, "9p"),
    (0x5346_414F, "afs"),
    (0x00C3_6400, "ceph"),
    (0x7375_7245, "coda"),
];

/// Zeros are written in pieces of this size: the source stays in the processor's cache.
const ZERO_CHUNK_BYTES: usize = 64 << 10;
/// Pieces between syncs at a gentle pace (4 MiB): a prepared segment must not queue up as a whole in front of the log's own
/// syncs (`docs/performance.md`, *The log*).
const ZERO_CHUNKS_PER_SYNC: u64 = 64;

/// The real file system.
#[derive(Clone, Debug, Default)]
pub struct RealDisk {
    points: Arc<Points>,
}

impl RealDisk {
    /// The real file system. In builds with the feature `fault-points`, the points are armed from the environment.
    #[must_use]
    pub fn new() -> Self {
        Self { points: Arc::new(Points::from_env()) }
    }
}

struct RealFile {
    file: File,
    points: Arc<Points>,
}

fn options(mode: OpenMode) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).mode(0o600);
    match mode {
        OpenMode::Read => &mut options,
        OpenMode::ReadWrite => options.write(true),
        OpenMode::CreateNew => options.write(true).create_new(true),
        OpenMode::Truncate => options.write(true).create(true).truncate(true),
    };
    options
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let open = || options(mode).open(path);
        let file = match mode {
            OpenMode::Read | OpenMode::ReadWrite => open()?,
            OpenMode::CreateNew | OpenMode::Truncate => self.points.mutate(open)?,
        };
        Ok(Box::new(RealFile { file, points: Arc::clone(&self.points) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.points.mutate(|| fs::rename(from, to))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.points.mutate(|| fs::remove_file(path))
    }

    fn mkdir(&self, path: &Path) -> io::Result<()> {
        self.points.mutate(|| fs::create_dir_all(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = fs::read_dir(dir)?
            .map(|entry| {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let meta = entry.metadata()?;
                let (bytes, kind) =
                    if meta.is_dir() { (0, EntryKind::Dir) } else { (meta.len(), EntryKind::File) };
                Ok(DirEntry { name, bytes, kind })
            })
            .collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        Ok(entries)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.points.mutate(|| File::open(dir)?.sync_all())
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn total_space(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }

    fn logical_block_bytes(&self, path: &Path) -> Option<u32> {
        let dev = rustix::fs::stat(path).ok()?.st_dev;
        let device = format!("/sys/dev/block/{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev));
        // A partition has no queue of its own: that of its disk is one folder up.
        ["queue", "../queue"].iter().find_map(|queue| {
            let text = fs::read_to_string(format!("{device}/{queue}/logical_block_size")).ok()?;
            text.trim().parse().ok()
        })
    }

    fn network_filesystem(&self, path: &Path) -> io::Result<Option<&'static str>> {
        let kind = rustix::fs::statfs(path)?.f_type;
        Ok(NETWORK_FILESYSTEMS.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name))
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        // Never truncated, replaced or removed: the lock is on the file, whatever it says.
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn boot_id(&self) -> [u8; 16] {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        uuid::Uuid::parse_str(text.trim()).map(uuid::Uuid::into_bytes).unwrap_or_default()
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.points.mutate(|| self.file.write_at(buf, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.points.mutate(|| self.file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.points.mutate(|| self.file.sync_all())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocate_zeroed(&self, bytes: u64, pace: ZeroPace) -> io::Result<()> {
        self.points.mutate(|| {
            // Only asks for contiguous room; unwritten extents would cost a journal commit on each first write.
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
            let zeros = vec![0; ZERO_CHUNK_BYTES];
            let file: &dyn DiskFile = &Unnumbered(&self.file);
            let (mut done, mut chunks) = (0, 0);
            while done < bytes {
                let len = usize::try_from(bytes - done).unwrap_or(usize::MAX).min(ZERO_CHUNK_BYTES);
                file.write_all_at(zeros.get(..len).unwrap_or_default(), done)?;
                done += len as u64;
                chunks += 1;
                if pace == ZeroPace::Gentle && chunks % ZERO_CHUNKS_PER_SYNC == 0 {
                    self.file.sync_data()?;
                }
            }
            Ok(())
        })
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }
}

/// The file without numbers, for the inside of one numbered call.
struct Unnumbered<'a>(&'a File);

impl DiskFile for Unnumbered<'_> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocate_zeroed(&self, _bytes: u64, _pace: ZeroPace) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }
}
