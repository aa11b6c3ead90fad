//! Errors while the log is open: poison (L8) and a full disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relive_log::disk::Disk;
use relive_log::disk::sim::{SimDisk, SimOptions};
use relive_log::{
    AppendError, Batch, FreshIdentity, LogOptions, Lsn, NetworkFilesystem, PrepareOutcome, StepOutcome,
    UnixMicros,
};

use crate::sim::model::{Model, open_sim, small};

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

#[test]
fn a_full_disk_refuses_appends_and_recovers_by_itself() {
    let disk = SimDisk::new(SimOptions::new(1));
    let options = LogOptions { spares: 2, ..small() };
    let mut model = Model::default();
    let mut log = open_sim(&disk, &options, 1).unwrap();
    while log.preparer.step() != PrepareOutcome::Idle {}
    disk.adjust(|o| o.capacity_bytes = Some(70_000));
    let mut refused = 0;
    for _ in 0..20 {
        let before = model.submitted.len() + model.exposed.len();
        model.append(&mut log, &[5000], UnixMicros(5)).unwrap();
        refused += u64::from(model.submitted.len() + model.exposed.len() == before);
        while matches!(log.committer.step(), StepOutcome::Wrote { .. } | StepOutcome::Synced { .. }) {}
        log.preparer.step();
        model.note_durable(log.durability.durable());
    }
    assert_eq!(log.preparer.step(), PrepareOutcome::NoSpace);
    assert!(refused > 0 && log.durability.poisoned().is_none());
    assert_eq!(log.appender.append(&one(5000), UnixMicros(5)), Err(AppendError::NoSpace));
    assert_eq!(log.durability.durable(), log.appender.next_lsn().prev(), "what was taken is durable");
    disk.adjust(|o| o.capacity_bytes = None);
    assert!(matches!(log.preparer.step(), PrepareOutcome::Prepared { .. }));
    model.append(&mut log, &[5000], UnixMicros(5)).unwrap();
    while matches!(log.committer.step(), StepOutcome::Wrote { .. } | StepOutcome::Synced { .. }) {}
    model.note_durable(log.durability.durable());
    assert!(model.submitted.is_empty());
    drop(log);
    disk.power_loss();
    model.check(&open_sim(&disk, &options, 9).unwrap().reader).unwrap();
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
fn l6_the_writer_waits_for_a_published_segment() {
    let disk = SimDisk::new(SimOptions::new(1));
    let mut log = open_sim(&disk, &small(), 1).unwrap();
    for _ in 0..2 {
        log.appender.append(&one(7000), UnixMicros(1)).unwrap();
    }
    while matches!(log.committer.step(), StepOutcome::Wrote { .. } | StepOutcome::Synced { .. }) {}
    assert_eq!(log.committer.step(), StepOutcome::WaitingForSegment { segment: 2 }, "L6");
    assert_eq!(log.preparer.step(), PrepareOutcome::Prepared { segment: 2 });
    assert!(matches!(log.committer.step(), StepOutcome::Wrote { .. }));
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
