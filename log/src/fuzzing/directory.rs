//! Targets whose input is a list of changes to the directory of a sound log.
//!
//! Owns: that directory, the changes, and what recovery, scan, snapshots and salvage must hold afterwards.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::disk::sim::{SimDisk, SimOptions};
use crate::disk::{Disk, OpenMode};
use crate::error::{OpenError, ReadError};
use crate::format::frame::FrameKey;
use crate::format::manifest::Manifest;
use crate::format::{FRAME_HEADER_LEN, Geometry, at, len32};
use crate::options::{FreshIdentity, LogOptions};
use crate::recovery::{OpenedLog, open};
use crate::tools::{self, SalvageError};
use crate::writer::StepOutcome;
use crate::{Batch, FramePos, Gap, Lsn, Reader, UnixMicros};

const DIR: &str = "/data";
const OUT: &str = "/out";
/// Changes of one input.
const CHANGES_MAX: usize = 24;

/// A sound log on a simulated disk, and what it holds.
struct Sound {
    disk: SimDisk,
    geometry: Geometry,
    files: Vec<PathBuf>,
    batches: Vec<Stored>,
}

/// A batch: its first LSN and its bodies.
type Stored = (Lsn, Vec<Vec<u8>>);

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 16 << 10,
        group_bytes_max: 4 << 10,
        buffer_bytes_max: 64 << 10,
        spares: 1,
        software: "fuzz".to_owned(),
        walk_bytes_min: 0,
        ..LogOptions::default()
    }
}

fn open_at(disk: &SimDisk, dir: &str, now: u64) -> Result<OpenedLog, OpenError> {
    let identity = FreshIdentity { log_id: *b"a log to be hurt", frame_magic: [0x5a, 1, 2, 3] };
    open(Arc::new(disk.clone()), Path::new(dir), &options(), identity, UnixMicros(now))
}

/// Bodies of each size, one batch; everything is durable afterwards.
#[expect(clippy::expect_used, reason = "an undamaged simulated disk takes a log")]
fn append(log: &mut OpenedLog, sizes: &[usize]) -> Stored {
    let mut batch = Batch::new();
    let first = log.appender.next_lsn();
    let body = |(n, size): (usize, &usize)| {
        let mut body = (first.0 * 100 + n as u64).to_le_bytes().to_vec();
        body.resize((*size).max(8), 7);
        body
    };
    let bodies: Vec<_> = sizes.iter().enumerate().map(body).collect();
    for body in &bodies {
        batch.push_raw(7, 1, body);
    }
    log.appender.append(&batch, UnixMicros(first.0 * 10)).expect("appended");
    while log.committer.step() != StepOutcome::Idle {
        log.preparer.step();
    }
    (first, bodies)
}

/// Three segments, two epochs, several frames in a group, a snapshot.
#[expect(clippy::expect_used, reason = "an undamaged simulated disk takes a log")]
fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(|| {
        let disk = SimDisk::new(SimOptions::new(7));
        let mut batches = Vec::new();
        for (now, all) in [
            (1, &[&[20][..], &[440, 8], &[700, 900], &[3000], &[2000]][..]),
            (2, &[&[100, 100, 100][..], &[5000], &[8], &[20, 20]][..]),
        ] {
            let mut log = open_at(&disk, DIR, now).expect("opened");
            for sizes in all {
                batches.push(append(&mut log, sizes));
            }
            if now == 1 {
                let durable = log.durability.durable();
                let mut writer = log.snapshots.begin(durable, 1, UnixMicros(9)).expect("begun");
                for item in [&b"one"[..], &[7; 900], b""] {
                    writer.push(item).expect("pushed");
                }
                writer.finish(77).expect("installed");
            }
            log.committer.close().expect("closed");
        }
        let files: Vec<_> = disk.files().into_iter().map(|(path, _)| path).collect();
        let bytes = file(&disk, &Path::new(DIR).join("MANIFEST"));
        let geometry = Manifest::decode(&bytes).expect("sound").geometry;
        Sound { disk, geometry, files, batches }
    })
}

fn file(disk: &SimDisk, path: &Path) -> Vec<u8> {
    disk.files().into_iter().find(|(found, _)| found == path).map(|(_, bytes)| bytes).unwrap_or_default()
}

/// One change, six bytes: which file, what, where, with what.
struct Change {
    file: u8,
    op: u8,
    place: u16,
    value: u8,
    len: u8,
}

fn changes(data: &[u8]) -> impl Iterator<Item = Change> {
    data.as_chunks::<6>().0.iter().take(CHANGES_MAX).map(|&[file, op, low, high, value, len]| Change {
        file,
        op,
        place: u16::from_le_bytes([low, high]),
        value,
        len,
    })
}

