//! D18: queues; D13: order within a key.

use relive_engine::command::{Answer, Command, Switch};
use relive_engine::node::WaitingFor;
use relive_engine::refusal::{Refusal, SubmitError};
use relive_log::ExecutionId;
use relive_log::events::{DispatchMode, Ordering, Pattern, TriggerSpec};
use relive_projections::Status;

use crate::dispatch::on;
use crate::world::{World, route};

fn consumer(ordering: Ordering) -> TriggerSpec {
    TriggerSpec {
        name: "mails".into(),
        pattern: Pattern::Queue { queue: "mails".into() },
        ordering,
        ..on("mails", "-", "mail", 3)
    }
}

fn message(queue: &str, json: &str, delay_ms: u64, key: Option<&str>) -> Command {
    let (app, queue, message) = ("shop".into(), queue.into(), json.as_bytes().into());
    Command::Send { app, queue, message, delay_ms, key: key.map(str::to_owned) }
}

fn send(world: &mut World, json: &str, delay_ms: u64, key: Option<&str>) -> ExecutionId {
    match world.submit(message("mails", json, delay_ms, key)).unwrap().answer {
        Answer::Execution(execution) => execution,
        other => panic!("{other:?}"),
    }
}

/// Appends what it got to the key `log`, or throws what it is told to.
const NOTE: &str = r#"
let e = ctx.event;
if e.message == "bad" && ctx.attempt < 3 { throw "not yet"; }
kv::set("log", "all", (kv::get("log", "all") ?? "") + `${e.message} `);
e
"#;

