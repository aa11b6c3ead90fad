//! Where a value comes from and where it went: history, readers, causal trees, differences, undo, export and import;
//! and times to live under kill -9.

use relive_tests::{Cli, Manifest, Site, until};
use serde_json::{Value, json};

fn texts<'a>(items: &'a [Value], name: &str) -> Vec<&'a str> {
    items.iter().map(|item| item[name].as_str().unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_keys_expire_exactly_once_under_kill_9() {
    let manifest =
        Manifest::new().on_kv("c", "gone", r#"kv::incr("gone", ctx.event.key, 1)"#, "ops = [\"expire\"]");
    let site = Site::with(&manifest).await;
    let (path, keys) = (|n: usize| site.app.key_path("c", &format!("k{n:03}")), 60);
    for n in 0..keys {
        let ttl = 200 + n * 10;
        let put =
            site.app.admin.send("PUT", &format!("{}?ttl_ms={ttl}", path(n)), &[], "1").await.expect(200);
        assert!(put.json()["lsn"].as_u64().is_some());
    }
    let first = site.app.admin.get(&path(keys - 1)).await;
    assert!(first.status == 404 || first.headers.contains_key("relive-expires-at"), "{first}");
    // Killed while they end, twice.
    let mut site = site.crashed();
    for _ in 0..2 {
        until("some have ended", || async {
            let ended = site.app.items("/log?kind=kv_expired").await.len();
            (ended > 5).then_some(())
        })
        .await;
        site = site.crashed();
    }
    until("all have ended", || async {
        (site.app.items("/log?kind=kv_expired").await.len() == keys).then_some(())
    })
    .await;
    site.app.settled().await;
    assert!(site.app.collection("c").await.is_empty());
    let fired = site.app.collection("gone").await;
    assert!(fired.len() == keys && fired.values().all(|n| *n == json!(1)), "{fired:?}");
    let history = site.app.items("/kv/c/k000/history").await;
    assert_eq!(texts(&history, "op"), ["expire", "insert"]);
    let at = history[1]["lsn"].as_u64().unwrap();
    let then = site.app.admin.get(&format!("{}?at={at}", site.app.key_path("c", "k000"))).await;
    assert_eq!(then.expect(200).json(), json!(1), "the past stays exact");
    println!("expired={keys} kills=3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_version_are_found_by_key_and_by_listing() {
    let manifest = Manifest::new()
        .sync("GET /get", "getter", r#"kv::get("c", "k")"#)
        .sync("GET /list", "lister", r#"kv::list("c").items.len()"#)
        .sync("GET /other", "other", r#"kv::get("c", "other")"#)
        .sync("GET /fail", "failer", r#"kv::get("c", "k"); throw "no""#);
    let site = Site::with(&manifest).await;
    let app = &site.app;
    let call = |path: &'static str| async move { app.call("GET", path, "").await.execution() };
    let before = call("/get").await;
    let one = app.put("c", "k", &json!(1)).await;
    let (got, listed) = (call("/get").await, call("/list").await);
    let _other = call("/other").await;
    let failed = call("/fail").await;
    let two = app.put("c", "k", &json!(2)).await;
    let later = call("/list").await;
    // The record of what only read may be lost in a crash, until somebody asked for it.
    let _durable = app.execution_in(&later, "completed").await;
    let site = site.crashed();
    let app = &site.app;
    let readers = |lsn: u64| async move { app.items(&format!("/kv/c/k/readers?lsn={lsn}")).await };
    let first = readers(one).await;
    assert_eq!(texts(&first, "execution_id"), [&*got, &*listed, &*failed]);
    assert_eq!(texts(&first, "via"), ["key", "list", "key"]);
    assert_eq!(texts(&first, "script"), ["getter", "lister", "failer"]);
    assert!(first.iter().all(|reader| reader["version_lsn"] == json!(one)));
    assert_eq!(texts(&readers(two).await, "execution_id"), [&*later]);
    assert_eq!(
        texts(&app.items("/kv/c/k/readers").await, "execution_id"),
        [&*later],
        "of the version of now"
    );
    assert_eq!(texts(&readers(1).await, "execution_id"), [&*before], "who saw that it was not there");
    let cli = Cli::of(&site.server, "shop");
    let lines =
        cli.run(&["kv", "readers", "c", "k", "--lsn", &one.to_string(), "--json"]).expect(0).json_lines();
    assert_eq!(lines.len(), 3);
    app.admin.get(&app.path("/kv/c/k/readers?lsn=999999")).await.problem(422, "in_the_future");
}

/// From a bad value: who was handed it, attempt by attempt, redrives included; and what each of them did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_a_version_set_off_is_among_its_readers() {
    let worker = "let fixed = kv::get(\"flags\", \"fixed\");\nif fixed == () { throw \"bad value\" }\nlog::info(\"mends\");\nkv::set(\"out\", ctx.event.key, ctx.event.value)";
    let manifest = Manifest::new()
        .on_kv("in", "worker", worker, "retry = { max_attempts = 2, base_ms = 1 }")
        .sync(
            "POST /write",
            "write",
            "kv::set(\"in\", \"k\", ctx.request.json); kv::set(\"in\", \"other\", 1)",
        )
        .sync("GET /get", "getter", r#"kv::get("in", "k")"#);
    let site = Site::with(&manifest).await;
    let app = &site.app;
    let before = app.put("in", "k", &json!("good")).await;
    let writer = app.call("POST", "/write", "\"bad\"").await.expect(204).execution();
    app.settled().await;
    let got = app.call("GET", "/get", "").await.expect(200).execution();
    app.put("flags", "fixed", &json!(true)).await;
    let bad = app.items("/kv/in/k/history").await[0].clone();
    assert_eq!(
        (&bad["execution_id"], &bad["script"], &bad["line"]),
        (&json!(writer), &json!("write"), &json!(1))
    );
    let version = bad["lsn"].as_u64().unwrap();
    assert_eq!(app.letters("").await.len(), 3);
    let executions = app.executions("script=worker").await;
    let fired = executions.iter().find(|row| row["cause_lsn"] == json!(version)).unwrap();
    let id = fired["dead_letter_id"].as_str().unwrap().to_owned();
    let path = app.path(&format!("/dead-letters/{id}/redrive"));
    let redriven = app.admin.send("POST", &path, &[], "{}").await.expect(202).json()["execution_id"].clone();
    app.settled().await;
    let site = site.crashed();
    let app = &site.app;
    let readers = app.items(&format!("/kv/in/k/readers?lsn={version}")).await;
    let shown: Vec<_> =
        readers.iter().map(|r| (&r["execution_id"], r["attempt"].as_u64(), r["via"].as_str())).collect();
    let worker = &fired["execution_id"];
    assert_eq!(
        shown,
        [
            (worker, Some(1), Some("input")),
            (worker, Some(2), Some("input")),
            (&json!(got), Some(1), Some("key")),
            (&redriven, Some(1), Some("input")),
        ],
        "{readers:#?}"
    );
    assert_eq!(app.items(&format!("/kv/in/k/readers?lsn={before}")).await.len(), 2, "its own attempts only");

    let cli = Cli::of(&site.server, "shop");
    let told = cli.run(&["exec", "show", worker.as_str().unwrap()]).expect(0).stdout;
    for part in [
        "script    worker version 1",
        "status    dead_lettered",
        "by        kv trigger",
        &format!("event {version}"),
        &format!("caused by {writer}"),
        "\"bad\"",
        "attempt 2: version 1",
        "read    flags/fixed: absent",
        "throw: bad value (line 2)",
    ] {
        assert!(told.contains(part), "{part:?} in\n{told}");
    }
    let told = cli.run(&["exec", "show", redriven.as_str().unwrap()]).expect(0).stdout;
    for part in [
        &format!("redrives  {id}"),
        "logged  info: mends (line 3)",
        "wrote   out/k = \"bad\", LSN",
        "(line 4)",
    ] {
        assert!(told.contains(part), "{part:?} in\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_causal_tree_goes_over_triggers_letters_and_redrives_both_ways() {
    let manifest = Manifest::new()
        .sync("POST /start", "start", r#"kv::set("a", "k", 1); kv::set("a", "l", 1)"#)
        .on_kv("a", "first", r#"kv::set("b", ctx.event.key, 1)"#, "")
        .on_kv("b", "second", r#"if ctx.event.key == "l" { throw "no" }"#, "retry = { max_attempts = 1 }")
        .on_dead_letter("alert", r#"kv::set("alerts", ctx.event.id, 1)"#, "");
    let site = Site::with(&manifest).await;
    let app = &site.app;
    let root = app.call("POST", "/start", "").await.expect(204).execution();
    app.settled().await;
    let letter = app.letters("").await.pop().unwrap();
    let id = letter["id"].as_str().unwrap().to_owned();
    let redriven = app.admin.send("POST", &app.path(&format!("/dead-letters/{id}/redrive")), &[], "{}").await;
    let redriven = redriven.expect(202).json()["execution_id"].as_str().unwrap().to_owned();
    app.settled().await;
    let trace = app.get(&format!("/executions/{root}/trace")).await;
    let all = trace["executions"].as_array().unwrap().clone();
    let shown: Vec<String> = all
        .iter()
        .map(|one| {
            format!(
                "{} {} {}",
                one["level"],
                one["script"].as_str().unwrap(),
                one["status"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(shown.len(), 8, "{shown:#?}");
    assert_eq!(shown[0], "0 start completed");
    assert_eq!(shown.iter().filter(|line| line.starts_with("1 first")).count(), 2);
    assert!(shown.contains(&"2 second dead_lettered".to_owned()), "{shown:#?}");
    assert!(
        shown.contains(&"3 alert completed".to_owned())
            && shown.contains(&"3 second dead_lettered".to_owned())
    );
    let dead = letter["execution_id"].as_str().unwrap();
    let again = app.get(&format!("/executions/{redriven}/trace")).await;
    assert_eq!(again["root_execution_id"], json!(root));
    assert_eq!(
        again["causes"].as_array().unwrap().last(),
        Some(&json!(dead)),
        "a redrive hangs below what died"
    );
    let detail = app.execution(dead).await;
    assert_eq!(detail["caused"].as_array().unwrap().len(), 2, "{detail}");
    let second = all.iter().find(|one| one["script"] == json!("second")).unwrap();
    assert_eq!(second["cause"]["collection"], json!("b"));
    let printed = Cli::of(&site.server, "shop").run(&["exec", "trace", &root]).expect(0);
    assert_eq!(printed.stdout.lines().count(), 8, "{}", printed.stdout);
    app.admin
        .get(&app.path("/executions/0190a8a0-0000-7000-8000-000000000000/trace"))
        .await
        .problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_of_two_instants_lists_what_was_inserted_updated_and_deleted() {
    let site = Site::with(&Manifest::new()).await;
    let app = &site.app;
    for key in ["kept", "changed", "gone"] {
        app.put("c", key, &json!(1)).await;
    }
    let from = app.put("c", "same", &json!(1)).await;
    app.put("c", "changed", &json!(2)).await;
    app.put("c", "new", &json!(3)).await;
    app.put("d", "elsewhere", &json!(4)).await;
    let _ = app.admin.delete(&app.key_path("c", "gone")).await.expect(200);
    let show = |items: &[Value]| -> Vec<String> {
        let line = |i: &Value| {
            format!(
                "{} {} {} {}",
                i["op"].as_str().unwrap(),
                i["key"].as_str().unwrap(),
                i["before"],
                i["after"]
            )
        };
        items.iter().map(line).collect()
    };
    let diff = app.items(&format!("/kv-diff?from={from}&collection=c")).await;
    assert_eq!(show(&diff), ["update changed 1 2", "delete gone 1 null", "insert new null 3"]);
    assert_eq!(app.items(&format!("/kv-diff?from={from}")).await.len(), 4);
    // Page by page, pinned to both instants whatever is written in between.
    let first = app.get(&format!("/kv-diff?from={from}&collection=c&limit=2")).await;
    app.put("c", "zzz", &json!(1)).await;
    let next = first["cursor"].as_str().unwrap();
    let second = app.get(&format!("/kv-diff?from={from}&collection=c&limit=2&cursor={next}")).await;
    assert_eq!(show(second["items"].as_array().unwrap()), ["insert new null 3"]);
    assert_eq!(second["as_of_lsn"], first["as_of_lsn"]);
    app.admin.get(&app.path("/kv-diff")).await.problem(422, "invalid");
    app.admin.get(&app.path("/kv-diff?from=999999")).await.problem(422, "in_the_future");
    let words = ["kv", "diff", "c", "--from", &from.to_string(), "--json"];
    assert_eq!(Cli::of(&site.server, "shop").run(&words).expect(0).json_lines().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_writes_the_inverse_and_lists_what_stands_against_it() {
    let source = r#"kv::set("c", "a", 2); kv::set("c", "b", 2); kv::delete("c", "gone"); ()"#;
    let site = Site::with(&Manifest::new().sync("POST /w", "w", source)).await;
    let app = &site.app;
    app.put("c", "a", &json!(1)).await;
    app.put("c", "gone", &json!("here")).await;
    let id = app.call("POST", "/w", "").await.expect(204).execution();
    let path = app.path(&format!("/executions/{id}/undo"));
    let dry = app.admin.send("POST", &path, &[], r#"{"dry_run": true}"#).await.expect(200).json();
    assert_eq!(texts(dry["changes"].as_array().unwrap(), "op"), ["update", "delete", "insert"]);
    assert_eq!(
        (&dry["conflicts"], app.value("c", "a").await),
        (&json!([]), Some(json!(2))),
        "nothing was written"
    );
    app.put("c", "b", &json!(9)).await;
    let refused = app.admin.send("POST", &path, &[], "").await.problem(409, "undo_conflicts");
    assert_eq!(
        (refused["conflicts"].as_array().unwrap().len(), &refused["conflicts"][0]["key"]),
        (1, &json!("b"))
    );
    assert_eq!(app.value("c", "a").await, Some(json!(2)), "all or nothing");
    let id = app.call("POST", "/w", "").await.expect(204).execution();
    let done = Cli::of(&site.server, "shop").run(&["exec", "undo", &id, "--json"]).expect(0).json();
    assert!(done["lsn"].as_u64().is_some());
    assert_eq!((app.value("c", "a").await, app.value("c", "b").await), (Some(json!(2)), Some(json!(9))));
    let history = app.items("/kv/c/b/history").await;
    assert_eq!((&history[0]["undo_of"], &history[0]["op"]), (&json!(id), &json!("update")));
    app.admin
        .send("POST", &app.path(&format!("/executions/{id}/undo")), &[], "{}")
        .await
        .problem(409, "undo_conflicts");
    let failed = app.admin.send("POST", &app.path("/scripts/w/execute"), &[], "{\"payload\": 1}").await;
    assert_eq!(failed.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_an_export_comes_back_by_an_import_and_fires_triggers() {
    let manifest = Manifest::new().on_kv("d", "seen", r#"kv::incr("seen", ctx.event.key, 1)"#, "");
    let site = Site::with(&manifest).await;
    let app = &site.app;
    let values = [json!({"a": [1, 2.5, "ü\n"]}), json!(12345678901234567890_u64), json!(null)];
    for (n, value) in values.iter().enumerate() {
        app.put("c", &format!("k {n}/\""), value).await;
        app.put("d", &format!("k{n}"), value).await;
    }
    let timed = format!("{}?ttl_ms=3600000", app.key_path("d", "timed"));
    let _ = app.admin.send("PUT", &timed, &[], "1").await.expect(200);
    app.settled().await;
    let cli = Cli::of(&site.server, "shop");
    let exported = cli.run(&["kv", "export"]).expect(0);
    let lines = exported.json_lines();
    assert_eq!(lines.len(), 3 + 4 + 4, "{}", exported.stdout);
    let timed = lines.iter().find(|line| line["key"] == json!("timed")).unwrap();
    assert!(timed["expires_at"].is_string());
    let file = site.dir.path().join("kv.ndjson");
    let of_c = cli.run(&["kv", "export", "c"]).expect(0);
    std::fs::write(&file, of_c.stdout.replace("\"collection\":\"c\"", "\"collection\":\"d\"")).unwrap();
    let done = cli.run(&["kv", "import", file.to_str().unwrap(), "--json"]).expect(0).json();
    assert_eq!(done["imported"], json!(3));
    app.settled().await;
    assert_eq!(app.value("d", "k 0/\"").await, Some(values[0].clone()));
    assert_eq!(app.value("seen", "k 0/\"").await, Some(json!(1)), "S5");
    let bad =
        "{\"collection\":\"d\",\"key\":\"x\",\"value\":1}\n{\"collection\":\"d\",\"key\":\"y\",\"value\":}\n";
    let refused = app.admin.send("POST", &app.path("/kv-import"), &[], bad).await.problem(422, "invalid");
    assert_eq!((&refused["line"], app.value("d", "x").await), (&json!(2), None), "nothing of it");
}
