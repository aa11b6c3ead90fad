//! The views over the real log: catching up, values read back by position, a rebuild.

use std::path::Path;
use std::sync::Arc;

use relive_log::disk::{Disk, RealDisk};
use relive_log::events::{Event, Source};
use relive_log::{
    Batch, Committer, Durability, FreshIdentity, LogOptions, Lsn, OpenedLog, Reader, UnixMicros,
};

use super::generator::{
    app, app_created, claimed, completed, delete, deployed, enqueued, execution, put, secret_set,
};
use super::rig::{Rig, settle};
use crate::{AsOf, KvRange, RebuildReason, Trust, ValueSource, Views, ViewsOptions};

fn open_log(dir: &Path) -> OpenedLog {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let options = LogOptions { segment_bytes: 1 << 20, ..LogOptions::default() };
    let identity = FreshIdentity { log_id: [7; 16], frame_magic: [1, 2, 3, 4] };
    relive_log::open(disk, dir, &options, identity, UnixMicros(5)).unwrap()
}

/// Steps the committer until everything is durable.
fn sync(committer: &mut Committer, durability: &Durability, last: Lsn) {
    for _ in 0..10_000 {
        if durability.durable() >= last {
            return;
        }
        committer.step();
    }
    panic!("not durable after 10000 steps: {}", durability.durable());
}

fn history() -> Vec<Vec<Event>> {
    let mut batches = vec![
        vec![app_created(app(0), "shop"), deployed(app(0), "s", 1, "let a = 1;"), secret_set(app(0), "k", 1)],
        vec![enqueued(app(0), execution(200), Source::Direct)],
    ];
    for n in 0..60_u8 {
        let key = format!("k{}", n % 9);
        batches.push(vec![enqueued(app(0), execution(n), Source::Direct), claimed(app(0), execution(n), 1)]);
        batches.push(vec![put(app(0), "c", &key, &format!("\"{n}\"")), completed(app(0), execution(n), 1)]);
        if n % 4 == 0 {
            batches.push(vec![delete(app(0), "c", &key)]);
        }
    }
    batches
}

fn open_views(rig: &Rig, reader: &Reader, trust: Trust) -> (Views, Option<RebuildReason>) {
    let options = ViewsOptions { last_lsn: reader.durable(), trust, ..rig.options.clone() };
    let (views, opened) = Views::open(options, Arc::new(reader.clone())).unwrap();
    let mut seen = opened.applied;
    let caught_up = views.catch_up(reader, &mut |lsn| seen = lsn).unwrap();
    assert_eq!((caught_up, seen), (reader.durable(), reader.durable()));
    (views, opened.rebuilt)
}

#[test]
fn p12_catching_up_on_the_real_log_and_reading_values_back() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::sled();
    let OpenedLog { mut appender, reader, mut committer, durability, .. } = open_log(dir.path());
    let (views, _) = open_views(&rig, &reader, Trust::Open);
    let mut last = Lsn::ZERO;
    for (n, events) in history().into_iter().enumerate() {
        let mut batch = Batch::new();
        events.iter().for_each(|event| batch.push(event));
        last = appender.append(&batch, UnixMicros(10 + n as u64)).unwrap().last;
        if n % 7 == 0 {
            sync(&mut committer, &durability, last);
            views.catch_up(&reader, &mut |_| {}).unwrap();
            settle(&views, reader.durable());
        }
    }
    sync(&mut committer, &durability, last);
    views.catch_up(&reader, &mut |_| {}).unwrap();
    settle(&views, last);
    let memory = Views::in_memory(Arc::new(reader.clone()) as Arc<dyn ValueSource>);
    memory.catch_up(&reader, &mut |_| {}).unwrap();
    assert_eq!(views.digest().unwrap(), memory.digest().unwrap());
    let range = KvRange { limit: 100, bytes_max: 10_000, ..KvRange::default() };
    for at in (0..=last.0).map(Lsn) {
        let at = AsOf { lsn: at, time: UnixMicros(10) };
        let pages = [&views, &memory].map(|v| v.kv().list(app(0), "c", &range, at).unwrap());
        assert_eq!(pages[0], pages[1], "at {at:?}");
    }
    views.close(last).unwrap();
    drop(views);
    let (views, rebuilt) = open_views(&rig, &reader, Trust::Open);
    assert_eq!((rebuilt, views.digest().unwrap()), (None, memory.digest().unwrap()));
    assert_eq!(views.registry(), memory.registry(), "sources and secrets are read from the log");
    drop(views);
    let (views, rebuilt) = open_views(&rig, &reader, Trust::Discard);
    assert_eq!(
        (rebuilt, views.digest().unwrap()),
        (Some(RebuildReason::NotTrusted), memory.digest().unwrap())
    );
    drop(views);
    assert_eq!(open_views(&rig, &reader, Trust::Open).1, None, "the rebuilt generation is in force");
}
