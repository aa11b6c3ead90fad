//! T1, T2: what a record has to keep beside the run itself, so that it comes out the same on another day: what it did to dead
//! letters, the bounds that it met, the names of triggers that are gone.

use std::sync::Arc;

use relive_engine::command::Command;
use relive_engine::replay::{
    Archive, BacktestAsked, Candidate, Sealed, StepsWanted, Verdict, capsule, opened, replay, steps,
};
use relive_engine::secrets::InstanceKey;
use relive_engine::settings::EngineSettings;
use relive_log::events::{DispatchMode, ErrorKind, Pattern, Principal, TriggerSpec};
use relive_log::{ExecutionId, LetterId};

use crate::dispatch::on;
use crate::replay::{again, all_faithful, recording, tested, with};
use crate::world::{World, route};

const BREAKS: &str = r#"if kv::get("flags", "fixed") != true { throw "broken" } 1"#;

/// A world in which `/close` closed two letters of the three.
fn with_closed_letters() -> (World, [ExecutionId; 2]) {
    let mut world = World::new();
    let close = "let asked = ctx.request.json;\nif asked.how == \"redrive\" {\n  dead_letters::redrive(asked.id)\n} \
                 else {\n  dead_letters::resolve(asked.id, \"by script\");\n  asked.id\n}";
    let scripts = [("job", BREAKS), ("close", close)];
    let routes = vec![route("/close", "close", DispatchMode::Sync)];
    world.deploy(&scripts, routes, vec![on("t", "in", "job", 1)]);
    for key in ["a", "b", "c"] {
        world.put("in", key, "1");
        world.settle();
    }
    let letters: Vec<LetterId> = world.letters().iter().map(|letter| letter.letter).collect();
    let [first, second, _] = *letters else { panic!("{letters:?}") };
    let mut close = |letter: LetterId, how: &str| {
        let body = format!("{{\"id\":\"{letter}\",\"how\":\"{how}\"}}");
        let done = world.call_with("/close", &body, Principal::instance());
        assert!(done.result.unwrap().starts_with("200"));
        done.execution
    };
    let closed = [close(first, "redrive"), close(second, "resolve")];
    world.settle();
    (world, closed)
}

#[test]
fn t2_dead_letters_that_a_script_closed_are_compared_and_never_closed_again() {
    // E120, E121
    let (world, [redrove, resolved]) = with_closed_letters();
    let (events, open) = (world.events().len(), |world: &World| {
        world.letters().iter().filter(|letter| letter.is_open()).count()
    });
    // The redriven one died again, under a letter of its own.
    assert_eq!((world.letters().len(), open(&world)), (4, 2));
    for execution in [redrove, resolved] {
        let got = again(&world, execution);
        assert_eq!((got.faithful, &got.differences, got.letters.len()), (Some(true), &Vec::new(), 1));
    }
    assert_eq!(all_faithful(&world), world.rows().iter().map(|row| row.attempts.len()).sum::<usize>());

    let first = |execution, source: &str| {
        let got = with(&world, execution, source);
        got.differences.into_iter().find(|difference| difference.what == "letter").unwrap()
    };
    let note = "let id = ctx.request.json.id; dead_letters::resolve(id, \"other\"); id";
    let found = first(resolved, note);
    assert_eq!((&found.recorded["note"], &found.replayed["note"]), (&"by script".into(), &"other".into()));
    let found = first(redrove, note);
    assert!(found.recorded["redriven_as"].is_string() && found.replayed["note"].is_string(), "{found:?}");
    let found = first(resolved, "ctx.request.json.id");
    assert!(found.replayed.is_null(), "{found:?}");
    // Whether another letter was open then is known, too.
    let third = world.letters().into_iter().map(|letter| letter.letter).nth(2).unwrap();
    let other = with(&world, redrove, &format!("dead_letters::resolve(\"{third}\", \"\")"));
    assert!(other.result.is_ok() && other.letters[0].letter == third, "{:?}", other.result);

    let asked = BacktestAsked {
        script: "close".into(),
        candidate: Candidate::Source(note.into()),
        limit: 10,
        ..BacktestAsked::default()
    };
    let report = tested(&world, &asked);
    assert_eq!(report.count(Verdict::Changed), 2, "{:?}", report.tested);
    let capsuled = recording(&world, resolved, &Candidate::Recorded).unwrap();
    let text = capsule(&capsuled, &capsuled, "test");
    let clock = Arc::clone(&world.clock) as _;
    let got = replay(&opened(text.as_bytes(), &Candidate::Recorded, clock).unwrap());
    assert_eq!((got.faithful, got.letters.len()), (Some(true), 1), "{:?}", got.differences);
    assert_eq!((world.events().len(), open(&world)), (events, 2), "no effect");
}

