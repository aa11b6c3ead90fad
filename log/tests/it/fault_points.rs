//! The numbered crash and failure points of the real disk: a child process dies at its n-th mutating call, or meets
//! an error there, and the next open finds every event that the child had been told was durable.
#![cfg(feature = "fault-points")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use relive_log::disk::RealDisk;
use relive_log::{Batch, FreshIdentity, LogOptions, Lsn, OpenError, OpenedLog, UnixMicros, open};

const DIR: &str = "RELIVE_LOG_TEST_DIR";

fn open_at(dir: &Path) -> Result<OpenedLog, OpenError> {
    let options = LogOptions { segment_bytes: 16 << 10, spares: 1, ..LogOptions::default() };
    let identity = FreshIdentity { log_id: [3; 16], frame_magic: [9, 2, 3, 4] };
    open(Arc::new(RealDisk::new()), &dir.join("data"), &options, identity, UnixMicros(1))
}

/// What the child does; run by the test below, as a process of its own.
#[test]
#[ignore = "run as a child process"]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = Path::new(&dir);
    let Ok(mut log) = open_at(dir) else { std::process::exit(74) };
    for n in 1..=8_u64 {
        let mut batch = Batch::new();
        batch.push_raw(1, 1, &vec![7; 3000]);
        log.appender.append(&batch, UnixMicros(n)).unwrap();
        for _ in 0..4 {
            log.committer.step();
            log.preparer.step();
        }
        fs::write(dir.join("told"), log.durability.durable().0.to_string()).unwrap();
        if log.durability.poisoned().is_some() {
            std::process::exit(70);
        }
    }
    std::process::exit(if log.committer.close().is_ok() { 0 } else { 70 });
}

/// Runs the child with one point armed; its exit code, if it was not aborted.
fn run(dir: &Path, variable: &str, point: &str) -> Option<i32> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "fault_points::child", "--ignored"]).env(DIR, dir).env(variable, point);
    command.output().unwrap().status.code()
}

#[track_caller]
fn check(variable: &str, point: &str) -> Option<i32> {
    let dir = tempfile::tempdir().unwrap();
    let code = run(dir.path(), variable, point);
    let told: u64 = fs::read_to_string(dir.path().join("told")).map_or(0, |text| text.parse().unwrap());
    let log = open_at(dir.path()).unwrap_or_else(|error| panic!("{variable}={point}: {error}"));
    assert!(
        log.reader.durable() >= Lsn(told),
        "{variable}={point}: told {told}, found {}",
        log.reader.durable()
    );
    let found =
        log.reader.scan(Lsn(1)).unwrap().map(|frame| frame.unwrap().records().count() as u64).sum::<u64>();
    assert_eq!(found, log.reader.durable().0);
    code
}

#[test]
fn every_fourth_crash_point_and_every_sixth_failure_point() {
    let (mut aborted, mut n) = (0, 1);
    loop {
        let point = if n % 8 == 1 { format!("{n}:after") } else { n.to_string() };
        match check("RELIVE_CRASH_AT", &point) {
            None => aborted += 1,
            Some(0) => break,
            Some(code) => panic!("crash point {n}: exit code {code}"),
        }
        n += 4;
    }
    let (mut refused, mut n) = (0, 2);
    loop {
        match check("RELIVE_FAIL_AT", &format!("{n}:EIO")) {
            Some(70 | 74) => refused += 1,
            Some(0) => break,
            other => panic!("failure point {n}: {other:?}"),
        }
        n += 6;
    }
    println!("log fault points: aborted={aborted} failed={refused}");
    assert!(aborted >= 15 && refused >= 10, "{aborted} {refused}");
}
