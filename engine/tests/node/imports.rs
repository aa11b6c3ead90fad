//! D17: the graph of imports at deploy, versions at the claim.

use relive_engine::command::{Command, DeployPlan, MissingApp, Others};
use relive_engine::refusal::{Refusal, SubmitError};
use relive_log::events::{DispatchMode, Event, ExecutionEvent};

use crate::world::{World, route};

fn put(world: &mut World, name: &str, source: &str) -> Result<(), SubmitError> {
    let command = Command::PutScript { app: "shop".into(), name: name.into(), source: source.into() };
    world.submit(command).map(drop)
}

/// Script, line and message of the refusal of a source.
fn refusal(result: Result<(), SubmitError>) -> (String, u32, String) {
    match result {
        Err(SubmitError::Refused(Refusal::Source { script, message, line, .. })) => (script, line, message),
        other => panic!("{other:?}"),
    }
}

/// The imports that the claims name, oldest claim first.
fn claimed(world: &World) -> Vec<Vec<(String, u32)>> {
    let imports = |event| match event {
        Event::Execution(ExecutionEvent::Claimed(claim)) => {
            Some(claim.imports.into_iter().map(|import| (import.script, import.version)).collect())
        }
        _ => None,
    };
    world.events().into_iter().filter_map(imports).collect()
}

fn world() -> World {
    let mut world = World::new();
    let scripts = [
        ("main", "import \"a\" as a;\n`${a::f()} ${a::g()}`"),
        ("a", "import \"b\" as b;\nfn f() { \"a1\" }\nfn g() { b::f() }"),
        ("b", "fn f() { \"b1\" }"),
    ];
    world.deploy(&scripts, vec![route("/m", "main", DispatchMode::Sync)], vec![]);
    world
}

#[test]
fn d17_an_attempt_uses_and_records_the_versions_current_at_its_claim() {
    // E160, E163
    let mut world = world();
    assert_eq!(world.call("/m", "").result.unwrap(), "200 a1 b1");
    put(&mut world, "b", "fn f() { \"b2\" }").unwrap();
    assert_eq!(world.call("/m", "").result.unwrap(), "200 a1 b2", "a changed import needs no other deploy");
    put(&mut world, "b", "fn f() { \"b2\" }").unwrap();
    assert_eq!(world.call("/m", "").result.unwrap(), "200 a1 b2");
    let named = |b| vec![("a".to_owned(), 1), ("b".to_owned(), b)];
    assert_eq!(claimed(&world), [named(1), named(2), named(2)], "an unchanged source makes no version");
    let main = world.app().scripts["main"].versions.len();
    assert_eq!(main, 1, "a changed import makes no version of its importers");
}

#[test]
fn d17_a_missing_import_is_refused_at_deploy_and_fails_without_retry_later() {
    let mut world = world();
    let (script, line, message) = refusal(put(&mut world, "c", "1;\nimport \"nowhere\" as n;"));
    assert_eq!((script.as_str(), line), ("c", 2));
    assert!(message.contains("there is no script `nowhere` to import"), "{message}");
    world.submit(Command::DeleteScript { app: "shop".into(), name: "b".into() }).unwrap();
    let error = world.call("/m", "").result.unwrap_err();
    assert_eq!(error, "script_missing: there is no script `b`, which `main` imports");
    assert_eq!(claimed(&world), [vec![("a".to_owned(), 1), ("b".to_owned(), 0)]]);
}

#[test]
fn d17_imports_in_a_circle_are_refused_with_their_line() {
    // E162
    let mut world = world();
    let (script, line, message) = refusal(put(&mut world, "b", "1;\n2;\nimport \"main\" as m;"));
    assert_eq!((script.as_str(), line), ("b", 3));
    assert!(message.contains("`b` imports `main` imports `a` imports `b`"), "{message}");
    let (_, _, message) = refusal(put(&mut world, "b", "import \"b\" as b;"));
    assert!(message.contains("`b` imports `b`"), "{message}");
    let plan = DeployPlan {
        scripts: vec![("x".into(), "import \"y\" as y;".into()), ("y".into(), "import \"x\" as x;".into())],
        missing_app: MissingApp::Create,
        ..DeployPlan::default()
    };
    let before = world.node.applied();
    world.submit(Command::Deploy { app: "shop".into(), plan }).unwrap_err();
    assert_eq!(world.node.applied(), before, "nothing of it is deployed");
}

#[test]
fn d17_a_plan_may_bring_its_imports_in_any_order_and_prune_none_that_is_needed() {
    let mut world = world();
    let plan = |scripts: &[(&str, &str)]| DeployPlan {
        scripts: scripts.iter().map(|(n, s)| ((*n).to_owned(), (*s).to_owned())).collect(),
        others: Others::Prune,
        ..DeployPlan::default()
    };
    let both = plan(&[("first", "import \"second\" as s; s::f()"), ("second", "fn f() { 1 }")]);
    world.submit(Command::Deploy { app: "shop".into(), plan: both }).unwrap();
    let lonely = plan(&[("first", "import \"second\" as s;\ns::f()")]);
    let (script, line, _) =
        refusal(world.submit(Command::Deploy { app: "shop".into(), plan: lonely }).map(drop));
    assert_eq!((script.as_str(), line), ("first", 1), "pruning takes `second` away");
}
