//! Carrying out a plan, R10–R14. May crash anywhere, any number of times: it only removes what is not proven, and
//! exposes nothing before its last sync returned.
//!
//! Owns: the order of the writes. Never does: decide; retry a failed sync.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, OpenMode, replace_small};
use crate::error::OpenError;
use crate::format::at;
use crate::format::watermark::{SLOT_STRIDE, Slot};
use crate::planted::{self, Bug};
use crate::writer::watermark_file::WatermarkFile;

use super::ahead::Extent;
use super::gather::SegmentFiles;
use super::plan::{Plan, WatermarkPlan};
use super::{LOG_DIR, MANIFEST, MANIFEST_BAK, QUARANTINE_DIR, WATERMARK, io_error};

/// Written at once while erasing or copying.
const CHUNK_BYTES: u32 = 1 << 20;

/// R11–R14. Returns WATERMARK, ready for the writer.
pub(crate) fn carry_out(
    disk: &dyn Disk,
    dir: &Path,
    files: &SegmentFiles,
    plan: &Plan,
) -> Result<WatermarkFile, OpenError> {
    let mut touched = Touched { disk, files, open: BTreeMap::new() };
    for group in &plan.reaffirm {
        let extent =
            Extent { segment: group.pos.segment, from: group.pos.offset, to: group.pos.offset + group.len };
        touched.rewrite(extent)?;
    }
    for extent in &plan.erase {
        touched.erase(*extent)?;
    }
    touched.sync()?;
    if let Some(manifest) = &plan.restore_manifest {
        let bytes = manifest.encode();
        // The one that is damaged, missing or older may be either; the other one is sound all the while. It comes
        // before anything is removed: what it says may stand in the page cache only.
        for name in [MANIFEST_BAK, MANIFEST] {
            replace_small(disk, dir, name, &bytes).map_err(io_error("restore", &dir.join(name)))?;
        }
    }
    if !plan.remove.is_empty() {
        // What goes is what MANIFEST no longer names. After a kill even two equal copies may have their names in the
        // page cache only: a power loss would bring back the one that still names it.
        disk.sync_dir(dir).map_err(io_error("sync directory", dir))?;
    }
    let log_dir = dir.join(LOG_DIR);
    let mut folders = BTreeSet::from([log_dir.as_path()]);
    for path in &plan.remove {
        disk.unlink(path).map_err(io_error("remove", path))?;
        folders.extend(path.parent());
    }
    for folder in folders {
        disk.sync_dir(folder).map_err(io_error("sync directory", folder))?;
    }
    disk.sync_dir(dir).map_err(io_error("sync directory", dir))?;
    bump_watermark(disk, dir, &plan.watermark)
}

/// R14.
fn bump_watermark(disk: &dyn Disk, dir: &Path, plan: &WatermarkPlan) -> Result<WatermarkFile, OpenError> {
    let path = dir.join(WATERMARK);
    let failed = |op| io_error(op, &path);
    let file: Arc<dyn DiskFile> = disk.open(&path, OpenMode::ReadWrite).map_err(failed("open"))?.into();
    let put = |(slot, state): &(u64, Slot)| {
        file.write_all_at(&state.encode(), slot * SLOT_STRIDE).map_err(failed("write"))?;
        if planted::is(Bug::WatermarkNotSyncedAtOpen) {
            return Ok(());
        }
        file.sync_data().map_err(failed("sync"))
    };
    if let Some(newest) = &plan.reaffirm {
        put(newest)?;
    }
    put(&plan.next)?;
    let (slot, state) = plan.next;
    Ok(WatermarkFile::new(Arc::clone(&file), 1 - slot, state))
}

/// Segments that were written to and must be synced.
struct Touched<'a> {
    disk: &'a dyn Disk,
    files: &'a SegmentFiles,
    open: BTreeMap<u32, Arc<dyn DiskFile>>,
}

