//! E121: nondeterminism that is not recorded is noticed by the replay, and named: what differs, where, and how.

use relive_engine::planted::{Bug, plant};
use relive_engine::replay::{Candidate, Difference, Sealed, replay};
use relive_log::events::DispatchMode;

use crate::world::{World, answered, route};

/// Runs a script live with the bug, and replays it with the bug: the differences, first things first.
fn differences(bug: Bug, source: &str) -> Vec<Difference> {
    let mut world = World::new();
    world.deploy(&[("w", source)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    world.web.answer_with(|_| answered("ok"));
    for n in 0..12 {
        world.put("c", &format!("k{n:02}"), &n.to_string());
    }
    plant(Some(bug));
    let (execution, _) = world.admit("/w", "").unwrap();
    world.settle();
    let archive = world.node.archive();
    let recording = archive
        .recording(&world.app(), &world.row(execution), None, &Candidate::Recorded, Sealed::Opened)
        .unwrap();
    let got = replay(&recording);
    plant(None);
    assert_eq!(got.faithful, Some(false), "{:?}", got.result);
    assert_eq!(replay(&recording).faithful, Some(false), "the record itself came about with the bug");
    got.differences
}

/// What the first difference is, and where.
fn first(bug: Bug, source: &str) -> (&'static str, Option<usize>, Option<u32>, Option<String>) {
    let differences = differences(bug, source);
    let first = differences.first().unwrap();
    assert_ne!(first.recorded, first.replayed);
    (first.what, first.index, first.line, first.key.as_ref().map(|(_, key)| key.clone()))
}

#[test]
fn e121_an_unrecorded_clock_is_named_where_it_first_shows() {
    let bug = Bug::UnrecordedClock;
    let in_a_write = "let a = 1;\nlet t = time::now();\nkv::set(\"c\", \"when\", t);\n\"done\"";
    assert_eq!(first(bug, in_a_write), ("write", Some(0), Some(3), Some("when".to_owned())));
    let in_a_log = "log::info(\"begins\");\nlog::info(`${time::now()}`);\n1";
    assert_eq!(first(bug, in_a_log), ("log", Some(1), Some(2), None));
    let in_a_read = "let a = kv::get(\"c\", \"k01\");\nkv::get(\"c\", `at-${time::now()}`)";
    assert_eq!(first(bug, in_a_read), ("read", Some(1), Some(2), None));
    let in_an_error = "let t = time::now();\n\n\nthrow `at ${t}`";
    assert_eq!(first(bug, in_an_error), ("error", None, Some(4), None));
    let in_the_answer = "#{ at: time::now() }";
    assert_eq!(first(bug, in_the_answer), ("output", None, None, None));
}

#[test]
fn e121_a_hash_order_is_named_where_it_first_shows() {
    let bug = Bug::HashOrder;
    let in_logs = "let page = kv::list(\"c\");\nfor item in page.items {\n  log::info(item.key);\n}";
    let (what, index, line, _) = first(bug, in_logs);
    assert_eq!((what, line), ("log", Some(3)));
    assert!(index.unwrap() < 12);
    let in_a_write = "let all = kv::list(\"c\").items.map(|item| item.key);\nkv::set(\"d\", \"all\", all);";
    assert_eq!(first(bug, in_a_write), ("write", Some(0), Some(2), Some("all".to_owned())));
    let in_reads = "for item in kv::list(\"c\").items {\n  kv::get(\"other\", item.key);\n}";
    let (what, _, line, _) = first(bug, in_reads);
    assert_eq!((what, line), ("read", Some(2)));
}

#[test]
fn e121_an_unrecorded_seed_is_named_where_it_first_shows() {
    let bug = Bug::UnrecordedSeed;
    let in_a_write = "kv::set(\"c\", \"id\", uuid::v4());\n1";
    assert_eq!(first(bug, in_a_write), ("write", Some(0), Some(1), Some("id".to_owned())));
    let in_a_branch = "let n = random::int(1, 1000000000);\nlog::info(\"drew\");\nthrow n";
    assert_eq!(first(bug, in_a_branch), ("error", None, Some(3), None));
}

#[test]
fn e121_without_a_bug_the_same_scripts_are_faithful() {
    for source in ["kv::set(\"c\", \"when\", time::now())", "kv::list(\"c\").items", "uuid::v4()"] {
        let mut world = World::new();
        world.deploy(&[("w", source)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
        world.call("/w", "").result.unwrap();
        assert_eq!(crate::replay::all_faithful(&world), 1);
    }
}
