//! Forks of apps: as of an LSN or a time, quiet, on their own, and safe from what happens to the app that they came from;
//! what cannot be forked is a clear refusal. And what retention, tokens and scopes make of the tools of time travel (T6).

use std::path::Path;

use relive_tests::{App, Cli, Http, Launch, Manifest, Reply, Site, until};
use serde_json::{Value, json};

const COUNT: &str = r#"kv::incr("c", "n", 1)"#;

fn manifest() -> Manifest {
    Manifest::new()
        .sync("POST /count", "count", COUNT)
        .sync(
            "GET /ask",
            "ask",
            r#"let told = ""; try { http::get("http://127.0.0.1:9/") } catch (e) { told = `${e}` } told"#,
        )
        .sync("GET /secret", "secret", r#"secrets::get("token").len()"#)
        .on_kv("in", "on-in", r#"kv::set("out", ctx.event.key, ctx.event.value)"#, "")
}

async fn fork(admin: &Http, app: &str, body: &Value) -> Reply {
    admin.post(&format!("/api/v1/apps/{app}/fork"), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_is_forked_as_of_a_moment_and_goes_its_own_way() {
    let site = Site::with(&manifest()).await;
    let app = &site.app;
    let secret = json!({"value": "very-secret"});
    drop(app.admin.put(&app.path("/secrets/token"), &secret).await.expect(200));
    for n in 1..=3 {
        let _ = app.call("POST", "/count", "").await.expect(200);
        app.put("d", &format!("k{n}"), &json!(n)).await;
    }
    let then = app.put("d", "then", &json!("old")).await;
    app.put("d", "then", &json!("new")).await;
    let _ = app.call("POST", "/count", "").await.expect(200);

    let made = fork(&app.admin, "shop", &json!({"slug": "scratch", "at": then})).await.expect(201).json();
    assert_eq!((&made["paused"], &made["outgoing_calls"]), (&json!(true), &json!(false)), "{made}");
    assert_eq!((&made["forked_from"]["slug"], &made["forked_from"]["lsn"]), (&json!("shop"), &json!(then)));
    assert_eq!((&made["scripts"], &made["routes"], &made["triggers"]), (&json!(4), &json!(3), &json!(1)));
    let copy = site.server.app("scratch");
    let as_of = |rest: &str| format!("/kv/{rest}?at={then}");
    for collection in ["c", "d"] {
        assert_eq!(copy.items(&format!("/kv/{collection}")).await, app.items(&as_of(collection)).await);
    }
    assert_eq!(copy.get("/kv").await["items"], app.get(&format!("/kv?at={then}")).await["items"]);
    let _ = copy.call("POST", "/count", "").await.problem(503, "app_paused");
    assert!(copy.items("/secrets").await.is_empty());
    let triggers = copy.items("/triggers").await;
    assert_eq!(triggers[0]["pause"]["reason"], json!("forked"), "{triggers:?}");

    drop(
        copy.admin.send("PATCH", &copy.path(""), &[], json!({"paused": false}).to_string()).await.expect(200),
    );
    assert_eq!(copy.call("POST", "/count", "").await.expect(200).json(), json!(4), "it goes on from 3");
    copy.put("in", "k", &json!(1)).await;
    copy.put("d", "then", &json!("mine")).await;
    let told = copy.call("GET", "/ask", "").await.expect(200);
    assert!(told.text().contains("outgoing_calls_off"), "{}", told.text());
    let replayed = copy.path(&format!("/executions/{}/replay", told.execution()));
    let replayed = copy.admin.post(&replayed, &json!({})).await.expect(200).json();
    assert_eq!(
        (&replayed["faithful"], &replayed["result"]),
        (&json!(true), &json!(told.text())),
        "{replayed}"
    );
    assert_eq!(copy.value("out", "k").await, None, "its trigger waits");
    assert_eq!(app.value("d", "then").await, Some(json!("new")));
    assert_eq!(app.value("in", "k").await, None);
    let history = copy.items("/kv/d/then/history").await;
    assert_eq!(history.len(), 2, "its own version and the one that it began with: {history:?}");

    // It outlives the app that it came from, a crash, and a rebuild.
    let _ = app.admin.delete("/api/v1/apps/shop").await.expect(204);
    let copied = copy.items("/kv/d").await;
    let site = site.crashed();
    let copy = site.server.app("scratch");
    assert_eq!(copy.items("/kv/d").await, copied);
    assert_eq!(copy.call("POST", "/count", "").await.expect(200).json(), json!(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_forked_is_refused_by_name() {
    let site = Site::with(&manifest()).await;
    let admin = &site.app.admin;
    let last = site.app.put("d", "k", &json!(1)).await;
    for (app, body, status, code) in [
        ("shop", json!({"slug": "shop", "at": last}), 409, "duplicate"),
        ("shop", json!({"slug": "Scratch"}), 422, "invalid"),
        ("shop", json!({"slug": "scratch", "at": last + 1000}), 422, "in_the_future"),
        ("shop", json!({"slug": "scratch", "at": "2999-01-01T00:00:00Z"}), 422, "in_the_future"),
        ("shop", json!({"slug": "scratch", "at": "yesterday"}), 422, "invalid"),
        ("shop", json!({"slug": "scratch", "at": "1999-01-01T00:00:00Z"}), 422, "invalid"),
        ("shop", json!({"slug": "scratch", "when": 1}), 422, "invalid"),
        ("nowhere", json!({"slug": "scratch"}), 404, "not_found"),
    ] {
        let reply = fork(admin, app, &body).await;
        assert_eq!((reply.status, reply.json()["code"].clone()), (status, json!(code)), "{body}");
    }
    let made = json!({"name": "t", "app": "shop", "scopes": ["app:admin", "script:write", "log:read"]});
    let token = admin.post("/api/v1/tokens", &made).await.expect(201).json()["token"].clone();
    let holder = admin.with_token(token.as_str());
    let told = fork(&holder, "shop", &json!({"slug": "scratch"})).await.problem(403, "forbidden");
    assert!(told["detail"].as_str().unwrap().contains("instance:admin"), "{told}");
    assert_eq!(admin.get("/api/v1/apps").await.expect(200).json()["items"].as_array().unwrap().len(), 1);

    let cli = Cli::of(&site.server, "shop");
    let taken = cli.run(&["fork", "shop"]).expect(1);
    assert!(taken.stderr.contains("`shop` exists already"), "{}", taken.stderr);
    let made = cli.run(&["fork", "scratch", "--at", &last.to_string()]).expect(0);
    assert!(made.stdout.contains("as of event"), "{}", made.stdout);
    let on = Cli::of(&site.server, "scratch").run(&["app", "calls", "on"]).expect(0);
    assert!(on.stdout.contains("are on"), "{}", on.stdout);
}

fn short(data: &Path) -> Launch {
    Launch::on(data)
        .env("RELIVE_SEGMENT_BYTES", "64KiB")
        .env("RELIVE_SNAPSHOT_BYTES", "128KiB")
        .env("RELIVE_HISTORY_RETENTION", "256KiB")
}

async fn horizon(admin: &Http) -> u64 {
    let instance = admin.get("/api/v1/instance").await.expect(200).json();
    instance["lsn"]["horizon"].as_u64().unwrap()
}

async fn write(app: &relive_tests::App, name: &str, keys: usize) {
    for n in 0..keys {
        app.put("fresh", &format!("{name}-{n}"), &json!("x".repeat(2000))).await;
    }
}

/// Everything that a cut took is 410 with the horizon; a fork keeps what it reads from being cut until it is deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_is_410_and_a_fork_keeps_what_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = short(&data).start();
    let app = server.app("shop");
    app.deploy(&manifest()).await;
    let old = app.call("POST", "/count", "").await.expect(200);
    let then = app.put("d", "then", &json!("old")).await;
    app.put("d", "then", &json!("new")).await;
    write(&app, "a", 300).await;
    until("the log to be cut", || async { (horizon(&app.admin).await > then).then_some(()) }).await;
    let id = old.execution();
    let execution = |rest: &str| app.path(&format!("/executions/{id}{rest}"));
    for rest in ["/replay", "/steps", "/bisect"] {
        let told = app.admin.post(&execution(rest), &json!({})).await;
        let problem = told.problem(410, "below_horizon");
        assert!(problem["horizon"].as_u64().unwrap() > then, "{rest}: {problem}");
    }
    for rest in ["", "/capsule"] {
        let problem = app.admin.get(&execution(rest)).await.problem(410, "below_horizon");
        assert!(problem["horizon"].as_u64().unwrap() > then, "{rest}: {problem}");
    }
    let body = json!({"slug": "scratch", "at": then});
    let problem = fork(&app.admin, "shop", &body).await.problem(410, "below_horizon");
    assert!(problem["horizon"].as_u64().unwrap() > then, "{problem}");

    let then = app.put("d", "then", &json!("held")).await;
    drop(fork(&app.admin, "shop", &json!({"slug": "scratch", "at": then})).await.expect(201));
    let copy = server.app("scratch");
    app.put("d", "then", &json!("later")).await;
    let _ = app.admin.delete("/api/v1/apps/shop").await.expect(204);
    let held = horizon(&app.admin).await;
    app.deploy(&manifest()).await;
    write(&app, "b", 300).await;
    assert!(horizon(&app.admin).await <= then, "held at {held}");
    assert_eq!(copy.value("d", "then").await, Some(json!("held")));
    let fresh = copy.items("/kv/fresh").await.len();
    assert_eq!(fresh, 300, "what it began with, cut log and deleted app or not");
    drop(server.kill());
    std::fs::remove_dir_all(data.join("views")).unwrap();
    let server = short(&data).start();
    let (app, copy) = (server.app("shop"), server.app("scratch"));
    assert_eq!(copy.value("d", "then").await, Some(json!("held")));
    assert_eq!(copy.items("/kv/fresh").await.len(), 300);
    let _ = copy.admin.delete("/api/v1/apps/scratch").await.expect(204);
    write(&app, "c", 100).await;
    until("the fork to let go", || async { (horizon(&app.admin).await > then).then_some(()) }).await;
}

/// T6: each scope is asked for by name; what is secret shows as a placeholder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t6_the_tools_of_time_travel_ask_for_their_scopes() {
    let site = Site::with(&manifest()).await;
    let app = &site.app;
    let secret = json!({"value": "very-secret"});
    drop(app.admin.put(&app.path("/secrets/token"), &secret).await.expect(200));
    let id = app.call("POST", "/count", "").await.expect(200).execution();
    let with = |scopes: &'static [&'static str]| async move {
        let made = json!({"name": "t", "app": "shop", "scopes": scopes});
        let token = app.admin.post("/api/v1/tokens", &made).await.expect(201).json()["token"].clone();
        app.admin.with_token(token.as_str())
    };
    let tools = [
        ("POST", format!("/executions/{id}/replay"), json!({})),
        ("POST", format!("/executions/{id}/steps"), json!({})),
        ("POST", format!("/executions/{id}/bisect"), json!({})),
        ("GET", format!("/executions/{id}/capsule"), json!(null)),
        ("POST", "/scripts/count/backtest".to_owned(), json!({"version": 1})),
    ];
    let ask = |client: Http, method: &'static str, path: String, body: Value| async move {
        match method {
            "GET" => client.get(&path).await,
            _ => client.post(&path, &body).await,
        }
    };
    for (scopes, missing) in [
        (["log:read", "app:admin"].as_slice(), "script:execute"),
        (["script:execute", "app:admin"].as_slice(), "log:read"),
    ] {
        let client = with(scopes).await;
        for (method, rest, body) in &tools {
            let told = ask(client.clone(), method, app.path(rest), body.clone()).await;
            let told = told.problem(403, "forbidden");
            assert!(told["detail"].as_str().unwrap().contains(missing), "{rest}: {told}");
        }
    }
    let both = with(&["script:execute", "log:read"]).await;
    for (method, rest, body) in &tools {
        drop(ask(both.clone(), method, app.path(rest), body.clone()).await.expect(200));
    }
    for rest in [format!("/executions/{id}/replay"), format!("/executions/{id}/steps")] {
        let told = both.post(&app.path(&rest), &json!({"source": "1"})).await.problem(403, "forbidden");
        assert!(told["detail"].as_str().unwrap().contains("script:write"), "{rest}: {told}");
    }
    let told = both.post(&app.path("/scripts/count/backtest"), &json!({"source": "1"})).await;
    assert!(told.problem(403, "forbidden")["detail"].as_str().unwrap().contains("script:write"));

    let shown = app.call("GET", "/secret", "").await.expect(200);
    let path = app.path(&format!("/executions/{}/replay", shown.execution()));
    let source = json!({"source": "`${secrets::get(\"token\")}`"});
    let writer = with(&["script:execute", "log:read", "script:write"]).await;
    let told = writer.post(&path, &source).await.expect(200).json();
    assert_eq!(told["result"], json!("‹secret:token›"), "{told}");
    let told = app.admin.post(&path, &source).await.expect(200).json();
    assert_eq!(told["result"], json!("‹secret:token›"), "masked for whoever looks: {told}");
    // Rotated, then deleted: the version that the attempt took is not to be had.
    let same = app.admin.post(&path, &json!({})).await.expect(200).json();
    assert_eq!(same["faithful"], json!(true), "{same}");
    let rotated = json!({"value": "another-secret"});
    drop(app.admin.put(&app.path("/secrets/token"), &rotated).await.expect(200));
    let told = app.admin.post(&path, &json!({})).await.expect(200).json();
    assert_eq!((&told["faithful"], &told["reason"]), (&json!(false), &json!("withheld_secret")), "{told}");
    let _ = app.admin.delete(&app.path("/secrets/token")).await.expect(204);
    let told = app.admin.post(&path, &json!({})).await.expect(200).json();
    assert_eq!((&told["faithful"], &told["reason"]), (&json!(false), &json!("withheld_secret")), "{told}");
}

/// A data directory forked offline: its own identity, at rest, without secrets and tokens; the other one untouched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_is_forked_as_of_a_moment_and_comes_to_rest() {
    let site = Site::with(&manifest()).await;
    let app = &site.app;
    let secret = json!({"value": "very-secret"});
    drop(app.admin.put(&app.path("/secrets/token"), &secret).await.expect(200));
    let made = json!({"name": "t", "app": "shop", "scopes": ["log:read"]});
    let token = app.admin.post("/api/v1/tokens", &made).await.expect(201).json()["token"].clone();
    for _ in 0..3 {
        let _ = app.call("POST", "/count", "").await.expect(200);
    }
    let old = app.call("GET", "/secret", "").await.expect(200).execution();
    let then = app.put("d", "k", &json!("then")).await;
    app.put("d", "k", &json!("later")).await;
    let data = site.server.data.clone();
    let (from, cli) = (data.to_str().unwrap().to_owned(), Cli::offline());
    let to = data.with_file_name("forked");
    let new = to.to_str().unwrap().to_owned();
    let busy = cli.run(&["fork", "--data", &from, "--to", &new]);
    assert_eq!(busy.code, 75, "{}", busy.stderr);
    drop(site.server.terminate());
    let before = relive_tests::damage::digests(&data);
    let future = cli.run(&["fork", "--data", &from, "--to", &new, "--at", "99999"]).expect(1);
    assert!(future.stderr.contains("in_the_future"), "{}", future.stderr);
    let taken = cli.run(&["fork", "--data", &from, "--to", &from]);
    assert_ne!(taken.code, 0, "into itself");
    let done = cli.run(&["fork", "--data", &from, "--to", &new, "--at", &then.to_string()]).expect(0);
    assert!(done.stdout.contains("as of event"), "{}", done.stdout);
    let again = cli.run(&["fork", "--data", &from, "--to", &new]).expect(1);
    assert!(again.stderr.contains("is not empty"), "{}", again.stderr);
    assert_eq!(relive_tests::damage::digests(&data), before, "the source is untouched");
    let file = |dir: &Path, name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    for name in ["admin.token", "instance.key"] {
        assert_ne!(file(&to, name), file(&data, name), "{name}");
    }

    let server = Launch::on(&to).start();
    let copy = server.app("shop");
    assert_eq!(copy.value("d", "k").await, Some(json!("then")));
    assert_eq!(copy.value("c", "n").await, Some(json!(3)));
    let shown = copy.get("").await;
    assert_eq!((&shown["paused"], &shown["outgoing_calls"]), (&json!(true), &json!(false)));
    assert!(copy.items("/secrets").await.is_empty());
    assert!(copy.items("/triggers").await.iter().all(|trigger| trigger["paused"] == json!(true)));
    let holder = copy.admin.with_token(token.as_str());
    assert_eq!(holder.get("/api/v1/instance").await.status, 401, "tokens stayed behind");
    // The past came along: it can be replayed, but for what the secrets gave.
    let path = copy.path(&format!("/executions/{old}/replay"));
    let told = copy.admin.post(&path, &json!({})).await.expect(200).json();
    assert_eq!((&told["faithful"], &told["reason"]), (&json!(false), &json!("withheld_secret")), "{told}");
    let counted = copy.executions("script=count").await[0]["execution_id"].as_str().unwrap().to_owned();
    let path = copy.path(&format!("/executions/{counted}/replay"));
    assert_eq!(copy.admin.post(&path, &json!({})).await.expect(200).json()["faithful"], json!(true));
    drop(server.terminate());
    let verified = cli.run(&["log", "verify", "--deep", "--data", &new]).expect(0);
    assert!(!verified.stdout.contains("DIFFER"), "{}", verified.stdout);
}

/// A directory whose log was cut is forked as of what its snapshots reach back to; the fork lives on, is cut itself, and is
/// still there after a kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_whose_log_was_cut_is_forked_and_lives_on() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), dir.path().join("forked"));
    let launch = |on: &Path| {
        Launch::on(on)
            .env("RELIVE_SEGMENT_BYTES", "64KiB")
            .env("RELIVE_SNAPSHOT_BYTES", "128KiB")
            .env("RELIVE_HISTORY_RETENTION", "256KiB")
    };
    let horizon_of = async |app: &App| -> u64 {
        let instance = app.admin.get("/api/v1/instance").await.expect(200).json();
        instance["lsn"]["horizon"].as_u64().unwrap()
    };
    let fill = async |app: &App, what: &str| {
        for n in 0..300 {
            app.put("fresh", &format!("k{n}"), &json!(format!("{what} {}", "x".repeat(2000)))).await;
        }
    };
    let server = launch(&data).start();
    let app = server.app("shop");
    app.deploy(&manifest()).await;
    let secret = json!({"value": "very-secret"});
    drop(app.admin.put(&app.path("/secrets/token"), &secret).await.expect(200));
    let gone = app.call("POST", "/count", "").await.expect(200).execution();
    let early = app.put("d", "early", &json!("from the base")).await;
    fill(&app, "first").await;
    until("the log to be cut", || async { (horizon_of(&app).await > early).then_some(()) }).await;
    let recent = app.call("POST", "/count", "").await.expect(200).execution();
    let then = app.put("d", "k", &json!("then")).await;
    app.put("d", "k", &json!("later")).await;
    drop(server.terminate());

    let (from, new, cli) = (data.to_str().unwrap(), to.to_str().unwrap(), Cli::offline());
    let before = relive_tests::damage::digests(&data);
    let refused = cli.run(&["fork", "--data", from, "--to", new, "--at", &early.to_string()]).expect(1);
    for part in ["below_horizon", "the log begins at LSN", "goes back to LSN"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert!(!to.exists(), "nothing was written");
    let done = cli.run(&["fork", "--data", from, "--to", new, "--at", &then.to_string()]).expect(0);
    assert!(done.stdout.contains("as of event"), "{}", done.stdout);
    assert_eq!(relive_tests::damage::digests(&data), before, "the source is untouched");
    let verified = cli.run(&["log", "verify", "--deep", "--data", new]).expect(0);
    assert!(!verified.stdout.contains("DIFFER"), "{}", verified.stdout);

    let server = launch(&to).start();
    let copy = server.app("shop");
    let says = async |copy: &App, key: &str| copy.value("d", key).await.unwrap_or_default();
    assert_eq!((says(&copy, "early").await, says(&copy, "k").await), (json!("from the base"), json!("then")));
    assert_eq!(copy.value("c", "n").await, Some(json!(2)));
    let shown = copy.get("").await;
    assert_eq!((&shown["paused"], &shown["outgoing_calls"]), (&json!(true), &json!(false)));
    assert!(copy.items("/secrets").await.is_empty());
    let replay = async |copy: &App, id: &str| {
        copy.admin.post(&copy.path(&format!("/executions/{id}/replay")), &json!({})).await
    };
    assert_eq!(replay(&copy, &recent).await.expect(200).json()["faithful"], json!(true));
    let _ = replay(&copy, &gone).await.expect(410);

    let resume = json!({"paused": false}).to_string();
    drop(copy.admin.send("PATCH", &copy.path(""), &[], resume).await.expect(200));
    let begins = horizon_of(&copy).await;
    fill(&copy, "second").await;
    until("the fork's log to be cut", || async { (horizon_of(&copy).await > begins).then_some(()) }).await;
    assert_eq!(copy.call("POST", "/count", "").await.expect(200).json(), json!(3));
    server.kill();
    let server = launch(&to).start();
    let copy = server.app("shop");
    assert_eq!((says(&copy, "early").await, says(&copy, "k").await), (json!("from the base"), json!("then")));
    assert_eq!(copy.value("c", "n").await, Some(json!(3)));
    drop(server.terminate());
    let verified = cli.run(&["log", "verify", "--deep", "--data", new]).expect(0);
    assert!(!verified.stdout.contains("DIFFER"), "{}", verified.stdout);
}
