//! T1 to T6: recorded attempts run again, stepped, and compared.

use std::collections::BTreeSet;

use relive_engine::command::Command;
use relive_engine::node::Delivery;
use relive_engine::replay::{
    Backtest, BacktestAsked, Candidate, Direction, NoCapsule, NoStep, NotReplayable, Recording, Replayed,
    Report, Sealed, Stepped, StepsWanted, Verdict, WhyNotFaithful, bisect, capsule, opened, replay, steps,
};
use relive_engine::script::Frame;
use relive_engine::settings::EngineSettings;
use relive_log::ExecutionId;
use relive_log::events::{DispatchMode, ErrorKind, Ordering, Pattern, Record, TriggerSpec};

use crate::dispatch::on;
use crate::world::{World, route};

pub(crate) fn recording(
    world: &World,
    execution: ExecutionId,
    candidate: &Candidate,
) -> Result<Recording, NotReplayable> {
    let archive = world.node.archive();
    archive.recording(&world.app(), &world.row(execution), None, candidate, Sealed::Opened)
}

pub(crate) fn again(world: &World, execution: ExecutionId) -> Replayed {
    replay(&recording(world, execution, &Candidate::Recorded).unwrap())
}

pub(crate) fn with(world: &World, execution: ExecutionId, source: &str) -> Replayed {
    replay(&recording(world, execution, &Candidate::Source(source.into())).unwrap())
}

fn value(replayed: &Replayed) -> String {
    String::from_utf8(replayed.result.as_ref().unwrap().value.clone()).unwrap()
}

fn call(world: &mut World, path: &str, body: &str) -> ExecutionId {
    world.call(path, body).execution
}

/// Whatever can be replayed is faithful.
pub(crate) fn all_faithful(world: &World) -> usize {
    let mut replayed = 0;
    for row in world.rows() {
        for attempt in &row.attempts {
            let archive = world.node.archive();
            let found = archive.recording(
                &world.app(),
                &row,
                Some(attempt.attempt),
                &Candidate::Recorded,
                Sealed::Opened,
            );
            let got = replay(&found.unwrap());
            assert_eq!(
                (got.faithful, got.reason, &got.differences),
                (Some(true), None, &Vec::new()),
                "{} attempt {} of {row:?}",
                row.script,
                attempt.attempt,
            );
            replayed += 1;
        }
    }
    replayed
}

