//! What the log may rely on, asked of both disks: the simulated one and the real one answer the same.

use std::io::ErrorKind;
use std::path::Path;

use relive_log::disk::sim::{SimDisk, SimOptions};
use relive_log::disk::{Disk, EntryKind, OpenMode, RealDisk, ZeroPace, read_small, replace_small};

fn check(act: impl Fn(&dyn Disk, &Path)) {
    let sim = SimDisk::new(SimOptions::new(1));
    sim.mkdir(Path::new("/t")).unwrap();
    act(&sim, Path::new("/t"));
    let real = tempfile::tempdir().unwrap();
    act(&RealDisk::new(), real.path());
}

#[test]
fn open_modes() {
    check(|disk, dir| {
        let path = dir.join("f");
        for mode in [OpenMode::Read, OpenMode::ReadWrite] {
            assert_eq!(disk.open(&path, mode).err().unwrap().kind(), ErrorKind::NotFound);
        }
        disk.open(&path, OpenMode::CreateNew).unwrap().write_all_at(b"abc", 0).unwrap();
        assert_eq!(disk.open(&path, OpenMode::CreateNew).err().unwrap().kind(), ErrorKind::AlreadyExists);
        assert_eq!(disk.open(&path, OpenMode::ReadWrite).unwrap().len().unwrap(), 3);
        assert!(disk.open(&path, OpenMode::Truncate).unwrap().is_empty().unwrap());
    });
}

#[test]
fn reads_and_writes() {
    check(|disk, dir| {
        let file = disk.open(&dir.join("f"), OpenMode::CreateNew).unwrap();
        file.write_all_at(b"hello", 1000).unwrap();
        assert_eq!(file.len().unwrap(), 1005);
        let mut bytes = [9; 8];
        file.read_exact_at(&mut bytes, 996).unwrap();
        assert_eq!(&bytes, b"\0\0\0\0hell");
        assert_eq!(file.read_exact_at(&mut bytes, 1000).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(file.read_at(&mut bytes, 2000).unwrap(), 0);
        file.sync_data().unwrap();
        file.sync_all().unwrap();
        file.drop_cache().unwrap();
        let other = disk.open(&dir.join("f"), OpenMode::Read).unwrap();
        file.write_all_at(b"J", 1000).unwrap();
        other.read_exact_at(bytes.get_mut(..5).unwrap(), 1000).unwrap();
        assert_eq!(bytes.get(..5).unwrap(), b"Jello", "handles see each other's writes");
    });
}

#[test]
fn names() {
    check(|disk, dir| {
        let sub = dir.join("sub");
        assert_eq!(disk.list(&sub).err().unwrap().kind(), ErrorKind::NotFound);
        disk.mkdir(&sub).unwrap();
        disk.mkdir(&sub).unwrap();
        for name in ["b", "a", "c"] {
            disk.open(&sub.join(name), OpenMode::CreateNew)
                .unwrap()
                .write_all_at(name.as_bytes(), 0)
                .unwrap();
        }
        disk.rename(&sub.join("c"), &sub.join("a")).unwrap();
        disk.unlink(&sub.join("b")).unwrap();
        disk.sync_dir(&sub).unwrap();
        assert_eq!(disk.unlink(&sub.join("b")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.rename(&sub.join("b"), &sub.join("x")).unwrap_err().kind(), ErrorKind::NotFound);
        let names: Vec<_> = disk.list(&sub).unwrap().into_iter().map(|e| (e.name, e.bytes, e.kind)).collect();
        assert_eq!(names, [("a".to_owned(), 1, EntryKind::File)]);
        assert_eq!(read_small(disk, &sub.join("a"), 10).unwrap().unwrap(), b"c");
        assert_eq!(disk.list(dir).unwrap().first().unwrap().kind, EntryKind::Dir);
    });
}

#[test]
fn zeroed_files_and_small_files() {
    check(|disk, dir| {
        const BYTES: u64 = (5 << 20) + 4096;
        for pace in [ZeroPace::Gentle, ZeroPace::Swift] {
            let file = disk.open(&dir.join("z"), OpenMode::Truncate).unwrap();
            file.allocate_zeroed(BYTES, pace).unwrap();
            assert_eq!(file.len().unwrap(), BYTES);
            let mut bytes = [1; 64];
            file.read_exact_at(&mut bytes, BYTES - 64).unwrap();
            assert_eq!(bytes, [0; 64]);
        }
        assert!(read_small(disk, &dir.join("none"), 10).unwrap().is_none());
        replace_small(disk, dir, "m", b"one").unwrap();
        replace_small(disk, dir, "m", b"two").unwrap();
        assert_eq!(read_small(disk, &dir.join("m"), 10).unwrap().unwrap(), b"two");
        assert_eq!(read_small(disk, &dir.join("m"), 2).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(disk.free_space(dir).unwrap() > 0);
    });
}

#[test]
fn locks() {
    check(|disk, dir| {
        let path = dir.join("LOCK");
        let held = disk.try_lock(&path).unwrap();
        assert!(held.is_some());
        assert!(disk.try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(disk.try_lock(&path).unwrap().is_some());
        assert_eq!(disk.boot_id(), disk.boot_id());
        assert_ne!(disk.boot_id(), [0; 16]);
    });
}