/// The sound directory with the changes of an input.
fn hurt(data: &[u8]) -> SimDisk {
    let sound = sound();
    let disk = sound.disk.fork(1);
    let key = FrameKey::new(&sound.geometry);
    for change in changes(data) {
        apply(&disk, sound, &key, &change);
    }
    disk
}

fn apply(disk: &SimDisk, sound: &Sound, key: &FrameKey, change: &Change) {
    let Some(path) = sound.files.get(usize::from(change.file) % sound.files.len().max(1)) else { return };
    let mut bytes = file(disk, path);
    if bytes.is_empty() {
        return;
    }
    let place = usize::from(change.place) % bytes.len();
    match change.op % 8 {
        0 => set(&mut bytes, place, |b| b ^ change.value),
        1 => fill(&mut bytes, place, usize::from(change.len) * 8, 0),
        2 => fill(&mut bytes, place, usize::from(change.len), change.value),
        3 => {
            disk.cut(path, place as u64);
            return;
        }
        4 => {
            disk.lose(path);
            return;
        }
        // A misdirected write: a sector of another file, or of this one.
        5 => {
            let from = sound.files.get(usize::from(change.value) % sound.files.len().max(1));
            let other = from.map(|from| file(disk, from)).unwrap_or_default();
            let sector = place / 512 * 512;
            let start = usize::from(change.len) * 512;
            let source = other.get(start..start + 512).unwrap_or_default().to_vec();
            if let Some(target) = bytes.get_mut(sector..sector + source.len()) {
                target.copy_from_slice(&source);
            }
        }
        // A field of the frame header before this place, with its checksum made right.
        6 => forge(&mut bytes, path, key, place, change),
        // A block whose checksum is made right.
        _ => {
            set(&mut bytes, place, |b| b ^ change.value);
            reseal(&mut bytes, place);
        }
    }
    write(disk, path, &bytes);
}

fn set(bytes: &mut [u8], place: usize, change: impl Fn(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(place) {
        *byte = change(*byte);
    }
}

fn fill(bytes: &mut [u8], place: usize, len: usize, value: u8) {
    let end = place.saturating_add(len).min(bytes.len());
    bytes.get_mut(place..end).unwrap_or_default().fill(value);
}

fn forge(bytes: &mut [u8], path: &Path, key: &FrameKey, place: usize, change: &Change) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(segment) = crate::format::segment::parse_segment_name(&name) else { return };
    let magic = key.magic().to_le_bytes();
    let start = (0..=place / 8).rev().map(|n| n * 8).find(|&at| bytes.get(at..at + 4) == Some(&magic));
    let Some(start) = start else { return };
    set(bytes, start + 4 + usize::from(change.len) % (FRAME_HEADER_LEN - 8), |b| b ^ change.value);
    let pos = FramePos { segment, offset: len32(start) };
    super::fix_header(key, pos, bytes.get_mut(start..).unwrap_or_default());
}

/// Makes the checksum of the sealed block around a place right: 4096 bytes, or a slot of 512.
fn reseal(bytes: &mut [u8], place: usize) {
    let start = place / 4096 * 4096;
    let len = if bytes.len() == 8192 { 512 } else { 4096 };
    let Some(block) = bytes.get_mut(start..start + len) else { return };
    let Some((body, crc)) = block.split_last_chunk_mut::<4>() else { return };
    *crc = crc32fast::hash(body).to_le_bytes();
}

#[expect(clippy::expect_used, reason = "the simulated disk is sound but for its bytes")]
fn write(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::Truncate).expect("opened");
    file.write_all_at(bytes, 0).expect("written");
    file.sync_all().expect("synced");
}

/// Everything but the lock.
fn image(disk: &SimDisk, dir: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = disk.files();
    files.retain(|(path, _)| path.starts_with(dir) && !path.ends_with("LOCK"));
    files
}

/// Batches and gaps; an error of a read ends it (damage below the walk is found by reads).
fn contents(reader: &Reader) -> (Vec<Stored>, Vec<Gap>, Option<ReadError>) {
    let (mut batches, mut gaps) = (Vec::new(), Vec::new());
    let mut scan = match reader.scan(reader.first_lsn()) {
        Ok(scan) => scan,
        Err(error) => return (batches, gaps, Some(error)),
    };
    while let Some(frame) = scan.next() {
        match frame {
            Ok(frame) => {
                let bodies = frame.records().map(|record| record.body.to_vec()).collect();
                batches.push((frame.first_lsn, bodies));
            }
            Err(ReadError::Gap { gap }) => {
                gaps.push(gap);
                scan.pass_gap(gap);
            }
            Err(error) => return (batches, gaps, Some(error)),
        }
    }
    (batches, gaps, None)
}

