//! The log on the real file system, with real threads.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use relive_log::disk::{Disk, RealDisk};
use relive_log::{
    AppendError, Batch, FreshIdentity, LogOptions, Lsn, OpenError, OpenedLog, PrepareOutcome, ReadError,
    UnixMicros, open,
};

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 256 << 10,
        watermark_sync_every: Duration::from_millis(20),
        no_space_retry: Duration::from_millis(20),
        ..LogOptions::default()
    }
}

fn open_at(dir: &Path, now: u64) -> Result<OpenedLog, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let identity = FreshIdentity { log_id: [9; 16], frame_magic: [1, 2, 3, 4] };
    open(disk, dir, &options(), identity, UnixMicros(now))
}

fn one(body: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.push_raw(1, 1, body);
    batch
}

#[test]
fn threads_append_tail_and_stop_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let OpenedLog { mut appender, reader, mut committer, mut preparer, durability, report, .. } =
        open_at(dir.path(), 1).unwrap();
    assert!(report.created);
    let (told, heard) = mpsc::channel();
    durability.on_change(Box::new(move |durable| told.send(durable).unwrap()));
    std::thread::scope(|scope| {
        let commits = scope.spawn(move || {
            committer.run();
            committer
        });
        let chores = scope.spawn(move || preparer.run());
        let tail = reader.clone();
        let tailing = scope.spawn(move || {
            let mut scan = tail.scan(Lsn(1)).unwrap();
            let mut next = 1;
            while next <= 3000 {
                match scan.next() {
                    Some(frame) => {
                        let frame = frame.unwrap();
                        assert_eq!(frame.first_lsn, Lsn(next));
                        let record = frame.records().next().unwrap();
                        assert_eq!(record.body.len() as u64, 1 + next % 900);
                        next += 1;
                    }
                    None => drop(heard.recv().unwrap().unwrap()),
                }
            }
        });
        for n in 1..=3000_u64 {
            let batch = one(&vec![7; usize::try_from(1 + n % 900).unwrap()]);
            loop {
                match appender.append(&batch, UnixMicros(n / 10)) {
                    Ok(done) => {
                        assert_eq!(done.first, Lsn(n));
                        break;
                    }
                    Err(AppendError::Busy) => appender.wait_for_room(),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        durability.wait(Lsn(3000)).unwrap();
        drop(appender);
        tailing.join().unwrap();
        commits.join().unwrap().close().unwrap();
        chores.join().unwrap();
    });
    assert!(reader.segments().len() > 4, "rolled over");
    let before: Vec<_> = reader.scan(Lsn(1)).unwrap().map(|f| f.unwrap().info()).collect();
    let again = open_at(dir.path(), 2).unwrap();
    assert!(again.report.clean && again.report.same_boot && again.report.epoch == 2);
    let after: Vec<_> = again.reader.scan(Lsn(1)).unwrap().map(|f| f.unwrap().info()).collect();
    assert_eq!(before, after);
    lookups(&again);
}

fn lookups(log: &OpenedLog) {
    for lsn in [1, 2, 777, 1500, 2999, 3000] {
        let info = log.reader.frame_of(Lsn(lsn)).unwrap();
        assert_eq!((info.first_lsn, log.reader.read_frame(info.pos).unwrap().last_lsn), (Lsn(lsn), Lsn(lsn)));
    }
    assert!(matches!(log.reader.frame_of(Lsn(3001)), Err(ReadError::NotDurable { .. })));
    assert_eq!(log.reader.scan(Lsn(2990)).unwrap().count(), 11);
    assert_eq!(log.reader.scan(Lsn(4000)).unwrap().count(), 0);
    // Commit times are n / 10 for n in 1..=3000.
    for (t, last) in [(0, 9), (1, 19), (100, 1009), (300, 3000), (9999, 3000)] {
        let found = log.reader.frame_at_time(UnixMicros(t)).unwrap().unwrap();
        assert_eq!(found.last_lsn, Lsn(last), "at {t}");
    }
    let pos = log.reader.frame_of(Lsn(5)).unwrap().pos;
    let beside = relive_log::FramePos { offset: pos.offset + 8, ..pos };
    assert!(matches!(log.reader.read_frame(beside), Err(ReadError::Damaged { .. })));
    assert!(matches!(log.reader.read_event(pos, Lsn(6)), Err(ReadError::NotInFrame { .. })));
}

#[test]
fn a_second_open_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_at(dir.path(), 1).unwrap();
    let (done, wait) = mpsc::channel();
    let path = dir.path().to_owned();
    std::thread::spawn(move || done.send(open_at(&path, 1).map(|log| log.report)).unwrap());
    let second = wait.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    assert_eq!(second.unwrap_err().exit_code(), 75);
    drop(log);
    open_at(dir.path(), 1).unwrap();
}

#[test]
fn a_foreign_directory_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new();
    relive_log::disk::replace_small(&disk, dir.path(), "thesis.doc", b"precious").unwrap();
    let error = open_at(dir.path(), 1).map(|log| log.report).unwrap_err();
    assert!(matches!(error, OpenError::NotADataDir { .. }));
    assert_eq!(disk.list(dir.path()).unwrap().len(), 1);
}

#[test]
fn a_batch_of_the_largest_size_fits_and_one_byte_more_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_at(dir.path(), 1).unwrap();
    let limit = usize::try_from(options().max_payload(9)).unwrap();
    let too_large = one(&vec![1; limit - 8 + 1]);
    assert_eq!(
        log.appender.append(&too_large, UnixMicros(1)),
        Err(AppendError::TooLarge { bytes: limit as u64 + 1, limit: limit as u64 })
    );
    for n in 1..=3 {
        while !matches!(log.preparer.step(), PrepareOutcome::Idle) {}
        log.appender.append(&one(&vec![1; limit - 8]), UnixMicros(1)).unwrap();
        while log.durability.durable() < Lsn(n) {
            log.committer.step();
            log.preparer.step();
        }
    }
    assert_eq!(log.reader.segments().len(), 3, "one in each segment, the first segment included");
}
