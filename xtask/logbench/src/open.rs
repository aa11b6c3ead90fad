//! Opening: a large log with a snapshot near its end, and how long it takes until it may be used.

use std::path::Path;
use std::time::Instant;

use relive_log::{Batch, Lsn};
use serde::Serialize;

use crate::Failure;
use crate::rig::{Rig, now, peak_rss_bytes};

/// Bytes of one event while the log is filled, and how many make a batch.
const EVENT_BYTES: usize = 1000;
const EVENTS: usize = 256;
/// Batches behind the snapshot.
const BATCHES_AFTER: u64 = 40;

/// What was made.
#[derive(Debug, Serialize)]
pub(crate) struct Filled {
    log_bytes: u64,
    last_lsn: u64,
    snapshot_lsn: u64,
    peak_rss_bytes: u64,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Milliseconds until the log was open.
    ms: f64,
    last_lsn: u64,
    /// Batches that the walk of the recovery went over.
    batches: u64,
    peak_rss_bytes: u64,
}

pub(crate) fn fill(dir: &Path, mib: u64) -> Result<Filled, Failure> {
    let mut rig = Rig::open(dir)?;
    let mut batch = Batch::new();
    for _ in 0..EVENTS {
        batch.push_raw(1, 1, &[7; EVENT_BYTES]);
    }
    let batches = (mib << 20) / batch.payload_bytes() + 1;
    let mut last = Lsn::ZERO;
    let mut snapshot = Lsn::ZERO;
    for n in 0..batches {
        last = rig.append(&batch)?.last;
        if n + BATCHES_AFTER == batches {
            rig.durability.wait(last)?;
            snapshot = rig.snapshots.begin(last, 1, now())?.finish(0)?.last_lsn;
        }
    }
    rig.durability.wait(last)?;
    let log_bytes = rig.reader.bytes();
    rig.close()?;
    Ok(Filled { log_bytes, last_lsn: last.0, snapshot_lsn: snapshot.0, peak_rss_bytes: peak_rss_bytes() })
}

pub(crate) fn measure(dir: &Path) -> Result<Report, Failure> {
    let begin = Instant::now();
    let rig = Rig::open(dir)?;
    let ms = begin.elapsed().as_secs_f64() * 1e3;
    let (last_lsn, batches) = (rig.reader.durable().0, rig.report.batches);
    rig.close()?;
    Ok(Report { ms, last_lsn, batches, peak_rss_bytes: peak_rss_bytes() })
}