/// Whether an input forges checksums: then what it forged may be believed.
fn forges(data: &[u8]) -> bool {
    changes(data).any(|change| matches!(change.op % 8, 6 | 7))
}

/// Full recovery: it opens or refuses, never panics; a refusal changes nothing; what it shows was written; a second
/// open shows the same.
pub(super) fn recovery(data: &[u8]) {
    let disk = hurt(data);
    let before = image(&disk, DIR);
    match open_at(&disk, DIR, 50) {
        Err(OpenError::Io { .. }) => {}
        Err(_) => assert!(image(&disk, DIR) == before, "L11: a refusal changed the disk"),
        Ok(log) => {
            let found = contents(&log.reader);
            if !forges(data) {
                check_subset(&found.0);
            }
            drop(log);
            disk.kill();
            let again = open_at(&disk, DIR, 51).map(|log| contents(&log.reader));
            let again = again.unwrap_or_else(|error| unreachable!("what opened once is refused: {error}"));
            assert!(found.0 == again.0 && found.1 == again.1, "recovery is idempotent");
        }
    }
}

#[track_caller]
fn check_subset(found: &[Stored]) {
    for batch in found {
        assert!(sound().batches.contains(batch), "LSN {} was never written like that", batch.0);
    }
}

/// The scan of one segment: no panic; frames do not overlap; looking changes nothing.
pub(super) fn segment_scan(data: &[u8]) {
    let disk = hurt(data);
    let sound = sound();
    let key = FrameKey::new(&sound.geometry);
    for path in &sound.files {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(segment) = crate::format::segment::parse_segment_name(&name) else { continue };
        let mut bytes = file(&disk, path);
        bytes.resize(at(sound.geometry.segment_bytes), 0);
        let mut end = sound.geometry.first_offset();
        tools::scan_segment(&bytes, segment, &sound.geometry, &key, &mut |pos, len| {
            assert!(pos.offset >= end, "frames overlap");
            end = pos.offset + len;
        });
    }
}

/// A survey and the salvage of exactly its losses: the new log opens, holds nothing that was not there, and its gaps are
/// the losses; the damaged one is as it was.
pub(super) fn salvage(data: &[u8]) {
    let disk = hurt(data);
    let (before, original) = (disk.files(), image(&disk, DIR));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let survey = tools::survey(&shared, Path::new(DIR), &mut |_, _| {});
    assert!(disk.files() == before, "L40: a survey changed the disk");
    let Ok(survey) = survey else { return };
    // A forged header may name an LSN that no disk could hold the gap to.
    if survey.losses.iter().any(|gap| gap.to.0 > 1 << 40) {
        return;
    }
    let dir = Path::new(DIR);
    let made = tools::salvage(&shared, dir, Path::new(OUT), &survey.losses, &options(), &mut |_, _| {});
    assert!(image(&disk, DIR) == original, "L41: a salvage changed the damaged log");
    let made = match made {
        Ok(made) => made,
        // Of a cut log the base, or every snapshot, is damaged.
        Err(SalvageError::Open(OpenError::Damaged { .. })) if survey.log_start > Lsn::FIRST => return,
        Err(error) => unreachable!("L41: the survey's own losses were not taken: {error}"),
    };
    let log =
        open_at(&disk, OUT, 60).unwrap_or_else(|error| unreachable!("a salvage does not open: {error}"));
    let (batches, gaps, error) = contents(&log.reader);
    assert!(error.is_none(), "a salvage cannot be read: {error:?}");
    assert_eq!(batches.len() as u64, made.batches);
    let mut named: Vec<Gap> = made.lost.iter().chain(&made.lost_before).copied().collect();
    named.sort_unstable();
    assert_eq!(gaps, named, "L41: gaps are exactly as reported");
    if !forges(data) {
        check_subset(&batches);
    }
}

/// The snapshot: no panic, no allocation by an unchecked length; what verifies is what was written.
pub(super) fn snapshot(data: &[u8]) {
    let disk = hurt(data);
    let Ok(log) = open_at(&disk, DIR, 70) else { return };
    for info in log.snapshots.list() {
        let Ok(mut reader) = log.snapshots.read(info.last_lsn) else { continue };
        let mut items = Vec::new();
        while let Ok(Some(item)) = reader.next_item() {
            items.push(item);
        }
        if log.snapshots.verify(info.last_lsn).is_ok() && !forges(data) {
            assert_eq!(items, [b"one".to_vec(), vec![7; 900], Vec::new()], "what verifies was written");
        }
    }
}
