//! S1, S2, S5, S6: batches, conflicts, firing, isolation. With real threads where order matters.

use std::sync::Arc;

use relive_engine::command::Command;
use relive_engine::settings::EngineSettings;
use relive_log::events::{DispatchMode, KvOps, Ordering, Pattern, Record, RouteSpec, TriggerSpec};

use crate::dispatch::on;
use crate::world::{World, route};

#[test]
fn s1_writes_completion_and_fired_work_are_one_batch() {
    // E3: the fired work names the LSNs of mutations of its own batch. E80.
    let mut world = World::new();
    let writes = r#"kv::set("c", "a", 1); kv::set("c", "b", 2); kv::set("c", "a", 3)"#;
    let routes = vec![route("/w", "w", DispatchMode::Sync)];
    world.deploy(&[("w", writes), ("job", "1")], routes, vec![on("t", "c", "job", 1)]);
    let before = world.node.applied();
    let lsn = world.call("/w", "").lsn;
    let frame = world.reader.frame_of(lsn).unwrap();
    let count = usize::try_from(frame.last_lsn.0 - frame.first_lsn.0 + 1).unwrap();
    let batch: Vec<&str> = world.kinds_since(frame.first_lsn.prev()).into_iter().take(count).collect();
    assert_eq!(batch, ["kv_put", "kv_put", "enqueued", "enqueued", "completed"], "the last write per key");
    assert!(frame.first_lsn > before);
    assert_eq!(world.get("c", "a").as_deref(), Some("3"));
}

