//! D1 to D8: outbox, claims, crashes, retries, depth.

use relive_engine::settings::EngineSettings;
use relive_log::events::{
    Backoff, DispatchMode, Event, ExecutionEvent, KvOps, Ordering, Pattern, RetryPolicy, TriggerSpec,
};
use relive_projections::Status;

use crate::world::{World, route};

pub(crate) fn on(name: &str, collection: &str, script: &str, max_attempts: u32) -> TriggerSpec {
    let retry = RetryPolicy {
        max_attempts,
        backoff: Backoff::Exponential,
        base_ms: 1000,
        max_ms: 60_000,
        jitter_pct: 0,
    };
    TriggerSpec {
        name: name.into(),
        pattern: Pattern::Kv {
            collection: collection.into(),
            ops: KvOps::DEFAULT,
            key_prefix: String::new(),
        },
        script: script.into(),
        ordering: Ordering::None,
        retry: Some(retry),
    }
}

#[test]
fn d1_a_sync_call_is_four_events_in_two_frames() {
    let mut world = World::new();
    world.deploy(
        &[("w", r#"kv::set("c", "k", 1); "ok""#)],
        vec![route("/w", "w", DispatchMode::Sync)],
        vec![],
    );
    let before = world.node.applied();
    let outcome = world.call("/w", "");
    assert_eq!(outcome.result.as_deref(), Ok("200 ok"));
    assert_eq!(outcome.lsn, world.node.applied(), "the last LSN of its commit");
    assert_eq!(world.kinds_since(before), ["enqueued", "claimed", "kv_put", "completed"]);
    let first = world.reader.frame_of(before.next()).unwrap();
    assert_eq!(first.last_lsn, before.plus(2), "the claim rides with the enqueue");
    assert_eq!(world.get("c", "k").as_deref(), Some("1"));
}

#[test]
fn d4_work_with_a_reply_to_never_retries_and_never_dies() {
    // E30
    let mut world = World::new();
    world.deploy(&[("w", "throw \"no\"")], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    let outcome = world.call("/w", "");
    assert_eq!(outcome.result, Err("throw: no".into()));
    world.wait_ms(1_000_000);
    assert_eq!(world.statuses(), ["w failed"]);
    assert!(world.letters().is_empty());
}

#[test]
fn d5_a_caller_that_vanished_leaves_a_completed_execution_and_a_record() {
    // E82
    for gone_while_running in [true, false] {
        let mut world = World::new();
        world.deploy(&[("w", r#"kv::set("c", "k", 1)"#)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
        let delivery = if gone_while_running {
            relive_engine::node::Delivery::Delivered
        } else {
            relive_engine::node::Delivery::Gone
        };
        let (execution, mailbox) = world.admit_with("/w", &[], "", delivery).unwrap();
        if gone_while_running {
            world.node.caller_gone(execution);
        }
        world.settle();
        assert_eq!(mailbox.take().len(), 1);
        let row = world.row(execution);
        assert_eq!(row.status, Status::Completed);
        assert_eq!(row.delivery.map(|d| d.name()), Some("abandoned"));
        assert_eq!(row.abandoned.map(|(reason, _)| reason.name()), Some("client_gone"));
        assert_eq!(world.get("c", "k").as_deref(), Some("1"), "writes are kept");
    }
}

#[test]
fn d6_d7_an_async_call_is_retried_on_schedule_and_dies() {
    // E32, and E90: each claim has one end.
    let mut world = World::new();
    let mut spec = route("/a", "a", DispatchMode::Async);
    spec.retry = on("", "", "", 3).retry;
    world.deploy(&[("a", "throw `attempt ${ctx.attempt}`")], vec![spec], vec![]);
    let execution = world.call_async("/a", &[], "");
    assert!(world.row(execution).status.is_open(), "accepted before it runs");
    world.settle();
    let due = |world: &World| {
        world.row(execution).due_at.0 - world.row(execution).attempts.last().unwrap().claim_time.0
    };
    assert_eq!(world.row(execution).status, Status::Retrying);
    assert_eq!(due(&world) / 1000, 1000, "base_ms after the first attempt");
    world.wait_ms(900);
    assert_eq!(world.row(execution).attempts.len(), 1, "not before it is due");
    world.wait_ms(200);
    assert_eq!(world.row(execution).attempts.len(), 2);
    assert_eq!(due(&world) / 1000, 2000, "twice as long after the second");
    world.wait_ms(2100);
    let row = world.row(execution);
    assert_eq!((row.status, row.attempts.len()), (Status::DeadLettered, 3));
    let letter = world.letters().pop().unwrap();
    assert_eq!((letter.attempts, letter.error.message.as_str(), letter.error.line), (3, "attempt 3", 1));
}

#[test]
fn d7_jitter_is_in_the_event_and_stays_after_a_crash() {
    // E33
    let mut world = World::new();
    let mut trigger = on("t", "c", "bad", 3);
    trigger.retry.as_mut().unwrap().jitter_pct = 50;
    world.deploy(&[("bad", "throw 1")], vec![], vec![trigger]);
    world.put("c", "k", "1");
    world.settle();
    let row = world.rows().pop().unwrap();
    let mut world = world.crash();
    assert_eq!(world.row(row.execution).due_at, row.due_at);
    world.wait_ms(1600);
    assert_eq!(world.row(row.execution).attempts.len(), 2);
}

#[test]
fn d8_depth_nine_is_dropped_and_not_dead_lettered() {
    // E11
    let mut world = World::new();
    let again = r#"kv::set("c", `${ctx.event.key}x`, ctx.depth)"#;
    world.deploy(&[("again", again)], vec![], vec![on("t", "c", "again", 3)]);
    world.put("c", "k", "0");
    world.settle();
    let rows = world.rows();
    let depths: Vec<(u16, &str)> = rows.iter().map(|row| (row.depth, row.status.name())).collect();
    let mut expect: Vec<(u16, &str)> = (0..=8).map(|depth| (depth, "completed")).collect();
    expect.push((9, "dropped"));
    assert_eq!(depths, expect);
    assert!(rows.iter().all(|row| row.root == rows[0].execution), "one causal tree");
    assert!(world.letters().is_empty());
}

#[test]
fn d3_reply_to_work_that_a_crash_cut_off_is_abandoned() {
    // E96, E95
    let mut world = World::new();
    world.deploy(&[("w", "1")], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    let (execution, mailbox) = world.admit("/w", "").unwrap();
    world.sync();
    let world = world.crash();
    assert!(mailbox.take().is_empty());
    let row = world.row(execution);
    assert_eq!(row.status, Status::Abandoned);
    assert_eq!(row.abandoned.map(|(reason, _)| reason.name()), Some("crash"));
}

/// Claims the execution's next attempt, makes the claim durable, and lets the process die before it runs.
fn crash_while_running(mut world: World) -> World {
    world.node.tick();
    world.sync();
    world.crash()
}

#[test]
fn d3_a_crash_does_not_count_and_the_next_attempt_runs_alone() {
    // E97, E53
    let mut world = World::new();
    let scripts = [("job", r#"kv::incr("done", ctx.event.key, 1)"#), ("w", "7")];
    world.deploy(&scripts, vec![route("/w", "w", DispatchMode::Sync)], vec![on("t", "c", "job", 2)]);
    world.put("c", "k", "1");
    let mut world = crash_while_running(world);
    let row = world.rows().pop().unwrap();
    assert_eq!((row.status, row.failures_counted), (Status::Retrying, 0), "not counted");
    assert_eq!(row.last_error.as_ref().unwrap().kind.name(), "crashed");
    world.pass_ms(1100);
    world.node.tick();
    world.sync();
    let attempt = world.row(row.execution).attempts.pop().unwrap();
    assert_eq!((attempt.attempt, attempt.alone_ms), (2, 1000), "its claim says so");
    let (_, mailbox) = world.admit("/w", "").unwrap();
    world.sync();
    assert_eq!(world.rows().last().unwrap().status, Status::Pending, "sync calls wait");
    world.settle();
    assert_eq!(world.row(row.execution).status, Status::Completed);
    assert_eq!(world.get("done", "k").as_deref(), Some("1"));
    assert_eq!(mailbox.one().result.as_deref(), Ok("200 7"), "and get their turn");
}

#[test]
fn d3_crashes_alone_count_and_the_time_alone_doubles() {
    let mut world = World::new();
    world.deploy(&[("job", "1")], vec![], vec![on("t", "c", "job", 2)]);
    world.put("c", "k", "1");
    let mut alone = Vec::new();
    for _ in 0..3 {
        world = crash_while_running(world);
        alone.push(world.rows()[0].attempts.last().unwrap().alone_ms);
        world.pass_ms(100_000);
    }
    assert_eq!(alone, [0, 1000, 2000]);
    let row = world.rows().remove(0);
    assert_eq!((row.status, row.failures_counted), (Status::DeadLettered, 2), "two of two attempts counted");
}

#[test]
fn d3_after_the_time_alone_others_join_and_the_log_says_so() {
    let mut world = World::new();
    let scripts = [("job", "1"), ("w", "7")];
    world.deploy(&scripts, vec![route("/w", "w", DispatchMode::Sync)], vec![on("t", "c", "job", 2)]);
    world.put("c", "k", "1");
    let mut world = crash_while_running(world);
    world.pass_ms(1100);
    world.node.tick();
    world.sync();
    world.pass_ms(1001);
    world.node.tick();
    world.sync();
    let said = world.events().iter().any(|e| matches!(e, Event::Execution(ExecutionEvent::AloneEnded(_))));
    assert!(said, "alone_ended is in the log");
    let world = world.crash();
    let row = world.rows().remove(0);
    assert_eq!(
        (row.status, row.failures_counted),
        (Status::Retrying, 0),
        "a crash in company does not count"
    );
}

#[test]
fn d3_an_orderly_shutdown_releases_background_work_uncounted() {
    // E81: what was claimed is released or ended, nothing is forgotten.
    let mut world = World::new();
    let scripts = [("job", "1"), ("w", "7")];
    world.deploy(&scripts, vec![route("/w", "w", DispatchMode::Sync)], vec![on("t", "c", "job", 2)]);
    world.put("c", "k", "1");
    world.node.tick();
    world.sync();
    let (execution, mailbox) = world.admit("/w", "").unwrap();
    let node = std::sync::Arc::clone(&world.node);
    std::thread::scope(|scope| {
        let stopping = scope.spawn(move || node.shut_down());
        while world.admit("/w", "").is_ok() {
            std::thread::yield_now();
        }
        while !stopping.is_finished() {
            world.node.step_scripts();
            std::thread::yield_now();
        }
    });
    world.sync();
    assert_eq!(mailbox.one().result, Err("shutting_down: the instance is shutting down".into()));
    assert_eq!(world.row(execution).status, Status::Failed);
    let job = world.rows().remove(0);
    assert_eq!((job.status, job.failures_counted), (Status::Pending, 0));
    let mut world = world.crash();
    world.settle();
    assert_eq!(world.rows()[0].status, Status::Completed);
}

#[test]
fn d2_waiting_calls_are_bounded_and_time_out() {
    let settings =
        EngineSettings { gate: 1, waiting_calls_max: 1, timeout_ms: 500, ..EngineSettings::default() };
    let mut world = World::with(settings);
    world.deploy(&[("w", "7")], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    let (_, first) = world.admit("/w", "").unwrap();
    let (_, second) = world.admit("/w", "").unwrap();
    let refused = world.admit("/w", "").map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("RELIVE_MAX_WAITING_CALLS"), "{refused}");
    world.pass_ms(600);
    world.node.tick();
    world.settle();
    assert_eq!(second.one().result.unwrap_err().split(':').next(), Some("timeout"));
    assert_eq!(first.one().result.unwrap_err().split(':').next(), Some("timeout"), "waiting included");
    assert_eq!(world.statuses(), ["w failed", "w failed"]);
}
