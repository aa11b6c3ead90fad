//! One execution's life: events in, row out.

use relive_log::events::*;
use relive_log::{Lsn, RouteId, UnixMicros};

use super::*;
use crate::tests::generator::*;
use crate::tests::log::MemoryLog;
use crate::{FoldedBatch, Views};

fn after(events: Vec<Event>) -> (Views, Option<ExecutionRow>) {
    let log = MemoryLog::new();
    let views = log.rebuilt(Lsn::ZERO);
    for event in events {
        log.commit(&views, vec![event]);
    }
    let row = views.executions().get(app(0), execution(1)).unwrap();
    (views, row)
}

fn kv_source() -> Source {
    Source::Kv { trigger: trigger(1) }
}

fn enqueue(source: Source) -> Event {
    enqueued(app(0), execution(1), source)
}

fn claim(attempt: u32) -> Event {
    claimed(app(0), execution(1), attempt)
}

fn fail(attempt: u32, kind: ErrorKind, then: AfterFailure) -> Event {
    failed(app(0), execution(1), attempt, kind, then)
}

const RETRY: AfterFailure = AfterFailure::Retry { due_at: UnixMicros(900) };

/// Status, failures counted, crashes, attempts kept, open.
fn check(events: Vec<Event>, expected: (Status, u32, u32, usize)) -> ExecutionRow {
    let (views, row) = after(events);
    let row = row.unwrap();
    assert_eq!((row.status, row.failures_counted, row.crashes, row.attempts.len()), expected);
    assert_eq!(views.executions().open_row(execution(1)).unwrap().is_some(), row.status.is_open());
    assert_eq!(row.ended_at.is_some(), !row.status.is_open());
    row
}

#[test]
fn d1_the_life_of_triggered_work() {
    check(vec![enqueue(kv_source())], (Status::Pending, 0, 0, 0));
    check(vec![enqueue(kv_source()), claim(1)], (Status::Running, 0, 0, 1));
    let row = check(
        vec![enqueue(kv_source()), claim(1), completed(app(0), execution(1), 1)],
        (Status::Completed, 0, 0, 1),
    );
    assert_eq!(row.attempts[0].ended.unwrap().lsn, Lsn(3));
    assert_eq!(row.delivery, None);
    let row = check(
        vec![enqueue(kv_source()), claim(1), fail(1, ErrorKind::Throw, RETRY)],
        (Status::Retrying, 1, 0, 1),
    );
    assert_eq!(row.due_at, UnixMicros(900));
    assert_eq!(row.last_error.unwrap().kind, ErrorKind::Throw);
    check(
        vec![
            enqueue(kv_source()),
            claim(1),
            fail(1, ErrorKind::Throw, RETRY),
            claim(2),
            completed(app(0), execution(1), 2),
        ],
        (Status::Completed, 1, 0, 2),
    );
}

#[test]
fn d3_crashes_that_do_not_count_are_counted_apart_and_releases_leave_no_attempt() {
    let crash = |n| fail(n, ErrorKind::Crashed, RETRY);
    check(vec![enqueue(kv_source()), claim(1), crash(1), claim(2), crash(2)], (Status::Retrying, 0, 2, 2));
    check(
        vec![enqueue(kv_source()), claim(1), crash(1), claim(2), fail(2, ErrorKind::Throw, RETRY)],
        (Status::Retrying, 1, 0, 2),
    );
    let release = Event::Execution(ExecutionEvent::Released(Released {
        app: app(0),
        execution: execution(1),
        attempt: 1,
    }));
    check(vec![enqueue(kv_source()), claim(1), release], (Status::Pending, 0, 0, 0));
    let joined = Event::Execution(ExecutionEvent::AloneEnded(AloneEnded {
        app: app(0),
        execution: execution(1),
        attempt: 1,
    }));
    let row = check(vec![enqueue(kv_source()), claim(1), joined], (Status::Running, 0, 0, 1));
    assert!(row.attempts[0].alone_ended);
}

#[test]
fn d4_d5_reply_to_work_is_delivered_or_abandoned() {
    let sync = || enqueue(Source::Route { route: RouteId::from_bytes([1; 16]), sync: true });
    let gone = || abandoned(app(0), execution(1), AbandonReason::ClientGone);
    let done = || completed(app(0), execution(1), 1);
    let row = check(vec![sync(), claim(1), done()], (Status::Completed, 0, 0, 1));
    assert_eq!(row.delivery, Some(Delivery::Delivered));
    let row = check(
        vec![sync(), claim(1), fail(1, ErrorKind::Throw, AfterFailure::End)],
        (Status::Failed, 1, 0, 1),
    );
    assert_eq!((row.delivery, row.letter), (Some(Delivery::Delivered), None));
    for events in [vec![sync(), claim(1), gone(), done()], vec![sync(), claim(1), done(), gone()]] {
        let row = check(events, (Status::Completed, 0, 0, 1));
        assert_eq!(row.delivery, Some(Delivery::Abandoned));
        assert_eq!(row.abandoned.unwrap().0, AbandonReason::ClientGone);
    }
    let row = check(
        vec![sync(), claim(1), abandoned(app(0), execution(1), AbandonReason::Crash)],
        (Status::Abandoned, 0, 0, 1),
    );
    assert_eq!((row.delivery, row.abandoned.unwrap().0), (None, AbandonReason::Crash));
}