impl Touched<'_> {
    fn file(&mut self, segment: u32) -> Result<Arc<dyn DiskFile>, OpenError> {
        if let Some(file) = self.open.get(&segment) {
            return Ok(Arc::clone(file));
        }
        let path = self.files.path(segment);
        let file: Arc<dyn DiskFile> =
            self.disk.open(&path, OpenMode::ReadWrite).map_err(io_error("open", &path))?.into();
        self.open.insert(segment, Arc::clone(&file));
        Ok(file)
    }

    /// Writes the same bytes again: after a failed sync the pages may be clean and newer than the disk, and a bare
    /// sync would then report success and persist nothing.
    fn rewrite(&mut self, extent: Extent) -> Result<(), OpenError> {
        let path = self.files.path(extent.segment);
        let file = self.file(extent.segment)?;
        let mut bytes = vec![0; at(extent.to - extent.from)];
        file.read_exact_at(&mut bytes, u64::from(extent.from)).map_err(io_error("read", &path))?;
        if planted::is(Bug::SyncWithoutRewrite) {
            return Ok(());
        }
        file.write_all_at(&bytes, u64::from(extent.from)).map_err(io_error("reaffirm", &path))
    }

    fn erase(&mut self, extent: Extent) -> Result<(), OpenError> {
        let path = self.files.path(extent.segment);
        let file = self.file(extent.segment)?;
        let zeros = vec![0; at(CHUNK_BYTES.min(extent.to - extent.from))];
        let mut from = extent.from;
        while from < extent.to {
            let len = CHUNK_BYTES.min(extent.to - from);
            let chunk = zeros.get(..at(len)).unwrap_or_default();
            file.write_all_at(chunk, u64::from(from)).map_err(io_error("erase", &path))?;
            from += len;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), OpenError> {
        if planted::is(Bug::NoRecoverySync) {
            return Ok(());
        }
        for (segment, file) in &self.open {
            file.sync_data().map_err(io_error("sync", &self.files.path(*segment)))?;
        }
        Ok(())
    }
}

