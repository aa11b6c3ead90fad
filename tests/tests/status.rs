//! The status table of sync routes (`semantics.md`): every row whose cause exists, as RFC 9457 problem documents.

use std::time::Duration;

use relive_tests::{Launch, Manifest, Reply, Site, busy, forever};
use serde_json::json;

/// Words that stand in the sources and must not reach a stranger.
const INTERNAL: &str = "hunter2-internal-detail";

/// A problem of an execution: code, `execution_id`, no internals; and its record has the full error.
async fn failed(site: &Site, reply: &Reply, status: u16, code: &str) {
    let document = reply.problem(status, code);
    let id = reply.execution();
    assert_eq!(document["execution_id"], json!(id), "{reply}");
    assert!(!reply.text().contains(INTERNAL), "internals shown to a stranger: {reply}");
    assert!(document.get("line").is_none() && document.get("message").is_none(), "{reply}");
    let record = site.app.execution_in(&id, "failed").await;
    let error = &record["attempts"][0]["error"];
    assert_eq!(error["kind"], json!(code), "{record}");
    assert_eq!(record["attempts"].as_array().map(Vec::len), Some(1), "{record}");
}

async fn check(rows: &[(&str, &str)], status: u16, code: &str) {
    let manifest = rows.iter().fold(Manifest::new(), |manifest, (name, source)| {
        manifest.sync(&format!("POST /{name}"), name, source)
    });
    let settings = |launch: Launch| launch.env("RELIVE_MAX_OPERATIONS", 3_000_000);
    let site = Site::launched(settings, &manifest).await;
    for (name, _) in rows {
        let reply = site.app.call("POST", &format!("/{name}"), "{}").await;
        println!("{name}: {} {}", reply.status, reply.json()["code"]);
        failed(&site, &reply, status, code).await;
    }
    assert!(site.app.letters("").await.is_empty(), "D4");
    assert!(site.app.collection("w").await.is_empty(), "S1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_422_throw() {
    let rows = [
        ("text", "kv::set(\"w\", \"a\", 1);\nthrow \"hunter2-internal-detail\";"),
        ("map", "throw #{ code: 42, why: \"hunter2-internal-detail\" };"),
        ("nested", "fn f() { throw \"hunter2-internal-detail\" } f();"),
    ];
    check(&rows, 422, "throw").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_422_runtime() {
    let rows = [
        ("function", "let x = 1; x.nothing(\"hunter2-internal-detail\");"),
        ("zero", "let zero = 0; 1 / zero"),
        ("bounds", "let a = [1]; a[5]"),
        ("types", "kv::incr(\"w\", 5, \"x\")"),
        ("counter", "kv::set(\"w\", \"a\", \"text\"); kv::incr(\"w\", \"a\", 1)"),
        ("no_secret", "secrets::get(\"nobody-set-this\")"),
    ];
    check(&rows, 422, "runtime").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_502_bad_response() {
    let rows = [
        ("status_99", "kv::set(\"w\", \"a\", 1); #{ status: 99 }"),
        ("status_600", "#{ status: 600 }"),
        ("status_101", "#{ status: 101 }"),
        ("status_negative", "#{ status: -200 }"),
        ("hop_connection", "#{ status: 200, headers: #{ connection: \"close\" } }"),
        ("hop_transfer", "#{ status: 200, headers: #{ \"Transfer-Encoding\": \"chunked\" } }"),
        ("hop_keep_alive", "#{ status: 200, headers: #{ \"keep-alive\": \"1\" } }"),
        ("hop_upgrade", "#{ status: 200, headers: #{ upgrade: \"h2c\" } }"),
        ("reserved", "#{ status: 200, headers: #{ \"Relive-Lsn\": \"1\" } }"),
        ("header_name", "#{ status: 200, headers: #{ \"a b\": \"1\" } }"),
        ("header_value", "#{ status: 200, headers: #{ \"x-a\": \"1\\r\\nx-b: 2\" } }"),
        ("function", "|x| x"),
        ("not_a_number", "#{ n: 0.0 / 0.0 }"),
        ("function_in_body", "#{ status: 200, body: #{ f: |x| x } }"),
    ];
    check(&rows, 502, "bad_response").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_507_operations() {
    check(
        &[("forever", "kv::set(\"w\", \"a\", 1); loop { }"), ("caught", "try { loop { } } catch { 1 }")],
        507,
        "operations",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_507_call_depth() {
    let rows =
        [("deep", "fn f(n) { f(n + 1) } f(0)"), ("caught", "fn f(n) { f(n + 1) } try { f(0) } catch { 1 }")];
    check(&rows, 507, "call_depth").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_507_size() {
    let rows = [
        ("string", "let s = \"x\"; loop { s += s; }"),
        ("array", "let a = []; loop { a.push(()); }"),
        ("caught", "let s = \"x\"; try { loop { s += s; } } catch { 1 }"),
    ];
    check(&rows, 507, "size").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_507_memory() {
    // 60 levels with three strings of half a MiB each: 90 MiB where 64 are allowed, no value of them too large.
    let source = r#"
        fn big() { let s = "x"; for i in 0..19 { s += s; } s }
        fn f(n) { let a = big(); let b = big(); let c = big(); if n > 0 { f(n - 1); } a.len + b.len + c.len }
        f(58)
    "#;
    let caught = format!("try {{ {} }} catch {{ 1 }}", "f(57)");
    let caught = source.replace("f(58)", &caught);
    check(&[("strings", source), ("caught", &caught)], 507, "memory").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_507_writes() {
    let rows = [
        ("count", "for i in 0..10001 { kv::set(\"w\", `k${i}`, i); }"),
        ("bytes", "let s = \"x\"; for i in 0..19 { s += s; } for i in 0..20 { kv::set(\"w\", `k${i}`, s); }"),
        ("caught", "try { for i in 0..10001 { kv::set(\"w\", `k${i}`, i); } } catch { 1 }"),
    ];
    check(&rows, 507, "writes").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_504_timeout_counts_from_admission() {
    let source = format!("kv::set(\"w\", \"a\", 1); {}", forever());
    let manifest = Manifest::new().route("POST /slow", "slow", &source, "sync", "timeout_ms = 300");
    let site = Site::with(&manifest).await;
    let started = std::time::Instant::now();
    let reply = site.app.call("POST", "/slow", "").await;
    let took = started.elapsed();
    failed(&site, &reply, 504, "timeout").await;
    assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(5), "{took:?}");
    assert!(site.app.collection("w").await.is_empty());
    assert!(site.app.items("/abandoned").await.is_empty(), "D5: the receiver still waited");
    println!("timeout_ms=300 answered_after={took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_503_overloaded_with_retry_after() {
    let source = format!("{}()", busy(150));
    let settings = |launch: Launch| {
        launch
            .env("RELIVE_EXECUTION_TIMEOUT_MS", 30_000)
            .env("RELIVE_MAX_CONCURRENT_EXECUTIONS", 1)
            .env("RELIVE_MAX_WAITING_CALLS", 1)
    };
    let site = Site::launched(settings, &Manifest::new().sync("POST /busy", "busy", &source)).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let app = site.app.clone();
        tasks.spawn(async move { app.call("POST", "/busy", "").await });
    }
    let replies = tasks.join_all().await;
    let (done, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 204);
    for reply in &refused {
        reply.problem(503, "overloaded");
        assert!(!reply.header("retry-after").is_empty(), "{reply}");
    }
    println!("calls=8 done={} overloaded={}", done.len(), refused.len());
    assert!(!done.is_empty() && refused.len() >= 4, "{} done", done.len());
    assert_eq!(site.app.executions("script=busy").await.len(), done.len(), "a refused call is no execution");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_503_shutting_down_ends_as_failed_and_is_never_run_again() {
    let manifest =
        Manifest::new().sync("POST /slow", "slow", &format!("kv::set(\"w\", \"a\", 1); {}", forever()));
    let settings = |launch: Launch| {
        launch.env("RELIVE_EXECUTION_TIMEOUT_MS", 60_000).env("RELIVE_SHUTDOWN_GRACE_MS", 300)
    };
    let site = Site::launched(settings, &manifest).await;
    let app = site.app.clone();
    let call = tokio::spawn(async move { app.call("POST", "/slow", "").await });
    relive_tests::until("the call to run", || async {
        let rows = site.app.executions("script=slow").await;
        (rows.len() == 1 && rows[0]["status"] == json!("running")).then_some(())
    })
    .await;
    site.server.signal_term();
    let reply = call.await.unwrap();
    let document = reply.problem(503, "shutting_down");
    assert!(!reply.header("retry-after").is_empty(), "{reply}");
    let id = document["execution_id"].as_str().unwrap().to_owned();
    let site = site.restarted(|server| assert_eq!(server.ended().code, Some(0)));
    let record = site.app.execution(&id).await;
    assert_eq!(record["status"], json!("failed"), "{record}");
    assert_eq!(record["attempts"][0]["error"]["kind"], json!("shutting_down"), "{record}");
    assert!(site.app.items("/outbox").await.is_empty());
    assert!(site.app.collection("w").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_422_parse_is_refused_at_the_deploy_with_line_and_column() {
    let site = Site::with(&Manifest::new().sync("GET /ok", "ok", "1")).await;
    let before = site.app.get("/log").await["as_of_lsn"].clone();
    let bad = Manifest::new().sync("GET /ok", "ok", "2").sync("GET /bad", "bad", "let a = 1;\nlet b = = 2;");
    let document = site.app.try_deploy(&bad).await.problem(422, "parse");
    assert_eq!(document["line"], json!(2), "{document}");
    assert!(document["column"].as_u64().is_some_and(|column| column > 1), "{document}");
    assert!(document.to_string().contains("bad"), "names the script: {document}");
    assert_eq!(site.app.call("GET", "/ok", "").await.expect(200).text(), "1", "all or nothing");
    assert_eq!(site.app.items("/scripts/ok/versions").await.len(), 1);
    let put = site.app.admin.send("PUT", &site.app.path("/scripts/x"), &[], "fn (").await;
    put.problem(422, "parse");
    println!("lsn before={before}");
}
