//! kill -9 in the middle of load: what clients were promised, and what happened, compared after every life.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use relive_tests::damage::{Chance, spoil_views};
use relive_tests::{App, Known, Launch, Ledger, Manifest, Server, busy};
use serde_json::{Value, json};

/// Lives of the process.
const CYCLES: usize = 32;
/// Connections that load it.
const CONNECTIONS: usize = 16;
/// The whole run can be repeated with this.
const SEED: u64 = 0x5eed_0003;

/// What each connection asks for, in turn.
const WAYS: [&str; 4] = ["sync", "async", "api", "count"];

fn manifest() -> Manifest {
    let retry = r#"retry = { max_attempts = 100, backoff = "fixed", base_ms = 5, jitter_pct = 0 }"#;
    let write = r#"kv::set("fresh", ctx.request.params.key, #{ key: ctx.request.params.key }); ()"#;
    let copy = r#"
        kv::set("copies", ctx.event.key, ctx.event.value.key);
        kv::incr("effects", ctx.event.key, 1)
    "#;
    Manifest::new()
        .sync("POST /sync/{key}", "write", write)
        .asynchronous("POST /async/{key}", "write_later", write, retry)
        .sync("POST /count/{key}", "count", r#"kv::incr("count", "n", 1); kv::set("fresh", ctx.request.params.key, #{ key: ctx.request.params.key }); ()"#)
        .sync("POST /slow", "slow", &format!("{}kv::set(\"slow\", ctx.execution_id, 1); ()", busy(300)))
        .on_kv("fresh", "copy", copy, &format!("ops = [\"insert\"]\n{retry}"))
}

/// What all lives have in common.
#[derive(Clone)]
struct Load {
    ledger: Ledger,
    /// Keys that were counted and acknowledged.
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// One connection, until the server is gone.
    async fn run(self, app: App, connection: usize) {
        while !self.stop.load(Ordering::Relaxed) {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let way = WAYS[(connection + usize::try_from(n).unwrap()) % WAYS.len()];
            let key = format!("{way}-{n:06}");
            self.ledger.sent(&key);
            let asked = match way {
                "api" => {
                    app.admin
                        .try_send("PUT", &app.key_path("fresh", &key), &[], json!({ "key": key }).to_string())
                        .await
                }
                way => app.data.try_send("POST", &format!("/shop/{way}/{key}"), &[], "").await,
            };
            match asked {
                Ok(reply) if reply.status / 100 == 2 => {
                    let lsn = reply.header("relive-lsn").parse().unwrap_or(0);
                    self.ledger.answered(&key, Known::Acknowledged(lsn));
                }
                // A refusal before admission; everything else leaves the outcome open.
                Ok(reply)
                    if matches!(reply.status, 503) && reply.header("relive-execution-id").is_empty() =>
                {
                    self.ledger.answered(&key, Known::Refused(reply.status));
                }
                Ok(reply) => panic!("{key}: {reply}"),
                Err(_) => return,
            }
        }
    }
}

/// Every key that was ever acknowledged is there, with one effect; nothing is there that was never sent.
async fn check(app: &App, ledger: &Ledger, about: &str) {
    app.settled().await;
    let fresh = app.collection("fresh").await;
    let (copies, effects) = (app.collection("copies").await, app.collection("effects").await);
    let all = ledger.all();
    let mut counted = (0_u64, 0_u64);
    for (key, known) in &all {
        let there = fresh.contains_key(key);
        match known {
            Known::Acknowledged(_) => assert!(there, "{about}: acknowledged and lost: {key}"),
            Known::Refused(_) => assert!(!there, "{about}: refused and done: {key}"),
            Known::Unknown => {}
        }
        if key.starts_with("count-") {
            counted.0 += u64::from(matches!(known, Known::Acknowledged(_)));
            counted.1 += u64::from(there);
        }
    }
    for (key, value) in &fresh {
        assert!(all.contains_key(key), "{about}: nobody sent {key}");
        assert_eq!(value["key"], json!(key), "{about}");
        assert_eq!(effects.get(key), Some(&json!(1)), "{about}: effects of {key}");
        assert_eq!(copies.get(key), Some(&json!(key)), "{about}: copy of {key}");
    }
    assert_eq!((copies.len(), effects.len()), (fresh.len(), fresh.len()), "{about}: effects without a cause");
    // The hot counter and the keys are written in one batch each (S1).
    let count = app.value("count", "n").await.and_then(|n| n.as_u64()).unwrap_or(0);
    assert_eq!(count, counted.1, "{about}: a batch was torn");
    assert!(count >= counted.0);
    assert!(app.letters("").await.is_empty(), "{about}: dead letters");
}

fn start(launch: &Launch) -> (Server, App) {
    let server = launch.start();
    let app = server.app("shop");
    (server, app)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_s4_kill_9_under_load_loses_nothing_acknowledged_and_does_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    // Small segments: many rollovers. Long limits: only crashes end executions.
    let launch = Launch::on(&dir.path().join("data"))
        .env("RELIVE_SEGMENT_BYTES", "256KiB")
        .env("RELIVE_EXECUTION_TIMEOUT_MS", 60_000);
    let load = Load { ledger: Ledger::default(), next: Arc::default(), stop: Arc::default() };
    let mut chance = Chance::new(SEED);
    let (server, app) = start(&launch);
    app.deploy(&manifest()).await;
    let (mut server, mut app) = (server, app);
    let mut spoiled: BTreeMap<String, usize> = BTreeMap::new();
    let mut slowest_start = Duration::ZERO;
    for cycle in 0..CYCLES {
        let mut connections = tokio::task::JoinSet::new();
        for connection in 0..CONNECTIONS {
            connections.spawn(load.clone().run(app.clone(), connection));
        }
        // Two that are surely in flight when the process dies.
        for _ in 0..2 {
            let app = app.clone();
            connections.spawn(async move { drop(app.data.try_send("POST", "/shop/slow", &[], "").await) });
        }
        // The only wait without a fact to ask for: the moment of the kill is the point.
        tokio::time::sleep(Duration::from_millis(20 + chance.below(300))).await;
        let data = server.data.clone();
        let ended = server.kill();
        assert!(!ended.panicked(), "cycle {cycle}: {}", ended.stderr);
        while connections
            .join_next()
            .await
            .is_some_and(|done| done.map_err(|e| panic!("cycle {cycle}: {e}")).is_ok())
        {}
        let spoil = if cycle % 2 == 1 { spoil_views(&data, &mut chance) } else { "nothing".to_owned() };
        *spoiled.entry(spoil.split(' ').next().unwrap_or("").to_owned()).or_default() += 1;
        (server, app) = start(&launch);
        slowest_start = slowest_start.max(server.start_took);
        if cycle % 8 == 7 {
            check(&app, &load.ledger, &format!("seed {SEED:#x} cycle {cycle} after: {spoil}")).await;
        }
    }
    check(&app, &load.ledger, "at the end").await;
    // Sync work that was in flight is recorded as abandoned, of a crash (D3, D5), and did nothing.
    let crashed: Vec<Value> = app.executions("status=abandoned").await;
    let abandoned = app.items("/abandoned").await;
    for row in &crashed {
        let id = &row["id"];
        assert!(abandoned.iter().any(|a| &a["execution_id"] == id && a["reason"] == json!("crash")), "{row}");
    }
    let slow = app.collection("slow").await;
    assert!(crashed.iter().all(|row| !slow.contains_key(row["id"].as_str().unwrap())));
    let (acknowledged, refused, unknown) = load.ledger.counts();
    println!(
        "cycles={CYCLES} connections={CONNECTIONS} acknowledged={acknowledged} refused={refused} unknown={unknown} \
         abandoned={} views={spoiled:?} slowest_start={slowest_start:?} seed={SEED:#x}",
        crashed.len()
    );
    assert!(acknowledged > 1000, "too little was acknowledged to prove anything: {acknowledged}");
    assert!(unknown > CYCLES, "too little was in flight: {unknown}");
    assert!(!crashed.is_empty());
    let digests = server.terminate();
    assert_eq!(digests.code, Some(0), "{}", digests.stderr);
}
