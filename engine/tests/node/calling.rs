//! S2, S3, S4, T1: outgoing calls of attempts, their journal, and runs that share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use relive_engine::script::SCRIPT_STACK_BYTES;
use relive_engine::seams::CallFailed;
use relive_engine::settings::EngineSettings;
use relive_log::events::{
    AttemptRecord, CallOutcome, DispatchMode, Event, ExecutionEvent, Record, RetryPolicy, RouteSpec,
};

use crate::world::{World, answered, route};

/// The records of attempts, oldest first.
fn records(world: &World) -> Vec<AttemptRecord> {
    let record = |event| match event {
        Event::Execution(ExecutionEvent::Completed(e)) => Some(e.record),
        Event::Execution(ExecutionEvent::AttemptFailed(e)) => e.record,
        _ => None,
    };
    world.events().into_iter().filter_map(record).collect()
}

fn bodies(record: &AttemptRecord) -> Vec<String> {
    let body = |outcome: &CallOutcome| match outcome {
        CallOutcome::Answered(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
        CallOutcome::Failed(message) => message.clone(),
    };
    record.calls.iter().map(|call| body(&call.outcome)).collect()
}

#[test]
fn t1_the_record_has_every_call_in_order_with_its_outcome_in_full() {
    let mut world = World::new();
    let source = r#"
        let a = http::get("http://a.example/1").body;
        let b = "none";
        try { b = http::get("http://a.example/2").body } catch { }
        a + b"#;
    world.deploy(&[("w", source)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    world.web.answer_with(|request| {
        if request.url.ends_with('1') { answered("one ") } else { Err(CallFailed { message: "down".into() }) }
    });
    assert_eq!(world.call("/w", "").result.unwrap(), "200 one none");
    let records = records(&world);
    assert_eq!(bodies(&records[0]), ["one ", "down"]);
    assert_eq!(world.web.take_asked(), ["GET http://a.example/1", "GET http://a.example/2"]);
}

#[test]
fn t1_a_route_that_records_nothing_keeps_no_journal() {
    let mut world = World::new();
    let spec = RouteSpec { record: Record::Off, ..route("/w", "w", DispatchMode::Sync) };
    world.deploy(&[("w", r#"http::get("http://a.example/").body"#)], vec![spec], vec![]);
    world.web.answer_with(|_| answered("x"));
    world.call("/w", "").result.unwrap();
    assert!(records(&world)[0].calls.is_empty());
}

#[test]
fn t5_sensitive_headers_and_secrets_of_calls_stand_nowhere_in_clear() {
    let mut world = World::new();
    let source = r#"
        let key = ctx.request.body;
        let url = "http://a.example/?k=" + key;
        http::request(#{url: url, headers: #{authorization: "Bearer abc" + "-token", "x-other": key}, body: key});
        log::info(key);
        throw key"#;
    world.deploy(&[("w", source)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    let secret = "hunter2-hunter2";
    world
        .submit(relive_engine::command::Command::SetSecret {
            app: "shop".into(),
            name: "pass".into(),
            value: secret.into(),
        })
        .unwrap();
    world.web.answer_with(move |_| answered(secret));
    // The secret comes by the request, not by `secrets::get`: masked all the same.
    world.call("/w", secret).result.unwrap_err();
    let shown = format!("{:?}", world.events());
    assert!(!shown.contains(secret) && !shown.contains("abc-token"), "{shown}");
    let records = records(&world);
    let call = &records[0].calls[0];
    assert_eq!(call.headers[0].1, "‹header:authorization›");
    assert_eq!(bodies(&records[0]), ["‹secret:pass›"]);
}

/// A script that reads a key, calls, and writes what it read: every call lets somebody write that key first.
fn contended(conflicts_before_lock: u32) -> World {
    let settings = EngineSettings { conflicts_before_lock, ..EngineSettings::default() };
    let mut world = World::with(settings);
    let source = r#"
        let n = kv::get("c", "n") ?? 0;
        let body = http::get(URL).body;
        kv::set("c", "out", `${n} ${body}`);
        n"#;
    let same = source.replace("URL", r#""http://a.example/same""#);
    let other = source.replace("URL", "`http://a.example/${n}`");
    let bump = r#"kv::set("c", "n", (kv::get("c", "n") ?? 0) + 1)"#;
    world.deploy(
        &[("same", &same), ("other", &other), ("bump", bump)],
        vec![
            route("/same", "same", DispatchMode::Sync),
            route("/other", "other", DispatchMode::Sync),
            route("/bump", "bump", DispatchMode::Sync),
        ],
        vec![],
    );
    world
}

/// Answers calls after writing the key that the caller read, `times` times.
fn interfere(world: &World, times: u32) {
    let node = Arc::clone(&world.node);
    let left = AtomicU32::new(times);
    world.web.answer_with(move |_| {
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
            let n = left.load(Ordering::Relaxed);
            let command = relive_engine::command::Command::PutKey {
                app: "shop".into(),
                collection: "c".into(),
                key: "n".into(),
                value: format!("{}", 100 - n).into_bytes().into(),
                ttl_ms: None,
                condition: relive_engine::command::Condition::Always,
            };
            node.submit(command, &relive_log::events::Principal::instance(), Box::new(drop));
        }
        answered("b")
    });
}

/// Runs the admitted call while this thread makes things durable: a call waits for the claim.
fn drive(world: &mut World, path: &str) -> String {
    let (_, mailbox) = world.admit(path, "").unwrap();
    let node = Arc::clone(&world.node);
    std::thread::scope(|scope| {
        let runs = std::thread::Builder::new().stack_size(SCRIPT_STACK_BYTES);
        let runs = runs.spawn_scoped(scope, move || node.step_scripts()).unwrap();
        while !runs.is_finished() {
            world.sync();
            std::thread::yield_now();
        }
    });
    world.settle();
    mailbox.one().result.unwrap()
}

#[test]
fn s2_a_run_again_reuses_the_answers_as_long_as_it_asks_the_same() {
    // E150
    let mut world = contended(10);
    interfere(&world, 1);
    assert_eq!(drive(&mut world, "/same"), "200 100");
    assert_eq!(world.get("c", "out").as_deref(), Some("\"100 b\""), "the second run saw the write");
    assert_eq!(world.web.take_asked(), ["GET http://a.example/same"], "one call, two runs");
    let records = records(&world);
    assert_eq!((records[0].conflicts, bodies(&records[0])), (1, vec!["b".to_owned()]));
}

#[test]
fn s2_a_run_again_that_asks_something_else_asks_the_world() {
    let mut world = contended(10);
    interfere(&world, 1);
    assert_eq!(drive(&mut world, "/other"), "200 100");
    assert_eq!(world.web.take_asked(), ["GET http://a.example/0", "GET http://a.example/100"]);
    let records = records(&world);
    assert_eq!(records[0].calls.len(), 1, "what the first run asked is void");
    assert_eq!(records[0].calls[0].url, "http://a.example/100");
}

#[test]
fn s2_a_locked_run_that_lacks_an_answer_gives_the_lock_up_calls_and_runs_again() {
    // E153: the writes that interfere come through the API, and wait for the app's lock while it is held. If the call
    // were made under the lock they would wait for ever, and the second answer with them.
    let mut world = contended(1);
    interfere(&world, 2);
    assert_eq!(drive(&mut world, "/other"), "200 100");
    assert_eq!(
        world.web.take_asked(),
        ["GET http://a.example/0", "GET http://a.example/99", "GET http://a.example/100"]
    );
    assert_eq!(world.get("c", "out").as_deref(), Some("\"100 b\""));
}

#[test]
fn s3_the_first_call_waits_until_the_claim_is_durable() {
    // E152
    let mut world = World::new();
    world.deploy(
        &[("w", r#"http::get("http://a.example/").body"#)],
        vec![route("/w", "w", DispatchMode::Sync)],
        vec![],
    );
    let (node, durable) = (Arc::clone(&world.node), Arc::new(parking_lot::Mutex::new(None)));
    let seen = Arc::clone(&durable);
    world.web.answer_with(move |_| {
        *seen.lock() = Some((node.durable(), node.applied()));
        answered("x")
    });
    assert_eq!(drive(&mut world, "/w"), "200 x");
    let (durable, applied) = durable.lock().unwrap();
    assert_eq!(durable, applied, "the claim was the last event, and durable");
}

#[test]
fn s4_every_attempt_asks_again() {
    let mut world = World::new();
    let retry = RetryPolicy {
        max_attempts: 2,
        backoff: relive_log::events::Backoff::None,
        base_ms: 1,
        max_ms: 1,
        jitter_pct: 0,
    };
    let spec = RouteSpec { retry: Some(retry), ..route("/w", "w", DispatchMode::Async) };
    world.deploy(&[("w", r#"http::get("http://a.example/"); throw "again""#)], vec![spec], vec![]);
    world.web.answer_with(|_| answered("x"));
    world.call_async("/w", &[], "");
    world.settle();
    world.wait_ms(10);
    assert_eq!(world.web.take_asked().len(), 2, "effects outside are at least once");
    assert_eq!(records(&world).iter().map(|record| record.calls.len()).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn d2_an_attempt_that_waits_for_an_answer_gives_its_place_back() {
    // With one place: the first call is answered only when the second attempt calls.
    let mut world = World::with(EngineSettings { gate: 1, ..EngineSettings::default() });
    let call = |path: &str| format!(r#"http::get("http://a.example/{path}").body"#);
    world.deploy(
        &[("wait", &call("wait")), ("go", &call("go"))],
        vec![route("/wait", "wait", DispatchMode::Sync), route("/go", "go", DispatchMode::Sync)],
        vec![],
    );
    world.web.answer_with(|_| answered("went"));
    let node = Arc::clone(&world.node);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let runs = std::thread::Builder::new().stack_size(SCRIPT_STACK_BYTES);
            runs.spawn_scoped(scope, || node.run_scripts()).unwrap();
        }
        let (_, first) = world.admit("/wait", "").unwrap();
        while world.web.asked.lock().is_empty() {
            world.sync();
            std::thread::yield_now();
        }
        let (_, second) = world.admit("/go", "").unwrap();
        let mut outcomes = Vec::new();
        while outcomes.len() < 2 {
            world.sync();
            outcomes.extend(first.take().into_iter().chain(second.take()));
            std::thread::yield_now();
        }
        let mut results: Vec<_> = outcomes.into_iter().map(|outcome| outcome.result.unwrap()).collect();
        results.sort();
        assert_eq!(results, ["200 waited", "200 went"]);
        node.shut_down();
    });
}

#[test]
fn e154_a_shutdown_ends_the_wait_for_an_answer() {
    let mut world = World::new();
    world.deploy(
        &[("wait", r#"try { http::get("http://a.example/wait") } catch { } "caught""#)],
        vec![route("/wait", "wait", DispatchMode::Sync)],
        vec![],
    );
    let node = Arc::clone(&world.node);
    std::thread::scope(|scope| {
        let runs = std::thread::Builder::new().stack_size(SCRIPT_STACK_BYTES);
        runs.spawn_scoped(scope, || node.run_scripts()).unwrap();
        let (_, _mailbox) = world.admit("/wait", "").unwrap();
        while world.web.asked.lock().is_empty() {
            world.sync();
            std::thread::yield_now();
        }
        // Nobody ever answers; this returns all the same, and the thread ends with it.
        node.shut_down();
    });
    world.sync();
    let kind = |event| match event {
        Event::Execution(ExecutionEvent::AttemptFailed(e)) => Some(e.error.kind),
        _ => None,
    };
    let kinds: Vec<_> = world.events().into_iter().filter_map(kind).collect();
    assert_eq!(kinds, [relive_log::events::ErrorKind::ShuttingDown]);
}
