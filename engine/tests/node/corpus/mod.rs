//! T2 over a corpus: scripts drawn from a grammar, thousands of executions, each replayed after everything changed.
//!
//! Owns: how the corpus runs (routes, triggers, queues, cron, handlers of dead letters, direct runs, redrives, on two
//! script threads that meet each other; a slow clock, a network that answers, fails, dawdles and interferes; a crash, a
//! shutdown and a lost key on the way), and what is proved of it afterwards. `grammar.rs` has the scripts, `census.rs`
//! counts what they met and asserts the counts.
//!
//! What lies before the corpus is cut off the log at the end: replays then read what is left of it from the base (ADR
//! 0013), and the views begin from a snapshot.

mod census;
mod grammar;
mod proofs;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relive_engine::command::{Command, RedriveVersion};
use relive_engine::node::Delivery;
use relive_engine::script::Limits;
use relive_engine::seams::CallFailed;
use relive_engine::settings::EngineSettings;
use relive_log::Lsn;
use relive_log::events::{
    Backoff, CallAnswer, DispatchMode, ErrorKind, KvOps, Pattern, Principal, RetryPolicy, RouteSpec, Scopes,
    TriggerSpec,
};

use crate::dispatch::on;
use crate::world::{World, answered, route};
use grammar::{Dice, KEYS, LIBRARIES, ending, library, script};

const ROUTES: usize = 24;
/// Stops in the middle, until one of them cuts a call off.
const STOPS_MAX: usize = 20;
/// Looks at the clock that take long, in a round that is slow.
const SLOW_LOOKS: u64 = 300;
/// How often the network takes its time, a round.
const DAWDLES: u64 = 3;
/// Executions before the corpus.
const BEFORE: usize = 20;

fn trigger(name: &str, pattern: Pattern, ordering: relive_log::events::Ordering) -> TriggerSpec {
    let retry =
        RetryPolicy { max_attempts: 3, backoff: Backoff::Fixed, base_ms: 100, max_ms: 1000, jitter_pct: 50 };
    TriggerSpec { pattern, ordering, retry: Some(retry), ..on(name, "-", name, 3) }
}

fn kv(collection: &str, ops: KvOps) -> Pattern {
    Pattern::Kv { collection: collection.into(), ops, key_prefix: String::new() }
}

fn triggers() -> Vec<TriggerSpec> {
    use relive_log::events::Ordering::{Key, None};
    vec![
        trigger("on_c", kv("c", KvOps::DEFAULT), None),
        trigger("on_n", kv("n", KvOps::DEFAULT), Key),
        trigger("on_exp", kv("c", KvOps::EXPIRE), None),
        trigger("on_fan", kv("fan", KvOps::DEFAULT), None),
        trigger("on_gone", kv("gone", KvOps::DEFAULT), None),
        trigger("on_mail", Pattern::Queue { queue: "mails".into() }, Key),
        trigger("on_tick", Pattern::Cron { schedule: "* * * * * *".into(), timezone: Option::None }, None),
        trigger(
            "on_letter",
            Pattern::DeadLetter { from_script: Option::None, from_trigger: Option::None },
            None,
        ),
    ]
}

struct Corpus {
    world: World,
    dice: Dice,
    calls: usize,
    /// How often the network may still take its time.
    dawdles: Arc<AtomicU64>,
    /// The last event before the corpus.
    before: Lsn,
}

impl Corpus {
    fn new(seed: u64) -> Corpus {
        let limits =
            Limits { operations: 20_000, memory_bytes: 3 << 20, writes_max: 60, ..Limits::default() };
        let settings = EngineSettings {
            limits,
            fan_out_max: 8,
            // Scripts fire each other at random.
            depth_max: 2,
            gate: 8,
            brief_operations: 0,
            ..EngineSettings::default()
        };
        let mut corpus = Corpus {
            world: World::stored(settings),
            dice: Dice(seed),
            calls: 0,
            dawdles: Arc::new(AtomicU64::new(0)),
            before: Lsn::ZERO,
        };
        corpus.prehistory();
        corpus
    }

    /// What will be below the cut: executions, data that is read later, and enough of both to fill segments.
    fn prehistory(&mut self) {
        let first = [("first", "kv::set(\"old\", ctx.request.body, ctx.request.body.len())")];
        self.world.deploy(&first, vec![route("/first", "first", DispatchMode::Sync)], vec![]);
        self.set_secret();
        for n in 0..BEFORE {
            self.world.call("/first", &format!("key-{n}")).result.unwrap();
        }
        let filler = format!("\"{}\"", "x".repeat(200_000));
        for n in 0..12 {
            self.world.put("filler", &format!("{}", n % 2), &filler);
        }
        self.before = self.world.node.applied();
    }