#[test]
fn t1_t2_what_a_limit_ended_ends_there_again_whatever_the_settings_are_now() {
    let mut settings = EngineSettings::default();
    settings.limits.writes_max = 3;
    settings.limits.string_bytes = 4096;
    settings.limits.list_bytes_max = 3840;
    settings.limits.array_len = 50;
    settings.limits.call_levels = 7;
    settings.limits.value_bytes_max = 100;
    settings.limits.key_bytes_max = 20;
    settings.limits.http_calls_max = 1;
    settings.limits.operations = 5000;
    settings.limits.response_bytes_max = 60;
    let mut world = World::with(settings);
    let scripts = [
        ("writes", "for n in 0..9 { kv::set(\"c\", `k${n}`, n) }"),
        ("text", "let s = \"x\"; s.pad(5000, \"y\"); 1"),
        ("array", "let a = []; a.pad(60, 1); a.len()"),
        ("calls", "fn f(n) { if n == 0 { 0 } else { f(n - 1) } } f(20)"),
        ("value", "let s = \"\"; s.pad(200, \"v\"); kv::set(\"c\", \"v\", s)"),
        ("key", "let s = \"\"; s.pad(30, \"k\"); kv::get(\"c\", s)"),
        ("http", "http::get(\"http://api.example/a\"); http::get(\"http://api.example/b\").status"),
        ("loops", "loop { }"),
        ("long", "let s = \"\"; s.pad(100, \"r\"); s"),
        (
            "caught",
            "let s = \"\"; s.pad(30, \"k\"); let told = 0; try { kv::get(\"c\", s); } catch { told = 1 } told",
        ),
    ];
    let routes = scripts.map(|(name, _)| route(&format!("/{name}"), name, DispatchMode::Sync)).to_vec();
    world.deploy(&scripts, routes, vec![]);
    world.web.answer_with(|_| crate::world::answered("ok"));
    let mut failed = Vec::new();
    for (name, _) in scripts {
        let done = world.call(&format!("/{name}"), "");
        assert_eq!(done.result.is_err(), name != "caught", "{name}: {:?}", done.result);
        failed.push(done.execution);
    }
    let mut world = world.crash_and_change(EngineSettings::default());
    world.settle();
    assert_eq!(all_faithful(&world), scripts.len(), "online, under other settings");
    let key = InstanceKey::from_text(&"07".repeat(32)).unwrap();
    let (views, clock) = (Arc::clone(&world.views), Arc::clone(&world.clock));
    let offline = Archive::new(views, world.reader.clone(), key, clock);
    for execution in failed {
        let row = world.row(execution);
        let recording =
            offline.recording(&world.app(), &row, None, &Candidate::Recorded, Sealed::Opened).unwrap();
        let got = replay(&recording);
        assert_eq!((got.faithful, &got.differences), (Some(true), &Vec::new()), "{}", row.script);
        let text = capsule(&recording, &recording, "test");
        let clock = Arc::clone(&world.clock) as _;
        let got = replay(&opened(text.as_bytes(), &Candidate::Recorded, clock).unwrap());
        assert_eq!(
            (got.faithful, &got.differences),
            (Some(true), &Vec::new()),
            "{} in a capsule",
            row.script
        );
    }
    // What is tried is tried under the settings of today: it is what a redrive would meet.
    let writes = world.rows().into_iter().find(|row| row.script == "writes").unwrap();
    let tried = with(&world, writes.execution, scripts[0].1);
    assert_eq!((tried.result.is_ok(), tried.writes.len()), (true, 9));
}

#[test]
fn t2_work_of_triggers_that_are_gone_replays() {
    let mut world = World::new();
    let handler = TriggerSpec {
        pattern: Pattern::DeadLetter { from_script: None, from_trigger: Some("t".into()) },
        ..on("handler", "-", "h", 1)
    };
    let scripts =
        [("job", BREAKS), ("h", "kv::set(\"seen\", \"by\", `${ctx.event.trigger} ${ctx.event.script}`)")];
    world.deploy(&scripts, vec![], vec![on("t", "in", "job", 2), handler]);
    world.put("in", "k", "1");
    world.settle();
    world.wait_ms(1_000_000);
    assert_eq!(world.get("seen", "by").as_deref(), Some("\"t job\""));
    let triggers: Vec<_> = world.app().triggers.keys().copied().collect();
    for trigger in triggers {
        world.submit(Command::DeleteTrigger { app: "shop".into(), trigger }).unwrap();
    }
    assert!(world.app().triggers.is_empty());
    for name in ["job", "h"] {
        let app = "shop".to_owned();
        world.submit(Command::DeleteScript { app, name: name.into() }).unwrap();
    }
    let mut world = world.crash_and_lose_the_views();
    world.settle();
    assert_eq!(all_faithful(&world), 3, "two attempts and the handler's");
}

/// However slow the machine is: a replay ends where its record says.
#[test]
fn t2_a_recorded_run_is_replayed_however_long_that_takes() {
    let mut world = World::new();
    let source = "let n = 0; while n < 5000 { n += 1 } kv::set(\"c\", \"n\", n); n";
    world.deploy(&[("w", source)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    let reply = world.call("/w", "");
    assert!(reply.result.is_ok());
    let execution = world.rows().first().unwrap().execution;
    // Each look at the clock takes half a minute.
    world.clock.set_step_us(30_000_000);
    let replayed = again(&world, execution);
    assert_eq!((replayed.faithful, &replayed.differences), (Some(true), &vec![]));
    let walked = steps(
        &recording(&world, execution, &Candidate::Recorded).unwrap(),
        &StepsWanted { from: Some(4000), limit: 1, ..StepsWanted::default() },
    );
    assert!(walked.is_ok(), "the debugger too");
    // Nobody knows where another script ends: it gets six times what it had live, a minute at least.
    let endless = with(&world, execution, "loop { let n = 1 }");
    let error = endless.result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout, "{error:?}");
}
