//! The dispatcher's order, rule by rule.

use super::*;

fn app(n: u8) -> AppId {
    AppId::from_bytes([n; 16])
}

fn execution(n: u8) -> ExecutionId {
    ExecutionId::from_bytes([n; 16])
}

/// Unordered work of a trigger of its app.
fn work(app_id: AppId, n: u8, due_at: u64, lane: Lane) -> Arrival<'static> {
    let origin = Origin::Trigger(TriggerId::default());
    let due_at = UnixMicros(due_at);
    Arrival { app: app_id, origin, execution: execution(n), due_at, lane, ordered: None }
}

fn ready(dispatch: &mut Dispatch, app_id: AppId, n: u8, lane: Lane) {
    dispatch.arrive(work(app_id, n, 0, lane), UnixMicros(1));
}

fn take(dispatch: &mut Dispatch) -> Vec<u8> {
    std::iter::from_fn(|| dispatch.next()).map(|start| start.execution.as_bytes()[0]).collect()
}

#[test]
fn e50_no_more_than_the_gate_run() {
    let mut dispatch = Dispatch::new(2, 256);
    for n in 1..=5 {
        ready(&mut dispatch, app(1), n, Lane::Background);
    }
    assert_eq!(take(&mut dispatch), [1, 2]);
    dispatch.ended(execution(1));
    assert_eq!(take(&mut dispatch), [3]);
}

#[test]
fn e51_sync_first_and_a_quarter_for_background() {
    let mut dispatch = Dispatch::new(8, 256);
    for n in 1..=20 {
        ready(&mut dispatch, app(1), n, Lane::Sync);
        ready(&mut dispatch, app(1), 100 + n, Lane::Background);
    }
    assert_eq!(take(&mut dispatch), [101, 102, 1, 2, 3, 4, 5, 6]);
    dispatch.ended(execution(101));
    assert_eq!(take(&mut dispatch), [103], "the quarter is kept");
    dispatch.ended(execution(1));
    assert_eq!(take(&mut dispatch), [7]);
}

#[test]
fn e51_a_gate_of_one_takes_turns() {
    let mut dispatch = Dispatch::new(1, 256);
    for n in 1..=2 {
        ready(&mut dispatch, app(1), n, Lane::Sync);
        ready(&mut dispatch, app(1), 100 + n, Lane::Background);
    }
    let mut order = Vec::new();
    while let Some(start) = dispatch.next() {
        order.push(start.execution.as_bytes()[0]);
        dispatch.ended(start.execution);
    }
    assert_eq!(order, [1, 101, 2, 102]);
}

#[test]
fn e52_apps_take_turns() {
    let mut dispatch = Dispatch::new(6, 256);
    for n in 1..=3 {
        ready(&mut dispatch, app(1), n, Lane::Background);
    }
    for n in 11..=13 {
        ready(&mut dispatch, app(2), n, Lane::Background);
    }
    assert_eq!(take(&mut dispatch), [1, 11, 2, 12, 3, 13]);
}

#[test]
fn e53_alone_waits_for_the_others_and_keeps_them_out() {
    let mut dispatch = Dispatch::new(4, 256);
    ready(&mut dispatch, app(1), 1, Lane::Sync);
    assert_eq!(take(&mut dispatch), [1]);
    ready(&mut dispatch, app(1), 9, Lane::Alone);
    ready(&mut dispatch, app(1), 2, Lane::Sync);
    assert!(!dispatch.has_room_for_sync());
    assert_eq!(take(&mut dispatch), Vec::<u8>::new(), "one still runs");
    dispatch.ended(execution(1));
    assert_eq!(take(&mut dispatch), [9]);
    assert_eq!(dispatch.only(), Some(execution(9)));
    assert_eq!(take(&mut dispatch), Vec::<u8>::new(), "sync calls wait");
    dispatch.alone_ended(execution(9));
    assert_eq!(take(&mut dispatch), [2]);
}

#[test]
fn e165_alone_waits_for_calls_that_run_beside() {
    let mut dispatch = Dispatch::new(4, 256);
    ready(&mut dispatch, app(1), 9, Lane::Alone);
    assert!(dispatch.alone_waits());
    assert!(!dispatch.has_room_for_sync(), "E164: no call enters any more");
    dispatch.beside(1);
    assert_eq!(take(&mut dispatch), Vec::<u8>::new(), "one is still inside");
    dispatch.beside(0);
    assert_eq!(take(&mut dispatch), [9]);
    assert!(!dispatch.has_room_for_sync());
}

#[test]
fn due_work_starts_in_due_order_and_goes_with_its_trigger() {
    let mut dispatch = Dispatch::new(4, 256);
    for (n, due) in [(1, 30), (2, 10), (3, 20)] {
        dispatch.arrive(work(app(1), n, due, Lane::Background), UnixMicros(1));
    }
    assert_eq!(dispatch.next_due(), Some(UnixMicros(10)));
    dispatch.advance(UnixMicros(25));
    assert_eq!(take(&mut dispatch), [2, 3]);
    dispatch.drop_origin(app(1), Origin::Trigger(TriggerId::default()));
    dispatch.advance(UnixMicros(30));
    assert_eq!(take(&mut dispatch), Vec::<u8>::new());
}

