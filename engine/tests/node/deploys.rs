//! Deploys: idempotent, atomic, checked; D17 versions.

use relive_engine::command::{Answer, Change, Command, DeployMode, DeployPlan, MissingApp, Others};
use relive_log::events::{DispatchMode, RouteSpec, TriggerSpec};

use crate::dispatch::on;
use crate::world::{World, route};

fn plan(scripts: &[(&str, &str)], routes: Vec<RouteSpec>, triggers: Vec<TriggerSpec>) -> DeployPlan {
    DeployPlan {
        scripts: scripts.iter().map(|(n, s)| ((*n).to_owned(), (*s).to_owned())).collect(),
        routes,
        triggers,
        missing_app: MissingApp::Create,
        ..DeployPlan::default()
    }
}

fn deploy(world: &mut World, plan: DeployPlan) -> Result<Vec<String>, String> {
    let show = |change: &Change| format!("{} {} {}", change.action, change.what, change.name);
    match world.submit(Command::Deploy { app: "shop".into(), plan }) {
        Ok(committed) => match committed.answer {
            Answer::Changes(changes) => Ok(changes.iter().map(show).collect()),
            other => panic!("{other:?}"),
        },
        Err(error) => Err(error.to_string()),
    }
}

fn full() -> DeployPlan {
    plan(&[("a", "1"), ("b", "2")], vec![route("/a", "a", DispatchMode::Sync)], vec![on("t", "c", "b", 3)])
}

#[test]
fn a_second_deploy_of_the_same_changes_nothing() {
    let mut world = World::new();
    let changes = deploy(&mut world, full()).unwrap();
    assert_eq!(
        changes,
        ["create app shop", "create script a", "create script b", "create route POST /a", "create trigger t"]
    );
    let before = world.node.applied();
    let changes = deploy(&mut world, full()).unwrap();
    assert!(changes.iter().all(|change| change.starts_with("unchanged")), "{changes:?}");
    assert_eq!(world.node.applied(), before, "no event");
}

#[test]
fn a_dry_run_says_the_same_and_writes_nothing() {
    let mut world = World::new();
    let before = world.node.applied();
    let dry = deploy(&mut world, DeployPlan { mode: DeployMode::DryRun, ..full() }).unwrap();
    assert_eq!(world.node.applied(), before);
    assert_eq!(dry, deploy(&mut world, full()).unwrap());
}

#[test]
fn e1_e2_a_bad_part_refuses_the_whole_deploy() {
    let mut world = World::new();
    let cases: [(DeployPlan, &str); 6] = [
        (plan(&[("a", "let x = ;")], vec![], vec![]), "script `a` line 1"),
        (plan(&[], vec![route("/a", "none", DispatchMode::Sync)], vec![]), "there is no script `none`"),
        (plan(&[("a", "1"), ("a", "2")], vec![], vec![]), "stands twice"),
        (plan(&[("a", "1")], vec![route("a", "a", DispatchMode::Sync)], vec![]), "must start with `/`"),
        (
            plan(
                &[("a", "1")],
                vec![route("/{x}", "a", DispatchMode::Sync), route("/{y}", "a", DispatchMode::Sync)],
                vec![],
            ),
            "stands twice",
        ),
        (plan(&[("a", "1")], vec![], vec![on("t", "", "a", 1)]), "collection: it is empty"),
    ];
    for (plan, message) in cases {
        let before = world.node.applied();
        let error = deploy(&mut world, plan).unwrap_err();
        assert!(error.contains(message), "{error}");
        assert_eq!(world.node.applied(), before);
    }
}

#[test]
fn prune_deletes_what_the_plan_does_not_name() {
    let mut world = World::new();
    deploy(&mut world, full()).unwrap();
    let smaller = DeployPlan { others: Others::Prune, ..plan(&[("a", "1")], vec![], vec![]) };
    let changes = deploy(&mut world, smaller).unwrap();
    assert_eq!(
        changes,
        ["delete trigger t", "delete route POST /a", "delete script b", "unchanged script a"]
    );
}

#[test]
fn d17_versions_count_up_also_over_a_deletion() {
    let mut world = World::new();
    deploy(&mut world, plan(&[("a", "1")], vec![], vec![])).unwrap();
    let put = |world: &mut World, source: &str| {
        let command = Command::PutScript { app: "shop".into(), name: "a".into(), source: source.into() };
        world.submit(command).unwrap().answer
    };
    assert_eq!(put(&mut world, "1"), Answer::Version(1), "unchanged source makes no version");
    assert_eq!(put(&mut world, "2"), Answer::Version(2));
    assert_eq!(put(&mut world, "1"), Answer::Version(3), "an old source is a new version");
    world.submit(Command::DeleteScript { app: "shop".into(), name: "a".into() }).unwrap();
    assert_eq!(put(&mut world, "1"), Answer::Version(4));
}
