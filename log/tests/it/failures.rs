//! Errors while the log is open: poison (L8) and a full disk.
//! Recycled segments (L21) are tried in the random lives and, byte by byte, in `writer/recycle_tests.rs`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relive_log::disk::Disk;
use relive_log::disk::sim::{SimDisk, SimOptions};
use relive_log::{
    AppendError, Batch, FreshIdentity, LogOptions, Lsn, NetworkFilesystem, OpenedLog, PrepareOutcome,
    Purpose, Room, StepOutcome, UnixMicros, WaitError,
};

use crate::sim::model::{Model, append_for, open_sim, small};

fn one(size: usize) -> Batch {
    let mut batch = Batch::new();
    batch.push_raw(1, 1, &vec![3; size]);
    batch
}

/// Fails the n-th mutating call of a commit (write, sync, WATERMARK), and expects the end of the writer.
fn check_poison(nth: u64, acknowledged: bool) {
    let disk = SimDisk::new(SimOptions::new(1));
    let mut log = open_sim(&disk, &small(), 1).unwrap();
    let (good, bad) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (g, b) = (Arc::clone(&good), Arc::clone(&bad));
    log.durability.on_change(Box::new(move |told| match told {
        Ok(lsn) => g.store(lsn.0, Ordering::SeqCst),
        Err(_) => {
            b.fetch_add(1, Ordering::SeqCst);
        }
    }));
    log.appender.append(&one(20), UnixMicros(1)).unwrap();
    let waiter = {
        let durability = log.durability.clone();
        std::thread::spawn(move || durability.wait(Lsn(2)))
    };
    disk.fail_at(disk.counts().calls + nth, 5);
    while !matches!(log.committer.step(), StepOutcome::Poisoned) {}
    assert_eq!(log.durability.durable(), Lsn(u64::from(acknowledged)), "call {nth}");
    assert_eq!((good.load(Ordering::SeqCst), bad.load(Ordering::SeqCst)), (u64::from(acknowledged), 1));
    assert!(waiter.join().unwrap().is_err(), "L8: every waiter gets the error");
    assert!(log.durability.wait(Lsn(2)).is_err());
    assert!(matches!(log.appender.append(&one(1), UnixMicros(1)), Err(AppendError::Poisoned(_))));
    assert_eq!(log.preparer.step(), PrepareOutcome::Poisoned);
    assert!(log.committer.close().is_err(), "a poisoned log is never stopped in order");
    let late = Arc::new(AtomicU64::new(0));
    let l = Arc::clone(&late);
    log.durability.on_change(Box::new(move |told| {
        l.fetch_add(u64::from(told.is_err()), Ordering::SeqCst);
    }));
    assert_eq!(late.load(Ordering::SeqCst), 1, "a late listener is told at once");
}

#[test]
fn l8_a_failed_write_or_sync_ends_the_writer() {
    check_poison(1, false);
    check_poison(2, false);
    check_poison(3, true);
}

#[test]
fn l8_a_failed_sync_while_preparing_a_segment_ends_the_writer() {
    // create, allocate, header, sync, rename, sync of the directory
    for (nth, expect) in [
        (1, PrepareOutcome::Poisoned),
        (4, PrepareOutcome::Poisoned),
        (5, PrepareOutcome::Poisoned),
        (6, PrepareOutcome::Poisoned),
        (7, PrepareOutcome::Prepared { segment: 2 }),
    ] {
        let disk = SimDisk::new(SimOptions::new(1));
        let mut log = open_sim(&disk, &small(), 1).unwrap();
        disk.fail_at(disk.counts().calls + nth, 5);
        assert_eq!(log.preparer.step(), expect, "call {nth}");
    }
}

/// Syncs everything that was appended.
fn commit_all(log: &mut OpenedLog) {
    while matches!(log.committer.step(), StepOutcome::Wrote { .. } | StepOutcome::Synced { .. }) {}
}

