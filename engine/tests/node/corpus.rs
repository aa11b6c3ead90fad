//! T2 over a corpus: scripts drawn from a grammar, thousands of executions, each replayed after everything changed.
//!
//! The grammar covers reads, writes, deletes, counters, lists, chance, time, log lines, closures, caught errors, every kind
//! of failure, conflicts, retries, time limits, triggers, queues of work that fire each other; how often each was met
//! is counted and asserted, so that the corpus cannot quietly stop covering something.

use std::collections::BTreeMap;

use relive_engine::command::Command;
use relive_engine::node::Delivery;
use relive_engine::script::Limits;
use relive_engine::settings::EngineSettings;
use relive_log::events::{Backoff, DispatchMode, RetryPolicy, TriggerSpec};

use crate::dispatch::on;
use crate::replay::all_faithful;
use crate::world::{World, route};

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        let at = usize::try_from(self.next(all.len() as u64)).unwrap();
        all.get(at).copied().unwrap_or_default()
    }
}

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// One statement of the grammar; `N` is a fresh number.
fn statement(dice: &mut Dice, n: usize) -> String {
    let key = dice.of(&KEYS);
    let forms = [
        "let vN = kv::get(\"c\", \"KEY\");",
        "if kv::has(\"c\", \"KEY\") { log::info(\"there\"); } else { log::warn(\"absent\"); }",
        "kv::set(\"c\", \"KEY\", #{ n: N, at: time::now(), by: ctx.execution_id });",
        "kv::set(\"c\", \"KEY\", [N, random::int(1, 1000), random::float()], #{ ttl_ms: 60000 });",
        "kv::delete(\"c\", \"KEY\");",
        "let vN = kv::incr(\"n\", \"KEY\", N);",
        "let vN = kv::list(\"c\", #{ limit: 3, reverse: N % 2 == 0 }); log::info(`page of ${vN.items.len()}`);",
        "let vN = uuid::v4() + uuid::v7(); log::DEBUG(vN);",
        "let vN = random::bytes(8); kv::set(\"b\", \"KEY\", base64::encode(vN));",
        "let vN = [3, 1, 2].map(|x| x * N).filter(|x| x > 1); kv::set(\"c\", \"KEY\", vN);",
        "try { throw \"caught N\" } catch (e) { log::error(`${e}`); }",
        "try { let x = kv::get(\"c\", \"\"); } catch (e) { log::info(e.message); }",
        "fn fN(a) { if a <= 0 { return 0; } a + fN(a - 1) } let vN = fN(N % 7);",
        "for i in 0..(N % 5) { kv::set(\"loop\", `k${i}`, i); }",
        "let vN = crypto::sha256(`${ctx.lsn} N`); log::info(hex::encode(vN));",
        "let vN = #{ z: 1, a: 2, m: ctx.attempt }; for k in vN.keys() { log::info(k); }",
        "let vN = json::stringify(json::parse(\"{\\\"x\\\": [N, null, 1.5]}\")); kv::set(\"j\", \"KEY\", vN);",
        "switch random::int(0, 3) { 0 => log::info(\"zero\"), 1 => kv::set(\"s\", \"one\", 1), _ => () }",
    ];
    dice.of(&forms)
        .replace("vN", &format!("v{n}"))
        .replace("fN", &format!("f{n}"))
        .replace("KEY", key)
        .replace('N', &n.to_string())
}

/// How a script ends.
fn ending(dice: &mut Dice, n: usize) -> String {
    let forms = [
        "#{ n: ctx.lsn, dice: random::int(0, 9) }",
        "\"text\"",
        "()",
        "[1, 2.5, \"x\", ()]",
        "#{ status: 201, headers: #{ \"x-a\": \"b\" }, body: #{ at: time::rfc3339(time::now()) } }",
        "throw #{ code: N, text: \"thrown\" }",
        "let nothing = (); nothing.missing.deeper",
        "#{ status: 99 }",
        "if random::int(0, 1) == 0 { throw \"heads\" } else { \"tails\" }",
        "if ctx.attempt < 2 { throw \"not yet\" } \"at last\"",
    ];
    let rare = [
        "let s = \"x\"; loop { s += s }",
        "fn deep(n) { deep(n + 1) } deep(0)",
        "let n = 0; loop { n += 1 }",
        "for k in 0..9 { kv::set(\"fan\", `${k}`, k) } 1",
    ];
    let form = if dice.next(12) == 0 { dice.of(&rare) } else { dice.of(&forms) };
    form.replace('N', &n.to_string())
}