#[test]
fn s1_a_failed_attempt_leaves_no_write() {
    let mut world = World::new();
    world.deploy(
        &[("w", r#"kv::set("c", "a", 1); throw 1"#)],
        vec![route("/w", "w", DispatchMode::Sync)],
        vec![],
    );
    world.call("/w", "").result.unwrap_err();
    assert_eq!(world.get("c", "a"), None);
}

#[test]
fn s5_triggers_fire_once_per_matching_mutation_however_made() {
    // E10
    let mut world = World::new();
    let trigger = |name: &str, ops: KvOps, prefix: &str| TriggerSpec {
        name: name.into(),
        pattern: Pattern::Kv { collection: "c".into(), ops, key_prefix: prefix.into() },
        script: "log".into(),
        ordering: Ordering::None,
        retry: None,
    };
    let source = r#"kv::set("seen", `${1000 + ctx.event.lsn}-${ctx.execution_id}`, `${ctx.event.op} ${ctx.event.key}`)"#;
    world.deploy(
        &[("log", source)],
        vec![],
        vec![
            trigger("ins", KvOps::INSERT, "a"),
            trigger("del", KvOps::DELETE, ""),
            trigger("upd", KvOps::UPDATE, "a"),
        ],
    );
    world.put("c", "a1", "1");
    world.put("c", "b1", "1");
    world.put("c", "a1", "2");
    world
        .submit(Command::DeleteKey {
            app: "shop".into(),
            collection: "c".into(),
            key: "b1".into(),
            condition: relive_engine::command::Condition::Always,
        })
        .unwrap();
    world.settle();
    let seen: Vec<String> = world.list("seen").into_iter().map(|(_, value)| value).collect();
    assert_eq!(seen, [r#""insert a1""#, r#""update a1""#, r#""delete b1""#]);
}

#[test]
fn s6_a_slug_used_again_sees_nothing_of_its_predecessor() {
    let mut world = World::new();
    world.deploy(&[("job", "throw 1")], vec![], vec![on("t", "c", "job", 5)]);
    world.put("c", "k", "1");
    world.settle();
    let before = world.app().id;
    world.submit(Command::DeleteApp { slug: "shop".into() }).unwrap();
    assert!(world.views.registry().app_by_slug("shop").is_none());
    world.deploy(&[("job", "1")], vec![], vec![]);
    assert_ne!(world.app().id, before);
    assert_eq!(world.get("c", "k"), None);
    assert!(world.rows().is_empty());
    world.wait_ms(100_000);
    assert!(world.rows().is_empty(), "its work was dropped");
}

#[test]
fn s6_a_call_that_was_matched_before_its_app_or_route_went_is_refused() {
    let mut world = World::new();
    world.deploy(&[("w", "1")], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    let (first, second) = (world.matched("/w"), world.matched("/w"));
    let id = *world.app().routes.keys().next().unwrap();
    world.submit(Command::DeleteRoute { app: "shop".into(), route: id }).unwrap();
    let error = world.admit_matched(first).unwrap_err().to_string();
    assert!(error.contains("there is no route"), "{error}");
    world.submit(Command::DeleteApp { slug: "shop".into() }).unwrap();
    let error = world.admit_matched(second).unwrap_err().to_string();
    assert!(error.contains("there is no app `shop`"), "{error}");
    assert_eq!(world.views.executions().open_count(), 0);
}

fn hammer(script: &str, settings: EngineSettings, calls: usize) -> World {
    hammer_route(script, settings, calls, route("/w", "w", DispatchMode::Sync))
}

fn hammer_route(script: &str, settings: EngineSettings, calls: usize, spec: RouteSpec) -> World {
    let mut world = World::with(settings);
    world.deploy(&[("w", script)], vec![spec], vec![]);
    let mailboxes: Vec<_> = (0..calls).map(|_| world.admit("/w", "").unwrap().1).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let node = Arc::clone(&world.node);
            scope.spawn(move || while node.step_scripts() {});
        }
    });
    world.settle();
    for mailbox in mailboxes {
        assert!(mailbox.one().result.is_ok());
    }
    world
}

#[test]
fn s2_concurrent_increments_leave_exactly_their_number() {
    // E20
    let settings = EngineSettings { gate: 8, ..EngineSettings::default() };
    let read_modify_write = r#"let n = kv::get("c", "n"); kv::set("c", "n", (n ?? 0) + 1)"#;
    for script in [r#"kv::incr("c", "n", 1)"#, read_modify_write] {
        let world = hammer(script, settings.clone(), 256);
        assert_eq!(world.get("c", "n").as_deref(), Some("256"), "{script}");
    }
}

#[test]
fn s2_what_is_not_recorded_is_validated_all_the_same() {
    let settings = EngineSettings { gate: 8, ..EngineSettings::default() };
    let spec = RouteSpec { record: Record::Off, ..route("/w", "w", DispatchMode::Sync) };
    let world = hammer_route(r#"kv::set("c", "n", (kv::get("c", "n") ?? 0) + 1)"#, settings, 128, spec);
    assert_eq!(world.get("c", "n").as_deref(), Some("128"));
}

#[test]
fn s2_listings_are_validated_like_keys() {
    let settings = EngineSettings { gate: 8, ..EngineSettings::default() };
    let script = r#"let n = kv::list("c").items.len(); kv::set("c", `k${n}`, n)"#;
    let world = hammer(script, settings, 64);
    assert_eq!(world.list("c").len(), 64, "each saw all that came before it");
}

#[test]
fn s2_after_n_conflicts_one_lock_per_app() {
    // E91: the first conflict takes the lock, and API writes wait for it.
    let settings = EngineSettings { gate: 8, conflicts_before_lock: 1, ..EngineSettings::default() };
    let world = hammer(r#"kv::incr("c", "n", 1)"#, settings, 128);
    assert_eq!(world.get("c", "n").as_deref(), Some("128"));
}

#[test]
fn s2_write_skew_does_not_happen() {
    // Each takes itself off duty only if somebody else is on: at least one stays.
    let script = r#"
        let on = kv::list("duty").items;
        if on.len() > 1 { kv::delete("duty", on[random::int(0, on.len() - 1)].key) }
    "#;
    let mut world = World::with(EngineSettings { gate: 8, ..EngineSettings::default() });
    world.deploy(&[("w", script)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    for n in 0..20 {
        world.put("duty", &format!("d{n}"), "1");
    }
    let mailboxes: Vec<_> = (0..64).map(|_| world.admit("/w", "").unwrap().1).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let node = Arc::clone(&world.node);
            scope.spawn(move || while node.step_scripts() {});
        }
    });
    world.settle();
    assert!(mailboxes.iter().all(|m| m.one().result.is_ok()));
    assert_eq!(world.list("duty").len(), 1);
}

#[test]
fn s3_a_read_waits_for_what_it_read_and_not_for_its_own_record() {
    // E21, E92
    let mut world = World::new();
    world.deploy(&[("r", r#"kv::get("c", "k")"#)], vec![route("/r", "r", DispatchMode::Sync)], vec![]);
    world.put("c", "k", "5");
    let (_, mailbox) = world.admit("/r", "").unwrap();
    let snapshot = world.node.durable();
    assert!(world.node.step_scripts());
    assert!(world.node.applied() > world.node.durable(), "its record is not durable");
    let outcome = mailbox.one();
    assert_eq!((outcome.result.as_deref(), outcome.lsn), (Ok("200 5"), snapshot));
}

#[test]
fn s3_a_write_leaves_only_when_it_is_durable() {
    // E60, E92
    let mut world = World::new();
    world.deploy(&[("w", r#"kv::set("c", "k", 1)"#)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    let (_, mailbox) = world.admit("/w", "").unwrap();
    world.node.step_scripts();
    world.node.step_replies();
    assert!(mailbox.take().is_empty(), "appended is not durable");
    world.sync();
    assert_eq!(mailbox.one().result.as_deref(), Ok("204 "));
}

#[test]
fn e12_a_commit_that_fires_too_much_is_refused_and_writes_nothing() {
    let settings = EngineSettings { fan_out_max: 3, ..EngineSettings::default() };
    let mut world = World::with(settings);
    let script = r#"for n in 0..parse_int(ctx.request.body) { kv::set("c", `k${n}`, n) }"#;
    world.deploy(
        &[("w", script), ("job", "1")],
        vec![route("/w", "w", DispatchMode::Sync)],
        vec![on("t", "c", "job", 1)],
    );
    assert!(world.call("/w", "3").result.is_ok());
    let error = world.call("/w", "4").result.unwrap_err();
    assert!(error.starts_with("fan_out: ") && error.contains("limit is 3"), "{error}");
    assert_eq!(world.get("c", "k3"), None);
}

#[test]
fn e61_what_waits_may_wait_again() {
    let mut world = World::new();
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    world.deploy(&[("w", r#"kv::set("c", "k", 1)"#)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    let (_, _mailbox) = world.admit("/w", "").unwrap();
    let lsn = world.node.applied();
    let (node, into) = (Arc::clone(&world.node), Arc::clone(&seen));
    world.node.when_durable(
        lsn,
        Box::new(move |durable| {
            assert_eq!(durable, Ok(()));
            into.lock().push("outer");
            let inner = Arc::clone(&into);
            node.when_durable(lsn.plus(2), Box::new(move |_| inner.lock().push("inner")));
        }),
    );
    assert!(seen.lock().is_empty());
    world.sync();
    assert_eq!(*seen.lock(), ["outer"]);
    world.settle();
    assert_eq!(*seen.lock(), ["outer", "inner"]);
}
