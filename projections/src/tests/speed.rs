//! What the hot paths cost, in CPU time. Not run by default:
//! `cargo test --release -p relive-projections speed -- --ignored --nocapture`.

#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::time::Duration;

use relive_log::events::{Event, Source};
use relive_log::{ExecutionId, Lsn, RouteId};

use super::generator::{app, claimed, completed, enqueued, put};
use super::log::{Batch, MemoryLog};
use super::rig::Rig;
use crate::{Limits, Views};

const CALLS: u64 = 300_000;

/// CPU time of this thread: what else runs on the machine does not count.
struct Instant(Duration);

impl Instant {
    fn now() -> Instant {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Instant(Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap()))
    }

    fn elapsed(&self) -> Duration {
        Instant::now().0 - self.0
    }
}

fn id(n: u64) -> ExecutionId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    ExecutionId::from_bytes(bytes)
}

/// The two commits of one call of a sync route, by the number of the call.
fn call(n: u64) -> [Vec<Event>; 2] {
    let source = Source::Route { route: RouteId::from_bytes([1; 16]), sync: true };
    let key = format!("orders/{:020}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000_007);
    [
        vec![enqueued(app(0), id(n), source), claimed(app(0), id(n), 1)],
        vec![put(app(0), "orders", &key, "{\"total\":12345678}"), completed(app(0), id(n), 1)],
    ]
}

struct Cost {
    apply: Duration,
    maintain: Duration,
}

fn run(views: &Views) -> Cost {
    let mut cost = Cost { apply: Duration::ZERO, maintain: Duration::ZERO };
    let mut first = Lsn(1);
    for chunk in 0..CALLS / 1000 {
        let mut batches = Vec::new();
        for events in (0..1000).flat_map(|n| call(chunk * 1000 + n)) {
            let batch = Batch { first, events };
            first = batch.last().next();
            batches.push(batch);
        }
        let start = Instant::now();
        batches.iter().for_each(|batch| views.apply(&batch.folded()));
        cost.apply += start.elapsed();
        let start = Instant::now();
        while views.maintain(first.prev()).unwrap().checkpoint.is_some() {}
        cost.maintain += start.elapsed();
    }
    cost
}

fn per_call(total: Duration) -> f64 {
    total.as_secs_f64() * 1e6 / CALLS as f64
}

#[test]
#[ignore = "a measurement"]
fn speed_of_a_sync_route() {
    let views = MemoryLog::new().rebuilt(Lsn::ZERO);
    println!("apply, memory only: {:.2} µs a call (4 events, 2 batches)", per_call(run(&views).apply));
    let mut rig = Rig::sled();
    rig.options.limits = Limits::default();
    let (views, _) = rig.open();
    let cost = run(&views);
    println!("apply, with cuts: {:.2} µs a call", per_call(cost.apply));
    println!("written behind: {:.2} µs a call (2 rows of runs)", per_call(cost.maintain));
    let runs = rig.files().iter().filter(|file| file.extension().is_some_and(|e| e == "kv")).count();
    let start = Instant::now();
    for n in 0..100_000_u64 {
        let [_, commit] = call(n * 3 % CALLS);
        let Event::Kv(relive_log::events::KvEvent::Put(e)) = &commit[0] else { continue };
        assert!(views.kv().last_write(e.app, &e.collection, &e.key).unwrap().is_some());
    }
    println!(
        "last_write over {runs} runs: {:.2} µs (making the key included)",
        start.elapsed().as_secs_f64() * 10.0
    );
    let start = Instant::now();
    for n in 0..100_000_u64 {
        assert!(views.executions().get(app(0), id(n * 3 % CALLS)).unwrap().is_some());
    }
    println!("execution by id: {:.2} µs", start.elapsed().as_secs_f64() * 10.0);
    let start = Instant::now();
    while views.maintain(Lsn::MAX).unwrap().more {}
    println!("merges: {:.2} µs a call", per_call(start.elapsed()));
}

/// CPU time of one of many, microseconds.
fn each(times: u32, mut work: impl FnMut(u32)) -> f64 {
    let start = Instant::now();
    (0..times).for_each(&mut work);
    start.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}

/// Reads of now beside reads of the past, in pairs: `cargo test --release -p relive-projections speed_of_the_past --
/// --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed_of_the_past() {
    use crate::{AsOf, KvRange};
    let as_of = |lsn: Lsn| AsOf { lsn, time: relive_log::UnixMicros(0) };
    for versions in [1_u32, 100, 100_000] {
        let mut rig = Rig::sled();
        rig.options.limits = Limits::default();
        let (views, _) = rig.open();
        let keys = if versions > 100 { 1 } else { 1000 };
        for _ in 0..versions {
            let events = (0..keys).map(|k| put(app(0), "c", &format!("key-{k:06}"), "{\"total\":12345678}"));
            rig.log.commit(&views, events.collect());
        }
        while views.maintain(rig.log.last()).unwrap().more {}
        views.close(rig.log.last()).unwrap();
        let last = rig.log.last();
        let past = Lsn(last.0 / 2 + 1);
        let read = |at: Lsn| {
            each(2000, |n| {
                let key = format!("key-{:06}", n % keys);
                let found = views.kv().version_at(app(0), "c", &key, at).unwrap();
                assert!(found.is_some() || versions == 1);
            })
        };
        let (mut now, mut then) = (0.0, 0.0);
        for _ in 0..5 {
            now += read(Lsn::MAX) / 5.0;
            then += read(past) / 5.0;
        }
        println!(
            "{versions} versions a key: point now {now:.2} µs, then {then:.2} µs, ratio {:.2}",
            then / now
        );
        if keys == 1 {
            continue;
        }
        let list = |at: Lsn| {
            let range = KvRange { limit: 1000, bytes_max: 1 << 24, ..KvRange::default() };
            each(5, |_| {
                let page = views.kv().list(app(0), "c", &range, as_of(at)).unwrap();
                assert!(!page.items.is_empty());
            })
        };
        let (mut now, mut then) = (0.0, 0.0);
        for _ in 0..3 {
            now += list(Lsn::MAX) / 3.0;
            then += list(past) / 3.0;
        }
        println!(
            "{versions} versions a key: listing now {now:.0} µs, then {then:.0} µs, ratio {:.2}",
            then / now
        );
    }
}
