//! K1, K2, K4: times to live, with the clock in the test's hand.

use relive_engine::command::{Command, Condition};
use relive_log::events::{DispatchMode, Event, KvEvent, KvOps, Ordering, Pattern, TriggerSpec};
use relive_log::{Lsn, UnixMicros};
use relive_projections::AsOf;

use crate::world::{World, route};

/// A world with an app in it.
fn shop() -> World {
    let mut world = World::new();
    world.deploy(&[], vec![], vec![]);
    world
}

fn on_expire(name: &str, script: &str) -> TriggerSpec {
    let pattern = Pattern::Kv { collection: "c".into(), ops: KvOps::EXPIRE, key_prefix: String::new() };
    TriggerSpec { name: name.into(), pattern, script: script.into(), ordering: Ordering::None, retry: None }
}

fn kinds(world: &World, wanted: &[&str]) -> Vec<&'static str> {
    let all = world.kinds_since(Lsn::ZERO);
    all.into_iter().filter(|kind| wanted.contains(kind)).collect()
}

fn expired(world: &World) -> Vec<(String, Lsn)> {
    let ended = |event| {
        let Event::Kv(KvEvent::Expired(expired)) = event else { return None };
        Some((expired.key, expired.version))
    };
    world.events().into_iter().filter_map(ended).collect()
}

const SEEN: &str = r#"kv::set("seen", ctx.event.key, `${ctx.event.op} ${ctx.event.old_value} ${ctx.event.value} ${ctx.depth}`)"#;

#[test]
fn k2_a_time_to_live_ends_with_an_event_that_names_the_version_and_fires_expire_triggers() {
    // E10, E110, E112
    let mut world = shop();
    let mut delete = on_expire("deletes", "job");
    delete.pattern = Pattern::Kv { collection: "c".into(), ops: KvOps::DEFAULT, key_prefix: "none".into() };
    world.deploy(&[("job", SEEN)], vec![], vec![on_expire("t", "job"), delete]);
    let version = world.put_for("c", "k", "7", 1000);
    world.put_for("c", "later", "8", 5000);
    world.settle();
    assert_eq!(world.get("c", "k").as_deref(), Some("7"));
    assert!(world.node.next_time().is_some_and(|next| next.0 > 0), "the timers know when");
    world.wait_ms(1001);
    assert_eq!(world.get("c", "k"), None);
    assert_eq!(expired(&world), [("k".to_owned(), version)]);
    assert_eq!(world.list("seen"), [("k".to_owned(), "\"expire 7  0\"".to_owned())]);
    world.wait_ms(5000);
    assert_eq!(expired(&world).len(), 2);
}

#[test]
fn k2_a_read_at_the_end_sees_nothing_whether_or_not_the_event_is_written() {
    let mut world = shop();
    world.put("c", "other", "1");
    world.put_for("c", "k", "7", 1000);
    world.pass_ms(1000);
    assert_eq!((world.get("c", "k"), expired(&world).len()), (None, 0));
    assert_eq!(world.list("c"), [("other".to_owned(), "1".to_owned())]);
    let counts = world.views.kv().collections(world.app().id, world.node.now()).unwrap();
    assert_eq!(counts, [("c".to_owned(), 1)]);
    world.settle();
    assert_eq!((world.get("c", "k"), expired(&world).len()), (None, 1));
}

#[test]
fn k2_the_past_stays_exact() {
    // K1, K3: as of each LSN, with its batch's commit time, and as of a time.
    let mut world = shop();
    let put = world.put_for("c", "k", "7", 1000);
    world.pass_ms(2000);
    let other = world.put("c", "other", "1");
    let reader = world.reader.clone();
    let at = |lsn: Lsn| AsOf { lsn, time: reader.frame_of(lsn).unwrap().commit_time };
    assert_eq!(world.list_at("c", at(put)).len(), 1, "then it was there");
    let keys = |world: &World, at| world.list_at("c", at).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(&world, at(other)), ["other"], "then it was over, and nothing said so yet");
    world.settle();
    assert_eq!(keys(&world, at(put)), ["k"], "and the event that came later changes nothing about that");
    assert_eq!(keys(&world, at(other)), ["other"]);
}