#[test]
fn d8_d10_d17_other_ends() {
    let letter_event = || dead_lettered(app(0), letter(1), execution(1), kv_source());
    let dead = || fail(1, ErrorKind::Throw, AfterFailure::DeadLetter);
    for events in [
        vec![enqueue(kv_source()), claim(1), dead(), letter_event()],
        vec![enqueue(kv_source()), claim(1), letter_event(), dead()],
    ] {
        let row = check(events, (Status::DeadLettered, 1, 0, 1));
        assert_eq!(row.letter, Some(letter(1)));
    }
    let drop = Dropped { app: app(0), execution: execution(1), reason: "trigger deleted".into() };
    let row = check(
        vec![enqueue(kv_source()), Event::Execution(ExecutionEvent::Dropped(drop))],
        (Status::Dropped, 0, 0, 0),
    );
    assert_eq!(row.drop_reason.as_deref(), Some("trigger deleted"));
    let deep = DepthExceeded {
        app: app(0),
        execution: execution(1),
        root: execution(2),
        depth: 9,
        cause: Lsn(1),
        caused_by: None,
        script: "deep".into(),
        source: kv_source(),
    };
    check(vec![Event::Execution(ExecutionEvent::DepthExceeded(Box::new(deep)))], (Status::Dropped, 0, 0, 0));
}

#[test]
fn events_for_unknown_rows_and_other_apps_change_nothing() {
    let (views, row) = after(vec![
        claim(1),
        completed(app(0), execution(1), 1),
        abandoned(app(0), execution(1), AbandonReason::ClientGone),
    ]);
    assert_eq!(row, None);
    assert!(
        views
            .executions()
            .list(app(0), &ExecutionFilter { limit: 9, ..Default::default() })
            .unwrap()
            .is_empty()
    );
    let (views, row) = after(vec![enqueue(kv_source()), completed(app(1), execution(1), 1)]);
    assert_eq!(row.unwrap().status, Status::Pending, "S6");
    assert_eq!(views.executions().get(app(1), execution(1)).unwrap(), None, "S6");
}

#[test]
fn listings_filter_and_go_from_the_highest_id_down() {
    let log = MemoryLog::new();
    let views = log.rebuilt(Lsn::ZERO);
    for n in 0..20 {
        let source = if n % 2 == 0 { kv_source() } else { Source::Direct };
        log.commit(&views, vec![enqueued(app(0), execution(n), source), claimed(app(0), execution(n), 1)]);
        if n % 4 < 2 {
            log.commit(&views, vec![completed(app(0), execution(n), 1)]);
        }
    }
    let ids = |filter: ExecutionFilter| -> Vec<u8> {
        let rows = views.executions().list(app(0), &filter).unwrap();
        rows.iter().map(|row| row.execution.as_bytes()[15]).collect()
    };
    let base = || ExecutionFilter { limit: 4, ..ExecutionFilter::default() };
    assert_eq!(ids(base()), [19, 18, 17, 16]);
    assert_eq!(ids(ExecutionFilter { cursor: Some(execution(16)), ..base() }), [15, 14, 13, 12]);
    assert_eq!(ids(ExecutionFilter { status: Some(Status::Completed), ..base() }), [17, 16, 13, 12]);
    assert_eq!(
        ids(ExecutionFilter { status: Some(Status::Running), trigger: Some(trigger(1)), ..base() }),
        [18, 14, 10, 6]
    );
    assert_eq!(ids(ExecutionFilter { root: Some(execution(3)), ..base() }), [3]);
    assert_eq!(ids(ExecutionFilter { script: Some("other".into()), ..base() }), [0_u8; 0]);
    let third = views.executions().get(app(0), execution(3)).unwrap().unwrap().enqueued.time;
    assert_eq!(ids(ExecutionFilter { until: Some(third), ..base() }), [2, 1, 0]);
    assert_eq!(
        ids(ExecutionFilter { since: Some(third), until: Some(third.plus_millis(0)), ..base() }),
        [0_u8; 0]
    );
    assert_eq!(views.executions().open(None).unwrap().len(), 10);
    assert_eq!(views.executions().open(Some(app(1))).unwrap().len(), 0);
}

#[test]
fn p24_an_execution_that_came_whole_is_what_its_events_one_by_one_come_to() {
    let source = Source::Route { route: RouteId::default(), sync: true };
    let ends = |n, id| completed(app(n), execution(id), 1);
    let put = put(app(0), "c", "k", "1");
    for events in [
        vec![enqueue(source.clone()), claim(1), ends(0, 1)],
        vec![enqueue(source.clone()), claim(1), put.clone(), ends(0, 1)],
        // Not whole: another execution, another app, no end, an end and more.
        vec![enqueue(source.clone()), claim(1), ends(0, 2)],
        vec![enqueue(source.clone()), claim(1), ends(1, 1)],
        vec![enqueue(source.clone()), claim(1), put.clone()],
        vec![enqueue(source.clone()), claim(1), ends(0, 1), put],
    ] {
        let (log, at_once, one_by_one) =
            (MemoryLog::new(), MemoryLog::new().rebuilt(Lsn::ZERO), MemoryLog::new().rebuilt(Lsn::ZERO));
        let batch = log.append(events);
        at_once.apply(&batch.folded());
        for (event, lsn) in batch.events.iter().zip(batch.first.0..) {
            let alone = FoldedBatch {
                first: Lsn(lsn),
                last: Lsn(lsn),
                events: std::slice::from_ref(event),
                ..batch.folded()
            };
            one_by_one.apply(&alone);
        }
        assert_eq!(at_once.digest().unwrap(), one_by_one.digest().unwrap(), "{:?}", batch.events);
    }
}
