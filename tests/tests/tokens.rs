//! Tokens: what each scope allows and what it does not (`contract.md`, Scopes), who may make which, D9 and S6.

use relive_tests::{App, Cli, Http, Manifest, Site, until};
use serde_json::{Value, json};

const ALL: [&str; 7] =
    ["instance:admin", "app:admin", "app:read", "script:read", "script:write", "script:execute", "log:read"];

/// Makes a token as `by`; the whole answer.
async fn token(by: &Http, app: Option<&str>, scopes: &[&str]) -> Value {
    let mut body = json!({ "name": "a test", "scopes": scopes });
    if let Some(app) = app {
        body["app"] = json!(app);
    }
    by.post("/api/v1/tokens", &body).await.expect(201).json()
}

/// A client with a token of these scopes, bound to the app.
async fn holder(app: &App, scopes: &[&str]) -> Http {
    let made = token(&app.admin, Some(&app.slug), scopes).await;
    app.admin.with_token(Some(made["token"].as_str().unwrap()))
}

/// Scopes other than what grants `wanted`: `app:admin` holds `app:read` too, `instance:admin` all.
fn all_but(wanted: &str) -> Vec<&'static str> {
    let grants = |scope: &str| scope == wanted || (wanted == "app:read" && scope == "app:admin");
    ALL.into_iter().filter(|scope| *scope != "instance:admin" && !grants(scope)).collect()
}

