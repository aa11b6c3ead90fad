//! The dispatcher's order, rule by rule.

use super::*;

fn app(n: u8) -> AppId {
    AppId::from_bytes([n; 16])
}

fn execution(n: u8) -> ExecutionId {
    ExecutionId::from_bytes([n; 16])
}

fn take(dispatch: &mut Dispatch) -> Vec<u8> {
    std::iter::from_fn(|| dispatch.next()).map(|start| start.execution.as_bytes()[0]).collect()
}

#[test]
fn e50_no_more_than_the_gate_run() {
    let mut dispatch = Dispatch::new(2);
    for n in 1..=5 {
        dispatch.ready(app(1), execution(n), Lane::Background);
    }
    assert_eq!(take(&mut dispatch), [1, 2]);
    dispatch.ended(execution(1));
    assert_eq!(take(&mut dispatch), [3]);
}

#[test]
fn e51_sync_first_and_a_quarter_for_background() {
    let mut dispatch = Dispatch::new(8);
    for n in 1..=20 {
        dispatch.ready(app(1), execution(n), Lane::Sync);
        dispatch.ready(app(1), execution(100 + n), Lane::Background);
    }
    assert_eq!(take(&mut dispatch), [101, 102, 1, 2, 3, 4, 5, 6]);
    dispatch.ended(execution(101));
    assert_eq!(take(&mut dispatch), [103], "the quarter is kept");
    dispatch.ended(execution(1));
    assert_eq!(take(&mut dispatch), [7]);
}

#[test]
fn e51_a_gate_of_one_takes_turns() {
    let mut dispatch = Dispatch::new(1);
    for n in 1..=2 {
        dispatch.ready(app(1), execution(n), Lane::Sync);
        dispatch.ready(app(1), execution(100 + n), Lane::Background);
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
    let mut dispatch = Dispatch::new(6);
    for n in 1..=3 {
        dispatch.ready(app(1), execution(n), Lane::Background);
    }
    for n in 11..=13 {
        dispatch.ready(app(2), execution(n), Lane::Background);
    }
    assert_eq!(take(&mut dispatch), [1, 11, 2, 12, 3, 13]);
}

#[test]
fn e53_alone_waits_for_the_others_and_keeps_them_out() {
    let mut dispatch = Dispatch::new(4);
    dispatch.ready(app(1), execution(1), Lane::Sync);
    assert_eq!(take(&mut dispatch), [1]);
    dispatch.ready(app(1), execution(9), Lane::Alone);
    dispatch.ready(app(1), execution(2), Lane::Sync);
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
fn due_work_starts_in_due_order_and_can_be_forgotten() {
    let mut dispatch = Dispatch::new(4);
    for (n, due) in [(1, 30), (2, 10), (3, 20)] {
        dispatch.later(app(1), execution(n), UnixMicros(due), Lane::Background);
    }
    assert_eq!(dispatch.next_due(), Some(UnixMicros(10)));
    dispatch.forget(app(1), execution(3));
    dispatch.advance(UnixMicros(25));
    assert_eq!(take(&mut dispatch), [2]);
    dispatch.advance(UnixMicros(30));
    assert_eq!(take(&mut dispatch), [1]);
}
