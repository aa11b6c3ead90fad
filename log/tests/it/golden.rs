//! Golden bytes: what `docs/format.md` draws, as this build writes it. The files are written by hand from a change
//! of the format that was meant, never by a run.
//!
//! A golden file holds one line per 16 bytes that are not all zero: offset, then the bytes, in hexadecimal.

use std::fmt::Write;
use std::path::Path;

use relive_log::disk::sim::{SimDisk, SimOptions};
use relive_log::evidence::{self, Applied};
use relive_log::{Batch, Lsn, StepOutcome, UnixMicros};

use crate::sim::model::{open_sim, segment, small};

fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (n, line) in bytes.chunks(16).enumerate() {
        if line.iter().any(|&b| b != 0) {
            writeln!(out, "{:06x} {}", n * 16, hex::encode(line)).unwrap();
        }
    }
    out
}

#[track_caller]
fn check(name: &str, expect: &str, bytes: &[u8]) {
    let got = dump(bytes);
    assert!(got == expect, "{name} is not what it was:\n{got}");
}

/// A log of two epochs: two batches in one group, a clean stop, one batch that rolls over.
fn build() -> SimDisk {
    let disk = SimDisk::new(SimOptions::new(1));
    let mut log = open_sim(&disk, &small(), 1_700_000_000_000_000).unwrap();
    let mut batch = Batch::new();
    batch.push_raw(1, 1, b"first event");
    batch.push_raw(2, 3, b"");
    log.appender.append(&batch, UnixMicros(1_700_000_000_000_100)).unwrap();
    batch.clear();
    batch.push_raw(9, 1, &[0xab; 8000]);
    log.appender.append(&batch, UnixMicros(1_700_000_000_000_200)).unwrap();
    log.preparer.step();
    log.appender.append(&batch, UnixMicros(1_700_000_000_000_300)).unwrap();
    while !matches!(log.committer.step(), StepOutcome::Idle) {
        log.preparer.step();
    }
    log.committer.close().unwrap();
    disk
}

fn file(disk: &SimDisk, path: &Path) -> Vec<u8> {
    disk.files().into_iter().find(|(p, _)| p == path).unwrap().1
}

#[test]
fn manifest() {
    check("manifest", include_str!("../golden/manifest.hex"), &file(&build(), Path::new("/data/MANIFEST")));
}

#[test]
fn watermark() {
    check(
        "watermark",
        include_str!("../golden/watermark.hex"),
        &file(&build(), Path::new("/data/WATERMARK")),
    );
}

#[test]
fn segment_header() {
    check("header", include_str!("../golden/segment_header.hex"), &file(&build(), &segment(1))[..4096]);
}

/// Open, then a batch of two events, in one group.
#[test]
fn open_and_batch_frames() {
    check("frames", include_str!("../golden/frames.hex"), &file(&build(), &segment(1))[4096..4608]);
}

/// SegmentStart, then the header of a batch.
#[test]
fn segment_start_frame() {
    check(
        "start",
        include_str!("../golden/segment_start.hex"),
        &file(&build(), &segment(2))[4096..4096 + 88 + 64],
    );
}

/// A snapshot with two items: header, the start of its block, the end of the block with the footer.
#[test]
fn snapshot() {
    let disk = SimDisk::new(SimOptions::new(1));
    let mut log = open_sim(&disk, &small(), 1_700_000_000_000_000).unwrap();
    let mut batch = Batch::new();
    batch.push_raw(1, 1, b"first event");
    log.appender.append(&batch, UnixMicros(1_700_000_000_000_100)).unwrap();
    while !matches!(log.committer.step(), StepOutcome::Idle) {}
    let mut writer = log.snapshots.begin(Lsn(1), 0x0102, UnixMicros(1_700_000_000_000_200)).unwrap();
    writer.push(b"one item").unwrap();
    writer.push(b"").unwrap();
    writer.finish(0x0a0b).unwrap();
    let bytes = file(&disk, Path::new("/data/snapshots/snap-00000000000000000001.snap"));
    let end = bytes.len() - 128;
    check("snapshot header", include_str!("../golden/snapshot_header.hex"), &bytes[..4096]);
    check("snapshot block", include_str!("../golden/snapshot_block.hex"), &bytes[4096..4160]);
    check("snapshot footer", include_str!("../golden/snapshot_footer.hex"), &bytes[end..]);
    check(
        "manifest",
        include_str!("../golden/manifest_snapshot.hex"),
        &file(&disk, Path::new("/data/MANIFEST")),
    );
}

#[test]
fn applied() {
    let applied = Applied { log_id: *b"simulated log id", timeline: 1, applied_lsn: Lsn(0x1234) };
    check("applied", include_str!("../golden/applied.hex"), &evidence::encode(&applied));
}

/// Segment 2 of the log lost its batch: a salvage puts a Gap frame (and the rest of the log) in its place.
#[test]
fn gap_frame() {
    use relive_log::{Gap, tools};
    let disk = build();
    disk.rot(&segment(1), 4096 + 512 + 100, |b| b ^ 1);
    let lost = [Gap { from: Lsn(3), to: Lsn(3) }];
    let shared: std::sync::Arc<dyn relive_log::disk::Disk> = std::sync::Arc::new(disk.clone());
    tools::salvage(&shared, Path::new("/data"), Path::new("/out"), &lost, &small(), &mut |_, _| {}).unwrap();
    let bytes = file(&disk, Path::new("/out/log/seg-0000000000000001.log"));
    let at = bytes.windows(6).position(|window| window == [0x5a, 1, 2, 3, 4, 0]).unwrap();
    check("gap", include_str!("../golden/gap.hex"), &bytes[at..at + 88]);
}