#[test]
fn k2_set_clears_incr_keeps_and_a_rewrite_voids_the_end() {
    let mut world = shop();
    let scripts = [
        ("ttl", r#"kv::set("c", ctx.request.body, 1, #{ttl_ms: 1000})"#),
        ("set", r#"kv::set("c", ctx.request.body, 2)"#),
        ("incr", r#"kv::incr("c", ctx.request.body, 41)"#),
        (
            "both",
            r#"kv::set("c", "own", 1, #{ttl_ms: 1000}); kv::incr("c", "own", 1); kv::set("c", "own2", 1, #{ttl_ms: 5}); kv::set("c", "own2", 2)"#,
        ),
    ];
    let routes = scripts.iter().map(|(n, _)| route(&format!("/{n}"), n, DispatchMode::Sync)).collect();
    world.deploy(&scripts, routes, vec![]);
    for key in ["kept", "cleared", "plain"] {
        world.call("/ttl", key).result.unwrap();
    }
    world.call("/set", "cleared").result.unwrap();
    world.call("/incr", "kept").result.unwrap();
    world.call("/both", "").result.unwrap();
    let all: Vec<String> = world.list("c").into_iter().map(|(key, _)| key).collect();
    assert_eq!(all, ["cleared", "kept", "own", "own2", "plain"]);
    assert_eq!(world.get("c", "kept").as_deref(), Some("42"));
    world.wait_ms(1001);
    let left: Vec<String> = world.list("c").into_iter().map(|(key, _)| key).collect();
    assert_eq!(left, ["cleared", "own2"]);
    let ended: Vec<String> = expired(&world).into_iter().map(|(key, _)| key).collect();
    assert_eq!(ended, ["kept", "plain", "own"], "in the order of their ends");
}

#[test]
fn k2_a_time_to_live_that_makes_no_sense_is_refused() {
    let mut world = shop();
    for (n, options) in
        ["#{ttl_ms: 0}", "#{ttl_ms: -5}", "#{ttl_ms: 1.5}", "#{ttl_ms: 9999999999999999}", "#{ttl: 5}"]
            .iter()
            .enumerate()
    {
        let source = format!(r#"kv::set("c", "k", 1, {options})"#);
        let path = format!("/{n}");
        world.deploy(&[("w", &source)], vec![route(&path, "w", DispatchMode::Sync)], vec![]);
        let error = world.call(&path, "").result.unwrap_err();
        assert!(error.contains("runtime") && error.contains("ttl"), "{error}");
    }
    let command = |ttl_ms| Command::PutKey {
        app: "shop".into(),
        collection: "c".into(),
        key: "k".into(),
        value: b"1".as_slice().into(),
        ttl_ms: Some(ttl_ms),
        condition: Condition::Always,
    };
    for ttl in [0, u64::MAX] {
        let error = world.submit(command(ttl)).unwrap_err().to_string();
        assert!(error.contains("ttl_ms"), "{error}");
    }
}

#[test]
fn k2_a_commit_that_took_a_key_for_expired_carries_its_end_first() {
    // E111: read, listed, written over blindly, through the API; each once, before the writes, and the timers add
    // nothing.
    let cases = [
        ("read", r#"kv::set("o", "x", kv::get("c", "k") ?? "none")"#, true),
        ("listed", r#"kv::set("o", "x", kv::list("c").items.len())"#, true),
        ("blind", r#"kv::set("c", "k", 2)"#, false),
        ("both", r#"if !kv::has("c", "k") { kv::list("c"); kv::set("c", "k", 2) }"#, false),
        ("only_read", r#"kv::get("c", "k") ?? "none""#, true),
    ];
    for (name, source, gone) in cases {
        let mut world = shop();
        world.deploy(
            &[("w", source), ("job", SEEN)],
            vec![route("/w", "w", DispatchMode::Sync)],
            vec![on_expire("t", "job")],
        );
        let version = world.put_for("c", "k", "1", 1000);
        world.pass_ms(1000);
        let (_, mailbox) = world.admit("/w", "").unwrap();
        assert!(world.node.step_scripts());
        world.sync();
        mailbox.one().result.unwrap();
        assert_eq!(expired(&world), [("k".to_owned(), version)], "{name}");
        let order = kinds(&world, &["kv_put", "kv_expired", "completed"]);
        assert_eq!(order[1], "kv_expired", "{name}: {order:?}");
        world.settle();
        assert_eq!(expired(&world).len(), 1, "{name}: the timers end nothing twice");
        assert_eq!(world.get("c", "k").is_none(), gone, "{name}");
        assert_eq!(world.list("seen").len(), 1, "{name}: the trigger fired once, at depth 0");
        let is_insert = |event| {
            let Event::Kv(KvEvent::Put(put)) = event else { return None };
            (put.collection == "c").then_some(put.previous.is_none())
        };
        let ops: Vec<bool> = world.events().into_iter().filter_map(is_insert).collect();
        assert!(ops.into_iter().all(|insert| insert), "{name}: writing over an expired key is an insert");
    }
}

#[test]
fn k2_conditions_of_the_api_see_an_expired_key_as_absent() {
    let mut world = shop();
    let version = world.put_for("c", "k", "1", 1000);
    world.pass_ms(1000);
    let put = |condition| Command::PutKey {
        app: "shop".into(),
        collection: "c".into(),
        key: "k".into(),
        value: b"2".as_slice().into(),
        ttl_ms: None,
        condition,
    };
    for condition in [Condition::Version(version), Condition::Present] {
        world.submit(put(condition)).unwrap_err();
    }
    let delete = Command::DeleteKey {
        app: "shop".into(),
        collection: "c".into(),
        key: "k".into(),
        condition: Condition::Always,
    };
    assert!(world.submit(delete).unwrap_err().to_string().contains("there is no key"));
    assert_eq!(expired(&world).len(), 0, "E1");
    world.submit(put(Condition::Absent)).unwrap();
    assert_eq!(kinds(&world, &["kv_put", "kv_expired"]), ["kv_put", "kv_expired", "kv_put"]);
    world.wait_ms(10_000);
    assert_eq!(world.get("c", "k").as_deref(), Some("2"));
}

#[test]
fn k2_an_end_between_snapshot_and_commit_is_a_conflict() {
    let mut world = shop();
    let source = r#"let n = kv::get("c", "k"); kv::set("o", "x", n ?? "none")"#;
    world.deploy(&[("w", source)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    world.put_for("c", "k", "1", 1000);
    let (execution, mailbox) = world.admit("/w", "").unwrap();
    // Claimed before the end; the end is written before it runs to its commit.
    world.pass_ms(1000);
    world.node.tick();
    assert_eq!(world.views.applied(), world.node.applied());
    assert!(world.node.step_scripts());
    world.settle();
    mailbox.one().result.unwrap();
    assert_eq!(world.get("o", "x").as_deref(), Some("\"none\""), "it ran again and saw the end");
    assert_eq!(world.row(execution).attempts.len(), 1, "S2: no attempt");
}

#[test]
fn k4_a_clock_that_steps_back_brings_nothing_back() {
    let mut world = shop();
    world.put_for("c", "k", "1", 1000);
    world.pass_ms(1000);
    assert_eq!(world.get("c", "k"), None);
    world.step_back_ms(600_000);
    assert_eq!(world.get("c", "k"), None, "what was over stays over");
    world.put("c", "other", "1");
    let mut world = world.crash();
    assert_eq!(world.get("c", "k"), None, "also after a restart: commit times are remembered");
    world.settle();
    assert_eq!(expired(&world).len(), 1);
}

#[test]
fn k2_ends_survive_a_crash_and_are_written_by_the_next_process() {
    let mut world = shop();
    for n in 0..700 {
        world.put_for("c", &format!("k{n:03}"), "1", 1000 + n % 7);
    }
    let mut world = world.crash();
    world.wait_ms(1002);
    let first = expired(&world).len();
    assert!(first > 0 && first < 700, "{first}");
    let mut world = world.crash();
    world.wait_ms(1000);
    assert_eq!(expired(&world).len(), 700, "each once");
    let mut names: Vec<_> = expired(&world).into_iter().map(|(key, _)| key).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 700);
    assert_eq!(world.node.next_time(), None, "nothing is due: no timer runs");
}

#[test]
fn e112_more_ends_than_the_window_holds_come_in_order() {
    let mut world = shop();
    // More than two windows in one collection, written in an order that is not that of their ends.
    let source = r#"
        let from = parse_int(ctx.request.body);
        for n in from..from + 2000 { kv::set("c", `k${n}`, n, #{ttl_ms: 1000 + (n * 7919) % 10000}) }
    "#;
    world.deploy(&[("w", source)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    for from in (0..10_000).step_by(2000) {
        world.call("/w", &from.to_string()).result.unwrap();
    }
    world.settle();
    world.wait_ms(6000);
    let some = expired(&world).len();
    assert!((4000..6500).contains(&some), "{some}");
    world.wait_ms(6000);
    assert_eq!(expired(&world).len(), 10_000);
    assert!(world.list_at("c", AsOf { lsn: Lsn::MAX, time: UnixMicros(0) }).is_empty());
}