fn post(ordering: Ordering) -> World {
    let mut world = World::new();
    let fill =
        r#"let a = queue::send("mails", "a"); queue::send("mails", "b", #{delay_ms: 5000, key: "k"}); a"#;
    let scripts =
        [("mail", NOTE), ("fill", fill), ("lost", r#"kv::set("c", "k", 1); queue::send("none", 1)"#)];
    let routes = vec![route("/fill", "fill", DispatchMode::Sync), route("/lost", "lost", DispatchMode::Sync)];
    world.deploy(&scripts, routes, vec![consumer(ordering)]);
    world
}

fn log(world: &World) -> String {
    world.get("log", "all").unwrap_or_default().trim_matches(['"', ' ']).to_owned()
}

#[test]
fn d18_a_message_runs_its_consumer_once() {
    let mut world = post(Ordering::None);
    let execution = send(&mut world, r#""hi""#, 0, None);
    world.settle();
    let row = world.row(execution);
    assert_eq!((row.status, row.depth, row.source.name()), (Status::Completed, 0, "queue"));
    assert_eq!(log(&world), "hi");
}

#[test]
fn d18_a_queue_without_a_consumer_is_unknown() {
    // E58
    let mut world = post(Ordering::None);
    let before = world.node.applied();
    let refused = world.submit(message("none", "1", 0, None)).unwrap_err();
    assert!(matches!(refused, SubmitError::Refused(Refusal::UnknownQueue { .. })), "{refused}");
    assert_eq!(world.node.applied(), before);
    let outcome = world.call("/lost", "");
    let error = outcome.result.unwrap_err();
    assert!(error.contains("no trigger consumes the queue `none`"), "{error}");
    assert_eq!(world.get("c", "k"), None, "S1: the attempt failed, its writes with it");
}

#[test]
fn d18_a_delay_is_kept_and_bounded_by_30_days() {
    let mut world = post(Ordering::None);
    let execution = send(&mut world, "1", 60_000, None);
    world.settle();
    let row = world.row(execution);
    assert_eq!(world.node.waiting_for(&[&row]), [Some(WaitingFor::DueTime)]);
    world.wait_ms(59_000);
    assert_eq!(world.row(execution).status, Status::Pending);
    world.wait_ms(1_001);
    assert_eq!(world.row(execution).status, Status::Completed);
    let month = 30 * 24 * 60 * 60 * 1000;
    world.submit(message("mails", "1", month, None)).unwrap();
    let refused = world.submit(message("mails", "1", month + 1, None)).unwrap_err().to_string();
    assert!(refused.contains("2592000001") && refused.contains("30 days"), "{refused}");
}

#[test]
fn d18_a_second_consumer_is_refused() {
    let mut world = post(Ordering::None);
    let spec = TriggerSpec { name: "second".into(), ..consumer(Ordering::None) };
    let refused = world.submit(Command::CreateTrigger { app: "shop".into(), spec }).unwrap_err();
    assert!(
        matches!(refused, SubmitError::Refused(Refusal::Conflict { code: "duplicate", .. })),
        "{refused}"
    );
}

#[test]
fn d18_what_a_script_sends_is_part_of_its_batch() {
    let mut world = post(Ordering::None);
    let outcome = world.call("/fill", "");
    let told = outcome.result.unwrap();
    world.wait_ms(6000);
    let rows = world.rows();
    let sent: Vec<_> = rows.iter().filter(|row| row.script == "mail").collect();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().any(|row| told.ends_with(&row.execution.to_string())), "{told}");
    assert!(sent.iter().all(|row| (row.depth, row.root) == (1, outcome.execution)), "D8");
    assert_eq!(log(&world), "a b");
}

#[test]
fn d13_messages_of_one_key_run_in_order_and_a_retry_blocks_its_line() {
    // E55, E56
    let mut world = post(Ordering::Key);
    let bad = send(&mut world, r#""bad""#, 0, Some("k"));
    let second = send(&mut world, r#""second""#, 0, Some("k"));
    send(&mut world, r#""other""#, 0, Some("l"));
    send(&mut world, r#""free""#, 0, None);
    world.settle();
    assert_eq!(log(&world), "other free", "other keys and messages without one go on");
    let row = world.row(second);
    assert_eq!(world.node.waiting_for(&[&row]), [Some(WaitingFor::Line(bad))]);
    world.wait_ms(1100);
    assert_eq!(log(&world), "other free", "the second attempt failed too");
    world.wait_ms(2100);
    assert_eq!(log(&world), "other free bad second");
}

#[test]
fn d13_a_line_survives_a_crash() {
    let mut world = post(Ordering::Key);
    send(&mut world, r#""bad""#, 0, Some("k"));
    send(&mut world, r#""second""#, 0, Some("k"));
    world.settle();
    send(&mut world, r#""third""#, 0, Some("k"));
    let mut world = world.crash();
    world.settle();
    assert_eq!(log(&world), "", "the head waits for its retry");
    for _ in 0..4 {
        world.wait_ms(3000);
    }
    assert_eq!(log(&world), "bad second third");
}

#[test]
fn d13_writes_of_one_key_reach_an_ordered_trigger_in_log_order() {
    let mut world = World::new();
    let note = r#"kv::set("log", "all", (kv::get("log", "all") ?? "") + `${ctx.event.value} `)"#;
    let spec = TriggerSpec { ordering: Ordering::Key, ..on("t", "c", "note", 3) };
    world.deploy(&[("note", note)], vec![], vec![spec]);
    for n in 0..20 {
        world.put("c", "k", &n.to_string());
    }
    assert!(world.rows().iter().filter(|row| row.status == Status::Running).count() <= 1);
    world.settle();
    let want: Vec<String> = (0..20).map(|n: u32| n.to_string()).collect();
    assert_eq!(log(&world), want.join(" "));
}

#[test]
fn e66_a_backlog_that_rests_in_the_log_runs_once_each_over_a_crash() {
    const CALLS: usize = 2;
    const MESSAGES: usize = 3000;
    let mut world = World::new();
    let fill = format!(r#"for i in 0..{MESSAGES} {{ queue::send("mails", ctx.request.body + i); }}"#);
    let scripts = [("mail", r#"kv::incr("got", ctx.event.message, 1)"#), ("fill", fill.as_str())];
    let routes = vec![route("/fill", "fill", DispatchMode::Sync)];
    world.deploy(&scripts, routes, vec![consumer(Ordering::None)]);
    let trigger = *world.app().triggers.keys().next().unwrap();
    let switch = |to| Command::SwitchTrigger { app: "shop".into(), trigger, to };
    world.submit(switch(Switch::Paused)).unwrap();
    for call in 0..CALLS {
        world.call("/fill", &format!("{call}-")).result.unwrap();
    }
    // P22: more wait than are kept in full, and all of them are there.
    let waiting = |world: &World| world.rows().iter().filter(|row| row.status == Status::Pending).count();
    assert_eq!(waiting(&world), CALLS * MESSAGES);
    let mut world = world.crash();
    assert_eq!(waiting(&world), CALLS * MESSAGES);
    world.submit(switch(Switch::Running)).unwrap();
    for _ in 0..MESSAGES / 10 {
        world.node.tick();
        world.sync();
        world.node.step_scripts();
    }
    let mut world = world.crash();
    world.settle();
    world.pass_ms(3_600_000);
    world.settle();
    assert_eq!(waiting(&world), 0);
    for (call, message) in (0..CALLS).flat_map(|call| (0..MESSAGES).map(move |message| (call, message))) {
        assert_eq!(world.get("got", &format!("{call}-{message}")).as_deref(), Some("1"), "each ran once");
    }
    assert!(world.letters().is_empty());
}
