//! D10, D12, D17: handlers, redrives, missing scripts and triggers.

use relive_engine::command::{Answer, Command, RedriveVersion};
use relive_log::LetterId;
use relive_log::events::{Ordering, Pattern, TriggerSpec};
use relive_projections::Status;

use crate::dispatch::on;
use crate::world::World;

fn handler(script: &str) -> TriggerSpec {
    TriggerSpec {
        name: "handler".into(),
        pattern: Pattern::DeadLetter { from_script: None, from_trigger: Some("t".into()) },
        script: script.into(),
        ordering: Ordering::None,
        retry: on("", "", "", 5).retry,
    }
}

const BAD: &str = "let x = ctx.event.value;\nx.missing.deeper";

fn dead(handler_source: &str) -> World {
    let mut world = World::new();
    world.deploy(&[("job", BAD), ("h", handler_source)], vec![], vec![on("t", "c", "job", 1), handler("h")]);
    world.put("c", "k", r#"{"a":1}"#);
    world.settle();
    world
}

fn redrive(world: &mut World, letter: LetterId, version: RedriveVersion) -> Result<Answer, String> {
    let command = Command::Redrive { app: "shop".into(), letter, version, proof: None };
    world.submit(command).map(|c| c.answer).map_err(|e| e.to_string())
}

#[test]
fn d10_a_handler_sees_the_letter_and_its_success_resolves_nothing() {
    let source = r#"
        let e = ctx.event;
        kv::set("seen", "letter", #{ key: e.original.key, line: e.last_error.line, kind: e.last_error.kind,
            script: e.script, trigger: e.trigger, attempts: e.attempts, depth: ctx.depth });
    "#;
    let world = dead(source);
    let seen = world.get("seen", "letter").unwrap();
    for part in [r#""key":"k""#, r#""line":2"#, r#""kind":"runtime""#, r#""trigger":"t""#, r#""depth":0"#] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
    let letter = world.letters().pop().unwrap();
    assert!(letter.is_open());
    assert_eq!(letter.resolution, None);
}

#[test]
fn d10_a_handler_that_fails_leaves_the_letter_open_and_is_the_end() {
    // E31
    let mut world = dead("throw \"handler is broken\"");
    world.wait_ms(1_000_000);
    assert_eq!(world.statuses(), ["job dead_lettered", "h failed"], "neither retried nor dead-lettered");
    let letter = world.letters().pop().unwrap();
    assert_eq!(letter.resolution.as_ref().map(|r| r.name()), Some("handler_failed"));
    assert!(letter.is_open());
    assert_eq!(world.letters().len(), 1);
}

#[test]
fn d12_redrive_runs_the_same_input_with_the_fixed_script_once() {
    let mut world = dead("1");
    let letter = world.letters().pop().unwrap().letter;
    let fixed = r#"kv::set("out", ctx.event.key, ctx.event.value.a)"#;
    world.deploy(&[("job", fixed)], vec![], vec![]);
    let Answer::Execution(execution) = redrive(&mut world, letter, RedriveVersion::Current).unwrap() else {
        panic!("a redrive answers its execution");
    };
    world.settle();
    let row = world.row(execution);
    assert_eq!((row.status, row.redrive_of), (Status::Completed, Some(letter)));
    assert_eq!(world.get("out", "k").as_deref(), Some("1"));
    let resolved = world.letters().pop().unwrap();
    assert_eq!(resolved.resolution.as_ref().map(|r| r.name()), Some("redriven"));
    let again = redrive(&mut world, letter, RedriveVersion::Current).unwrap_err();
    assert!(again.contains("resolved already"), "{again}");
}

#[test]
fn d12_redrive_with_the_original_version_fails_as_before() {
    let mut world = dead("1");
    let letter = world.letters().pop().unwrap().letter;
    world.deploy(&[("job", "1")], vec![], vec![]);
    redrive(&mut world, letter, RedriveVersion::Original).unwrap();
    world.settle();
    let second = world.letters().into_iter().find(|l| l.letter != letter).unwrap();
    assert_eq!((second.version, second.error.line), (1, 2));
    // And a redrive of what a redrive left reads the same first input.
    redrive(&mut world, second.letter, RedriveVersion::Current).unwrap();
    world.settle();
    assert_eq!(world.rows().last().unwrap().status, Status::Completed);
}

#[test]
fn d17_a_missing_script_dies_without_a_retry() {
    let mut world = World::new();
    world.deploy(&[("job", "1")], vec![], vec![on("t", "c", "job", 5)]);
    world.submit(Command::DeleteScript { app: "shop".into(), name: "job".into() }).unwrap();
    world.put("c", "k", "1");
    world.settle();
    let letter = world.letters().pop().unwrap();
    assert_eq!((letter.error.kind.name(), letter.attempts), ("script_missing", 1));
}

#[test]
fn d17_deleting_a_trigger_drops_its_unclaimed_work() {
    let mut world = World::new();
    world.deploy(&[("job", "throw 1")], vec![], vec![on("t", "c", "job", 5)]);
    world.put("c", "k", "1");
    world.settle();
    assert_eq!(world.statuses(), ["job retrying"]);
    let trigger = *world.app().triggers.keys().next().unwrap();
    world.submit(Command::DeleteTrigger { app: "shop".into(), trigger }).unwrap();
    world.wait_ms(100_000);
    let row = world.rows().pop().unwrap();
    assert_eq!(row.status, Status::Dropped);
    assert_eq!(row.drop_reason.as_deref(), Some("its trigger was deleted"));
}
