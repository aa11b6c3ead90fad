//! D3 and `durability.md` 3.8: crashes at chosen points, and what a crash means for work that was claimed.

use std::path::Path;

use relive_tests::{App, Ended, Known, Launch, Ledger, Manifest, Server, Site, busy, until};
use serde_json::{Value, json};

/// Mutating calls at which the process is made to die; each before and after the call.
const POINTS: std::ops::Range<u64> = 1..46;

fn manifest() -> Manifest {
    let retry = r#"retry = { max_attempts = 100, backoff = "fixed", base_ms = 5, jitter_pct = 0 }"#;
    Manifest::new()
        .sync("POST /put/{key}", "put", r#"kv::set("fresh", ctx.request.params.key, "x".len); ()"#)
        .on_kv("fresh", "copy", r#"kv::incr("effects", ctx.event.key, 1)"#, retry)
}

fn launch(data: &Path) -> Launch {
    Launch::on(data).env("RELIVE_SEGMENT_BYTES", "64KiB")
}

/// Writes until the server is gone, at most `most`; whether all were answered.
async fn write(app: &App, ledger: &Ledger, name: &str, most: usize) -> bool {
    for n in 0..most {
        let key = format!("{name}-{n}");
        ledger.sent(&key);
        // A kilobyte in the body of every third: segments roll over.
        let body = if n % 3 == 0 { "y".repeat(1024) } else { String::new() };
        match app.data.try_send("POST", &format!("/shop/put/{key}"), &[], body).await {
            Ok(reply) if reply.status == 204 => ledger.answered(&key, Known::Acknowledged(reply.lsn())),
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    true
}

async fn everything_is_there(app: &App, ledger: &Ledger, about: &str) {
    app.settled().await;
    let (fresh, effects) = (app.collection("fresh").await, app.collection("effects").await);
    for (key, known) in ledger.all() {
        let there = fresh.contains_key(&key);
        assert!(there || !matches!(known, Known::Acknowledged(_)), "{about}: acknowledged and lost: {key}");
        assert_eq!(effects.get(&key), there.then_some(&json!(1)), "{about}: effects of {key}");
    }
    for key in fresh.keys() {
        assert!(ledger.all().contains_key(key), "{about}: nobody sent {key}");
    }
}

fn died(ended: &Ended) -> bool {
    // SIGABRT
    ended.signal == Some(6)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_a_crash_at_every_mutating_call_of_a_start_and_of_load_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    // A directory with a few events: every crash starts from a copy of it.
    let origin = dir.path().join("origin");
    let server = launch(&origin).start();
    let app = server.app("shop");
    app.deploy(&manifest()).await;
    let first = Ledger::default();
    assert!(write(&app, &first, "first", 20).await);
    drop(server.kill());
    let (mut at_start, mut under_load, mut never) = (0, 0, 0);
    for point in POINTS.flat_map(|n| [format!("{}", n * 3), format!("{}:after", n * 3 + 1)]) {
        let data = dir.path().join("data");
        relive_tests::damage::copy(&origin, &data);
        let ledger = first.deep_copy();
        let crashing = launch(&data).env("RELIVE_CRASH_AT", &point);
        match crashing.try_start() {
            Err(ended) => {
                assert!(died(&ended), "{point}: {ended:?}");
                at_start += 1;
            }
            Ok(server) => {
                if write(&server.app("shop"), &ledger, "more", 40).await {
                    never += 1;
                    drop(server.kill());
                } else {
                    let ended = server.ended();
                    assert!(died(&ended), "{point}: {ended:?}");
                    under_load += 1;
                }
            }
        }
        let server = launch(&data).start();
        everything_is_there(&server.app("shop"), &ledger, &format!("RELIVE_CRASH_AT={point}")).await;
        drop(server.kill());
        std::fs::remove_dir_all(&data).unwrap();
    }
    println!(
        "points={} at_start={at_start} under_load={under_load} never_reached={never}",
        POINTS.count() * 2
    );
    assert!(at_start + under_load >= 40, "crashes: {at_start} at the start, {under_load} under load");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_a_crash_while_a_new_directory_is_made_or_first_recovered_is_no_loss_and_no_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let mut crashed = 0;
    for point in 1..26 {
        let data = dir.path().join(format!("data-{point}"));
        let crashing = launch(&data).env("RELIVE_CRASH_AT", format!("{point}"));
        match crashing.try_start() {
            Err(ended) => {
                assert!(died(&ended), "{point}: {ended:?}");
                crashed += 1;
            }
            Ok(server) => drop(server.kill()),
        }
        // Twice again: the second start dies a little later, the third must live.
        drop(launch(&data).env("RELIVE_CRASH_AT", format!("{}", point / 2 + 1)).try_start());
        let server = launch(&data).start();
        let app = server.app("shop");
        app.deploy(&manifest()).await;
        assert_eq!(
            app.put("c", "k", &json!(1)).await,
            app.admin
                .get(&app.key_path("c", "k"))
                .await
                .header("etag")
                .trim_matches('"')
                .parse::<u64>()
                .unwrap()
        );
        drop(server.kill());
    }
    println!("points=25 crashed={crashed}");
    assert!(crashed >= 10, "{crashed}");
}

/// A trigger's script that works for a while (milliseconds, about) between two writes.
fn work(rounds: u32) -> String {
    format!(
        "kv::incr(\"runs\", ctx.event.key, 1);\n{}kv::set(\"done\", ctx.event.key, ctx.attempt)",
        busy(rounds)
    )
}

fn long(launch: Launch) -> Launch {
    launch.env("RELIVE_EXECUTION_TIMEOUT_MS", 120_000)
}

async fn running(app: &App, script: &str) -> String {
    until(&format!("{script} to run"), || async {
        let rows = app.executions(&format!("script={script}&status=running")).await;
        rows.first().map(|row| row["id"].as_str().unwrap().to_owned())
    })
    .await
}

async fn data_of(app: &App, execution: &str, kind: &str) -> Vec<Value> {
    app.items(&format!("/log?execution={execution}&kind={kind}"))
        .await
        .iter()
        .map(|e| e["data"].clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_claimed_work_of_a_crash_is_found_at_once_runs_alone_and_only_crashes_alone_count() {
    let retry = r#"retry = { max_attempts = 2, backoff = "fixed", base_ms = 10, jitter_pct = 0 }"#;
    let manifest = Manifest::new().on_kv("in", "busy", &work(1_000_000), retry).on_dead_letter(
        "alert",
        r#"kv::set("alerts", ctx.event.last_error.kind, ctx.event.attempts)"#,
        "",
    );
    let site = Site::launched(long, &manifest).await;
    site.app.put("in", "k", &json!(1)).await;
    let id = running(&site.app, "busy").await;
    let mut site = site;
    for crash in 0..3 {
        // Not yet two crashes alone: it is still there.
        assert_eq!(running(&site.app, "busy").await, id, "crash {crash}");
        let before = std::time::Instant::now();
        site = site.crashed();
        println!("crash={crash} restarted_after={:?}", before.elapsed());
    }
    let record = site.app.execution_in(&id, "dead_lettered|completed").await;
    assert_eq!(
        record["status"],
        json!("dead_lettered"),
        "the first crash did not count, two alone did: {record}"
    );
    let claims = data_of(&site.app, &id, "claimed").await;
    let failures = data_of(&site.app, &id, "attempt_failed").await;
    assert_eq!((claims.len(), failures.len()), (3, 3), "{claims:?} {failures:?}");
    let alone: Vec<_> = claims.iter().map(|claim| claim["alone_ms"].as_u64().unwrap_or(0)).collect();
    assert_eq!(alone, [0, 1000, 2000], "alone for 1 s, twice as long after each further crash");
    let counted: Vec<_> = failures.iter().map(|failed| failed["counted"].clone()).collect();
    assert_eq!(counted, [json!(false), json!(true), json!(true)], "{failures:?}");
    assert!(failures.iter().all(|failed| failed["error"]["kind"] == json!("crashed")), "{failures:?}");
    site.app.settled().await;
    assert_eq!(site.app.value("alerts", "crashed").await, Some(json!(2)));
    assert!(site.app.collection("runs").await.is_empty(), "S1: no attempt left a write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_sync_calls_wait_while_crashed_work_runs_alone_and_join_after_its_second() {
    let manifest = Manifest::new()
        .on_kv("in", "busy", &work(1_000_000), r#"retry = { max_attempts = 5, backoff = "none" }"#)
        .sync("GET /ping", "ping", "\"pong\"");
    let site = Site::launched(long, &manifest).await;
    site.app.put("in", "k", &json!(1)).await;
    let id = running(&site.app, "busy").await;
    let site = site.crashed();
    until("the second claim", || async {
        (data_of(&site.app, &id, "claimed").await.len() == 2).then_some(())
    })
    .await;
    // It outlives its second alone: the call waited, and the log says when others joined.
    let pong = site.app.call("GET", "/ping", "").await.expect(200);
    assert_eq!(pong.text(), "pong");
    let log = site.app.items("/log").await;
    let lsn = |kind: &str, execution: &str| {
        log.iter()
            .rev()
            .find(|e| e["kind"] == json!(kind) && e["execution_id"] == json!(execution))
            .map(|e| e["lsn"].as_u64().unwrap())
    };
    let (ended, claimed) = (lsn("alone_ended", &id), lsn("claimed", &pong.execution()));
    assert!(ended.is_some() && ended < claimed, "alone until {ended:?}, the call was claimed at {claimed:?}");
    assert_eq!(site.app.execution(&id).await["status"], json!("running"), "it still runs beside the others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_an_orderly_shutdown_releases_background_work_uncounted_and_it_runs_again() {
    let manifest = Manifest::new().on_kv("in", "busy", &work(700), r#"retry = { max_attempts = 1 }"#);
    let site = Site::launched(|l| long(l).env("RELIVE_SHUTDOWN_GRACE_MS", 50), &manifest).await;
    for n in 0..4 {
        site.app.put("in", &format!("k{n}"), &json!(1)).await;
    }
    running(&site.app, "busy").await;
    let site = site.restarted(|server: Server| assert_eq!(server.terminate().code, Some(0)));
    site.app.settled().await;
    let done = site.app.collection("done").await;
    assert_eq!(done.len(), 4, "{done:?}");
    assert_eq!(site.app.collection("runs").await.into_values().collect::<Vec<_>>(), vec![json!(1); 4]);
    let released = site.app.items("/log?kind=released").await;
    println!("released={}", released.len());
    assert!(!released.is_empty(), "the shutdown cut something off");
    assert!(site.app.letters("").await.is_empty(), "a released attempt does not count");
}
