//! Sync calls on their caller's thread (E93).

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
