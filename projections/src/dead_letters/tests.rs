//! D10, D12: open, annotated, resolved.

use relive_log::Lsn;
use relive_log::events::*;

use super::*;
use crate::Views;
use crate::tests::generator::{app, dead_lettered, execution, letter, someone, trigger};
use crate::tests::log::MemoryLog;

fn died(n: u8) -> Event {
    dead_lettered(app(0), letter(n), execution(n), Source::Kv { trigger: trigger(n) })
}

fn handler_failed(n: u8) -> Event {
    let event = DeadLetterHandlerFailed { app: app(0), letter: letter(n), execution: execution(90) };
    Event::DeadLetter(DeadLetterEvent::HandlerFailed(event))
}

fn redriven(n: u8) -> Event {
    let event = DeadLetterRedriven {
        app: app(0),
        letter: letter(n),
        execution: execution(91),
        by: someone(),
        by_execution: None,
        job: None,
        proof: None,
    };
    Event::DeadLetter(DeadLetterEvent::Redriven(event))
}

fn after(events: Vec<Event>) -> Views {
    let log = MemoryLog::new();
    let views = log.rebuilt(Lsn::ZERO);
    log.commit(&views, events);
    views
}

fn check(events: Vec<Event>, resolution: Option<&str>, open: u64) {
    let views = after(events);
    let row = views.dead_letters().get(app(0), letter(1)).unwrap();
    assert_eq!(row.resolution.as_ref().map(Resolution::name), resolution);
    assert_eq!(views.dead_letters().open_count(app(0)), open);
    assert_eq!(row.is_open(), open == 1);
    assert_eq!(row.resolved_at.is_some(), open == 0);
}

#[test]
fn d10_d12_a_letter_is_open_until_it_is_resolved() {
    check(vec![died(1)], None, 1);
    check(vec![died(1), handler_failed(1)], Some("handler_failed"), 1);
    check(vec![died(1), redriven(1)], Some("redriven"), 0);
    check(vec![died(1), handler_failed(1), redriven(1)], Some("redriven"), 0);
    check(vec![died(1), redriven(1), redriven(1), handler_failed(1)], Some("redriven"), 0);
    check(vec![died(1), died(1), handler_failed(7)], None, 1);
}

#[test]
fn listings_filter_and_go_from_the_highest_id_down() {
    let views = after(vec![died(1), died(2), died(3), redriven(2)]);
    let ids = |filter: LetterFilter| -> Vec<u8> {
        views.dead_letters().list(app(0), &filter).iter().map(|row| row.execution.as_bytes()[15]).collect()
    };
    let base = || LetterFilter { limit: 10, ..LetterFilter::default() };
    assert_eq!(ids(base()), [3, 2, 1]);
    assert_eq!(ids(LetterFilter { limit: 1, ..base() }), [3]);
    assert_eq!(ids(LetterFilter { cursor: Some(letter(3)), ..base() }), [2, 1]);
    assert_eq!(ids(LetterFilter { open: Some(true), ..base() }), [3, 1]);
    assert_eq!(ids(LetterFilter { open: Some(false), ..base() }), [2]);
    assert_eq!(ids(LetterFilter { trigger: Some(trigger(1)), ..base() }), [1]);
    assert_eq!(ids(LetterFilter { error: Some("boo".into()), ..base() }), [3, 2, 1]);
    assert_eq!(ids(LetterFilter { error: Some("throw".into()), limit: 1, ..base() }), [3]);
    assert_eq!(ids(LetterFilter { fingerprint: Some(6), ..base() }), [0_u8; 0]);
    assert!(views.dead_letters().list(app(1), &base()).is_empty(), "S6");
}

#[test]
fn s6_letters_of_a_deleted_app_are_gone() {
    let views =
        after(vec![died(1), Event::App(AppEvent::Deleted(AppDeleted { app: app(0), by: someone() }))]);
    assert_eq!(views.dead_letters().get(app(0), letter(1)), None);
    assert_eq!(views.dead_letters().open_count(app(0)), 0);
}
