//! What the log of a server says of the executions of one script.
//!
//! Times are commit times, microseconds: an `enqueued` has the time of its append, before it was durable; a
//! `completed` that of the append behind the run. From one to the other is more than what a caller waits between the
//! acknowledgement of its work and its start: two syncs (of the enqueue and of the claim) and the run are in it.

use std::collections::HashMap;
use std::path::Path;

use relive_log::events::{Event, ExecutionEvent, decode_record};
use relive_log::{ExecutionId, Lsn};
use serde::Serialize;

use crate::Failure;
use crate::rig::Rig;

/// What was found; times in milliseconds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    enqueued: u64,
    completed: u64,
    /// From the first `enqueued` to the last `completed`.
    seconds: f64,
    /// Completed per second between the first and the last `completed`.
    rate: f64,
    /// From `enqueued` to the claim of the first attempt.
    claimed: Late,
    /// From `enqueued` to `completed`.
    ended: Late,
}

#[derive(Debug, Default, Serialize)]
struct Late {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Late {
    fn of(mut micros: Vec<u64>) -> Late {
        micros.sort_unstable();
        let at = |percent: usize| {
            let index = micros.len() * percent / 100;
            micros.get(index.min(micros.len().saturating_sub(1))).map_or(0.0, |us| *us as f64 / 1e3)
        };
        Late { p50: at(50), p99: at(99), max: at(100) }
    }
}

/// Commit times.
#[derive(Debug, Default)]
struct Seen {
    waiting: HashMap<ExecutionId, u64>,
    claimed: Vec<u64>,
    ended: Vec<u64>,
    seen: u64,
    enqueued: u64,
    first_enqueued: u64,
    first_completed: u64,
    last_completed: u64,
}

impl Seen {
    fn take(&mut self, event: &ExecutionEvent, (script, skip): (&str, u64), time: u64) {
        match event {
            ExecutionEvent::Enqueued(e) if e.script == script => {
                self.seen += 1;
                if self.seen <= skip {
                    return;
                }
                self.enqueued += 1;
                self.first_enqueued = if self.first_enqueued == 0 { time } else { self.first_enqueued };
                self.waiting.insert(e.execution, time);
            }
            ExecutionEvent::Claimed(e) if e.attempt == 1 => {
                let since = self.waiting.get(&e.execution);
                self.claimed.extend(since.map(|since| time - since));
            }
            ExecutionEvent::Completed(e) => {
                let Some(since) = self.waiting.remove(&e.execution) else { return };
                self.ended.push(time - since);
                self.first_completed = if self.first_completed == 0 { time } else { self.first_completed };
                self.last_completed = time;
            }
            ExecutionEvent::Enqueued(_)
            | ExecutionEvent::Claimed(_)
            | ExecutionEvent::AloneEnded(_)
            | ExecutionEvent::Released(_)
            | ExecutionEvent::AttemptFailed(_)
            | ExecutionEvent::Abandoned(_)
            | ExecutionEvent::Dropped(_)
            | ExecutionEvent::DepthExceeded(_) => {}
        }
    }
}

/// All but the first `skip` executions of the script.
pub(crate) fn measure(dir: &Path, script: &str, skip: u64) -> Result<Report, Failure> {
    let rig = Rig::open(dir)?;
    let mut seen = Seen::default();
    for frame in rig.reader.scan(rig.reader.first_lsn().max(Lsn::FIRST))? {
        let frame = frame?;
        for record in frame.records() {
            let event = decode_record(record.type_, record.type_version, record.body)?;
            if let Event::Execution(event) = &event {
                seen.take(event, (script, skip), frame.commit_time.0);
            }
        }
    }
    rig.close()?;
    let completed = seen.ended.len() as u64;
    let micros = seen.last_completed.saturating_sub(seen.first_completed).max(1);
    Ok(Report {
        enqueued: seen.enqueued,
        completed,
        seconds: seen.last_completed.saturating_sub(seen.first_enqueued) as f64 / 1e6,
        rate: completed.saturating_sub(1) as f64 / micros as f64 * 1e6,
        claimed: Late::of(seen.claimed),
        ended: Late::of(seen.ended),
    })
}
