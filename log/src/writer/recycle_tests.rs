//! Recycling: a retired segment becomes a spare, crashed before and after every call on the way, and what stood in it
//! before is never taken for a part of the log (L21).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::sim::{SimDisk, SimOptions, When};
use crate::disk::{Disk, OpenMode};
use crate::format::segment::segment_name;
use crate::recovery::Row;
use crate::writer::supply::Offered;
use crate::{
    Batch, FreshIdentity, LogOptions, Lsn, OpenedLog, PrepareOutcome, Recycle, StepOutcome, UnixMicros, open,
};

const DIR: &str = "/data";
const BODY: usize = 5000;

fn options(recycle: Recycle) -> LogOptions {
    LogOptions { segment_bytes: 16 << 10, spares: 1, recycle, ..LogOptions::default() }
}

fn opened(disk: &SimDisk, recycle: Recycle) -> OpenedLog {
    let identity = FreshIdentity { log_id: *b"simulated log id", frame_magic: [0x5a, 1, 2, 3] };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    open(disk, Path::new(DIR), &options(recycle), identity, UnixMicros(1)).expect("opens")
}

fn commit(log: &mut OpenedLog) {
    while matches!(log.committer.step(), StepOutcome::Wrote { .. } | StepOutcome::Synced { .. }) {}
}

/// Appends and syncs one batch whose bytes say which LSN it has.
fn append(log: &mut OpenedLog) -> Lsn {
    let lsn = log.appender.next_lsn();
    let mut batch = Batch::new();
    batch.push_raw(1, 1, &[u8::try_from(lsn.0).expect("few"); BODY]);
    log.appender.append_ending(&batch, UnixMicros(5)).expect("there is room");
    commit(log);
    lsn
}

fn prepare(log: &mut OpenedLog) {
    while matches!(log.preparer.step(), PrepareOutcome::Prepared { .. }) {}
}

fn path(segment: u32) -> PathBuf {
    Path::new(DIR).join("log").join(segment_name(segment))
}

/// A log of three segments whose first one was cut off.
fn cut_log(recycle: Recycle, seed: u64) -> (SimDisk, OpenedLog) {
    let disk = SimDisk::new(SimOptions::new(seed));
    let mut log = opened(&disk, recycle);
    prepare(&mut log);
    for _ in 0..5 {
        append(&mut log);
        prepare(&mut log);
    }
    for lsn in [3, 5] {
        let snapshot = log.snapshots.begin(Lsn(lsn), 1, UnixMicros(6)).expect("durable");
        snapshot.finish(0).expect("installed");
    }
    let cut = log.snapshots.plan_cut(Lsn::MAX).expect("reads").expect("a segment");
    log.snapshots.begin_base(&cut, UnixMicros(6)).expect("begins").finish().expect("installed");
    assert_eq!(log.snapshots.cut(&cut).expect("cut").segments, 1);
    (disk, log)
}

fn file_bytes(disk: &SimDisk, path: &Path) -> Vec<u8> {
    disk.files().into_iter().find(|(found, _)| found == path).expect("there").1
}

/// Every batch from the log's start to `last` is there, and nothing else.
fn check_content(log: &OpenedLog, last: Lsn) {
    let mut next = log.reader.first_lsn();
    for frame in log.reader.scan(next).expect("scans") {
        let frame = frame.expect("sound");
        assert_eq!(frame.first_lsn, next);
        let body = frame.records().next().expect("one").body.to_vec();
        assert!(body.iter().all(|&byte| u64::from(byte) == next.0), "L21: LSN {next} holds other bytes");
        next = next.next();
    }
    assert_eq!(next.prev(), last);
}

fn check_recycled(recycle: Recycle) {
    let (disk, mut log) = cut_log(recycle, 1);
    let offered = log.preparer.shared.retire(9).expect("looks only");
    assert_eq!(offered, Offered::Declined, "as many as there are spares");
    let newest = log.preparer.shared.queue.lock().stock.ready_upto;
    while log.preparer.shared.queue.lock().layout.segment() < newest {
        append(&mut log);
    }
    assert_eq!(log.preparer.step(), PrepareOutcome::Prepared { segment: newest + 1 });
    assert_eq!(
        (log.supply.recycled(), log.preparer.shared.disk.open(&path(1), OpenMode::Read).is_ok()),
        (1, false)
    );
    let stale = file_bytes(&disk, &path(newest + 1)).iter().skip(4096).filter(|&&byte| byte != 0).count();
    assert_eq!(stale > 2 * BODY, recycle == Recycle::Reuse, "{recycle:?}: {stale} old bytes");
    // The old bytes are no sign of anything torn.
    let last = log.durability.durable();
    drop(log);
    disk.power_loss();
    let mut log = opened(&disk, recycle);
    assert_eq!((log.report.row, log.report.truncated_bytes), (Row::End, 0), "L21: {recycle:?}");
    check_content(&log, last);
    // Its segment is filled, with a torn group at the end.
    while log.preparer.shared.queue.lock().layout.segment() <= newest {
        append(&mut log);
        prepare(&mut log);
    }
    let last = log.durability.durable();
    let mut batch = Batch::new();
    batch.push_raw(1, 1, &[u8::try_from(last.0 + 1).expect("few"); 4000]);
    log.appender.append_ending(&batch, UnixMicros(5)).expect("fits");
    assert!(matches!(log.committer.step(), StepOutcome::Wrote { .. }));
    for seed in 0..40 {
        let disk = disk.fork(seed);
        disk.power_loss();
        let log = opened(&disk, recycle);
        let found = log.reader.durable();
        assert!(found == last || found == last.next(), "L21: {found} in seed {seed}");
        check_content(&log, found);
    }
}

#[test]
fn l21_a_recycled_segment_holds_nothing_of_the_old_one() {
    check_recycled(Recycle::Zero);
}

#[test]
fn l21_a_reused_segment_holds_old_bytes_that_count_for_nothing() {
    check_recycled(Recycle::Reuse);
}

#[test]
fn l21_recycling_may_crash_anywhere() {
    for recycle in [Recycle::Zero, Recycle::Reuse] {
        for call in 1..=7 {
            for when in [When::Before, When::After] {
                for seed in 0..10 {
                    let (disk, mut log) = cut_log(recycle, seed);
                    let newest = log.preparer.shared.queue.lock().stock.ready_upto;
                    while log.preparer.shared.queue.lock().layout.segment() < newest {
                        append(&mut log);
                    }
                    let last = log.durability.durable();
                    disk.crash_at(disk.counts().calls + call, when);
                    log.preparer.step();
                    drop(log);
                    disk.power_loss();
                    let mut log = opened(&disk, recycle);
                    check_content(&log, last);
                    prepare(&mut log);
                    append(&mut log);
                    assert!(!disk.files().iter().any(|(path, _)| path.ends_with("seg-0000000000000001.log")));
                }
            }
        }
    }
}

#[test]
fn with_recycling_off_retired_segments_are_removed() {
    let (disk, log) = cut_log(Recycle::Off, 1);
    assert_eq!(log.preparer.shared.retire(2).expect("looks only"), Offered::Declined);
    assert!(!disk.files().iter().any(|(found, _)| *found == path(1)));
}
