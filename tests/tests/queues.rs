//! D18, D13, D15, D16 from outside: queues, order, pausing and schedules through the API, the command line and scripts.

use relive_tests::{Cli, Launch, Manifest, Site, until};
use serde_json::{Value, json};

const COLLECT: &str = r#"
    let e = ctx.event;
    if e.message == "bad" && ctx.attempt < 3 { throw "not yet" }
    kv::set("got", `${ctx.lsn}`, #{ source: e.source, queue: e.queue, message: e.message, depth: ctx.depth });
    kv::set("order", "all", (kv::get("order", "all") ?? "") + `${e.message} `)
"#;

const RETRY: &str = r#"retry = { max_attempts = 3, backoff = "fixed", base_ms = 300, jitter_pct = 0 }"#;

fn manifest(ordering: &str) -> Manifest {
    Manifest::new()
        .on_queue("mails", COLLECT, &format!("ordering = \"{ordering}\"\n{RETRY}"))
        .sync("POST /fill", "fill", r#"queue::send("mails", #{ a: [1, ()] }, #{ delay_ms: 50 })"#)
        .sync("POST /lost", "lost", r#"kv::set("c", "k", 1); queue::send("none", 1)"#)
        .sync("GET /hi", "hi", r#""hi""#)
        .asynchronous("POST /later", "later", r#"kv::set("later", "k", 1)"#, "")
}

async fn order(site: &Site, n: usize) -> String {
    until(&format!("{n} messages"), || async {
        let all = site.app.value("order", "all").await?.as_str()?.trim().to_owned();
        (all.split(' ').count() >= n).then_some(all)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d18_messages_by_the_api_the_command_line_and_scripts_reach_the_one_consumer() {
    let site = Site::with(&manifest("none")).await;
    let accepted =
        site.app.admin.post(&site.app.path("/queues/mails"), &json!({"message": "api"})).await.expect(202);
    let body = accepted.json();
    assert!(body["accepted_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{body}");
    let id = body["execution_id"].as_str().unwrap().to_owned();
    let done = site.app.execution_in(&id, "completed").await;
    assert_eq!(
        (&done["source"], &done["trigger"], &done["depth"]),
        (&json!("queue"), &json!("mails"), &json!(0))
    );
    assert_eq!(done["input"]["event"]["message"], json!("api"));
    let cli = Cli::of(&site.server, "shop");
    let sent =
        cli.run(&["queue", "send", "mails", "--data", "\"cli\"", "--key", "k", "--json"]).expect(0).json();
    site.app.execution_in(sent["execution_id"].as_str().unwrap(), "completed").await;
    let told = site.app.call("POST", "/fill", "").await.expect(200);
    let caused = site.app.execution_in(&told.text(), "completed").await;
    assert_eq!((&caused["depth"], &caused["root_execution_id"]), (&json!(1), &json!(told.execution())));
    assert_eq!(caused["input"]["event"]["message"], json!({"a": [1, null]}));
    assert_eq!(site.app.collection("got").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d18_refusals_name_what_is_wrong() {
    let site = Site::with(&manifest("none")).await;
    let app = &site.app;
    let send = |queue: &str, body: Value| {
        let path = app.path(&format!("/queues/{queue}"));
        async move { app.admin.post(&path, &body).await }
    };
    let _ = send("none", json!({"message": 1})).await.problem(404, "unknown_queue");
    let late = send("mails", json!({"message": 1, "delay_ms": 30_u64 * 86_400_000 + 1})).await;
    assert!(late.problem(422, "too_large")["detail"].as_str().unwrap().contains("30 days"));
    let _ = send("mails", json!({})).await.problem(422, "invalid");
    let _ = send("mails", json!({"message": 1, "priority": 2})).await.problem(422, "invalid");
    let second = json!({"name": "second", "kind": "queue", "queue": "mails", "script": "hi"});
    let refused = app.admin.post(&app.path("/triggers"), &second).await;
    assert!(refused.problem(409, "duplicate")["detail"].as_str().unwrap().contains("exactly one"));
    let failed = app.call("POST", "/lost", "").await;
    let _ = failed.problem(422, "runtime");
    assert_eq!(app.value("c", "k").await, None);
    assert_eq!(app.collection("got").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d13_d15_a_line_waits_for_its_head_and_says_so_over_a_kill() {
    let site = Site::with(&manifest("key")).await;
    let cli = Cli::of(&site.server, "shop");
    let _ = cli.run(&["trigger", "pause", "mails"]).expect(0);
    let mut ids = Vec::new();
    for message in ["bad", "second", "third"] {
        let body = json!({"message": message, "key": "k"});
        let accepted = site.app.admin.post(&site.app.path("/queues/mails"), &body).await.expect(202).json();
        ids.push(accepted["execution_id"].as_str().unwrap().to_owned());
    }
    let first = site.app.execution(&ids[0]).await;
    assert_eq!((&first["status"], &first["waiting_for"]), (&json!("pending"), &json!("trigger_paused")));
    let outbox = cli.run(&["exec", "outbox"]).expect(0).stdout;
    assert!(outbox.contains("its trigger is paused"), "{outbox}");
    let site = site.crashed();
    let cli = Cli::of(&site.server, "shop");
    let _ = cli.run(&["trigger", "resume", "mails"]).expect(0);
    site.app.execution_in(&ids[0], "retrying").await;
    let second = site.app.execution(&ids[1]).await;
    assert_eq!((&second["waiting_for"], &second["blocked_by"]), (&json!("line"), &json!(ids[0])));
    let site = site.crashed();
    assert_eq!(order(&site, 3).await, "bad second third");
    let attempts = site.app.execution(&ids[0]).await["attempt_count"].clone();
    assert!(attempts.as_u64().is_some_and(|n| n >= 3), "{attempts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d15_a_paused_app_answers_503_and_takes_what_may_wait() {
    let site = Site::with(&manifest("none")).await;
    let app = &site.app;
    let paused = app
        .admin
        .send("PATCH", "/api/v1/apps/shop", &[], json!({"paused": true}).to_string())
        .await
        .expect(200);
    assert_eq!(paused.json()["paused"], json!(true));
    let refused = app.call("GET", "/hi", "").await;
    assert!(!refused.header("retry-after").is_empty(), "{refused}");
    let _ = refused.problem(503, "app_paused");
    let later = app.call("POST", "/later", "").await.expect(202).json();
    let _ = app.admin.post(&app.path("/queues/mails"), &json!({"message": "m"})).await.expect(202);
    let direct = app.admin.post(&app.path("/scripts/hi/execute"), &json!({})).await.expect(200).json();
    assert_eq!(direct["result"], json!("hi"));
    for waiting in app.items("/outbox").await {
        assert_eq!(waiting["waiting_for"], json!("app_paused"), "{waiting}");
    }
    let site = site.crashed();
    let id = later["execution_id"].as_str().unwrap();
    assert_eq!(site.app.execution(id).await["status"], json!("pending"), "the pause outlives the process");
    let _ = Cli::of(&site.server, "shop").run(&["app", "resume", "shop"]).expect(0);
    site.app.execution_in(id, "completed").await;
    let _ = site.app.call("GET", "/hi", "").await.expect(200);
    order(&site, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d15_start_paused_starts_nothing_until_each_app_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::on(&dir.path().join("data"));
    let server = launch.start();
    let app = server.app("shop");
    app.deploy(&manifest("none")).await;
    drop(server.kill());
    let server = launch.clone().arg("--start-paused").start();
    let app = server.app("shop");
    let _ = app.call("GET", "/hi", "").await.problem(503, "app_paused");
    assert_eq!(app.get("").await["paused"], json!(true));
    let _ = Cli::of(&server, "shop").run(&["app", "resume"]).expect(0);
    let _ = app.call("GET", "/hi", "").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d16_schedules_run_once_a_moment_over_kills_and_are_refused_when_they_make_no_sense() {
    let tick = r#"kv::incr("ticks", ctx.event.scheduled_at, 1); kv::incr("all", "n", 1 + ctx.event.missed)"#;
    let manifest = Manifest::new().on_cron("* * * * * *", "tick", tick, "");
    let mut site = Site::with(&manifest).await;
    let shown = site.app.get("/triggers/tick").await;
    assert!(shown["next_at"].as_str().is_some(), "{shown}");
    for _ in 0..3 {
        let before = site.app.collection("ticks").await.len();
        until("two more ticks", || async {
            (site.app.collection("ticks").await.len() >= before + 2).then_some(())
        })
        .await;
        site = site.crashed();
    }
    let before = site.app.collection("ticks").await.len();
    until("a tick after the last kill", || async {
        (site.app.collection("ticks").await.len() > before).then_some(())
    })
    .await;
    let _ = Cli::of(&site.server, "shop").run(&["trigger", "pause", "tick"]).expect(0);
    site.app.settled().await;
    let ticks = site.app.collection("ticks").await;
    assert!(ticks.values().all(|n| *n == json!(1)), "D16: each at most once: {ticks:?}");
    let (first, last) = (ticks.keys().next().unwrap(), ticks.keys().next_back().unwrap());
    let seconds = |text: &str| {
        let at = &text[11..19];
        at.split(':').fold(0_i64, |sum, part| sum * 60 + part.parse::<i64>().unwrap())
    };
    let span = (seconds(last) - seconds(first)).rem_euclid(86_400) + 1;
    assert_eq!(site.app.value("all", "n").await, Some(json!(span)), "ran or counted as missed: {ticks:?}");
    println!("moments={span} runs={} kills=3", ticks.len());
    for (schedule, reason) in [("0 0 30 2 *", "never comes"), ("99 * * * *", "99"), ("* * *", "3 fields")] {
        let refused = site.app.try_deploy(&Manifest::new().on_cron(schedule, "bad", "1", "")).await;
        let problem = refused.problem(422, "invalid_manifest");
        assert!(problem["detail"].as_str().unwrap().contains(reason), "{problem}");
        assert_eq!((&problem["file"], &problem["line"]), (&json!("relive.toml"), &json!(6)), "{problem}");
    }
}
