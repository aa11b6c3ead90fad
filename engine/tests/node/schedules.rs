//! D16: cron triggers in a node: once for each moment, also over restarts; missed and skipped ticks.

use relive_engine::command::{Command, Switch};
use relive_log::events::{CronEvent, Event, Ordering, Pattern, TriggerSpec};
use relive_projections::Status;

use crate::dispatch::on;
use crate::world::World;

/// The world begins at 2027-01-15T08:00:00Z.
fn every(schedule: &str) -> TriggerSpec {
    TriggerSpec {
        name: "tick".into(),
        pattern: Pattern::Cron { schedule: schedule.into(), timezone: None },
        ordering: Ordering::None,
        ..on("tick", "-", "note", 3)
    }
}

const NOTE: &str = r#"
let e = ctx.event;
kv::set("log", "all", (kv::get("log", "all") ?? "") + `${e.scheduled_at.sub_string(11, 8)}/${e.missed} `);
"#;

fn world(schedule: &str, script: &str) -> World {
    let mut world = World::new();
    world.deploy(&[("note", script)], vec![], vec![every(schedule)]);
    world
}

fn log(world: &World) -> String {
    world.get("log", "all").unwrap_or_default().trim_matches(['"', ' ']).to_owned()
}

#[test]
fn d16_each_moment_runs_once_and_the_timers_know_the_next() {
    let mut world = world("*/10 * * * * *", NOTE);
    assert_eq!(world.node.next_time().map(|at| at.0 % 10_000_000), Some(0));
    for _ in 0..30 {
        world.wait_ms(1000);
    }
    assert_eq!(log(&world), "08:00:10/0 08:00:20/0 08:00:30/0");
}

#[test]
fn d16_ticks_missed_while_down_are_one_run() {
    let mut world = world("*/10 * * * * *", NOTE);
    world.wait_ms(10_500);
    world.pass_ms(60_000);
    let mut world = world.crash();
    world.settle();
    assert_eq!(log(&world), "08:00:10/0 08:01:10/5");
    let mut world = world.crash();
    world.settle();
    assert_eq!(log(&world), "08:00:10/0 08:01:10/5", "none runs twice");
}

#[test]
fn d16_a_crash_between_tick_and_run_runs_it_once() {
    // E63
    let mut world = world("*/10 * * * * *", NOTE);
    world.pass_ms(10_500);
    world.node.tick();
    world.sync();
    let mut world = world.crash();
    world.settle();
    world.wait_ms(2000);
    assert_eq!(log(&world), "08:00:10/0");
    assert_eq!(world.rows().len(), 1);
}

#[test]
fn d15_d16_a_paused_schedule_enqueues_nothing_and_catches_up_as_one_run() {
    let mut world = world("*/10 * * * * *", NOTE);
    world.submit(Command::SwitchApp { app: "shop".into(), to: Switch::Paused }).unwrap();
    world.wait_ms(30_500);
    assert!(world.rows().is_empty());
    assert_eq!(world.node.next_time(), None, "nothing wakes it");
    world.submit(Command::SwitchApp { app: "shop".into(), to: Switch::Running }).unwrap();
    world.settle();
    assert_eq!(log(&world), "08:00:30/2");
}

#[test]
fn d16_a_tick_while_the_last_run_is_unfinished_is_skipped_and_counted() {
    let script = r#"
        if ctx.attempt < 3 { throw "not yet" }
        let e = ctx.event;
        kv::set("log", "all", (kv::get("log", "all") ?? "") + `${e.scheduled_at.sub_string(11, 8)}/${e.missed} `);
    "#;
    let mut world = world("* * * * * *", script);
    for _ in 0..9 {
        world.wait_ms(500);
    }
    let skipped = |world: &World| {
        let skips = world.events().into_iter().filter(
            |event| matches!(event, Event::Cron(CronEvent::Ticked(tick)) if tick.execution.is_none()),
        );
        skips.count()
    };
    // Attempts at 1 s, 2 s and 4 s: the ticks at 2, 3 and 4 s find it unfinished.
    assert_eq!(log(&world), "08:00:01/0");
    assert_eq!(skipped(&world), 3);
    let trigger = *world.app().triggers.keys().next().unwrap();
    let position = world.views.cron().get(world.app().id, trigger).unwrap();
    assert_eq!((position.missed, position.skipped), (3, 3));
    for _ in 0..20 {
        world.wait_ms(500);
    }
    let second = world.rows().into_iter().find(|row| row.status == Status::Completed).unwrap();
    assert_eq!(second.attempts.len(), 3);
    assert!(log(&world).starts_with("08:00:01/0 08:00:05/3"), "{}", log(&world));
}

#[test]
fn d16_a_clock_that_steps_back_runs_nothing_again() {
    let mut world = world("*/10 * * * * *", NOTE);
    world.wait_ms(10_500);
    world.step_back_ms(5000);
    world.wait_ms(4900);
    world.wait_ms(4000);
    assert_eq!(log(&world), "08:00:10/0");
    world.wait_ms(6000);
    assert_eq!(log(&world), "08:00:10/0 08:00:20/0");
}

#[test]
fn d16_a_schedule_that_was_changed_goes_on_from_now() {
    let mut world = world("*/10 * * * * *", NOTE);
    world.pass_ms(10_500);
    world.deploy(&[], vec![], vec![every("30 * * * * *")]);
    world.settle();
    assert_eq!(log(&world), "", "the tick of the old schedule was not reached");
    world.wait_ms(20_000);
    assert_eq!(log(&world), "08:00:30/0");
    let trigger = *world.app().triggers.keys().next().unwrap();
    world.submit(Command::DeleteTrigger { app: "shop".into(), trigger }).unwrap();
    world.wait_ms(120_000);
    assert_eq!(log(&world), "08:00:30/0");
}
