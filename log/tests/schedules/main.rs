//! The hand-over between producers, committer and preparer (submit, group, wake, poison, close) under thousands of
//! schedules each: random ones, and ones with few but well-placed preemptions. The code is the writer's own; only its
//! locks, conditions and parking are the scheduler's (feature `shuttle`), and its timeouts never pass, so that a wake-up
//! that is lost is a deadlock, which the scheduler reports.

#![cfg(feature = "shuttle")]
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests: they may panic")]

use std::path::Path;
use std::sync::Arc;

use relive_log::disk::Disk;
use relive_log::disk::sim::{SimDisk, SimOptions};
use relive_log::{
    AppendError, Appender, Batch, Durability, FreshIdentity, LogOptions, Lsn, OpenedLog, Purpose, UnixMicros,
    Urgency, WaitError, open,
};
use shuttle::rand::Rng as _;
use shuttle::sync::Mutex;
use shuttle::thread;

/// What a producer waited for, and how each wait ended.
type Waits = Vec<(Lsn, Result<(), WaitError>)>;

/// Schedules per test and kind.
const SCHEDULES: usize = 2000;
/// Preemptions of the second kind.
const PREEMPTIONS: usize = 4;

fn check(test: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(test.clone(), SCHEDULES);
    shuttle::check_pct(test, SCHEDULES, PREEMPTIONS);
}

fn open_on(disk: &SimDisk) -> OpenedLog {
    let options = LogOptions {
        segment_bytes: 16 << 10,
        group_bytes_max: 4 << 10,
        buffer_bytes_max: 16 << 10,
        spares: 1,
        ..LogOptions::default()
    };
    let identity = FreshIdentity { log_id: [1; 16], frame_magic: [1; 4] };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    open(disk, Path::new("/data"), &options, identity, UnixMicros(1)).unwrap()
}

fn batch(bytes: usize) -> Batch {
    let mut batch = Batch::new();
    batch.push_raw(1, 1, &vec![7; bytes]);
    batch
}

/// Appends, waiting for room; `None` when the log has ended.
fn append(appender: &Mutex<Appender>, bytes: usize, urgency: Urgency) -> Option<Lsn> {
    let mut appender = appender.lock().unwrap();
    loop {
        match appender.append_with(&batch(bytes), UnixMicros(1), Purpose::NewWork, urgency) {
            Ok(done) => return Some(done.last),
            Err(AppendError::Busy) => appender.wait_for_room(),
            Err(AppendError::Poisoned(_) | AppendError::Closed) => return None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Some producers that append and wait in turn; what each of them was told.
fn produce(
    appender: &Arc<Mutex<Appender>>,
    durability: &Durability,
    producers: usize,
    bytes: usize,
) -> Vec<thread::JoinHandle<Waits>> {
    let one = |n: usize| {
        let (appender, durability) = (Arc::clone(appender), durability.clone());
        thread::spawn(move || {
            let mut told = Vec::new();
            for turn in 0..2 {
                let urgency = if (n + turn).is_multiple_of(2) { Urgency::Now } else { Urgency::Later };
                let Some(lsn) = append(&appender, bytes, urgency) else { break };
                let outcome = durability.wait(lsn);
                assert!(outcome.is_err() || durability.durable() >= lsn, "L1: told before it was durable");
                told.push((lsn, outcome));
            }
            told
        })
    };
    (0..producers).map(one).collect()
}

/// The log's own threads. The committer closes the log when the appender is gone.
fn lend(log: OpenedLog) -> (Arc<Mutex<Appender>>, Durability, [thread::JoinHandle<()>; 2]) {
    let OpenedLog { appender, mut committer, mut preparer, durability, .. } = log;
    let commits = thread::spawn(move || {
        committer.run();
        let _ = committer.close();
    });
    let chores = thread::spawn(move || preparer.run());
    (Arc::new(Mutex::new(appender)), durability, [commits, chores])
}

#[test]
fn everybody_is_told_when_it_is_durable() {
    check(|| {
        let disk = SimDisk::new(SimOptions::new(1));
        let (appender, durability, threads) = lend(open_on(&disk));
        let producers = produce(&appender, &durability, 3, 100);
        let told: Vec<_> = producers.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert!(told.len() == 6 && told.iter().all(|(_, outcome)| outcome.is_ok()), "{told:?}");
        drop(appender);
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(durability.wait(Lsn(99)).is_err(), "L8");
    });
}

#[test]
fn producers_wait_for_segments_and_get_them() {
    check(|| {
        let disk = SimDisk::new(SimOptions::new(1));
        let (appender, durability, threads) = lend(open_on(&disk));
        let producers = produce(&appender, &durability, 3, 7000);
        let told: Vec<_> = producers.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert!(told.len() == 6 && told.iter().all(|(_, outcome)| outcome.is_ok()), "{told:?}");
        drop(appender);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_failed_call_wakes_everybody_and_what_was_told_survives() {
    check(|| {
        let disk = SimDisk::new(SimOptions::new(1));
        let log = open_on(&disk);
        let nth = shuttle::rand::thread_rng().gen_range(1..12);
        disk.fail_at(disk.counts().calls + nth, 5);
        let (appender, durability, threads) = lend(log);
        let producers = produce(&appender, &durability, 3, 3000);
        let told: Vec<_> = producers.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        drop(appender);
        for thread in threads {
            thread.join().unwrap();
        }
        disk.disarm();
        disk.power_loss();
        let found = open_on(&disk).reader.durable();
        let shown = told.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(lsn, _)| *lsn).max();
        assert!(shown.unwrap_or(Lsn::ZERO) <= found, "I1: {shown:?} was told, {found} is there");
    });
}

#[test]
fn a_committer_that_dies_wakes_everybody() {
    check(|| {
        let disk = SimDisk::new(SimOptions::new(1));
        let OpenedLog { appender, mut committer, durability, preparer, .. } = open_on(&disk);
        let appender = Arc::new(Mutex::new(appender));
        let producers = produce(&appender, &durability, 2, 100);
        let heard = Arc::new(Mutex::new(0));
        let listener = {
            let (durability, heard) = (durability.clone(), Arc::clone(&heard));
            thread::spawn(move || {
                durability.on_change(Box::new(move |told| {
                    *heard.lock().unwrap() += u32::from(told.is_err());
                }));
            })
        };
        let commits = thread::spawn(move || {
            for _ in 0..3 {
                committer.step();
            }
            drop(committer);
        });
        commits.join().unwrap();
        for thread in producers {
            let told = thread.join().unwrap();
            assert!(told.len() <= 2);
        }
        listener.join().unwrap();
        assert_eq!(
            *heard.lock().unwrap(),
            1,
            "L8: a listener hears of the end exactly once, whenever it came"
        );
        drop(preparer);
    });
}

#[test]
fn what_nobody_hurried_is_committed_when_somebody_does() {
    check(|| {
        let disk = SimDisk::new(SimOptions::new(1));
        let (appender, durability, threads) = lend(open_on(&disk));
        let later = {
            let appender = Arc::clone(&appender);
            thread::spawn(move || append(&appender, 100, Urgency::Later).unwrap())
        };
        let now = {
            let (appender, durability) = (Arc::clone(&appender), durability.clone());
            thread::spawn(move || {
                let lsn = append(&appender, 100, Urgency::Later).unwrap();
                durability.hurry(lsn);
                durability.wait(lsn).unwrap();
            })
        };
        let lsn = later.join().unwrap();
        durability.wait(lsn).unwrap();
        now.join().unwrap();
        drop(appender);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(durability.durable(), Lsn(2));
    });
}
