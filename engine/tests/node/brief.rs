//! Sync calls on their caller's thread (E93).

use relive_engine::node::Delivery;
use relive_engine::refusal::{Refusal, SubmitError};
use relive_engine::settings::EngineSettings;
use relive_log::events::DispatchMode;

use crate::world::{World, route};

const LOOP: &str = r#"
    let n = kv::get("c", "n") ?? 0;
    for i in 0..2000 { n += 1; }
    kv::set("c", "n", n);
    n
"#;

fn world(script: &str) -> World {
    let mut world = World::with(EngineSettings { brief_operations: 1000, ..EngineSettings::default() });
    world.deploy(&[("w", script)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    world
}

#[test]
fn e93_a_brief_script_needs_no_script_thread() {
    let mut world = world(r#"kv::set("c", "k", 1); "ok""#);
    let (execution, mailbox) = world.admit("/w", "").unwrap();
    assert_eq!(world.row(execution).status.name(), "completed", "it ran in the call");
    assert!(mailbox.take().is_empty(), "E92: its outcome waits for the disk");
    world.settle();
    assert_eq!(mailbox.one().result.as_deref(), Ok("200 ok"));
}

#[test]
fn e93_a_long_script_moves_and_leaves_nothing_behind() {
    let mut world = world(LOOP);
    let before = world.node.applied();
    let (execution, mailbox) = world.admit("/w", "").unwrap();
    assert_eq!(world.row(execution).status.name(), "running", "it moved");
    world.settle();
    assert_eq!(mailbox.one().result.as_deref(), Ok("200 2000"));
    assert_eq!(world.kinds_since(before), ["enqueued", "claimed", "kv_put", "completed"]);
    assert_eq!(world.call("/w", "").result.as_deref(), Ok("200 4000"), "and the next one goes there at once");
}

#[test]
fn e93_a_brief_script_that_fails_fails_once() {
    let mut world = world("throw \"no\"");
    let (execution, mailbox) = world.admit("/w", "").unwrap();
    assert_eq!(world.row(execution).status.name(), "failed");
    world.settle();
    assert_eq!(mailbox.one().result, Err("throw: no".into()));
}

#[test]
fn e94_a_brief_call_is_recorded_in_one_batch_with_its_end() {
    let mut world = world(r#"kv::set("c", "k", 1); "ok""#);
    let before = world.node.applied();
    let (execution, _mailbox) = world.admit("/w", "").unwrap();
    world.sync();
    assert_eq!(world.kinds_since(before), ["enqueued", "claimed", "kv_put", "completed"]);
    let row = world.row(execution);
    assert_eq!(row.ended_at.map(|at| at.pos), Some(row.enqueued.pos), "one frame");
    assert_eq!(row.enqueued.lsn, before.next());
}

#[test]
fn e94_one_that_fails_or_moves_is_recorded_before() {
    for (script, kinds) in
        [("throw \"no\"", vec!["enqueued", "claimed", "attempt_failed"]), (LOOP, vec!["enqueued", "claimed"])]
    {
        let mut world = world(script);
        let before = world.node.applied();
        world.admit("/w", "").unwrap();
        world.sync();
        assert_eq!(world.kinds_since(before), kinds, "{script}");
    }
}

#[test]
fn e94_a_call_that_a_crash_cuts_off_before_its_end_is_durable_leaves_nothing() {
    let mut world = world(r#"kv::set("c", "k", 1); "ok""#);
    let (execution, mailbox) = world.admit("/w", "").unwrap();
    world.settle();
    assert_eq!(mailbox.one().result.as_deref(), Ok("200 ok"));
    let world = world.crash();
    assert_eq!(world.row(execution).status.name(), "completed", "what was answered is there after a crash");
    let before = world.node.applied();
    let (lost, mailbox) = world.admit("/w", "").unwrap();
    let world = world.crash();
    assert!(mailbox.take().is_empty(), "nobody was promised anything");
    assert_eq!(world.kinds_since(before), Vec::<&str>::new());
    assert!(world.rows().iter().all(|row| row.execution != lost));
}

#[test]
fn e62_the_committer_hands_the_outcome_over_and_leaves_the_rest_to_others() {
    let mut world = world(r#"kv::set("c", "k", 1); "ok""#);
    let (_, there) = world.admit("/w", "").unwrap();
    let (gone, mailbox) = world.admit_with("/w", &[], "", Delivery::Gone).unwrap();
    let before = world.node.applied();
    world.commit();
    assert_eq!(there.one().result.as_deref(), Ok("200 ok"));
    assert_eq!(mailbox.take().len(), 1, "it was offered");
    assert_eq!(world.node.applied(), before, "that nobody took it is recorded elsewhere");
    world.settle();
    assert_eq!(world.kinds_since(before), ["abandoned"]);
    assert!(world.row(gone).abandoned.is_some());
}

#[test]
fn e164_no_call_enters_after_a_shutdown_began() {
    let world = world(r#"kv::set("c", "k", 1); "ok""#);
    let before = world.node.applied();
    world.node.stop_admissions();
    let refused = world.admit("/w", "");
    assert!(matches!(refused, Err(SubmitError::Refused(Refusal::ShuttingDown))));
    assert_eq!(world.kinds_since(before), Vec::<&str>::new(), "nothing of it happened");
}

#[test]
fn e94_a_call_that_only_read_is_answered_as_of_its_snapshot_and_recorded_whole() {
    let mut world = world(r#"kv::get("c", "k") ?? "none""#);
    let before = world.node.applied();
    let (execution, mailbox) = world.admit("/w", "").unwrap();
    assert_eq!(mailbox.one().result.as_deref(), Ok("200 none"), "it depends on nothing that is not durable");
    world.settle();
    assert_eq!(world.kinds_since(before), ["enqueued", "claimed", "completed"]);
    let row = world.row(execution);
    assert_eq!((row.attempts[0].snapshot, row.ended_at.map(|at| at.pos)), (before, Some(row.enqueued.pos)));
}
