//! The limits of `semantics.md`: one more than allowed is refused, names the limit and the setting, and writes nothing.

use relive_tests::{App, Cli, Launch, Manifest, Site};
use serde_json::json;

/// Script, what its error is, which setting it names; each is one over a limit that the test sets low.
const SCRIPTS: [(&str, &str, &str, &str); 11] = [
    ("operations", "let n = 0; loop { n += 1; }", "operations", "RELIVE_MAX_OPERATIONS"),
    ("levels", "fn f(n) { if n == 0 { 0 } else { f(n - 1) } } f(16)", "call_depth", "RELIVE_MAX_CALL_LEVELS"),
    ("string", r#"let s = "x"; for n in 0..12 { s += s; } s += "x";"#, "size", "RELIVE_MAX_STRING"),
    ("array", "let a = []; for n in 0..101 { a.push(1); }", "size", "RELIVE_MAX_ARRAY"),
    ("map", "let m = #{}; for n in 0..101 { m += json::parse(`{\"k${n}\": 1}`); }", "size", "RELIVE_MAX_MAP"),
    ("writes", r#"for n in 0..6 { kv::set("w", `k${n}`, 1); }"#, "writes", "RELIVE_MAX_WRITES"),
    ("key", r#"let k = ""; for n in 0..33 { k += "k"; } kv::set("w", k, 1)"#, "runtime", "RELIVE_MAX_KEY"),
    ("collection", r#"kv::set("ccccccccccccccccc", "k", 1)"#, "runtime", "RELIVE_MAX_COLLECTION_NAME"),
    (
        "value",
        r#"let v = []; for n in 0..70 { v.push("0123456789"); } kv::set("w", "k", v)"#,
        "runtime",
        "RELIVE_MAX_VALUE",
    ),
    (
        "write_bytes",
        r#"let v = ""; for n in 0..40 { v += "0123456789"; } for n in 0..3 { kv::set("w", `k${n}`, v); }"#,
        "writes",
        "RELIVE_MAX_WRITE_BYTES",
    ),
    ("fan_out", r#"for n in 0..3 { kv::set("in", `k${n}`, 1); }"#, "fan_out", "RELIVE_MAX_FAN_OUT"),
];

/// What the log has of the app: kind and LSN of each event.
async fn log_of(app: &App) -> Vec<(String, u64)> {
    let events = app.items("/log").await;
    events
        .iter()
        .map(|event| (event["kind"].as_str().unwrap().to_owned(), event["lsn"].as_u64().unwrap()))
        .collect()
}

/// A run that a limit ended leaves its own record and nothing else: no key, no execution of a trigger, no letter, no version.
/// Lists what is allowed, so that a new kind of event cannot slip through.
async fn only_its_record(app: &App, before: &[(String, u64)], execution: &str, about: &str) {
    let after = log_of(app).await;
    let since = after.get(before.len()..).unwrap_or_default();
    assert_eq!(after.get(..before.len()), Some(before), "{about}: what was there stays");
    let own = app.items(&format!("/log?execution={execution}")).await;
    for (kind, lsn) in since {
        assert!(
            matches!(kind.as_str(), "enqueued" | "claimed" | "attempt_failed"),
            "{about} wrote {kind} at {lsn}: {since:?}"
        );
        assert!(own.iter().any(|event| event["lsn"] == json!(lsn)), "{about}: {kind} at {lsn} is another's");
    }
    assert!(!since.is_empty(), "{about}: the record is there");
    assert!(app.letters("status=open").await.is_empty(), "{about}: a dead letter");
    assert!(app.executions("script=fired").await.is_empty(), "{about}: a trigger ran");
}

fn low(launch: Launch) -> Launch {
    launch
        .env("RELIVE_MAX_OPERATIONS", 100_000)
        .env("RELIVE_MAX_CALL_LEVELS", 16)
        .env("RELIVE_MAX_STRING", 4096)
        .env("RELIVE_MAX_ARRAY", 100)
        .env("RELIVE_MAX_MAP", 100)
        .env("RELIVE_MAX_WRITES", 5)
        .env("RELIVE_MAX_WRITE_BYTES", 1000)
        .env("RELIVE_MAX_KEY", 32)
        .env("RELIVE_MAX_COLLECTION_NAME", 16)
        .env("RELIVE_MAX_VALUE", 512)
        .env("RELIVE_MAX_FAN_OUT", 2)
        .env("RELIVE_MAX_REQUEST_BODY", 1000)
        .env("RELIVE_MAX_RESPONSE_BODY", 2000)
        .env("RELIVE_MAX_SCRIPT_SOURCE", 500)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_scripts_are_settings_and_errors_name_them() {
    let mut manifest = Manifest::new().on_kv("in", "fired", "()", "").sync(
        "POST /response",
        "response",
        r#"let s = "0123456789"; for n in 0..8 { s += s; } s"#,
    );
    for (name, source, ..) in SCRIPTS {
        manifest = manifest.sync(&format!("POST /{name}"), name, source);
    }
    let site = Site::launched(low, &manifest).await;
    let app = &site.app;
    let mut checked = 0;
    for (name, _, kind, setting) in
        SCRIPTS.into_iter().chain([("response", "", "bad_response", "RELIVE_MAX_RESPONSE_BODY")])
    {
        let before = log_of(app).await;
        let reply = app.call("POST", &format!("/{name}"), "").await;
        let record = app.execution(&reply.execution()).await;
        let error = &record["last_error"];
        assert_eq!(error["kind"], json!(kind), "{name}: {record}");
        assert!(error["message"].as_str().unwrap().contains(setting), "{name} names {setting}: {error}");
        only_its_record(app, &before, &reply.execution(), name).await;
        checked += 1;
    }
    app.settled().await;
    assert!(app.items("/kv").await.is_empty(), "nothing was written");
    println!("limits={checked}");
}

/// T1: a record keeps the bounds under which its attempt ran.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_what_a_limit_ended_replays_offline_and_under_other_settings() {
    let mut manifest = Manifest::new().on_kv("in", "fired", "()", "");
    for (name, source, ..) in SCRIPTS {
        manifest = manifest.sync(&format!("POST /{name}"), name, source);
    }
    let site = Site::launched(low, &manifest).await;
    let mut executions = Vec::new();
    for (name, ..) in SCRIPTS {
        let reply = site.app.call("POST", &format!("/{name}"), "").await;
        assert_eq!(site.app.execution(&reply.execution()).await["status"], json!("failed"), "{name}");
        executions.push((name, reply.execution()));
    }
    let data = site.server.data.clone();
    drop(site.server.terminate());
    let directory = data.to_str().unwrap();
    for (name, execution) in &executions {
        let told = Cli::offline().run(&["exec", "replay", execution, "--data", directory]);
        assert_eq!(told.code, 0, "{name}: {told:?}");
    }
    let server = Launch::on(&data).start();
    let cli = Cli::of(&server, "shop");
    for (name, execution) in &executions {
        let told = cli.run(&["exec", "replay", execution]);
        assert_eq!(told.code, 0, "{name}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_requests_are_settings_and_errors_name_them() {
    let site = Site::launched(low, &Manifest::new().sync("POST /x", "x", r#"kv::set("c", "k", 1)"#)).await;
    let app = &site.app;
    let before = app.admin.get("/api/v1/instance").await.expect(200).json()["lsn"].clone();
    let value = |len: usize| json!("x".repeat(len - 2)).to_string();
    let rows = [
        (app.data.clone(), "POST", "/shop/x".to_owned(), "x".repeat(1001), "RELIVE_MAX_REQUEST_BODY"),
        (app.admin.clone(), "PUT", app.key_path("c", "k"), value(513), "RELIVE_MAX_VALUE"),
        (app.admin.clone(), "PUT", app.key_path("c", &"k".repeat(33)), value(10), "RELIVE_MAX_KEY"),
        (
            app.admin.clone(),
            "PUT",
            app.key_path(&"c".repeat(17), "k"),
            value(10),
            "RELIVE_MAX_COLLECTION_NAME",
        ),
        (
            app.admin.clone(),
            "PUT",
            app.path("/scripts/s"),
            format!("//{}", "x".repeat(500)),
            "RELIVE_MAX_SCRIPT_SOURCE",
        ),
    ];
    for (http, method, path, body, setting) in rows {
        let reply = http.send(method, &path, &[], body).await;
        assert!(matches!(reply.status, 413 | 422), "{setting}: {reply}");
        assert_eq!(reply.json()["setting"], json!(setting), "{reply}");
        assert!(reply.json()["limit"].is_u64(), "{reply}");
    }
    let after = app.admin.get("/api/v1/instance").await.expect(200).json()["lsn"].clone();
    assert_eq!(before, after, "nothing was written");
    let _ = app.admin.send("PUT", &app.key_path("c", &"k".repeat(32)), &[], value(512)).await.expect(200);
    let _ = app.data.send("POST", "/shop/x", &[], "x".repeat(1000)).await.expect(204);
}

/// What depends on the machine or on the process is not replayed; it is refused all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_time_and_the_size_of_a_commit_are_settings_and_errors_name_them() {
    let rows = [
        (
            "memory",
            r#"let t = ""; for n in 0..100 { t += "0123456789"; } let m = #{}; let n = 0; loop { n += 1; m["k" + n] = t + n; }"#,
            "memory",
            "RELIVE_MAX_MEMORY",
        ),
        ("time", "let n = 0; loop { n += 1; }", "timeout", "RELIVE_EXECUTION_TIMEOUT_MS"),
        (
            "batch",
            r#"let v = ""; for n in 0..100 { v += "0123456789"; } for n in 0..100 { kv::set("w", `k${n}`, v); }"#,
            "writes",
            "RELIVE_MAX_BATCH",
        ),
    ];
    let mut manifest = Manifest::new();
    for (name, source, ..) in rows {
        manifest = manifest.sync(&format!("POST /{name}"), name, source);
    }
    let low = |launch: Launch| {
        launch
            .env("RELIVE_MAX_MEMORY", "2MiB")
            .env("RELIVE_EXECUTION_TIMEOUT_MS", 300)
            .env("RELIVE_MAX_BATCH", "64KiB")
    };
    let site = Site::launched(low, &manifest).await;
    for (name, _, kind, setting) in rows {
        let before = log_of(&site.app).await;
        let reply = site.app.call("POST", &format!("/{name}"), "").await;
        let record = site.app.execution(&reply.execution()).await;
        let error = &record["last_error"];
        assert_eq!(error["kind"], json!(kind), "{name}: {record}");
        assert!(error["message"].as_str().unwrap().contains(setting), "{name} names {setting}: {error}");
        only_its_record(&site.app, &before, &reply.execution(), name).await;
    }
    assert!(site.app.items("/kv").await.is_empty(), "nothing was written");
}

/// Operations are the same in every run, so a budget of exactly as many is enough and one less is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_of_exactly_the_limit_are_allowed_and_one_more_is_not() {
    let source = r#"let n = 0; for i in 0..500 { n += i; } kv::set("w", "k", n)"#;
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::on(&dir.path().join("data"));
    let server = launch.start();
    server.app("shop").deploy(&Manifest::new().sync("POST /count", "count", source)).await;
    let id = server.app("shop").call("POST", "/count", "").await.expect(204).execution();
    let record = server.app("shop").execution(&id).await;
    let operations = record["attempts"][0]["operations"].as_u64().unwrap();
    assert!(operations > 1000, "{record}");
    drop(server.terminate());
    let server = launch.clone().env("RELIVE_MAX_OPERATIONS", operations).start();
    let _ = server.app("shop").call("POST", "/count", "").await.expect(204);
    drop(server.terminate());
    let server = launch.env("RELIVE_MAX_OPERATIONS", operations - 1).start();
    let app = server.app("shop");
    let before = log_of(&app).await;
    let id = app.call("POST", "/count", "").await.expect(507).execution();
    let error = app.execution(&id).await["last_error"].clone();
    assert_eq!(error["kind"], json!("operations"), "{error}");
    assert!(error["message"].as_str().unwrap().contains("RELIVE_MAX_OPERATIONS"), "{error}");
    only_its_record(&app, &before, &id, "operations").await;
}

/// A page ends early, with a cursor, after at least one item; one more than the most is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_as_long_as_the_settings_say() {
    let fill =
        r#"let v = ""; for n in 0..30 { v += "0123456789"; } for n in 0..9 { kv::set("c", `k${n}`, v); }"#;
    let manifest = Manifest::new()
        .sync("POST /fill", "fill", fill)
        .sync("GET /default", "default", r#"kv::list("c").items.len()"#)
        .sync("GET /most", "most", r#"kv::list("c", #{limit: 7}).items.len()"#)
        .sync("GET /more", "more", r#"kv::list("c", #{limit: 8}).items.len()"#);
    let low = |launch: Launch| {
        launch.env("RELIVE_LIST_PAGE", 3).env("RELIVE_MAX_LIST_PAGE", 7).env("RELIVE_MAX_LIST_BYTES", 1300)
    };
    let site = Site::launched(low, &manifest).await;
    let app = &site.app;
    assert!(app.call("POST", "/fill", "").await.status < 300);
    let page = async |query: &str| app.get(&format!("/kv/c{query}")).await["items"].as_array().unwrap().len();
    assert_eq!(
        (page("").await, page("?limit=4").await, page("?limit=7").await),
        (3, 4, 4),
        "1300 bytes: four"
    );
    let refused = app.admin.get(&app.path("/kv/c?limit=8")).await;
    assert_eq!((refused.status, refused.json()["setting"].clone()), (422, json!("RELIVE_MAX_LIST_PAGE")));
    assert_eq!(app.call("GET", "/default", "").await.expect(200).json(), json!(3));
    assert_eq!(app.call("GET", "/most", "").await.expect(200).json(), json!(4));
    let more = app.call("GET", "/more", "").await;
    let record = app.execution(&more.execution()).await;
    assert!(record["last_error"]["message"].as_str().unwrap().contains("RELIVE_MAX_LIST_PAGE"), "{record}");
}
