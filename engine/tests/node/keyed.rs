//! D14: calls with an `Idempotency-Key`.

use proptest::prelude::*;
use relive_engine::node::Called;
use relive_engine::refusal::{Refusal, SubmitError};
use relive_log::events::DispatchMode;
use relive_projections::Status;

use crate::world::{World, route};

const COUNT: &str =
    r#"#{ status: 201, headers: #{ "x-n": `${kv::incr("c", "n", 1)}` }, body: ctx.request.body }"#;

fn world() -> World {
    let mut world = World::new();
    let scripts = [
        ("count", COUNT),
        ("fail", r#"kv::set("c", "gone", 1); throw "no";"#),
        ("read", r#"kv::get("c", "n") ?? 0"#),
        ("secret", r#"secrets::get("KEY")"#),
    ];
    let routes = scripts.map(|(name, _)| route(&format!("/{name}"), name, DispatchMode::Sync));
    world.deploy(&scripts, routes.to_vec(), vec![]);
    world
}

#[test]
fn d14_e131_the_same_call_runs_once_and_is_answered_alike_also_after_a_crash() {
    let mut world = world();
    let first = world.outcome_keyed("/count", "k", "a");
    assert_eq!(first.result, Ok("201 a".into()));
    assert_eq!(world.outcome_keyed("/count", "k", "a"), first);
    let mut world = world.crash();
    assert_eq!(world.outcome_keyed("/count", "k", "a"), first, "position, id and all");
    assert_eq!(world.get("c", "n").as_deref(), Some("1"));
    let other = world.outcome_keyed("/count", "another", "a");
    assert_ne!(other.execution, first.execution);
    // Without a key nothing is remembered.
    world.call("/count", "a");
    assert_eq!(world.get("c", "n").as_deref(), Some("3"));
}

#[test]
fn d14_a_second_call_waits_for_the_first_that_is_in_flight() {
    let mut world = world();
    let (called, first) = world.call_keyed("/count", "k", "a").unwrap();
    let Called::Runs(execution) = called else { panic!("the first runs") };
    let (called, second) = world.call_keyed("/count", "k", "a").unwrap();
    assert!(matches!(called, Called::Follows(other) if other == execution));
    assert_eq!((first.take().len(), second.take().len()), (0, 0));
    world.settle();
    let (first, second) = (first.one(), second.one());
    assert_eq!(first, second);
    assert_eq!(world.get("c", "n").as_deref(), Some("1"));
}

#[test]
fn d14_another_call_under_the_same_key_is_refused_and_changes_nothing() {
    let mut world = world();
    let first = world.outcome_keyed("/count", "k", "a");
    let before = world.events().len();
    let refused = world.call_keyed("/count", "k", "b").err();
    let expected = Refusal::KeyReused { execution: first.execution };
    assert_eq!(refused, Some(SubmitError::Refused(expected)));
    assert_eq!(world.events().len(), before);
    // Another route has keys of its own.
    assert_eq!(world.outcome_keyed("/read", "k", "b").result, Ok("200 1".into()));
}

#[test]
fn d14_e132_a_failure_is_remembered_and_so_is_an_answer_that_only_read() {
    let mut world = world();
    let failed = world.outcome_keyed("/fail", "k", "");
    assert_eq!(failed.result, Err("throw: no".into()));
    assert_eq!(world.outcome_keyed("/fail", "k", ""), failed);
    let read = world.outcome_keyed("/read", "k", "");
    assert_eq!(read.result, Ok("200 0".into()));
    world.call("/count", "");
    let mut world = world.crash();
    assert_eq!(world.outcome_keyed("/read", "k", ""), read, "E132: its record was durable before the answer");
    assert_eq!(world.outcome_keyed("/fail", "k", ""), failed);
    let statuses = world.rows().iter().filter(|row| row.keyed).count();
    assert_eq!(statuses, 2, "one execution each");
}

#[test]
fn d14_what_a_crash_abandoned_or_a_shutdown_cut_off_frees_its_key() {
    let mut world = world();
    let (called, _) = world.call_keyed("/count", "k", "a").unwrap();
    let Called::Runs(execution) = called else { panic!("it runs") };
    world.sync();
    let mut world = world.crash();
    assert_eq!(world.row(execution).status, Status::Abandoned);
    let again = world.outcome_keyed("/count", "k", "a");
    assert_eq!(again.result, Ok("201 a".into()));
    assert_ne!(again.execution, execution);
    assert_eq!(world.outcome_keyed("/count", "k", "a"), again);
    assert_eq!(world.get("c", "n").as_deref(), Some("1"));
}

#[test]
fn d14_a_key_counts_for_a_day() {
    let mut world = world();
    let first = world.outcome_keyed("/count", "k", "a");
    world.pass_ms(24 * 3600 * 1000 - 1000);
    assert_eq!(world.outcome_keyed("/count", "k", "a"), first);
    world.pass_ms(1000);
    let next = world.outcome_keyed("/count", "k", "another body");
    assert_ne!(next.execution, first.execution);
    assert_eq!(world.outcome_keyed("/count", "k", "another body"), next);
}

#[test]
fn d14_an_answer_with_a_secret_is_given_again_in_clear_and_recorded_sealed() {
    let mut world = world();
    let command = relive_engine::command::Command::SetSecret {
        app: "shop".into(),
        name: "KEY".into(),
        value: "hunter2-hunter2".into(),
    };
    world.submit(command).unwrap();
    let first = world.outcome_keyed("/secret", "k", "");
    assert_eq!(first.result, Ok("200 hunter2-hunter2".into()));
    assert_eq!(world.outcome_keyed("/secret", "k", ""), first);
    assert!(!format!("{:?}", world.events()).contains("hunter2"));
    let long = "x".repeat(100_000);
    let first = world.outcome_keyed("/count", "long", &long);
    assert_eq!(first.result, Ok(format!("201 {long}")), "longer than what is kept of an output otherwise");
    assert_eq!(world.outcome_keyed("/count", "long", &long), first);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// E130, E131: whatever is in flight, crashes included, each key runs to one outcome, and every caller sees it.
    #[test]
    fn e130_however_calls_overlap_each_key_has_one_outcome(steps in prop::collection::vec((0..3_u8, 0..4_u8), 1..40)) {
        let mut world = world();
        let mut waiting = Vec::new();
        let mut outcomes = std::collections::BTreeMap::new();
        for (key, step) in steps {
            let text = format!("k{key}");
            match step {
                // A call that is not waited for yet.
                0 | 1 => match world.call_keyed("/count", &text, &text).unwrap() {
                    (Called::Runs(_) | Called::Follows(_), mailbox) => waiting.push((key, mailbox)),
                    (Called::Remembered(row), _) => {
                        prop_assert_eq!(outcomes.get(&key).map(|o: &crate::world::Outcome2| o.execution), Some(row.execution));
                    }
                },
                2 => world.settle(),
                _ => {
                    // Callers that wait lose their connection; what has no outcome frees its key.
                    world = world.crash();
                    waiting.clear();
                }
            }
            waiting.retain(|(key, mailbox)| match mailbox.take().pop() {
                None => true,
                Some(outcome) => {
                    assert_eq!(outcomes.entry(*key).or_insert_with(|| outcome.clone()), &outcome);
                    false
                }
            });
        }
        world.settle();
        for (key, mailbox) in waiting {
            let outcome = mailbox.one();
            prop_assert_eq!(outcomes.entry(key).or_insert_with(|| outcome.clone()), &outcome);
        }
        for (key, outcome) in &outcomes {
            let text = format!("k{key}");
            prop_assert_eq!(&world.outcome_keyed("/count", &text, &text), outcome);
        }
        let done = world.rows().iter().filter(|row| row.status == Status::Completed).count();
        let count = world.get("c", "n").map_or(0, |n| n.parse().unwrap());
        prop_assert!(count == done && done <= 3, "{count} counted, {done} completed");
    }
}