/// Method, path below the app, body, and the scopes that it needs; answers may be any but 401 and 403.
fn rows() -> Vec<(&'static str, String, Value, &'static [&'static str])> {
    let no_id = "00000000-0000-4000-8000-000000000000";
    let manifest = "app = \"shop\"";
    vec![
        ("GET", "".into(), Value::Null, &["app:read"]),
        ("PATCH", "".into(), json!({ "name": "N" }), &["app:admin"]),
        ("POST", "/deploy".into(), json!({ "manifest": manifest }), &["app:admin", "script:write"]),
        ("GET", "/scripts".into(), Value::Null, &["script:read"]),
        ("GET", "/scripts/x".into(), Value::Null, &["script:read"]),
        ("PUT", "/scripts/y".into(), json!(1), &["script:write"]),
        ("DELETE", "/scripts/y".into(), Value::Null, &["script:write"]),
        ("GET", "/scripts/x/versions".into(), Value::Null, &["app:read"]),
        ("POST", "/scripts/x/execute".into(), json!({}), &["script:execute"]),
        ("GET", "/routes".into(), Value::Null, &["app:read"]),
        ("POST", "/routes".into(), json!({ "method": "GET" }), &["app:admin"]),
        ("DELETE", format!("/routes/{no_id}"), Value::Null, &["app:admin"]),
        ("GET", "/triggers".into(), Value::Null, &["app:read"]),
        ("POST", "/triggers".into(), json!({ "name": "n" }), &["app:admin"]),
        ("GET", format!("/triggers/{no_id}"), Value::Null, &["app:read"]),
        ("PATCH", format!("/triggers/{no_id}"), json!({ "paused": false }), &["app:admin"]),
        ("DELETE", format!("/triggers/{no_id}"), Value::Null, &["app:admin"]),
        ("GET", "/kv".into(), Value::Null, &["script:read"]),
        ("GET", "/kv/c".into(), Value::Null, &["script:read"]),
        ("GET", "/kv/c/k".into(), Value::Null, &["script:read"]),
        ("GET", "/kv/c?at=1".into(), Value::Null, &["log:read"]),
        ("GET", "/kv/c/k?at=1".into(), Value::Null, &["log:read"]),
        ("PUT", "/kv/c/k2".into(), json!(2), &["script:write"]),
        ("DELETE", "/kv/c/k2".into(), Value::Null, &["script:write"]),
        ("GET", "/kv/c/k/history".into(), Value::Null, &["log:read"]),
        ("GET", "/executions".into(), Value::Null, &["log:read"]),
        ("GET", format!("/executions/{no_id}"), Value::Null, &["log:read"]),
        ("GET", "/outbox".into(), Value::Null, &["app:read"]),
        ("GET", "/dead-letters".into(), Value::Null, &["app:read"]),
        ("GET", format!("/dead-letters/{no_id}"), Value::Null, &["app:read"]),
        ("POST", format!("/dead-letters/{no_id}/redrive"), json!({}), &["app:admin"]),
        ("GET", "/abandoned".into(), Value::Null, &["app:read"]),
        ("GET", "/log".into(), Value::Null, &["log:read"]),
        ("GET", "/secrets".into(), Value::Null, &["app:read"]),
        ("PUT", "/secrets/S".into(), json!({ "value": "a value" }), &["app:admin"]),
        ("DELETE", "/secrets/S".into(), Value::Null, &["app:admin"]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e101_every_request_needs_its_scopes_and_no_other() {
    let site = Site::with(&Manifest::new().script("x", "1")).await;
    let app = &site.app;
    app.put("c", "k", &json!(1)).await;
    let mut checked = 0;
    for (method, path, body, needs) in rows() {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let path = app.path(&path);
        let send = |http: Http| {
            let (path, body) = (path.clone(), body.clone());
            async move { http.send(method, &path, &[], body).await }
        };
        for missing in needs {
            let refused = send(holder(app, &all_but(missing)).await).await;
            let problem = refused.problem(403, "forbidden");
            assert_eq!(problem["scope"], json!(missing), "{method} {path}: {refused}");
        }
        let granted = send(holder(app, needs).await).await;
        assert!(!matches!(granted.status, 401 | 403 | 500), "{method} {path}: {granted}");
        // Another app's resources do not exist, whatever the scopes; nor does an app that is not there.
        let elsewhere = site.server.app("second");
        if app.admin.get("/api/v1/apps/second").await.status == 404 {
            elsewhere.deploy(&Manifest::new().script("x", "1")).await;
        }
        let stranger = holder(&elsewhere, &all_but("instance:admin")).await;
        let problem = send(stranger).await.problem(404, "not_found");
        assert_eq!(problem["detail"], json!("there is no app `shop`"), "{method} {path}");
        checked += 1;
    }
    println!("requests={checked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_are_made_and_deleted_by_the_instance_only_and_listed_to_who_may_see_them() {
    let site = Site::with(&Manifest::new().script("x", "1")).await;
    let app = &site.app;
    site.server.app("second").deploy(&Manifest::new()).await;
    let admin = holder(app, &all_but("instance:admin")).await;
    for (method, path, body) in [
        ("POST", "/api/v1/apps", json!({ "slug": "third" }).to_string()),
        ("DELETE", "/api/v1/apps/shop", String::new()),
    ] {
        let problem = admin.send(method, path, &[], body).await.problem(403, "forbidden");
        assert_eq!(problem["scope"], json!("instance:admin"));
    }
    let slugs = |page: Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().clone();
        items.iter().map(|app| app["slug"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(slugs(admin.get("/api/v1/apps").await.expect(200).json()), ["shop"]);
    assert_eq!(slugs(app.admin.get("/api/v1/apps").await.expect(200).json()), ["second", "shop"]);
    let _ = admin.get("/api/v1/instance").await.expect(200);
    // A deploy makes a missing app for the instance only. An app-less token is good for every app.
    let body = Manifest::new().body("third");
    let made = token(&app.admin, None, &["app:admin", "script:write"]).await;
    let roaming = app.admin.with_token(made["token"].as_str());
    roaming.post("/api/v1/apps/third/deploy", &body).await.problem(404, "not_found");
    let _ = roaming.post("/api/v1/apps/second/deploy", &Manifest::new().body("second")).await.expect(200);
    let _ = app.admin.post("/api/v1/apps/third/deploy", &body).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e102_nobody_hands_out_what_he_does_not_hold() {
    let site = Site::with(&Manifest::new()).await;
    let app = &site.app;
    site.server.app("second").deploy(&Manifest::new()).await;
    let admin = holder(app, &["app:admin", "script:read"]).await;
    let made = token(&admin, Some("shop"), &["app:read", "script:read", "app:admin"]).await;
    assert_eq!(made["scopes"], json!(["app:admin", "app:read", "script:read"]), "{made}");
    assert_eq!(made["app"], json!("shop"));
    let ask = |body: Value| {
        let admin = admin.clone();
        async move { admin.post("/api/v1/tokens", &body).await }
    };
    for (body, scope) in [
        (json!({ "name": "n", "app": "shop", "scopes": ["log:read"] }), "log:read"),
        (json!({ "name": "n", "app": "shop", "scopes": ["script:read", "script:write"] }), "script:write"),
        (json!({ "name": "n", "scopes": ["script:read"] }), "instance:admin"),
    ] {
        let problem = ask(body.clone()).await.problem(403, "forbidden");
        assert_eq!(problem["scope"], json!(scope), "{body}");
    }
    ask(json!({ "name": "n", "app": "second", "scopes": ["app:read"] })).await.problem(404, "not_found");
    for (body, field) in [
        (json!({ "name": "n", "app": "shop", "scopes": [] }), "scopes"),
        (json!({ "name": "n", "app": "shop", "scopes": ["script:run"] }), "scopes"),
        (json!({ "name": "", "app": "shop", "scopes": ["app:read"] }), "name"),
        (json!({ "name": "n", "app": "shop", "scopes": ["app:read"], "expires_at": "soon" }), "expires_at"),
        (
            json!({ "name": "n", "app": "shop", "scopes": ["app:read"], "expires_at": "2001-01-01T00:00:00Z" }),
            "expires_at",
        ),
        (json!({ "name": "n", "app": "shop", "scope": ["app:read"] }), "scope"),
    ] {
        let reply = ask(body.clone()).await;
        assert_eq!(reply.status, 422, "{body}: {reply}");
        assert_eq!(reply.json()["field"], json!(field), "{body}: {reply}");
    }
    let bound = json!({ "name": "n", "app": "shop", "scopes": ["instance:admin"] });
    assert_eq!(app.admin.post("/api/v1/tokens", &bound).await.expect(422).json()["field"], json!("scopes"));
    // Lists and deletions: of its own app, as many scopes as they may have; of others nothing exists.
    let rich = token(&app.admin, Some("shop"), &all_but("instance:admin")).await;
    let other = token(&app.admin, Some("second"), &["app:read"]).await;
    let root = token(&app.admin, None, &["instance:admin"]).await;
    let listed = admin.get("/api/v1/tokens").await.expect(200).json();
    let ids: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|t| &t["id"]).collect();
    assert!(ids.contains(&&rich["id"]) && !ids.contains(&&other["id"]) && !ids.contains(&&root["id"]));
    assert!(!listed.to_string().contains("rlv_") && !listed.to_string().contains("digest"), "{listed}");
    let path = |made: &Value| format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    admin.delete(&path(&other)).await.problem(404, "not_found");
    admin.delete(&path(&root)).await.problem(404, "not_found");
    let _ = admin.delete(&path(&rich)).await.expect(204);
    admin.delete(&path(&rich)).await.problem(404, "not_found");
    let gone = app.admin.with_token(rich["token"].as_str());
    gone.get(&app.path("")).await.problem(401, "unauthorized");
    let reader = holder(app, &all_but("app:admin")).await;
    let problem = reader.get("/api/v1/tokens").await.problem(403, "forbidden");
    assert_eq!(problem["scope"], json!("app:admin"));
    assert_eq!(
        app.admin.get("/api/v1/tokens?app=second").await.expect(200).json()["items"][0]["id"],
        other["id"]
    );
    // Neither the log, nor an event, nor a file of the data directory holds the text of any.
    let text = root["token"].as_str().unwrap();
    let log = app.items("/log").await;
    assert!(log.iter().any(|event| event["kind"] == json!("token_created")), "{log:?}");
    assert!(!serde_json::to_string(&log).unwrap().contains("rlv_"));
    let found =
        std::process::Command::new("grep").args(["-rl", text]).arg(&site.server.data).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the text of a token is on disk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_expire_survive_a_restart_and_go_with_their_app() {
    let site = Site::with(&Manifest::new()).await;
    let app = &site.app;
    let soon = jiff_in(1500);
    let body = json!({ "name": "brief", "app": "shop", "scopes": ["app:read"], "expires_at": soon });
    let brief = app.admin.post("/api/v1/tokens", &body).await.expect(201).json();
    let brief = app.admin.with_token(brief["token"].as_str());
    let _ = brief.get(&app.path("")).await.expect(200);
    let lasting = token(&app.admin, Some("shop"), &["app:read"]).await;
    until("the token to expire", || async { (brief.get(&app.path("")).await.status == 401).then_some(()) })
        .await;
    let site = site.crashed();
    let app = &site.app;
    let lasting = app.admin.with_token(lasting["token"].as_str());
    let _ = lasting.get(&app.path("")).await.expect(200);
    let site = site.restarted(|server| {
        let data = server.data.clone();
        drop(server.terminate());
        std::fs::remove_dir_all(data.join("views")).unwrap();
    });
    let app = &site.app;
    let lasting = Http::new(&site.server.admin_url, None).with_token(token_of(&lasting).as_deref());
    let _ = lasting.get(&app.path("")).await.expect(200);
    let _ = app.admin.delete(&app.path("")).await.expect(204);
    lasting.get("/api/v1/instance").await.problem(401, "unauthorized");
    let _ = app.admin.post("/api/v1/apps", &json!({ "slug": "shop" })).await.expect(201);
    lasting.get(&app.path("")).await.problem(401, "unauthorized");
    assert_eq!(app.admin.get("/api/v1/tokens").await.expect(200).json()["items"], json!([]));
}

fn token_of(http: &Http) -> Option<String> {
    http.token().map(str::to_owned)
}

/// RFC 3339 time so many milliseconds from now.
fn jiff_in(ms: u64) -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%S.%3NZ", "-d", &format!("{:.3} seconds", ms as f64 / 1000.0)])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

const WHO: &str = r#"#{ principal: ctx.principal, headers: ctx.request.headers }"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_e100_a_live_token_of_the_app_is_the_principal_of_a_call_and_no_token_reaches_script_or_log() {
    let manifest = Manifest::new().sync("GET /who", "who", WHO).asynchronous(
        "POST /later",
        "later",
        &format!("kv::set(\"c\", \"who\", {WHO})"),
        "",
    );
    let site = Site::with(&manifest).await;
    let app = &site.app;
    site.server.app("second").deploy(&Manifest::new()).await;
    let own = token(&app.admin, Some("shop"), &["script:read", "script:write"]).await;
    let other = token(&app.admin, Some("second"), &["script:read"]).await;
    let roaming = token(&app.admin, None, &["script:read"]).await;
    let deleted = token(&app.admin, Some("shop"), &["script:read"]).await;
    let path = format!("/api/v1/tokens/{}", deleted["id"].as_str().unwrap());
    let _ = app.admin.delete(&path).await.expect(204);
    let text = |made: &Value| made["token"].as_str().unwrap().to_owned();
    let instance = site.server.token.clone();
    let bearer = |token: &str| format!("Bearer {token}");
    let expected = json!({ "id": own["id"], "name": "a test", "scopes": ["script:read", "script:write"] });
    for (what, name, value, principal, kept) in [
        ("own", "authorization", bearer(&text(&own)), expected.clone(), false),
        ("own in a cookie", "cookie", format!("a=b; t={}", text(&own)), expected.clone(), false),
        ("own, bare", "x-token", text(&own), expected.clone(), false),
        ("another app's", "authorization", bearer(&text(&other)), Value::Null, false),
        ("of the instance", "x-any", text(&roaming), Value::Null, false),
        ("the instance token", "authorization", bearer(&instance), Value::Null, false),
        ("deleted", "authorization", bearer(&text(&deleted)), Value::Null, true),
        ("no token", "authorization", "Bearer something".to_owned(), Value::Null, true),
    ] {
        let headers = [(name, value.as_str()), ("x-other", "1")];
        let seen = app.data.send("GET", "/shop/who", &headers, "").await.expect(200).json();
        assert_eq!(seen["principal"], principal, "{what}: {seen}");
        assert_eq!(seen["headers"].get(name).is_some(), kept, "{what}: {seen}");
        assert_eq!(seen["headers"]["x-other"], json!("1"));
    }
    let headers = [("x-token", text(&own)), ("authorization", bearer(&text(&other)))];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let _ = app.data.send("POST", "/shop/later", &headers, "{}").await.expect(202);
    app.settled().await;
    let later = app.value("c", "who").await.unwrap();
    assert_eq!(later["principal"], expected, "{later}");
    assert!(!later.to_string().contains("rlv_"), "{later}");
    for (path, items) in [("log", app.items("/log").await), ("executions", app.executions("").await)] {
        let items = serde_json::to_string(&items).unwrap();
        for live in [text(&own), text(&other), text(&roaming), instance.clone()] {
            assert!(!items.contains(&live), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_host_functions_ask_for_scopes_where_there_is_a_principal_and_scripts_can_catch_it() {
    let needs = [
        ("script:read", r#"kv::get("c", "k")"#),
        ("script:read", r#"kv::has("c", "k")"#),
        ("script:read", r#"kv::list("c")"#),
        ("script:write", r#"kv::set("c", "k", 1)"#),
        ("script:write", r#"kv::delete("c", "k")"#),
        ("script:write", r#"kv::incr("c", "n", 1)"#),
    ];
    let mut manifest = Manifest::new();
    for (at, (_, call)) in needs.iter().enumerate() {
        manifest = manifest.sync(&format!("POST /{at}"), &format!("s{at}"), &format!("{call}; true"));
        let caught = format!("try {{ {call}; }} catch (e) {{ return e.kind; }} \"allowed\"");
        manifest = manifest.sync(&format!("POST /{at}/caught"), &format!("c{at}"), &caught);
    }
    let site = Site::launched(|launch| launch, &manifest).await;
    let app = &site.app;
    for (at, (scope, call)) in needs.iter().enumerate() {
        let with =
            |scopes: Vec<&'static str>| async move { holder(app, &scopes).await.token().unwrap().to_owned() };
        let poor = format!("Bearer {}", with(all_but(scope)).await);
        let rich = format!("Bearer {}", with(vec![*scope]).await);
        let ask = |path: String, token: Option<String>| async move {
            let headers: Vec<_> = token.iter().map(|t| ("authorization", t.as_str())).collect();
            app.data.send("POST", &path, &headers, "").await
        };
        let refused = ask(format!("/shop/{at}"), Some(poor.clone())).await;
        let problem = refused.problem(422, "permission");
        assert_eq!(problem["kind"], json!("permission"), "{call}");
        let record = app.execution(&refused.execution()).await;
        assert!(record["last_error"]["message"].as_str().unwrap().contains(scope), "{call}: {record}");
        assert_eq!(ask(format!("/shop/{at}/caught"), Some(poor)).await.expect(200).text(), "permission");
        let _ = ask(format!("/shop/{at}"), Some(rich)).await.expect(200);
        let _ = ask(format!("/shop/{at}"), None).await.expect(200);
    }
    // Direct runs and triggered work have their principals too.
    let runner = holder(app, &["script:execute"]).await;
    let run = runner.post(&app.path("/scripts/s0/execute"), &json!({})).await;
    run.problem(422, "permission");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_triggered_work_runs_as_whoever_registered_the_trigger() {
    let note = r#"kv::set("seen", ctx.event.key, ctx.principal.name)"#;
    let manifest = Manifest::new().on_kv("c", "t", note, "");
    let site = Site::with(&manifest).await;
    let app = &site.app;
    app.put("c", "first", &json!(1)).await;
    app.settled().await;
    assert_eq!(app.value("seen", "first").await, Some(json!("instance")));
    let soon = jiff_in(2000);
    let scopes = ["app:admin", "script:write"];
    let body = json!({ "name": "deployer", "app": "shop", "scopes": scopes, "expires_at": soon });
    let made = app.admin.post("/api/v1/tokens", &body).await.expect(201).json();
    let deployer = app.admin.with_token(made["token"].as_str());
    // An unchanged deploy makes its caller the registrant.
    let _ = deployer.post(&app.path("/deploy"), &manifest.body("shop")).await.expect(200);
    let trigger = app.items("/triggers").await.remove(0);
    assert_eq!(trigger["registrant"]["name"], json!("deployer"), "{trigger}");
    app.put("c", "second", &json!(1)).await;
    app.settled().await;
    assert_eq!(app.value("seen", "second").await, Some(json!("deployer")));
    until("the token to expire", || async {
        (deployer.get("/api/v1/instance").await.status == 401).then_some(())
    })
    .await;
    app.put("c", "third", &json!(1)).await;
    app.settled().await;
    assert_eq!(
        app.value("seen", "third").await,
        Some(json!("deployer")),
        "an expired registrant changes nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_makes_lists_and_deletes_tokens() {
    let site = Site::with(&Manifest::new()).await;
    let cli = Cli::of(&site.server, "shop");
    let made =
        cli.run(&["token", "create", "ci", "--scope", "app:read,log:read", "--expires-in", "2h"]).expect(0);
    let text = made.stdout.trim().to_owned();
    assert!(text.starts_with("rlv_") && made.stderr.contains("once"), "{made:?}");
    let _ = cli.clone().with("RELIVE_TOKEN", &text).run(&["dl", "list"]).expect(0);
    let denied = cli.clone().with("RELIVE_TOKEN", &text).run(&["kv", "list"]).expect(4);
    assert!(denied.stderr.contains("script:read"), "{denied:?}");
    let list = cli.run(&["token", "list", "--json"]).expect(0).json_lines();
    assert_eq!(list[0]["name"], json!("ci"));
    let id = list[0]["id"].as_str().unwrap();
    assert_eq!(cli.run(&["token", "show", id, "--json"]).expect(0).json()["app"], json!("shop"));
    let _ = cli.run(&["token", "delete", id]).expect(0);
    let _ = cli.run(&["token", "delete", id]).expect(3);
    let _ = cli.run(&["token", "show", id]).expect(3);
    let _ = cli.clone().with("RELIVE_TOKEN", &text).run(&["dl", "list"]).expect(4);
    let all =
        cli.run(&["token", "create", "roaming", "--scope", "app:read", "--all-apps", "--json"]).expect(0);
    assert_eq!(all.json()["app"], Value::Null);
    let _ = cli.run(&["token", "create", "x", "--scope", "app:reed"]).expect(1);
}
