//! T1, T5: what an attempt leaves in the log, and what never gets there.

use relive_engine::command::Command;
use relive_engine::script::ContextInput;
use relive_log::PrincipalId;
use relive_log::events::{DispatchMode, Event, ExecutionEvent, Principal, ReadRecord, Record, Scopes};

use crate::world::{World, route};

fn log_bytes(world: &World) -> Vec<u8> {
    world.disk.files().into_iter().flat_map(|(_, bytes)| bytes).collect()
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[test]
fn t1_reads_go_by_key_and_version_absence_included() {
    let mut world = World::new();
    let script =
        r#"kv::get("c", "there"); kv::get("c", "absent"); kv::list("c"); random::int(1, 6); log::info("hi")"#;
    world.deploy(&[("r", script)], vec![route("/r", "r", DispatchMode::Sync)], vec![]);
    let version = world.put("c", "there", "1");
    world.call("/r", "");
    let events = world.events();
    let completed = events
        .iter()
        .find_map(|event| match event {
            Event::Execution(ExecutionEvent::Completed(completed)) => Some(completed),
            _ => None,
        })
        .unwrap();
    let [
        ReadRecord::Key { version: seen, present, .. },
        ReadRecord::Key { present: absent, .. },
        ReadRecord::Range { items, .. },
    ] = completed.record.reads.as_slice()
    else {
        panic!("{:?}", completed.record.reads);
    };
    assert_eq!((*seen, *present, *absent), (version, true, false));
    assert_eq!(items, &[("there".to_owned(), version)]);
    assert_eq!(completed.record.logs[0].message, "hi");
    let seed = events.iter().find_map(|event| match event {
        Event::Execution(ExecutionEvent::Claimed(claimed)) => Some(claimed.seed),
        _ => None,
    });
    assert_ne!(seed, Some([0; 16]), "a seed from the seams");
}

#[test]
fn t1_record_off_keeps_nothing_to_replay() {
    let mut world = World::new();
    let mut spec = route("/r", "r", DispatchMode::Sync);
    spec.record = Record::Off;
    world.deploy(&[("r", r#"kv::get("c", "k"); ctx.request.body"#)], vec![spec], vec![]);
    let outcome = world.call("/r", "private-input-marker");
    assert_eq!(outcome.result.as_deref(), Ok("200 private-input-marker"), "the script sees it");
    assert!(!contains(&log_bytes(&world), "private-input-marker"));
    assert!(!world.row(outcome.execution).recorded);
}

#[test]
fn t5_sensitive_headers_reach_the_script_and_not_the_log() {
    // E70
    let mut world = World::new();
    let script = r#"ctx.request.headers["x-api-key"]"#;
    let routes = vec![route("/s", "s", DispatchMode::Sync), route("/a", "a", DispatchMode::Async)];
    let keep = r#"kv::set("c", "len", ctx.request.headers["x-api-key"].len())"#;
    world.deploy(&[("s", script), ("a", keep)], routes, vec![]);
    let headers = [("x-api-key", "header-marker-0123456789")];
    let delivered = relive_engine::node::Delivery::Delivered;
    let (execution, mailbox) = world.admit_with("/s", &headers, "", delivered).unwrap();
    world.settle();
    let answer = mailbox.one().result.unwrap();
    assert!(answer.contains("header-marker"), "given to the script: {answer}");
    let Some(ContextInput::Request(shown)) = world.node.shown_input(&world.row(execution)).unwrap() else {
        panic!("a request");
    };
    assert_eq!(shown.headers[0].1, "‹header:x-api-key›");
    // The script itself returned it here, so look at an async call, which keeps it sealed and returns nothing of it.
    let mut world2 = World::new();
    world2.deploy(&[("a", keep)], vec![route("/a", "a", DispatchMode::Async)], vec![]);
    world2.call_async("/a", &headers, "");
    world2.settle();
    assert_eq!(world2.get("c", "len").as_deref(), Some("24"), "each attempt gets it");
    assert!(!contains(&log_bytes(&world2), "header-marker"));
}

#[test]
fn secret_values_are_masked_before_the_append() {
    // E71
    let mut world = World::new();
    let script = r#"
        let s = secrets::get("token");
        log::info("using " + s);
        if ctx.request.body == "fail" { throw "cannot use " + s }
        s.len()
    "#;
    world.deploy(&[("s", script)], vec![route("/s", "s", DispatchMode::Sync)], vec![]);
    let value = "secret-marker-0123456789";
    let set = Command::SetSecret { app: "shop".into(), name: "token".into(), value: value.into() };
    world.submit(set).unwrap();
    let long = world.call("/s", "").result;
    assert_eq!(long.as_deref(), Ok("200 24"));
    let error = world.call("/s", "fail").result.unwrap_err();
    assert!(error.contains("‹secret:token›"), "{error}");
    world.call("/s", &format!("a request with {value} in it"));
    let bytes = log_bytes(&world);
    assert!(!contains(&bytes, value), "never in clear on disk");
    assert!(contains(&bytes, "‹secret:token›"));
    // After its deletion no script gets it.
    world.submit(Command::DeleteSecret { app: "shop".into(), name: "token".into() }).unwrap();
    let error = world.call("/s", "").result.unwrap_err();
    assert!(error.contains("token"), "{error}");
}

#[test]
fn secrets_survive_a_restart_and_need_their_key() {
    let mut world = World::new();
    world.deploy(
        &[("s", r#"secrets::get("token").len()"#)],
        vec![route("/s", "s", DispatchMode::Sync)],
        vec![],
    );
    let set = Command::SetSecret { app: "shop".into(), name: "token".into(), value: "abcdef".into() };
    world.submit(set).unwrap();
    let mut world = world.crash();
    assert_eq!(world.call("/s", "").result.as_deref(), Ok("200 6"));
}

#[test]
fn what_another_key_sealed_is_key_missing() {
    let mut world = World::new();
    let scripts = [("s", r#"secrets::get("token").len()"#), ("a", "1")];
    let routes = vec![route("/s", "s", DispatchMode::Sync), route("/a", "a", DispatchMode::Async)];
    world.deploy(&scripts, routes, vec![]);
    let set =
        |value: &str| Command::SetSecret { app: "shop".into(), name: "token".into(), value: value.into() };
    world.submit(set("abcdef")).unwrap();
    let execution = world.call_async("/a", &[("x-api-key", "sealed")], "");
    let mut world = world.crash_and_lose_the_key();
    let error = world.call("/s", "").result.unwrap_err();
    assert!(error.starts_with("key_missing"), "{error}");
    world.wait_ms(10_000);
    let letter = world.letters().pop().unwrap();
    assert_eq!((letter.execution, letter.error.kind.name()), (execution, "key_missing"), "dead at once");
    world.submit(set("abcdefgh")).unwrap();
    assert_eq!(world.call("/s", "").result.as_deref(), Ok("200 8"), "until it is set again");
}

#[test]
fn d9_a_principal_without_the_scope_is_refused_and_the_script_may_catch_it() {
    let mut world = World::new();
    let catch = r#"let said = ""; try { kv::set("c", "k", 1) } catch (e) { said = `${e}` } said"#;
    let scripts = [("w", r#"kv::set("c", "k", 1)"#), ("t", catch)];
    let routes = vec![route("/w", "w", DispatchMode::Sync), route("/t", "t", DispatchMode::Sync)];
    world.deploy(&scripts, routes, vec![]);
    let reader = Principal {
        id: PrincipalId::from_bytes([9; 16]),
        name: "reader".into(),
        scopes: Scopes::SCRIPT_READ,
    };
    let refused = world.call_as("/w", reader.clone()).result.unwrap_err();
    assert!(refused.starts_with("permission: ") && refused.contains("script:write"), "{refused}");
    let caught = world.call_as("/t", reader).result.unwrap();
    assert!(caught.starts_with("200 ") && caught.contains("script:write"), "{caught}");
    assert_eq!(world.get("c", "k"), None);
}
