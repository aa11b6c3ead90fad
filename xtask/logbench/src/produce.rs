//! Producers: threads that append one event each and wait until it is durable, in a loop.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use relive_log::{Appender, Batch, Durability};
use serde::Serialize;

use crate::Failure;
use crate::rig::{Rig, append, peak_rss_bytes};

/// Stack of a producer: it does next to nothing.
const STACK_BYTES: usize = 128 << 10;
/// Runs before the measurement.
const WARM_UP: Duration = Duration::from_millis(500);

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Acknowledged events per second.
    rate: f64,
    /// Groups that became durable per second.
    syncs: f64,
    /// Of events.
    mib_per_second: f64,
    /// Of what the log takes up on disk for them: headers and padding too, as the floor writes them.
    disk_mib_per_second: f64,
    peak_rss_bytes: u64,
    log_bytes: u64,
}

#[derive(Default)]
struct Counts {
    acknowledged: AtomicU64,
    groups: AtomicU64,
    stop: AtomicBool,
}

pub(crate) fn measure(dir: &Path, producers: usize, size: usize, seconds: f64) -> Result<Report, Failure> {
    let Rig { appender, reader, durability, snapshots, report, committer, preparer } = Rig::open(dir)?;
    let counts = Arc::new(Counts::default());
    let counted = Arc::clone(&counts);
    durability.on_change(Box::new(move |_| {
        counted.groups.fetch_add(1, Ordering::Relaxed);
    }));
    let appender = Arc::new(Mutex::new(appender));
    let mut threads = Vec::new();
    for _ in 0..producers {
        let (appender, durability, counts) = (Arc::clone(&appender), durability.clone(), Arc::clone(&counts));
        let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
        threads.push(builder.spawn(move || run(&appender, &durability, &counts, size))?);
    }
    std::thread::sleep(WARM_UP);
    let seen = || {
        (counts.acknowledged.load(Ordering::Relaxed), counts.groups.load(Ordering::Relaxed), reader.bytes())
    };
    let (begin, before) = (Instant::now(), seen());
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let (elapsed, after) = (begin.elapsed().as_secs_f64(), seen());
    counts.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "a producer panicked")??;
    }
    let log_bytes = reader.bytes();
    let appender = Arc::into_inner(appender).ok_or("a producer kept the appender")?.into_inner();
    Rig { appender, reader, durability, snapshots, report, committer, preparer }.close()?;
    let rate = (after.0 - before.0) as f64 / elapsed;
    Ok(Report {
        rate,
        syncs: (after.1 - before.1) as f64 / elapsed,
        mib_per_second: rate * size as f64 / f64::from(1 << 20),
        disk_mib_per_second: (after.2 - before.2) as f64 / elapsed / f64::from(1 << 20),
        peak_rss_bytes: peak_rss_bytes(),
        log_bytes,
    })
}

fn run(
    appender: &Mutex<Appender>,
    durability: &Durability,
    counts: &Counts,
    size: usize,
) -> Result<(), Failure> {
    let mut batch = Batch::new();
    batch.push_raw(1, 1, &vec![7; size]);
    while !counts.stop.load(Ordering::Relaxed) {
        let lsn = append(&mut appender.lock(), &batch)?.last;
        durability.wait(lsn)?;
        counts.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
