//! Reads of keys, by hand; `tests/model.rs` compares all of them with a model.

use relive_log::{Lsn, UnixMicros};

use super::*;
use crate::tests::generator::{app, delete, put};
use crate::tests::log::MemoryLog;

fn views() -> (Arc<MemoryLog>, crate::Views) {
    let log = MemoryLog::new();
    let views = log.rebuilt(Lsn::ZERO);
    (log, views)
}

/// With every time to live still running.
fn as_of(lsn: Lsn) -> AsOf {
    AsOf { lsn, time: UnixMicros(0) }
}

fn text(slot: &KvSlot) -> Option<&str> {
    slot.value.as_deref().map(|value| std::str::from_utf8(value).unwrap())
}

#[test]
fn k3_a_key_as_of_every_lsn() {
    let (log, views) = views();
    log.commit(&views, vec![put(app(0), "c", "k", "1")]);
    log.commit(&views, vec![put(app(0), "c", "k", "2"), delete(app(0), "c", "k")]);
    log.commit(&views, vec![put(app(0), "c", "k", "4")]);
    let expected = [(0, None), (1, Some("1")), (2, Some("2")), (3, None), (4, Some("4")), (4, Some("4"))];
    for (at, (version, value)) in expected.into_iter().enumerate() {
        let slot = views.kv().get(app(0), "c", "k", as_of(Lsn(at as u64))).unwrap();
        assert_eq!((slot.version, text(&slot)), (Lsn(version), value), "at {at}");
    }
    assert_eq!(views.kv().get(app(1), "c", "k", as_of(Lsn::MAX)).unwrap(), KvSlot::default(), "S6");
    let last = views.kv().last_write(app(0), "c", "k").unwrap().unwrap();
    assert_eq!((last.lsn, last.deleted), (Lsn(4), false));
    assert_eq!(views.kv().last_write(app(0), "c", "other").unwrap(), None);
}

#[test]
fn a_page_ends_by_bytes_after_at_least_one_item() {
    let (log, views) = views();
    log.commit(&views, (0..5).map(|n| put(app(0), "c", &format!("k{n}"), "12345678")).collect());
    let page = |bytes_max| {
        let range = KvRange { limit: 10, bytes_max, ..KvRange::default() };
        views.kv().list(app(0), "c", &range, as_of(Lsn::MAX)).unwrap()
    };
    for (bytes_max, items) in [(0, 1), (10, 1), (19, 1), (20, 2), (49, 4), (50, 5)] {
        let page = page(bytes_max);
        assert_eq!((page.items.len(), page.more), (items, items < 5), "{bytes_max}");
    }
}

#[test]
fn v4_a_batch_that_was_applied_is_skipped() {
    let (log, views) = views();
    log.commit(&views, vec![put(app(0), "c", "k", "1"), delete(app(0), "c", "k")]);
    let before = views.digest().unwrap();
    log.fold_into(&views);
    log.fold_into(&views);
    assert_eq!((views.digest().unwrap(), views.applied()), (before, Lsn(2)));
}
