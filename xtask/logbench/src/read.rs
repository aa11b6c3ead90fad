//! Reading: a log of small events from its start, every checksum checked and every event decoded, on one thread.

use std::path::Path;
use std::time::Instant;

use relive_log::events::{Event, ExecutionEvent, Released, decode_record};
use relive_log::{AppId, Batch, ExecutionId, Lsn};
use serde::Serialize;

use crate::Failure;
use crate::rig::{Rig, peak_rss_bytes};

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Events per second.
    rate: f64,
    mib_per_second: f64,
    peak_rss_bytes: u64,
}

pub(crate) fn measure(dir: &Path, events: u64, batch: u64) -> Result<Report, Failure> {
    let mut rig = Rig::open(dir)?;
    let mut buffer = Batch::new();
    let mut last = Lsn::ZERO;
    for n in 0..events / batch.max(1) {
        buffer.clear();
        for _ in 0..batch {
            let released = Released {
                app: AppId::from_bytes([1; 16]),
                execution: ExecutionId::from_bytes(u128::from(n).to_be_bytes()),
                attempt: 1,
            };
            buffer.push(&Event::Execution(ExecutionEvent::Released(released)));
        }
        last = rig.append(&buffer)?.last;
    }
    rig.durability.wait(last)?;
    let mut best = 0.0_f64;
    // The first pass warms the page cache.
    for _ in 0..3 {
        let begin = Instant::now();
        let mut seen = 0_u64;
        for frame in rig.reader.scan(Lsn::FIRST)? {
            for record in frame?.records() {
                decode_record(record.type_, record.type_version, record.body)?;
                seen += 1;
            }
        }
        if seen != last.0 {
            return Err(format!("{seen} events of {last} were read").into());
        }
        best = best.max(seen as f64 / begin.elapsed().as_secs_f64());
    }
    let mib = rig.reader.bytes() as f64 / f64::from(1 << 20);
    rig.close()?;
    Ok(Report { rate: best, mib_per_second: best / last.0 as f64 * mib, peak_rss_bytes: peak_rss_bytes() })
}