    fn set_secret(&mut self) {
        let (app, name, value) = ("shop".to_owned(), "pass".to_owned(), "correct horse battery".to_owned());
        self.world.submit(Command::SetSecret { app, name, value }).unwrap();
    }

    /// Other scripts on the same routes and triggers.
    fn deploy(&mut self) {
        let dice = &mut self.dice;
        let mut scripts: Vec<(String, String)> =
            (0..ROUTES).map(|n| (format!("s{n}"), script(dice))).collect();
        for (n, name) in LIBRARIES.iter().enumerate() {
            scripts.push(((*name).to_owned(), library(dice, n)));
        }
        for name in ["on_c", "on_exp", "on_mail", "on_tick", "on_letter", "direct"] {
            scripts.push((name.to_owned(), script(dice)));
        }
        let on_n = format!("kv::set(\"copy\", ctx.event.key, ctx.event.old_value);\n{}", ending(dice, 1));
        let seen = "kv::set(\"seen\", ctx.event.key, ctx.event.value);".to_owned();
        let close = "let body = ctx.request.json; if body.how == \"redrive\" { dead_letters::redrive(body.id) } \
                     else { dead_letters::resolve(body.id, \"by script\") }";
        scripts.extend([
            ("on_n".to_owned(), on_n),
            ("on_fan".to_owned(), "ctx.event.key".to_owned()),
            ("on_gone".to_owned(), seen),
            ("close".to_owned(), close.to_owned()),
        ]);
        let scripts: Vec<(&str, &str)> =
            scripts.iter().map(|(name, source)| (name.as_str(), source.as_str())).collect();
        let mut routes: Vec<RouteSpec> = (0..ROUTES).map(sync_or_async).collect();
        routes.push(route("/close", "close", DispatchMode::Sync));
        self.world.deploy(&scripts, routes, triggers());
        let (node, clock) = (Arc::clone(&self.world.node), Arc::clone(&self.world.clock));
        let (asked, dawdles) = (AtomicU64::new(0), Arc::clone(&self.dawdles));
        self.world.web.answer_with(move |request| {
            let n = asked.fetch_add(1, Ordering::Relaxed);
            let path = request.url.strip_prefix("http://api.example/").unwrap_or_default();
            match path.split_once('/').unwrap_or((path, "")) {
                ("down", _) => return Err(CallFailed { message: "http: connection refused".into() }),
                ("slow", _) => {
                    let left =
                        dawdles.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
                    clock.pass_us(left.map_or(0, |_| 50_000));
                }
                ("missing", _) => {
                    let body = b"nothing here".as_slice().into();
                    return Ok(CallAnswer { status: 404, headers: Vec::new(), body, masked: false });
                }
                // Somebody writes what the caller has read.
                ("busy", key) => {
                    let command = put("n", key, n.to_string());
                    node.submit(command, &Principal::instance(), Box::new(drop));
                }
                _ => {}
            }
            answered(&format!("{{\"answer\":{n}}}"))
        });
    }

    fn call(&mut self) {
        let n = usize::try_from(self.dice.next(ROUTES as u64)).unwrap();
        let (path, body) = (format!("/s{n}"), format!("{{\"n\": {}}}", self.calls));
        self.calls += 1;
        let key = format!("key-{}", self.dice.next(500));
        match self.dice.next(12) {
            _ if n.is_multiple_of(4) => drop(self.world.call_async(&path, &[("x-h", "v")], &body)),
            0 => drop(self.world.admit_as(&path, &body, reader())),
            // A second call with one key answers as the first, or is refused for its other body.
            1 => drop(self.world.call_keyed(&path, &key, "same")),
            2 => drop(self.world.run_direct("direct", &body)),
            _ => drop(self.world.admit_with(&path, &[("x-h", "v")], &body, Delivery::Delivered)),
        }
    }

    /// A few calls at once, so that their snapshots meet.
    fn round(&mut self) {
        // Time passes within bounds: each moment may bring more work (ticks, retries, times to live that end) than is done, and
        // how many looks the threads take at the clock depends on the machine.
        self.world.clock.set_step_for(1500, if self.dice.one_in(6) { SLOW_LOOKS } else { 0 });
        self.dawdles.store(DAWDLES, Ordering::Relaxed);
        for _ in 0..4 {
            self.call();
        }
        if self.dice.one_in(10) {
            self.close_a_letter();
        }
        self.world.pass_ms(50);
        self.world.settle_beside();
    }