#[test]
fn e54_what_is_paused_keeps_its_place_and_others_go() {
    let mut dispatch = Dispatch::new(9, 256);
    dispatch.pause_app(app(1));
    for n in 1..=2 {
        ready(&mut dispatch, app(1), n, Lane::Background);
        ready(&mut dispatch, app(2), 10 + n, Lane::Background);
    }
    assert_eq!(take(&mut dispatch), [11, 12]);
    assert!(dispatch.has_room_for_sync(), "what is paused keeps no place");
    dispatch.pause_trigger(app(1), TriggerId::default());
    dispatch.resume_app(app(1));
    assert_eq!(take(&mut dispatch), Vec::<u8>::new());
    ready(&mut dispatch, app(1), 3, Lane::Background);
    dispatch.resume_trigger(app(1), TriggerId::default());
    assert_eq!(take(&mut dispatch), [1, 2, 3]);
}

#[test]
fn e54_pausing_between_two_starts() {
    let mut dispatch = Dispatch::new(1, 256);
    for n in 1..=3 {
        ready(&mut dispatch, app(1), n, Lane::Background);
    }
    assert_eq!(take(&mut dispatch), [1]);
    dispatch.pause_app(app(1));
    dispatch.ended(execution(1));
    assert_eq!(take(&mut dispatch), Vec::<u8>::new());
    dispatch.resume_app(app(1));
    assert_eq!(take(&mut dispatch), [2]);
}

#[test]
fn d2_who_waits_for_the_world_gives_its_place_back() {
    // E59
    let mut dispatch = Dispatch::new(2, 4);
    for n in 1..=6 {
        ready(&mut dispatch, app(1), n, Lane::Background);
    }
    assert_eq!(take(&mut dispatch), [1, 2]);
    dispatch.leave_place(execution(1));
    assert_eq!(take(&mut dispatch), [3], "its place is free");
    dispatch.leave_place(execution(2));
    assert_eq!(take(&mut dispatch), [4]);
    dispatch.leave_place(execution(3));
    assert_eq!(take(&mut dispatch), Vec::<u8>::new(), "no more threads");
    dispatch.want_place(execution(1));
    assert!(dispatch.give_places());
    assert!(!dispatch.is_away(execution(1)));
    dispatch.want_place(execution(2));
    assert!(!dispatch.give_places(), "the gate is full");
    dispatch.ended(execution(4));
    assert_eq!(take(&mut dispatch), Vec::<u8>::new(), "who comes back goes before who begins");
    assert!(dispatch.give_places());
    assert_eq!(dispatch.away(), 1);
    dispatch.ended(execution(3));
    dispatch.ended(execution(1));
    assert_eq!(take(&mut dispatch), [5]);
}

#[test]
fn d13_an_ordered_line_starts_one_at_a_time() {
    let mut dispatch = Dispatch::new(9, 256);
    for (n, key) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
        let ordered = Some((key, Lsn(u64::from(n)), Join::ByDue));
        dispatch.arrive(Arrival { ordered, ..work(app(1), n, 0, Lane::Background) }, UnixMicros(1));
    }
    assert_eq!(take(&mut dispatch), [1, 3]);
    let origin = Origin::Trigger(TriggerId::default());
    let waits = |dispatch: &Dispatch, n| {
        dispatch.waits_for(app(1), origin, execution(n), Some("a"), Lane::Background)
    };
    assert_eq!(waits(&dispatch, 4), WaitsFor::Line(execution(1)));
    dispatch.ended(execution(1));
    dispatch.again(app(1), origin, execution(1), UnixMicros(50), Lane::Background);
    dispatch.advance(UnixMicros(40));
    assert_eq!(take(&mut dispatch), Vec::<u8>::new(), "a head that waits for its retry blocks its line");
    dispatch.advance(UnixMicros(50));
    assert_eq!(take(&mut dispatch), [1]);
    dispatch.closed(execution(1), UnixMicros(51));
    dispatch.ended(execution(1));
    assert_eq!(take(&mut dispatch), [2]);
}

#[test]
fn e65_what_is_claimed_ahead_begins_first_and_keeps_nobody_out() {
    let mut dispatch = Dispatch::new(2, 256);
    for n in 1..=9 {
        ready(&mut dispatch, app(1), n, Lane::Background);
    }
    assert_eq!(take(&mut dispatch), [1, 2]);
    assert_eq!(dispatch.room_ahead(4), 4);
    for n in 3..=6 {
        assert_eq!(dispatch.claim_ahead().map(|start| start.execution), Some(execution(n)));
    }
    assert_eq!(dispatch.room_ahead(4), 0, "the next ones come in a batch");
    dispatch.ended(execution(1));
    assert_eq!(take(&mut dispatch), [7], "those are not durable yet");
    (3..=6).for_each(|n| dispatch.ahead_is_durable(app(1), execution(n)));
    dispatch.ended(execution(2));
    let next = dispatch.next().unwrap();
    assert_eq!((next.execution, next.claim), (execution(3), Claim::Ahead));
    ready(&mut dispatch, app(1), 100, Lane::Sync);
    dispatch.ended(execution(7));
    assert_eq!(take(&mut dispatch), [100], "sync work goes before them");
    assert_eq!(dispatch.room_ahead(4), 0);
    dispatch.ended(execution(3));
    assert_eq!(take(&mut dispatch), [4]);
    assert_eq!(dispatch.room_ahead(4), 2);
    ready(&mut dispatch, app(1), 90, Lane::Alone);
    assert_eq!(dispatch.room_ahead(4), 0);
    dispatch.ended(execution(100));
    dispatch.ended(execution(4));
    assert_eq!(take(&mut dispatch), [5, 6], "they go before what runs alone");
    dispatch.ended(execution(5));
    assert_eq!(take(&mut dispatch), Vec::<u8>::new());
    dispatch.ended(execution(6));
    assert_eq!(take(&mut dispatch), [90]);
}
