//! Rows of the index, by hand.

use relive_log::events::{Event, ReadRecord};
use relive_log::{Lsn, UnixMicros};

use crate::tests::generator::{app, completed_reading, enqueued, execution, put_until};
use crate::tests::log::MemoryLog;
use crate::tests::rig::{Rig, settle};

fn key_read(key: &str, version: u64) -> ReadRecord {
    ReadRecord::Key { collection: "c".into(), key: key.into(), version: Lsn(version), present: true }
}

fn range_read() -> ReadRecord {
    ReadRecord::Range {
        collection: "c".into(),
        prefix: String::new(),
        cursor: None,
        reverse: false,
        limit: 100,
        items: Vec::new(),
    }
}

#[test]
fn readers_are_found_by_version_and_by_snapshot() {
    let log = MemoryLog::new();
    let views = log.rebuilt(Lsn::ZERO);
    let direct = || relive_log::events::Source::Direct;
    let reads = [
        (1, vec![key_read("k", 5)], 5),
        (2, vec![key_read("k", 5), key_read("k\0\0\0\0\0\0\0\x05", 5)], 7),
        (3, vec![key_read("k", 9), range_read()], 9),
        (4, vec![range_read(), range_read()], 12),
    ];
    for (id, reads, snapshot) in reads {
        log.commit(&views, vec![enqueued(app(0), execution(id), direct())]);
        log.commit(&views, vec![completed_reading(app(0), execution(id), reads, Lsn(snapshot))]);
    }
    let index = views.index();
    let ids = |readers: Vec<super::KeyReader>| -> Vec<u8> {
        readers.iter().map(|reader| reader.execution.as_bytes()[15]).collect()
    };
    assert_eq!(ids(index.key_readers(app(0), "c", "k", Lsn(5)).unwrap()), [1, 2]);
    assert_eq!(ids(index.key_readers(app(0), "c", "k", Lsn(9)).unwrap()), [3]);
    assert_eq!(ids(index.key_readers(app(1), "c", "k", Lsn(5)).unwrap()), [0_u8; 0], "S6");
    assert_eq!(ids(index.range_readers(app(0), "c", Lsn(9)..Lsn(12)).unwrap()), [3]);
    assert_eq!(ids(index.range_readers(app(0), "c", Lsn(0)..Lsn::MAX).unwrap()), [3, 4]);
}

#[test]
fn p13_only_what_was_dealt_with_is_dropped_by_merges() {
    let rig = Rig::new();
    let (views, _) = rig.open();
    for n in 0..40_u64 {
        let end = UnixMicros(1000 + n);
        rig.log.commit(&views, vec![put_until(app(0), "c", &format!("k{n}"), "1", end)]);
        settle(&views, rig.log.last());
    }
    let all = |views: &crate::Views| views.index().due((UnixMicros(0), Lsn::ZERO), 100).unwrap();
    assert_eq!(all(&views).len(), 40);
    let part = views.index().due((UnixMicros(1009), Lsn(10)), 5).unwrap();
    assert_eq!(part.iter().map(|due| due.at.0).collect::<Vec<_>>(), [1010, 1011, 1012, 1013, 1014]);
    assert_eq!((part[0].app, part[0].key.as_str(), part[0].version), (app(0), "k10", Lsn(11)));
    views.index().forget_due(UnixMicros(1020));
    for n in 0..300 {
        let event: Vec<Event> = vec![put_until(app(0), "d", &format!("k{n}"), "1", UnixMicros(5000))];
        rig.log.commit(&views, event);
        settle(&views, rig.log.last());
    }
    let left: Vec<u64> = all(&views).iter().map(|due| due.at.0).filter(|at| *at < 5000).collect();
    assert!(left.len() < 40, "merges dropped nothing");
    assert!((1021..1040).all(|at| left.contains(&at)), "{left:?}");
}