const EVERYTHING: &str = r#"
let before = kv::get("c", "k");
let page = kv::list("c", #{ prefix: "k" });
kv::set("c", "n", #{ at: time::now(), dice: random::int(1, 1000000), id: uuid::v7(), bytes: random::bytes(4).len() });
let n = kv::incr("count", "all", 1);
kv::delete("c", "gone");
log::info(`saw ${page.items.len()} of ${before}`);
#{ n: n, items: page.items, body: ctx.request.json, lsn: ctx.lsn, float: random::float() }
"#;

#[test]
fn t2_a_replay_gives_the_same_after_data_and_scripts_changed() {
    // E120, E121
    let mut world = World::new();
    let routes = vec![route("/w", "w", DispatchMode::Sync)];
    world.deploy(
        &[("w", EVERYTHING), ("t", "kv::set(\"fired\", ctx.event.key, ctx.event.value)")],
        routes,
        vec![on("t", "c", "t", 1)],
    );
    world.put("c", "k", "[1,2]");
    world.put("c", "gone", "true");
    let executions: Vec<ExecutionId> =
        (0..3).map(|n| call(&mut world, "/w", &format!("{{\"n\":{n}}}"))).collect();
    let before: Vec<String> = executions.iter().map(|id| value(&again(&world, *id))).collect();
    world.put("c", "k", "\"changed\"");
    let source = "\"another\"".to_owned();
    world.submit(Command::PutScript { app: "shop".into(), name: "w".into(), source }).unwrap();
    world.settle();
    let (applied, digest) = (world.node.applied(), world.views.digest().unwrap());
    assert_eq!(all_faithful(&world), 10, "three calls, and what their writes and the API's fired");
    assert_eq!(world.node.applied(), applied, "no effect");
    assert_eq!(world.views.digest().unwrap(), digest);
    let after: Vec<String> = executions.iter().map(|id| value(&again(&world, *id))).collect();
    assert_eq!(before, after);
    assert!(before[1].contains("\"n\":2"), "{}", before[1]);
    let world = world.crash();
    assert_eq!(all_faithful(&world), 10, "views were rebuilt from the log");
}

#[test]
fn t2_a_deleted_script_is_replayed_as_it_was() {
    let mut world = World::new();
    world.deploy(&[("t", "kv::set(\"out\", ctx.event.key, 1)")], vec![], vec![on("t", "c", "t", 1)]);
    world.put("c", "k", "1");
    world.settle();
    world.submit(Command::DeleteScript { app: "shop".into(), name: "t".into() }).unwrap();
    assert!(world.app().live_script("t").is_none(), "it is gone");
    assert_eq!(all_faithful(&world), 1);
}

#[test]
fn t2_every_kind_of_failure_is_replayed_to_the_same_error_at_the_same_line() {
    let limits = relive_engine::script::Limits { operations: 5000, ..Default::default() };
    let mut world = World::with(EngineSettings { limits, fan_out_max: 2, ..EngineSettings::default() });
    let scripts = [
        ("runtime", "let a = ctx.request.json;\nlog::warn(\"here\");\na.b.c.d", ErrorKind::Runtime, 3),
        (
            "throw",
            "kv::set(\"c\", \"x\", 1);\nfn f(n) {\n  if n == 0 { throw \"deep\" }\n  f(n - 1)\n}\nf(5)",
            ErrorKind::Throw,
            3,
        ),
        ("operations", "let n = 0;\nloop { n += 1 }", ErrorKind::Operations, 2),
        ("depth", "fn f(n) { f(n + 1) }\nf(0)", ErrorKind::CallDepth, 2),
        ("size", "let s = \"x\";\nloop { s += s }", ErrorKind::Size, 2),
        ("bad", "log::info(\"x\");\n#{ status: 42 }", ErrorKind::BadResponse, 0),
        (
            "fan",
            "for k in 0..5 { kv::set(\"f\", k.to_string(), k) }\nlog::info(\"done\")",
            ErrorKind::FanOut,
            0,
        ),
    ];
    let routes =
        scripts.iter().map(|(name, ..)| route(&format!("/{name}"), name, DispatchMode::Sync)).collect();
    let sources: Vec<(&str, &str)> =
        scripts.iter().map(|(name, source, ..)| (*name, *source)).chain([("t", "1")]).collect();
    world.deploy(&sources, routes, vec![on("t", "f", "t", 1)]);
    for (name, _, kind, line) in scripts {
        let execution = call(&mut world, &format!("/{name}"), "{}");
        let got = again(&world, execution);
        let error = got.result.as_ref().unwrap_err();
        assert_eq!((error.kind, error.line), (kind, line), "{name}: {}", error.message);
        assert_eq!((got.faithful, &got.differences), (Some(true), &Vec::new()), "{name}");
    }
    world.deploy(&[("bad", "\"changed\"")], vec![], vec![]);
    assert_eq!(all_faithful(&world), scripts.len());
}

#[test]
fn t2_an_attempt_that_the_clock_ended_is_replayed_to_the_same_operation() {
    let mut world = World::with(EngineSettings { timeout_ms: 1, ..EngineSettings::default() });
    let source =
        "let n = 0;\nloop { n += 1; if n % 100 == 0 { kv::set(\"c\", \"n\", n); log::info(`${n}`) } }";
    world.deploy(&[("w", source)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    let execution = call(&mut world, "/w", "");
    let got = again(&world, execution);
    assert_eq!(got.result.as_ref().unwrap_err().kind, ErrorKind::Timeout);
    assert!(got.record.operations > 1000, "{}", got.record.operations);
    assert_eq!((got.faithful, &got.differences), (Some(true), &Vec::new()));
}

#[test]
fn t2_attempts_of_one_execution_are_told_apart() {
    let mut world = World::new();
    let source = "if kv::get(\"c\", \"ready\") == () { throw \"not yet\" }\nctx.attempt";
    world.deploy(&[("t", source)], vec![], vec![on("t", "in", "t", 3)]);
    world.put("in", "k", "1");
    world.settle();
    world.put("c", "ready", "true");
    world.wait_ms(10_000);
    assert_eq!(world.statuses(), ["t completed"]);
    assert_eq!(all_faithful(&world), 2);
    let archive = world.node.archive();
    let row = world.rows().pop().unwrap();
    let refused = archive.recording(&world.app(), &row, Some(7), &Candidate::Recorded, Sealed::Opened).err();
    assert_eq!(refused, Some(NotReplayable::NoAttempt { asked: 7, known: vec![1, 2] }));
}

#[test]
fn t2_after_a_crash_there_is_nothing_to_compare_with() {
    let mut world = World::new();
    world.deploy(&[("t", "ctx.event.key")], vec![], vec![on("t", "in", "t", 3)]);
    world.put("in", "k", "1");
    // Claimed, and never run.
    world.node.tick();
    world.sync();
    let running = world.rows().pop().unwrap().execution;
    assert_eq!(recording(&world, running, &Candidate::Recorded).err(), Some(NotReplayable::StillRunning(1)));
    let mut world = world.crash();
    world.wait_ms(100_000);
    let row = world.rows().pop().unwrap();
    assert_eq!(row.attempts.len(), 2, "{row:?}");
    let archive = world.node.archive();
    let first = archive.recording(&world.app(), &row, Some(1), &Candidate::Recorded, Sealed::Opened).unwrap();
    let got = replay(&first);
    assert_eq!((got.faithful, first.recorded.is_none()), (None, true));
    assert_eq!(value(&got), "\"k\"", "it runs all the same");
}

#[test]
fn t1_what_was_not_recorded_is_not_replayed() {
    let mut world = World::new();
    let mut spec = route("/r", "r", DispatchMode::Sync);
    spec.record = Record::Off;
    world.deploy(&[("r", "1")], vec![spec], vec![]);
    let execution = call(&mut world, "/r", "");
    let refused = recording(&world, execution, &Candidate::Recorded).err().unwrap();
    assert!(matches!(refused, NotReplayable::NotRecorded(_)), "{refused}");
}

#[test]
fn t5_a_script_that_read_a_withheld_header_is_not_faithful() {
    // E122
    let mut world = World::new();
    let scripts = [
        ("plain", "let h = ctx.request.headers; h[\"x-plain\"]", true),
        ("echo", "ctx.request.headers.authorization", false),
        ("unused", "let a = ctx.request.headers[\"authorization\"]; 1", false),
        (
            "check",
            "if ctx.request.headers.authorization == \"Bearer token-0123456789\" { 1 } else { throw \"no\" }",
            false,
        ),
        ("computed", "ctx.request.headers[\"author\" + \"ization\"]", false),
        ("all", "let n = 0; for v in ctx.request.headers.values() { n += v.len() } n", false),
    ];
    let routes =
        scripts.iter().map(|(name, ..)| route(&format!("/{name}"), name, DispatchMode::Sync)).collect();
    let sources: Vec<(&str, &str)> = scripts.iter().map(|(name, source, _)| (*name, *source)).collect();
    world.deploy(&sources, routes, vec![]);
    let headers = [("authorization", "Bearer token-0123456789"), ("x-plain", "p")];
    for (name, _, faithful) in scripts {
        let (execution, _) =
            world.admit_with(&format!("/{name}"), &headers, "", Delivery::Delivered).unwrap();
        world.settle();
        let got = again(&world, execution);
        let reason = (!faithful).then_some(WhyNotFaithful::WithheldHeader);
        assert_eq!((got.faithful, got.reason), (Some(faithful), reason), "{name}: {:?}", got.differences);
        assert!(!format!("{:?}", got.result).contains("token-0123456789"));
    }
}

#[test]
fn t5_sealed_headers_and_secrets_are_given_to_a_replay_and_masked_in_it() {
    // E122
    let mut world = World::new();
    let source = r#"
let h = ctx.request.headers["x-api-key"];
let s = secrets::get("pay");
log::info(`${h} ${s}`);
kv::set("out", "k", #{ header: h, secret: s });
let missing = try_get();
fn try_get() { try { return secrets::get("absent"); } catch { return "none"; } }
#{ header: h, secret: s, same: h == "key-0123456789", missing: missing }"#;
    world.deploy(&[("a", source)], vec![route("/a", "a", DispatchMode::Async)], vec![]);
    let secret = |value: &str, name: &str| Command::SetSecret {
        app: "shop".into(),
        name: name.into(),
        value: value.into(),
    };
    world.submit(secret("pay-0123456789", "pay")).unwrap();
    let execution = world.call_async("/a", &[("x-api-key", "key-0123456789")], "");
    world.settle();
    world.submit(secret("now there is one", "absent")).unwrap();
    let got = again(&world, execution);
    assert_eq!((got.faithful, got.reason), (Some(true), None), "{:?}", got.differences);
    let shown = format!("{} {:?} {:?}", value(&got), got.record.logs, got.writes);
    assert!(value(&got).contains("‹header:x-api-key›") && value(&got).contains("‹secret:pay›"), "{shown}");
    assert!(!shown.contains("0123456789"), "{shown}");
    let shown = value(&got);
    assert!(shown.contains("\"same\":true") && shown.contains("\"missing\":\"none\""), "{shown}");
    let archive = world.node.archive();
    let row = world.row(execution);
    let candidate = Candidate::Source(source.into());
    let sealed = archive.recording(&world.app(), &row, None, &candidate, Sealed::Placeholders).unwrap();
    assert!(value(&replay(&sealed)).contains("\"same\":false"), "T6: placeholders are given to the script");
    world.submit(Command::DeleteSecret { app: "shop".into(), name: "pay".into() }).unwrap();
    let got = again(&world, execution);
    assert_eq!((got.faithful, got.reason), (Some(false), Some(WhyNotFaithful::WithheldSecret)));
}

#[test]
fn t4_another_source_or_version_shows_what_it_would_have_done() {
    let mut world = World::new();
    let source = "let v = ctx.event.value;\nkv::set(\"out\", ctx.event.key, v.total * 2);\nv.total";
    let bad = "let v = ctx.event.value;\nkv::set(\"out\", ctx.event.key, v.totle * 2);\nv.total";
    world.deploy(&[("t", source)], vec![], vec![on("t", "in", "t", 1)]);
    world.deploy(&[("t", bad)], vec![], vec![on("t", "in", "t", 1)]);
    world.put("in", "k", r#"{"total": 21}"#);
    world.settle();
    let execution = world.rows().pop().unwrap().execution;
    let got =
        with(&world, execution, "let v = ctx.event.value;\nkv::set(\"out\", ctx.event.key, v.total * 2); 1");
    assert_eq!(got.faithful, Some(false));
    assert_eq!(got.differences[0].what, "error");
    assert_eq!(got.writes.len(), 1);
    let got = replay(&recording(&world, execution, &Candidate::Version(1)).unwrap());
    assert_eq!(value(&got), "21");
    let refused = recording(&world, execution, &Candidate::Version(9)).err().unwrap();
    assert_eq!(refused.to_string(), "there is no version `9 of t`");
    let refused = recording(&world, execution, &Candidate::Source("let = 1".into())).err().unwrap();
    assert!(matches!(refused, NotReplayable::Source(_)), "{refused}");
    assert_eq!(world.get("out", "k"), None, "no effect");
}

const WALK: &str = r#"let total = 0;
fn add(a, b) {
  let sum = a + b;
  sum
}
for n in [1, 2, 3] {
  total = add(total, n);
  kv::set("c", `k${n}`, total);
}

let seen = kv::get("c", "start");
[1, 2].map(|x| x * total)
"#;

fn walk(world: &World, execution: ExecutionId, wanted: &StepsWanted) -> Result<Stepped, NoStep> {
    steps(&recording(world, execution, &Candidate::Recorded).unwrap(), wanted)
}

fn page(from: u64, limit: usize) -> StepsWanted {
    StepsWanted { from: Some(from), limit, ..StepsWanted::default() }
}

#[test]
fn t3_steps_show_lines_variables_and_effects_forwards_and_backwards() {
    // E124, E125
    let mut world = World::new();
    world.deploy(&[("w", WALK)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    world.put("c", "start", "7");
    let execution = call(&mut world, "/w", "");
    let all = walk(&world, execution, &page(1, 1000)).unwrap();
    assert_eq!(
        (all.replayed.faithful, &all.replayed.differences),
        (Some(true), &Vec::new()),
        "stepping changes nothing"
    );
    let lines: Vec<u32> = all.steps.iter().map(|step| step.line).collect();
    let once = [7, 3, 4, 8];
    let want: Vec<u32> = [1, 6].into_iter().chain(once.repeat(3)).chain([11, 12, 12, 12]).collect();
    assert_eq!(lines, want);
    assert_eq!(all.total, all.steps.len() as u64);
    let in_add = &all.steps[4];
    assert_eq!((in_add.line, in_add.depth), (4, 1));
    assert_eq!(in_add.variables["sum"], serde_json::json!(1));
    let frame =
        |function: Option<&str>, line| Frame { function: function.map(str::to_owned), script: None, line };
    assert_eq!(in_add.stack, [frame(Some("add"), 4), frame(None, 7)]);
    let last = all.steps.last().unwrap();
    assert_eq!((last.writes_total, last.reads_total), (3, 1), "{last:?}");
    assert_eq!(last.stack[0].function.as_deref(), Some("(closure)"));
    let mut before = None;
    for step in &all.steps {
        let one = walk(&world, execution, &page(step.step, 1)).unwrap();
        assert_eq!(one.steps, std::slice::from_ref(step));
        if let Some(before) = before.replace(step) {
            let back = walk(&world, execution, &page(step.step - 1, 1)).unwrap();
            assert_eq!(&back.steps[0], before, "and back");
        }
    }
    let refused = walk(&world, execution, &page(all.total + 1, 1)).err();
    assert_eq!(refused, Some(NoStep::OutOfRange { from: all.total + 1, total: all.total }));
}

const LIB: &str = "fn twice(x) {
    let doubled = x * 2;
    inner(doubled)
}
fn inner(x) {
    if x > 4 {
        throw `too much: ${x}`;
    }
    x
}";

#[test]
fn t3_steps_go_into_imported_scripts_and_stop_at_breakpoints_there() {
    let mut world = World::new();
    let main = "import \"lib\" as lib;\nlet a = lib::twice(1);\nlet b = lib::twice(a + 1);\nb";
    world.deploy(&[("w", main), ("lib", LIB)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    let execution = call(&mut world, "/w", "");
    let all = walk(&world, execution, &page(1, 1000)).unwrap();
    assert_eq!((all.replayed.faithful, &all.replayed.differences), (Some(true), &Vec::new()));
    let seen: Vec<(Option<&str>, u32, usize)> =
        all.steps.iter().map(|step| (step.script.as_deref(), step.line, step.depth)).collect();
    let lib = Some("lib");
    let want = [
        (None, 1, 0),
        (None, 2, 0),
        (lib, 2, 1),
        (lib, 3, 1),
        (lib, 6, 2),
        (lib, 9, 2),
        (None, 3, 0),
        (lib, 2, 1),
        (lib, 3, 1),
        (lib, 6, 2),
        (lib, 7, 2),
    ];
    assert_eq!(seen, want);
    let last = all.steps.last().unwrap();
    let frame = |function: Option<&str>, script: Option<&str>, line| Frame {
        function: function.map(str::to_owned),
        script: script.map(str::to_owned),
        line,
    };
    let stack = [frame(Some("inner"), lib, 7), frame(Some("twice"), lib, 3), frame(None, None, 3)];
    assert_eq!(last.stack, stack);
    assert_eq!(last.variables["x"], serde_json::json!(6));
    let within = |line| BTreeSet::from([(Some("lib".to_owned()), line)]);
    let asked = |from, direction, line| StepsWanted {
        from: Some(from),
        limit: 1,
        breakpoints: within(line),
        direction,
    };
    for (from, direction, line, want) in [
        (1, Direction::Forwards, 6, 5),
        (6, Direction::Forwards, 6, 10),
        (11, Direction::Backwards, 2, 8),
        (8, Direction::Backwards, 2, 3),
    ] {
        let found = walk(&world, execution, &asked(from, direction, line)).unwrap();
        assert_eq!(found.steps[0].step, want, "{from} {direction:?} {line}");
    }
    let refused = walk(&world, execution, &asked(1, Direction::Forwards, 8)).unwrap_err();
    assert_eq!(refused.to_string(), "breakpoints: line 8 of `lib` has no code; the next line with code is 9");
    let nowhere =
        StepsWanted { breakpoints: BTreeSet::from([(Some("nowhere".to_owned()), 1)]), ..page(1, 1) };
    let refused = walk(&world, execution, &nowhere).unwrap_err();
    assert_eq!(refused.to_string(), "breakpoints: the attempt imports no script `nowhere`");
}

#[test]
fn t3_breakpoints_are_met_both_ways() {
    let mut world = World::new();
    world.deploy(&[("w", WALK)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    let execution = call(&mut world, "/w", "");
    let at = |from: Option<u64>, direction, line| StepsWanted {
        from,
        limit: 1,
        breakpoints: BTreeSet::from([(None, line)]),
        direction,
    };
    let forwards = |from| walk(&world, execution, &at(Some(from), Direction::Forwards, 8)).unwrap();
    let numbers =
        |stepped: Stepped| stepped.steps.iter().map(|step| (step.step, step.line)).collect::<Vec<_>>();
    assert_eq!(numbers(forwards(1)), [(6, 8)]);
    assert_eq!(numbers(forwards(7)), [(10, 8)]);
    assert_eq!(numbers(forwards(15)), []);
    let back = walk(&world, execution, &at(None, Direction::Backwards, 8)).unwrap();
    assert_eq!(numbers(back), [(14, 8)]);
    let refused = walk(&world, execution, &at(None, Direction::Forwards, 10)).err().unwrap();
    assert_eq!(refused.to_string(), "breakpoints: line 10 has no code; the next line with code is 11");
}

#[test]
fn t3_a_failed_attempt_is_walked_back_from_its_failing_line() {
    let mut world = World::new();
    let source = "let order = ctx.event.value;\nlet total = 0;\nfor item in order.items {\n  total += item.price;\n}\ntotal";
    world.deploy(&[("t", source)], vec![], vec![on("t", "in", "t", 1)]);
    world.put("in", "k", r#"{"items": [{"price": 3}, {"prise": 4}]}"#);
    world.settle();
    let execution = world.rows().pop().unwrap().execution;
    let all = walk(&world, execution, &page(1, 100)).unwrap();
    let last = all.steps.last().unwrap();
    let error = all.replayed.result.as_ref().unwrap_err();
    assert_eq!((last.line, error.line), (4, 4), "{error:?}");
    assert_eq!(last.variables["total"], serde_json::json!(3));
    assert_eq!(last.variables["item"], serde_json::json!({"prise": 4}));
}

#[test]
fn t3_long_runs_are_walked_in_windows() {
    let mut world = World::new();
    let source = "let n = 0;\nwhile n < 20000 {\n  n += 1;\n}\nn";
    world.deploy(&[("w", source)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    let execution = call(&mut world, "/w", "");
    let far = walk(&world, execution, &page(15_000, 3)).unwrap();
    assert_eq!(far.total, 20_003);
    let seen: Vec<_> = far.steps.iter().map(|step| (step.step, step.variables["n"].clone())).collect();
    assert_eq!(seen, [(15_000, 14_997.into()), (15_001, 14_998.into()), (15_002, 14_999.into())]);
}

#[test]
fn t2_a_handler_of_dead_letters_is_replayed() {
    let mut world = World::new();
    let handler = TriggerSpec {
        name: "h".into(),
        pattern: Pattern::DeadLetter { from_script: None, from_trigger: None },
        script: "h".into(),
        retry: None,
        ordering: Ordering::None,
    };
    let note = "kv::set(\"dead\", ctx.event.id, ctx.event.last_error)";
    world.deploy(&[("t", "throw ctx.event.key"), ("h", note)], vec![], vec![on("t", "in", "t", 2), handler]);
    world.put("in", "k", "1");
    for _ in 0..3 {
        world.wait_ms(100_000);
    }
    assert_eq!(world.statuses(), ["t dead_lettered", "h completed"]);
    assert_eq!(all_faithful(&world), 3);
}

#[test]
fn e123_t2_calls_and_imports_replay_from_the_record_with_the_network_gone() {
    let mut world = World::new();
    let source = r#"
        import "lib" as l;
        let key = secrets::get("pass");
        let first = http::request(#{url: "http://a.example/" + key, headers: #{authorization: key}});
        let down = "";
        try { http::get("http://a.example/down") } catch (e) { down = e.message }
        kv::set("c", "k", l::shown(first.body, down));
        l::shown(first.body, down)"#;
    let lib = r#"fn shown(a, b) { `${a.len()} ${a.contains("hunter2")} ${b}` }"#;
    world.deploy(&[("lib", lib), ("w", source)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    world
        .submit(Command::SetSecret {
            app: "shop".into(),
            name: "pass".into(),
            value: "hunter2-hunter2".into(),
        })
        .unwrap();
    world.web.answer_with(|request| match request.url.ends_with("down") {
        true => Err(relive_engine::seams::CallFailed { message: "http: down".into() }),
        false => crate::world::answered("echo hunter2-hunter2"),
    });
    let execution = call(&mut world, "/w", "");
    let before = value(&again(&world, execution));
    assert!(before.contains("20 true http: down"), "{before}");
    let lib = "fn shown(a, b) { \"another\" }".to_owned();
    world.submit(Command::PutScript { app: "shop".into(), name: "lib".into(), source: lib }).unwrap();
    world.web.take_asked();
    world.web.answer_with(|_| panic!("a replay never makes a call"));
    assert_eq!(all_faithful(&world), 1);
    assert_eq!(value(&again(&world, execution)), before);
    assert!(world.web.take_asked().is_empty());
    let other = with(&world, execution, "http::get(\"http://b.example/\").body");
    let error = other.result.unwrap_err();
    assert!(error.message.contains("was not recorded"), "{}", error.message);
}

pub(crate) fn tested(world: &World, asked: &BacktestAsked) -> Report {
    let backtest = Backtest::new(world.node.archive(), world.app(), asked, Sealed::Opened).unwrap();
    backtest.run();
    backtest.report(Default::default()).unwrap()
}

#[test]
fn t4_a_backtest_gives_a_verdict_per_execution_and_has_no_effect() {
    let mut world = World::new();
    let source =
        "let v = ctx.event.value;\nif v.n > 2 { throw \"too much\" }\nkv::set(\"out\", ctx.event.key, v.n);";
    world.deploy(&[("t", source)], vec![], vec![on("t", "in", "t", 1)]);
    for n in 0..5 {
        world.put("in", &format!("k{n}"), &format!("{{\"n\": {n}}}"));
    }
    world.settle();
    let applied = world.node.applied();
    // n 0 is broken, 1 changed, 2 same, 3 fixed, 4 as bad as before.
    let candidate = "let v = ctx.event.value;\nif v.n == 0 { throw \"none\" }\nif v.n > 3 { throw \"too much\" }\n\
                     kv::set(\"out\", ctx.event.key, if v.n == 1 { 10 } else { v.n });";
    let asked = BacktestAsked {
        script: "t".into(),
        candidate: Candidate::Source(candidate.into()),
        limit: 100,
        ..BacktestAsked::default()
    };
    let report = tested(&world, &asked);
    let verdicts: Vec<&str> = report.tested.iter().rev().map(|one| one.verdict.name()).collect();
    assert_eq!(verdicts, ["broken", "changed", "same", "fixed", "same"]);
    assert_eq!((report.count(Verdict::Same), report.skipped.len(), report.cursor), (2, 0, None));
    assert_eq!(world.node.applied(), applied, "no effect");
    let dead = tested(&world, &BacktestAsked { dead_letters: true, ..asked.clone() });
    assert_eq!(dead.tested.iter().map(|one| one.verdict.name()).collect::<Vec<_>>(), ["same", "fixed"]);
    assert!(dead.tested.iter().all(|one| one.letter.is_some()));
    let page = tested(&world, &BacktestAsked { limit: 2, ..asked.clone() });
    assert_eq!(page.tested.len(), 2);
    let rest = tested(&world, &BacktestAsked { cursor: page.cursor, ..asked.clone() });
    assert_eq!(rest.tested.len(), 3);
    let unknown = BacktestAsked { script: "none".into(), ..asked };
    assert!(Backtest::new(world.node.archive(), world.app(), &unknown, Sealed::Opened).is_err());
}

#[test]
fn t6_a_capsule_replays_as_its_recording_does() {
    // E126
    let mut world = World::new();
    world.deploy(&[("w", EVERYTHING)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    world.put("c", "k", "[1,2]");
    let execution = call(&mut world, "/w", "{\"n\": 1}");
    let first = recording(&world, execution, &Candidate::Recorded).unwrap();
    let text = capsule(&first, &first, "test");
    let clock: std::sync::Arc<dyn relive_engine::seams::Clock> = std::sync::Arc::clone(&world.clock) as _;
    let open =
        |text: &str, candidate: &Candidate| opened(text.as_bytes(), candidate, std::sync::Arc::clone(&clock));
    let again = replay(&open(&text, &Candidate::Recorded).unwrap());
    assert_eq!((again.faithful, &again.differences), (Some(true), &Vec::new()));
    assert_eq!(again.result.unwrap().value, replay(&first).result.unwrap().value);
    let other = Candidate::Source("kv::get(\"elsewhere\", \"x\")".into());
    let other = replay(&open(&text, &other).unwrap());
    assert!(other.result.unwrap_err().message.contains("does not have the key elsewhere/x"));
    assert!(matches!(open("{}", &Candidate::Recorded), Err(NoCapsule::Foreign(_))));
    assert!(matches!(open("not JSON", &Candidate::Recorded), Err(NoCapsule::Foreign(_))));
    let newer = text.replacen("\"relive_capsule\": 1", "\"relive_capsule\": 2", 1);
    let refused = open(&newer, &Candidate::Recorded).err().unwrap().to_string();
    assert_eq!(refused, "the capsule has format 2 (written by test); this version reads format 1");
}

#[test]
fn a_bisection_names_the_version_that_broke_it() {
    let mut world = World::new();
    for source in
        ["ctx.event.value.n", "ctx.event.value.n + 0", "ctx.event.value.n.x.y", "ctx.event.value.n.x.z"]
    {
        world.deploy(&[("t", source)], vec![], vec![on("t", "in", "t", 1)]);
    }
    world.put("in", "k", "{\"n\": 1}");
    world.settle();
    let row = world.rows().pop().unwrap();
    let found = bisect(&world.node.archive(), &world.app(), &row, None).unwrap();
    assert_eq!((found.recorded_version, found.first_bad, found.last_good), (4, Some(3), Some(2)));
}