/// Fills a disk to its end and frees it again: new work is refused first, endings go on in the reserve (L20), nothing
/// that was acknowledged is lost (I1), and with room everything goes on by itself (I17).
fn check_full_disk(spares: u32, reserve_bytes: u64) {
    let disk = SimDisk::new(SimOptions::new(1));
    let options = LogOptions { spares, ..small() };
    let mut model = Model::default();
    let mut log = open_sim(&disk, &options, 1).unwrap();
    while log.preparer.step() != PrepareOutcome::Idle {}
    assert_eq!(log.supply.room(), Room::Ample);
    disk.adjust(|o| o.capacity_bytes = Some(90_000));
    let fill = |log: &mut OpenedLog, model: &mut Model, purpose, size: usize| {
        let mut taken = 0;
        loop {
            match model.append_for(log, purpose, &[size], UnixMicros(5)).unwrap() {
                Ok(()) => taken += 1,
                Err(AppendError::Busy) => {}
                Err(error) => break (taken, error),
            }
            commit_all(log);
            log.preparer.step();
            model.note_durable(log.durability.durable());
        }
    };
    let (taken, error) = fill(&mut log, &mut model, Purpose::NewWork, 700);
    assert_eq!((error, log.supply.room(), log.supply.shortages()), (AppendError::NoSpace, Room::Low, 1));
    assert!(taken > 10, "{taken}");
    let (taken, error) = fill(&mut log, &mut model, Purpose::Ending, 100);
    assert_eq!(error, AppendError::NoSpace);
    let frames = taken * 512;
    assert!(frames >= reserve_bytes && frames < reserve_bytes + 3000, "{frames} in {reserve_bytes}");
    assert_eq!(log.appender.append(&one(1), UnixMicros(5)), Err(AppendError::NoSpace));
    assert!(log.durability.poisoned().is_none(), "a full disk is not poison");
    assert_eq!(log.durability.durable(), log.appender.next_lsn().prev(), "what was taken is durable");
    let leftovers = disk.files().iter().filter(|(path, _)| path.to_string_lossy().contains("tmp-")).count();
    assert_eq!(leftovers, 0, "what there was no room for is removed");
    disk.adjust(|o| o.capacity_bytes = None);
    while matches!(log.preparer.step(), PrepareOutcome::Prepared { .. }) {}
    assert_eq!(log.supply.room(), Room::Ample);
    model.append(&mut log, &[5000], UnixMicros(5)).unwrap();
    commit_all(&mut log);
    model.note_durable(log.durability.durable());
    assert!(model.submitted.is_empty());
    drop(log);
    disk.power_loss();
    model.check(&open_sim(&disk, &options, 9).unwrap().reader).unwrap();
}

#[test]
fn l20_a_full_disk_keeps_a_reserve_for_endings_and_recovers_by_itself() {
    let part = 16 * 1024 / 20;
    check_full_disk(2, 16 * 1024 - 4096 + part);
    check_full_disk(1, part);
}

#[test]
fn l20_a_segment_leaves_room_for_others() {
    let disk = SimDisk::new(SimOptions::new(1));
    let options = LogOptions { spares: 1, free_bytes_min: Some(10_000), ..small() };
    let mut log = open_sim(&disk, &options, 1).unwrap();
    let used: u64 = disk.files().iter().map(|(_, bytes)| bytes.len() as u64).sum();
    for (room, expect) in
        [(26_383, PrepareOutcome::NoSpace), (26_384, PrepareOutcome::Prepared { segment: 2 })]
    {
        disk.adjust(|o| o.capacity_bytes = Some(used + room));
        assert_eq!(log.preparer.step(), expect, "{room}");
    }
}

#[test]
fn l8_whoever_waits_is_told_when_the_log_closes_or_its_committer_is_gone() {
    let wait_for_99 = |log: &OpenedLog| {
        let durability = log.durability.clone();
        std::thread::spawn(move || durability.wait(Lsn(99)))
    };
    let disk = SimDisk::new(SimOptions::new(1));
    let mut log = open_sim(&disk, &small(), 1).unwrap();
    let waiter = wait_for_99(&log);
    log.appender.append(&one(20), UnixMicros(1)).unwrap();
    log.committer.close().unwrap();
    let closed = WaitError::Closed { lsn: Lsn(99), durable: Lsn(1) };
    assert_eq!(waiter.join().unwrap(), Err(closed), "L8");
    assert_eq!(log.appender.append(&one(20), UnixMicros(1)), Err(AppendError::Closed));
    log.appender.wait_for_room();
    drop(log);
    let log = open_sim(&disk, &small(), 1).unwrap();
    let waiter = wait_for_99(&log);
    drop(log.committer);
    assert!(matches!(waiter.join().unwrap(), Err(WaitError::Poisoned(_))), "L8");
    log.appender.wait_for_room();
}

