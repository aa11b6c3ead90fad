//! Keys are found in every layer, the newest call counts, apps and routes are apart.

use relive_log::disk::OpenMode;
use relive_log::events::*;
use relive_log::{Lsn, UnixMicros};

use crate::Views;
use crate::tests::generator::*;
use crate::tests::log::MemoryLog;
use crate::tests::rig::Rig;

pub(crate) fn call(of: u8, route: &str, key: &str, id: u8) -> Event {
    let source = Source::Route { route: relive_log::RouteId::default(), sync: true };
    let Event::Execution(ExecutionEvent::Enqueued(mut event)) = enqueued(app(of), execution(id), source)
    else {
        unreachable!("it is an enqueue")
    };
    let keyed = IdempotencyKey { route: route.into(), key: key.into(), digest: [id; 32] };
    event.idempotency = Some(Box::new(keyed));
    Event::Execution(ExecutionEvent::Enqueued(event))
}

#[test]
fn d14_the_newest_call_of_a_key_counts_per_app_and_route() {
    let log = MemoryLog::new();
    let views = log.rebuilt(Lsn::ZERO);
    log.commit(
        &views,
        vec![call(0, "POST /a", "k", 1), call(0, "POST /b", "k", 2), call(1, "POST /a", "k", 3)],
    );
    let found = |of: u8, route: &str, key: &str| {
        views.idempotency().find(app(of), route, key).unwrap().map(|call| call.execution)
    };
    assert_eq!(found(0, "POST /a", "k"), Some(execution(1)));
    assert_eq!(found(0, "POST /b", "k"), Some(execution(2)));
    assert_eq!(found(1, "POST /a", "k"), Some(execution(3)));
    assert_eq!(found(0, "POST /ak", ""), None, "route and key do not run together");
    log.commit(&views, vec![call(0, "POST /a", "k", 4)]);
    assert_eq!(found(0, "POST /a", "k"), Some(execution(4)));
    let row = views.idempotency().find(app(0), "POST /a", "k").unwrap().unwrap();
    assert_eq!((row.digest, row.lsn), ([4; 32], Lsn(4)));
}

/// `.keyed` files, bytes.
fn keyed_bytes(rig: &Rig) -> u64 {
    let keyed = rig.files().into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "keyed"));
    keyed.map(|path| rig.disk().open(&path, OpenMode::Read).unwrap().len().unwrap()).sum()
}

#[test]
fn p21_calls_that_count_no_longer_leave_the_disk_and_all_others_stay() {
    let rig = Rig::new();
    let (views, _) = rig.open();
    let settle = |views: &Views| while views.maintain(views.applied()).unwrap().more {};
    // Batches are committed at 1,000,000 + LSN.
    let write = |from: usize| {
        for n in from..from + 200 {
            rig.log.commit(&views, vec![call(0, "POST /a", &format!("key-{n}"), 1)]);
            settle(&views);
        }
    };
    write(0);
    let (before, digest) = (keyed_bytes(&rig), views.digest().unwrap());
    assert!(before > 0);
    // Nothing is dropped before it is said.
    write(200);
    assert!(keyed_bytes(&rig) > before && views.digest().unwrap() != digest);
    let grown = keyed_bytes(&rig);
    views.idempotency().forget_before(UnixMicros(1_000_000 + 380));
    write(400);
    let found = |key: usize| views.idempotency().find(app(0), "POST /a", &format!("key-{key}")).unwrap();
    assert!((380..600).all(|key| found(key).is_some()), "all that count are there");
    let gone = (0..380).filter(|key| found(*key).is_none()).count();
    assert!(gone > 250 && keyed_bytes(&rig) < grown, "{gone} gone, {} of {grown} bytes", keyed_bytes(&rig));
    // Whether a merge has dropped it makes no difference to the digest.
    let rebuilt = rig.log.rebuilt(views.applied());
    rebuilt.idempotency().forget_before(UnixMicros(1_000_000 + 380));
    assert_eq!(views.digest().unwrap(), rebuilt.digest().unwrap());
}
