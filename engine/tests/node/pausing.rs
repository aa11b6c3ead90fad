//! D15: pausing of apps and triggers; D9: triggers whose registrant is gone; what waiting work says.

use relive_engine::command::{Command, NewToken, Switch};
use relive_engine::node::WaitingFor;
use relive_log::events::{DispatchMode, PauseReason, Principal, Scopes};
use relive_projections::{ExecutionRow, Status};

use crate::dispatch::on;
use crate::world::{World, route};

fn switch_app(world: &mut World, to: Switch) {
    world.submit(Command::SwitchApp { app: "shop".into(), to }).unwrap();
}

fn switch_trigger(world: &mut World, to: Switch) {
    let trigger = *world.app().triggers.keys().next().unwrap();
    world.submit(Command::SwitchTrigger { app: "shop".into(), trigger, to }).unwrap();
}

fn waiting(world: &World, row: &ExecutionRow) -> Option<WaitingFor> {
    world.node.waiting_for(&[row]).pop().unwrap()
}

fn shop() -> World {
    let mut world = World::new();
    let scripts = [("job", r#"kv::incr("done", "n", 1)"#), ("w", "7")];
    let routes = vec![route("/w", "w", DispatchMode::Sync), route("/later", "job", DispatchMode::Async)];
    world.deploy(&scripts, routes, vec![on("t", "c", "job", 2)]);
    world
}

#[test]
fn d15_a_paused_app_refuses_sync_calls_and_accepts_the_rest() {
    let mut world = shop();
    switch_app(&mut world, Switch::Paused);
    let before = world.node.applied();
    let refused = world.admit("/w", "").map(|_| ()).unwrap_err();
    assert_eq!(refused.to_string(), "app `shop` is paused");
    assert_eq!(world.node.applied(), before, "E1: nothing was enqueued");
    world.call_async("/later", &[], "");
    world.put("c", "k", "1");
    world.settle();
    assert_eq!(world.get("done", "n"), None);
    for row in world.rows() {
        assert_eq!((row.status, waiting(&world, &row)), (Status::Pending, Some(WaitingFor::AppPaused)));
    }
    switch_app(&mut world, Switch::Running);
    world.settle();
    assert_eq!(world.get("done", "n").as_deref(), Some("2"), "what waited runs");
    assert_eq!(world.call("/w", "").result.as_deref(), Ok("200 7"));
}

#[test]
fn d15_pausing_twice_is_pausing_once() {
    let mut world = shop();
    switch_app(&mut world, Switch::Paused);
    let before = world.node.applied();
    switch_app(&mut world, Switch::Paused);
    assert_eq!(world.node.applied(), before);
}

#[test]
fn d15_a_paused_trigger_waits_and_its_app_goes_on() {
    let mut world = shop();
    switch_trigger(&mut world, Switch::Paused);
    world.put("c", "k", "1");
    world.settle();
    let row = world.rows().remove(0);
    assert_eq!(waiting(&world, &row), Some(WaitingFor::TriggerPaused(PauseReason::Asked)));
    assert_eq!(world.call("/w", "").result.as_deref(), Ok("200 7"));
    switch_trigger(&mut world, Switch::Running);
    world.settle();
    assert_eq!(world.row(row.execution).status, Status::Completed);
}

#[test]
fn d15_a_pause_outlives_a_crash_and_what_ran_then_is_settled() {
    let mut world = shop();
    world.put("c", "k", "1");
    world.node.tick();
    switch_app(&mut world, Switch::Paused);
    let mut world = world.crash();
    let row = world.rows().remove(0);
    assert_eq!(row.status, Status::Retrying);
    world.wait_ms(5000);
    assert_eq!(world.row(row.execution).status, Status::Retrying);
    assert_eq!(waiting(&world, &row), Some(WaitingFor::AppPaused));
    switch_app(&mut world, Switch::Running);
    world.settle();
    assert_eq!(world.row(row.execution).status, Status::Completed);
}

#[test]
fn d15_start_paused_pauses_every_app_until_it_is_resumed() {
    let mut world = shop();
    world.put("c", "k", "1");
    let mut world = world.crash_and_start_paused();
    world.wait_ms(5000);
    assert_eq!(world.rows()[0].status, Status::Retrying, "what was cut off is settled and waits");
    let mut world = world.crash();
    world.wait_ms(5000);
    assert_eq!(world.rows()[0].status, Status::Retrying, "the pause stands in the log");
    switch_app(&mut world, Switch::Running);
    world.settle();
    assert_eq!(world.rows()[0].status, Status::Completed);
}

#[test]
fn d15_work_of_a_deleted_trigger_is_dropped_while_it_is_paused() {
    let mut world = shop();
    switch_trigger(&mut world, Switch::Paused);
    world.put("c", "k", "1");
    let trigger = *world.app().triggers.keys().next().unwrap();
    world.submit(Command::DeleteTrigger { app: "shop".into(), trigger }).unwrap();
    world.settle();
    assert_eq!(world.statuses(), ["job dropped"]);
    assert_eq!(world.rows()[0].drop_reason.as_deref(), Some("its trigger was deleted"));
}

#[test]
fn d9_a_deleted_registrant_pauses_its_triggers_until_somebody_takes_them_over() {
    let mut world = shop();
    let new = NewToken {
        name: "ci".into(),
        scopes: Scopes(Scopes::APP_ADMIN.0 | Scopes::SCRIPT_WRITE.0),
        app: Some("shop".into()),
        digest: [7; 32],
        expires_at: None,
    };
    let relive_engine::command::Answer::Token(token) =
        world.submit(Command::CreateToken(new)).unwrap().answer
    else {
        panic!("a token");
    };
    let ci = Principal {
        id: token,
        name: "ci".into(),
        scopes: Scopes(Scopes::APP_ADMIN.0 | Scopes::SCRIPT_WRITE.0),
    };
    let mut spec = on("mine", "d", "job", 2);
    spec.script = "job".into();
    world.submit_as(Command::CreateTrigger { app: "shop".into(), spec: spec.clone() }, &ci).unwrap();
    world.submit(Command::DeleteToken { token }).unwrap();
    let mine = |world: &World| {
        world.app().triggers.values().find(|trigger| trigger.spec.name == "mine").unwrap().clone()
    };
    assert_eq!(mine(&world).paused.map(|pause| pause.reason), Some(PauseReason::RegistrantDeleted));
    assert!(world.app().triggers.values().filter(|t| t.paused.is_some()).count() == 1, "others go on");
    world.put("d", "k", "1");
    world.settle();
    let row = world.rows().remove(0);
    assert_eq!(waiting(&world, &row), Some(WaitingFor::TriggerPaused(PauseReason::RegistrantDeleted)));
    // A deploy that contains it, changed or not.
    world.deploy(&[], vec![], vec![spec]);
    assert_eq!((mine(&world).paused, mine(&world).by), (None, Principal::instance()));
    world.settle();
    assert_eq!(world.row(row.execution).status, Status::Completed);
}