fn script(dice: &mut Dice) -> String {
    let statements = 1 + usize::try_from(dice.next(6)).unwrap();
    let mut lines: Vec<String> = (0..statements).map(|n| statement(dice, n)).collect();
    // Functions stand on the top level only, wherever they are written.
    lines.push(ending(dice, statements));
    lines.join("\n")
}

fn trigger(name: &str, collection: &str, script: &str) -> TriggerSpec {
    let retry =
        RetryPolicy { max_attempts: 3, backoff: Backoff::Fixed, base_ms: 100, max_ms: 1000, jitter_pct: 50 };
    TriggerSpec { retry: Some(retry), ..on(name, collection, script, 3) }
}

const ROUTES: usize = 24;

struct Corpus {
    world: World,
    dice: Dice,
    calls: usize,
}

impl Corpus {
    fn new(seed: u64) -> Corpus {
        let limits = Limits { operations: 20_000, ..Limits::default() };
        let settings = EngineSettings {
            limits,
            fan_out_max: 8,
            gate: 8,
            brief_operations: 0,
            ..EngineSettings::default()
        };
        Corpus { world: World::with(settings), dice: Dice(seed), calls: 0 }
    }

    /// Other scripts on the same routes and triggers.
    fn deploy(&mut self) {
        let names: Vec<String> = (0..ROUTES).map(|n| format!("s{n}")).collect();
        let sources: Vec<String> = names.iter().map(|_| script(&mut self.dice)).collect();
        let mut scripts: Vec<(&str, &str)> =
            names.iter().zip(&sources).map(|(name, source)| (name.as_str(), source.as_str())).collect();
        let on_c = script(&mut self.dice);
        let on_n =
            format!("kv::set(\"copy\", ctx.event.key, ctx.event.old_value);\n{}", ending(&mut self.dice, 1));
        scripts.extend([("on_c", on_c.as_str()), ("on_n", on_n.as_str()), ("on_fan", "ctx.event.key")]);
        let mode = |n: usize| if n.is_multiple_of(4) { DispatchMode::Async } else { DispatchMode::Sync };
        let routes =
            names.iter().enumerate().map(|(n, name)| route(&format!("/{name}"), name, mode(n))).collect();
        let triggers = vec![
            trigger("on_c", "c", "on_c"),
            trigger("on_n", "n", "on_n"),
            trigger("on_fan", "fan", "on_fan"),
        ];
        self.world.deploy(&scripts, routes, triggers);
    }

    /// A few calls at once, so that their snapshots meet.
    fn round(&mut self) {
        for _ in 0..3 {
            let n = usize::try_from(self.dice.next(ROUTES as u64)).unwrap();
            let path = format!("/s{n}");
            let body = format!("{{\"n\": {}}}", self.calls);
            if n.is_multiple_of(4) {
                self.world.call_async(&path, &[("x-h", "v")], &body);
            } else {
                drop(self.world.admit_with(&path, &[("x-h", "v")], &body, Delivery::Delivered));
            }
            self.calls += 1;
        }
        self.world.wait_ms(50);
    }

    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut count = |name: &str| *counts.entry(name.to_owned()).or_default() += 1;
        for row in self.world.rows() {
            count(row.status.name());
            if row.attempts.len() > 1 {
                count("retried");
            }
            if row.source.trigger().is_some() {
                count("triggered");
            }
            if let Some(error) = &row.last_error {
                count(error.kind.name());
            }
        }
        for event in self.world.events() {
            use relive_log::events::{Event, ExecutionEvent, ReadRecord};
            let record = match event {
                Event::Execution(ExecutionEvent::Completed(completed)) => Some(completed.record),
                Event::Execution(ExecutionEvent::AttemptFailed(failed)) => failed.record,
                _ => None,
            };
            let Some(record) = record else { continue };
            if record.conflicts > 0 {
                count("conflict");
            }
            if record.reads.iter().any(|read| matches!(read, ReadRecord::Range { .. })) {
                count("list");
            }
            if record.reads.iter().any(|read| matches!(read, ReadRecord::Key { .. })) {
                count("read");
            }
            if !record.logs.is_empty() {
                count("log");
            }
        }
        counts
    }
}

