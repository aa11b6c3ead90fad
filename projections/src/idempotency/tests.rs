//! Keys are found in every layer, the newest call counts, apps and routes are apart.

use relive_log::Lsn;
use relive_log::events::*;

use crate::tests::generator::*;
use crate::tests::log::MemoryLog;

fn call(of: u8, route: &str, key: &str, id: u8) -> Event {
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
