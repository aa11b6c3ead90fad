//! The fold: how many events a second the views take, in memory, with nothing written behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use relive_log::events::{
    AttemptRecord, Claimed, Completed, Enqueued, Event, ExecutionEvent, Input, KvEvent, KvPut, OutputRecord,
    Source, Writer,
};
use relive_log::{AppId, ExecutionId, FramePos, Lsn, ReadError, RouteId, UnixMicros};
use relive_projections::{FoldedBatch, ValueSource, Views};
use serde::Serialize;

use crate::rig::peak_rss_bytes;

/// Calls that are made before they are folded, so that only the fold is measured.
const CALLS_AT_ONCE: u64 = 1000;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    events: u64,
    /// Events per second.
    rate: f64,
    peak_rss_bytes: u64,
}

/// Nothing is read back here.
struct NoLog;

impl ValueSource for NoLog {
    fn events(&self, pos: FramePos, lsns: &[Lsn]) -> Result<(Vec<Event>, UnixMicros), ReadError> {
        Err(ReadError::NotInFrame { pos, lsn: lsns.first().copied().unwrap_or_default() })
    }

    fn readable(&self) -> Lsn {
        Lsn::ZERO
    }

    fn first(&self) -> Lsn {
        Lsn::FIRST
    }
}

/// The two batches of one call: `enqueued`, `claimed`; `kv_put`, `completed`.
fn call(n: u64) -> [Vec<Event>; 2] {
    let app = AppId::from_bytes([1; 16]);
    let mut id = [0; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    let execution = ExecutionId::from_bytes(id);
    let enqueued = ExecutionEvent::Enqueued(Box::new(Enqueued {
        app,
        execution,
        root: execution,
        depth: 0,
        cause: None,
        caused_by: None,
        script: "write".to_owned(),
        source: Source::Route { route: RouteId::from_bytes([1; 16]), sync: true },
        input: Input::Payload(None),
        due_at: UnixMicros(n),
        ordering_key: None,
        principal: None,
        redrive_of: None,
        pinned_version: None,
        idempotency: None,
    }));
    let claimed = ExecutionEvent::Claimed(Claimed {
        app,
        execution,
        attempt: 1,
        at: UnixMicros(n),
        seed: [7; 16],
        snapshot: Lsn(1),
        version: 1,
        imports: Vec::new(),
        alone_ms: 0,
    });
    let put = KvEvent::Put(KvPut {
        app,
        collection: "orders".to_owned(),
        // Fresh keys in no order, as ids of orders are.
        key: format!("{:020}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        value: Arc::from(&b"{\"total\":12345678}"[..]),
        previous: None,
        expires_at: None,
        writer: Writer::Execution { id: execution, line: 3 },
    });
    let completed = ExecutionEvent::Completed(Box::new(Completed {
        app,
        execution,
        attempt: 1,
        output: OutputRecord::default(),
        record: AttemptRecord::default(),
        reply: None,
    }));
    [
        vec![Event::Execution(enqueued), Event::Execution(claimed)],
        vec![Event::Kv(put), Event::Execution(completed)],
    ]
}

pub(crate) fn measure(events: u64) -> Report {
    let views = Views::in_memory(Arc::new(NoLog));
    let (mut next, mut spent) = (Lsn::FIRST, Duration::ZERO);
    let rounds = events.div_ceil(CALLS_AT_ONCE * 4);
    for round in 0..rounds {
        let batches: Vec<Vec<Event>> =
            (0..CALLS_AT_ONCE).flat_map(|n| call(round * CALLS_AT_ONCE + n)).collect();
        let begin = Instant::now();
        for events in &batches {
            let last = Lsn(next.0 + events.len() as u64 - 1);
            let pos = FramePos { segment: 1, offset: 4096 };
            views.apply(&FoldedBatch { first: next, last, commit_time: UnixMicros(next.0), pos, events });
            next = last.next();
        }
        spent += begin.elapsed();
    }
    let events = rounds * CALLS_AT_ONCE * 4;
    Report { events, rate: events as f64 / spent.as_secs_f64(), peak_rss_bytes: peak_rss_bytes() }
}