#[test]
fn l1_l9_nothing_is_shown_before_its_sync() {
    let disk = SimDisk::new(SimOptions::new(1));
    let mut log = open_sim(&disk, &small(), 1).unwrap();
    let first = log.appender.append(&one(20), UnixMicros(1)).unwrap();
    for expect in [StepOutcome::Wrote { bytes: 512 }, StepOutcome::Synced { durable: Lsn(1) }] {
        assert_eq!(log.durability.durable(), Lsn(0), "L1");
        assert!(log.reader.read_frame(first.pos).is_err(), "L9");
        assert!(log.reader.frame_of(Lsn(1)).is_err(), "L9");
        assert_eq!(log.reader.scan(Lsn(1)).unwrap().count(), 0, "L9");
        assert_eq!(log.committer.step(), expect);
        // The next batch waits for this group (L1).
        log.appender.append(&one(20), UnixMicros(1)).unwrap();
    }
    assert_eq!((log.durability.durable(), log.reader.scan(Lsn(1)).unwrap().count()), (Lsn(1), 1));
}

#[test]
fn l6_nothing_is_laid_out_before_its_segment_is_published() {
    let disk = SimDisk::new(SimOptions::new(1));
    let mut log = open_sim(&disk, &small(), 1).unwrap();
    log.appender.append(&one(7000), UnixMicros(1)).unwrap();
    for purpose in [Purpose::NewWork, Purpose::Ending] {
        let refused = append_for(&mut log, purpose, &one(7000), UnixMicros(1));
        assert_eq!(refused, Err(AppendError::Busy), "L6");
    }
    assert_eq!(log.preparer.step(), PrepareOutcome::Prepared { segment: 2 });
    log.appender.wait_for_room();
    let appended = log.appender.append(&one(7000), UnixMicros(1)).unwrap();
    assert_eq!((appended.first, appended.pos.segment), (Lsn(2), 2), "L3");
}

#[test]
fn l6_the_committer_waits_for_a_published_segment() {
    // The frame that opens an epoch may need a segment that is not there yet.
    let disk = SimDisk::new(SimOptions::new(1));
    let mut log = open_sim(&disk, &small(), 1).unwrap();
    log.appender.append(&one(8000), UnixMicros(1)).unwrap();
    log.appender.append_ending(&one(3400), UnixMicros(1)).unwrap();
    commit_all(&mut log);
    log.committer.close().unwrap();
    drop(log);
    let mut log = open_sim(&disk, &small(), 2).unwrap();
    assert_eq!(log.appender.append(&one(1), UnixMicros(1)), Err(AppendError::Busy), "L6");
    assert_eq!(log.preparer.step(), PrepareOutcome::Prepared { segment: 2 });
    assert_eq!(log.appender.append(&one(1), UnixMicros(1)).unwrap().pos.segment, 2);
    commit_all(&mut log);
    assert_eq!(log.durability.durable(), Lsn(3));
}

#[test]
fn r0_a_network_filesystem_is_refused_unless_forced_and_nothing_is_touched() {
    let disk = SimDisk::new(SimOptions { network: Some("nfs"), ..SimOptions::new(1) });
    disk.mkdir(Path::new("/log")).unwrap();
    let before = disk.files();
    let identity = FreshIdentity { log_id: [1; 16], frame_magic: [1; 4] };
    let open = |options: &LogOptions| {
        relive_log::open(Arc::new(disk.clone()), Path::new("/log"), options, identity, UnixMicros(1))
    };
    let refused = open(&small()).unwrap_err();
    assert_eq!(refused.exit_code(), 78);
    assert!(refused.to_string().contains("(nfs)"), "{refused}");
    assert_eq!(disk.files(), before);
    assert!(open(&LogOptions { network_filesystem: NetworkFilesystem::Allow, ..small() }).is_ok());
}