/// R10: copies what will be erased, up to a bound. Says what it did; a failure does not stop the recovery, since the
/// copy proves nothing and a full disk must not keep an instance down.
pub(crate) fn quarantine(
    disk: &dyn Disk,
    dir: &Path,
    files: &SegmentFiles,
    extents: &[Extent],
    name: &str,
    bytes_max: u64,
) -> Option<String> {
    if extents.is_empty() {
        return None;
    }
    let copied = || -> io::Result<u64> {
        let folder = dir.join(QUARANTINE_DIR);
        disk.mkdir(&folder)?;
        let copy = disk.open(&folder.join(name), OpenMode::Truncate)?;
        let mut written = 0;
        for extent in extents {
            let file = files.open(extent.segment).map_err(io::Error::other)?;
            let mut from = extent.from;
            while from < extent.to && written < bytes_max {
                let mut bytes = vec![0; at(CHUNK_BYTES.min(extent.to - from))];
                file.read_exact_at(&mut bytes, u64::from(from))?;
                let place = format!("segment {} offset {from} bytes {}\n", extent.segment, bytes.len());
                copy.write_all_at(place.as_bytes(), written)?;
                copy.write_all_at(&bytes, written + place.len() as u64)?;
                written += (place.len() + bytes.len()) as u64;
                from += crate::format::len32(bytes.len());
            }
        }
        copy.sync_all()?;
        disk.sync_dir(&folder)?;
        Ok(written)
    };
    Some(match copied() {
        Ok(bytes) => format!("{QUARANTINE_DIR}/{name} ({bytes} bytes)"),
        Err(error) => format!("not kept: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::{SimDisk, SimOptions};
    use crate::format::segment::segment_name;

    const SEGMENT_BYTES: u32 = 4 << 20;
    const LONG: Extent = Extent { segment: 1, from: 4096, to: 4096 + 2 * CHUNK_BYTES + 512 };
    const SHORT: Extent = Extent { segment: 2, from: 8192, to: 8704 };

    /// No byte is zero, and neighbours differ.
    fn content(segment: u32) -> Vec<u8> {
        (0..SEGMENT_BYTES).map(|i| u8::try_from((i + segment) % 251).unwrap() + 1).collect()
    }

    fn files() -> (SimDisk, SegmentFiles) {
        let disk = SimDisk::new(SimOptions::new(1));
        disk.mkdir(Path::new("d")).unwrap();
        disk.mkdir(Path::new("d/log")).unwrap();
        for segment in [1, 2] {
            let path = Path::new("d/log").join(segment_name(segment));
            let file = disk.open(&path, OpenMode::CreateNew).unwrap();
            file.write_all_at(&content(segment), 0).unwrap();
        }
        let files = SegmentFiles::of(Arc::new(disk.clone()), "d/log".into(), 2, SEGMENT_BYTES);
        (disk, files)
    }

    fn read(disk: &SimDisk, path: &str) -> Vec<u8> {
        let found = disk.files().into_iter().find(|(name, _)| name == Path::new(path));
        found.unwrap().1
    }

    /// What a copy holds: place and bytes of each piece.
    fn pieces(mut copy: &[u8]) -> Vec<(u32, u32, &[u8])> {
        let mut found = Vec::new();
        while let Some(end) = copy.iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&copy[..end]).unwrap();
            let words: Vec<_> = line.split(' ').collect();
            let &["segment", segment, "offset", offset, "bytes", bytes] = &words[..] else {
                panic!("{line}")
            };
            let len: usize = bytes.parse().unwrap();
            let (piece, rest) = copy[end + 1..].split_at(len);
            found.push((segment.parse().unwrap(), offset.parse().unwrap(), piece));
            copy = rest;
        }
        found
    }

    #[test]
    fn what_is_erased_is_all_of_the_extent_and_nothing_else() {
        let (disk, files) = files();
        let mut touched = Touched { disk: &disk, files: &files, open: BTreeMap::new() };
        for extent in [LONG, SHORT] {
            touched.erase(extent).unwrap();
            let mut expected = content(extent.segment);
            expected[at(extent.from)..at(extent.to)].fill(0);
            let found = read(&disk, &format!("d/log/{}", segment_name(extent.segment)));
            assert!(found == expected, "segment {}", extent.segment);
        }
    }

    #[test]
    fn a_copy_holds_every_byte_with_its_place() {
        let (disk, files) = files();
        let said = quarantine(&disk, Path::new("d"), &files, &[LONG, SHORT], "cut", u64::MAX).unwrap();
        let copy = read(&disk, "d/quarantine/cut");
        assert_eq!(said, format!("quarantine/cut ({} bytes)", copy.len()));
        let pieces = pieces(&copy);
        let places: Vec<_> =
            pieces.iter().map(|(segment, offset, bytes)| (*segment, *offset, bytes.len())).collect();
        let chunk = at(CHUNK_BYTES);
        let second = LONG.from + CHUNK_BYTES;
        assert_eq!(
            places,
            [(1, 4096, chunk), (1, second, chunk), (1, second + CHUNK_BYTES, 512), (2, 8192, 512)]
        );
        for (segment, offset, bytes) in pieces {
            assert!(bytes == &content(segment)[at(offset)..at(offset) + bytes.len()], "{segment} {offset}");
        }
    }

    #[test]
    fn a_copy_ends_with_the_piece_that_reaches_its_bound() {
        let (disk, files) = files();
        let bound = u64::from(CHUNK_BYTES);
        quarantine(&disk, Path::new("d"), &files, &[LONG, SHORT], "cut", bound).unwrap();
        assert_eq!(pieces(&read(&disk, "d/quarantine/cut")).len(), 1);
        assert_eq!(quarantine(&disk, Path::new("d"), &files, &[], "none", bound), None);
    }
}
