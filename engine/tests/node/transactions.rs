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

/// The first conflict takes a lock on what was touched; the same, and the next one on the app; at once on the app.
fn forced_locks() -> [EngineSettings; 3] {
    [(1, u32::MAX), (1, 2), (1, 1)].map(|(keys, app)| EngineSettings {
        gate: 8,
        conflicts_before_lock: keys,
        conflicts_before_app_lock: app,
        ..EngineSettings::default()
    })
}

#[test]
fn s2_under_forced_locks_nothing_is_lost() {
    // E91, E113, E114
    for settings in forced_locks() {
        let world = hammer(r#"kv::incr("c", "n", 1)"#, settings.clone(), 256);
        assert_eq!(world.get("c", "n").as_deref(), Some("256"));
        let phantoms = r#"let n = kv::list("c").items.len(); kv::set("c", `k${n}`, n)"#;
        assert_eq!(hammer(phantoms, settings.clone(), 64).list("c").len(), 64, "each saw all before it");
        // Two keys in either order, and a third that only some touch: locks that overlap in circles.
        let circles = r#"
            let n = random::int(0, 2);
            let keys = [["a", "b"], ["b", "c"], ["c", "a"]][n];
            for key in keys { kv::set("c", key, (kv::get("c", key) ?? 0) + 1) }
        "#;
        let world = hammer(circles, settings, 128);
        let sum: u64 = world.list("c").iter().map(|(_, n)| n.parse::<u64>().unwrap()).sum();
        assert_eq!(sum, 256, "{:?}", world.list("c"));
    }
}

#[test]
fn e91_api_writes_and_expiries_wait_for_a_lock_and_then_go_on() {
    for settings in forced_locks() {
        let mut world = World::with(settings);
        world.deploy(
            &[("w", r#"kv::incr("c", "n", 1); kv::set("o", "n", kv::get("c", "n"))"#)],
            vec![route("/w", "w", DispatchMode::Sync)],
            vec![],
        );
        world.put_for("o", "soon", "1", 1);
        let mailboxes: Vec<_> = (0..64).map(|_| world.admit("/w", "").unwrap().1).collect();
        let answers = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let node = Arc::clone(&world.node);
                scope.spawn(move || while node.step_scripts() {});
            }
            for n in 0..64_u32 {
                let answers = Arc::clone(&answers);
                let command = Command::PutKey {
                    app: "shop".into(),
                    collection: "o".into(),
                    key: format!("api{n}"),
                    value: b"1".as_slice().into(),
                    ttl_ms: None,
                    condition: relive_engine::command::Condition::Always,
                };
                let done = Box::new(move |result: Result<_, _>| {
                    assert!(result.is_ok());
                    answers.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                });
                world.node.submit(command, &relive_log::events::Principal::instance(), done);
                world.node.tick();
            }
        });
        world.wait_ms(2);
        assert!(mailboxes.iter().all(|mailbox| mailbox.one().result.is_ok()));
        assert_eq!(answers.load(std::sync::atomic::Ordering::SeqCst), 64);
        assert_eq!((world.get("c", "n").as_deref(), world.get("o", "soon")), (Some("64"), None));
    }
}

#[test]
fn s2_of_concurrent_conditional_writes_exactly_one_wins() {
    let mut world = World::new();
    world.deploy(&[], vec![], vec![]);
    let version = world.put("c", "k", "0");
    for (condition, key) in [
        (relive_engine::command::Condition::Version(version), "k"),
        (relive_engine::command::Condition::Absent, "fresh"),
    ] {
        let won = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for n in 0..8_u32 {
                let (node, won) = (Arc::clone(&world.node), Arc::clone(&won));
                scope.spawn(move || {
                    for m in 0..8_u32 {
                        let won = Arc::clone(&won);
                        let command = Command::PutKey {
                            app: "shop".into(),
                            collection: "c".into(),
                            key: key.into(),
                            value: format!("{}", n * 8 + m).into_bytes().into(),
                            ttl_ms: None,
                            condition,
                        };
                        let done = Box::new(move |result: Result<_, _>| {
                            won.fetch_add(usize::from(result.is_ok()), std::sync::atomic::Ordering::SeqCst);
                        });
                        node.submit(command, &relive_log::events::Principal::instance(), done);
                    }
                });
            }
        });
        world.sync();
        assert_eq!(won.load(std::sync::atomic::Ordering::SeqCst), 1, "{key}");
    }
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