    fn close_a_letter(&mut self) {
        let Some(letter) = self.world.letters().into_iter().find(|letter| letter.is_open()) else { return };
        let (app, letter) = ("shop".to_owned(), letter.letter);
        let how = self.dice.of(&["redrive", "resolve"]);
        match self.dice.next(3) {
            0 => {
                let version = RedriveVersion::Current;
                self.world.submit(Command::Redrive { app, letter, version, proof: None }).unwrap();
            }
            _ => {
                let body = format!("{{\"id\":\"{letter}\",\"how\":\"{how}\"}}");
                drop(self.world.admit_as("/close", &body, Principal::instance()));
            }
        }
    }

    /// The script of a trigger is away for a while.
    fn lose_a_script(&mut self) {
        let app = "shop".to_owned();
        self.world.submit(Command::DeleteScript { app: app.clone(), name: "on_gone".into() }).unwrap();
        self.world.put("gone", "k", &self.calls.to_string());
        self.world.settle_beside();
        let (name, source) = ("on_gone".to_owned(), "ctx.event.key".to_owned());
        self.world.submit(Command::PutScript { app, name, source }).unwrap();
    }

    /// Runs until there are so many executions.
    fn grow(&mut self, executions_min: usize) {
        let mut rounds = 0;
        while self.world.rows().len() < executions_min {
            if rounds % 20 == 0 {
                self.deploy();
            }
            for _ in 0..20 {
                self.round();
                rounds += 1;
            }
            self.lose_a_script();
            while self.world.views.maintain(self.world.node.durable()).unwrap().more {}
            assert!(rounds < 20_000, "the corpus does not grow");
        }
    }

    /// The process dies in the middle, is stopped in the middle, and comes back without its key.
    fn adversity(mut self) -> Corpus {
        for _ in 0..8 {
            self.call();
        }
        self.world.node.tick();
        self.world.sync();
        self.world = self.world.crash();
        self.again();
        // A stop finds something in the middle most of the time.
        for _ in 0..STOPS_MAX {
            for _ in 0..8 {
                self.call();
            }
            self.world.node.tick();
            self.world.stop_beside();
            let rows = self.world.rows();
            let mut errors = rows.iter().filter_map(|row| row.last_error.as_ref());
            if errors.any(|error| error.kind == ErrorKind::ShuttingDown) {
                break;
            }
            self.world = self.world.crash();
            self.again();
        }
        self.world = self.world.crash_and_lose_the_key();
        let takes = [("takes", "secrets::get(\"pass\").len()")];
        self.world.deploy(&takes, vec![route("/takes", "takes", DispatchMode::Sync)], vec![]);
        for _ in 0..3 {
            self.world.call("/takes", "").result.unwrap_err();
        }
        self.world = self.world.crash();
        self.again();
        self.spin();
        self
    }

    /// Scripts that the clock ends in the middle.
    fn spin(&mut self) {
        let source = "let n = random::int(1, 50); loop { n += 1; if n % 97 == 0 { log::info(`${n}`) } }";
        let spin = RouteSpec { timeout_ms: Some(50), ..route("/spin", "spin", DispatchMode::Sync) };
        self.world.deploy(&[("spin", source)], vec![spin], vec![]);
        self.world.clock.set_step_us(1500);
        for _ in 0..6 {
            self.world.call("/spin", "").result.unwrap_err();
        }
        self.world.clock.set_step_us(1);
    }

    /// After a start: what was open goes on.
    fn again(&mut self) {
        self.deploy();
        for _ in 0..6 {
            self.rest();
        }
    }

    fn rest(&mut self) {
        self.world.pass_ms(2_500);
        self.world.settle_beside();
    }
}

fn put(collection: &str, key: &str, json: String) -> Command {
    Command::PutKey {
        app: "shop".into(),
        collection: collection.into(),
        key: key.into(),
        value: json.into_bytes().into(),
        ttl_ms: None,
        condition: relive_engine::command::Condition::Always,
    }
}

/// May do little.
fn reader() -> Principal {
    Principal { scopes: Scopes::LOG_READ, name: "reader".into(), ..Principal::instance() }
}

fn sync_or_async(n: usize) -> RouteSpec {
    let mode = if n.is_multiple_of(4) { DispatchMode::Async } else { DispatchMode::Sync };
    let timeout_ms = match n % 5 {
        1 => Some(20),
        3 => Some(60),
        4 => Some(150),
        _ => None,
    };
    RouteSpec { timeout_ms, ..route(&format!("/s{n}"), &format!("s{n}"), mode) }
}