fn campaign(seed: u64, executions_min: usize) -> String {
    let mut corpus = Corpus::new(seed);
    let mut rounds = 0;
    while corpus.world.views.executions().list(corpus.app(), &everything()).unwrap().len() < executions_min {
        if rounds % 60 == 0 {
            corpus.deploy();
        }
        for _ in 0..20 {
            corpus.round();
            rounds += 1;
        }
        assert!(rounds < 20_000, "the corpus does not grow");
    }
    for _ in 0..20 {
        corpus.world.wait_ms(5_000);
    }
    let counts = corpus.counts();
    for (what, floor) in [
        ("completed", 1000),
        ("failed", 100),
        ("dead_lettered", 20),
        ("retried", 50),
        ("triggered", 500),
        ("throw", 50),
        ("runtime", 50),
        ("bad_response", 10),
        ("operations", 5),
        ("call_depth", 5),
        ("size", 5),
        ("fan_out", 5),
        ("conflict", 20),
        ("list", 100),
        ("read", 500),
        ("log", 500),
    ] {
        let met = counts.get(what).copied().unwrap_or(0);
        assert!(met >= floor, "{what}: {met} of at least {floor}; {counts:?}");
    }
    // Everything changes: scripts, data, and the views are made again from the log.
    corpus.deploy();
    for key in KEYS {
        corpus.world.put("c", key, "\"changed since\"");
    }
    corpus.world.submit(Command::DeleteScript { app: "shop".into(), name: "on_c".into() }).unwrap();
    for _ in 0..10 {
        corpus.world.wait_ms(5_000);
    }
    let world = corpus.world.crash();
    let attempts = all_faithful(&world);
    assert!(attempts >= executions_min);
    format!("seed {seed}: {attempts} attempts replayed faithfully; {counts:?}")
}

impl Corpus {
    fn app(&self) -> relive_log::AppId {
        self.world.views.registry().app_by_slug("shop").map_or_else(relive_log::AppId::default, |app| app.id)
    }
}

fn everything() -> relive_projections::ExecutionFilter {
    relive_projections::ExecutionFilter { limit: 1_000_000, ..Default::default() }
}

#[test]
fn t2_a_corpus_of_random_scripts_replays_faithfully_1() {
    println!("{}", campaign(1, 3400));
}

#[test]
fn t2_a_corpus_of_random_scripts_replays_faithfully_2() {
    println!("{}", campaign(2, 3400));
}

#[test]
fn t2_a_corpus_of_random_scripts_replays_faithfully_3() {
    println!("{}", campaign(3, 3400));
}

#[test]
fn t2_time_limits_are_replayed_to_the_operation() {
    let settings = EngineSettings { timeout_ms: 1, brief_operations: 0, ..EngineSettings::default() };
    let mut world = World::with(settings);
    let source = "let n = random::int(1, 50); loop { n += 1; if n % 97 == 0 { log::info(`${n}`) } }";
    world.deploy(&[("w", source)], vec![route("/w", "w", DispatchMode::Sync)], vec![]);
    for _ in 0..10 {
        assert!(world.call("/w", "").result.unwrap_err().starts_with("timeout"));
    }
    assert_eq!(all_faithful(&world), 10);
}
