//! Snapshots, the cut of the log's beginning, and what is kept of it (Retention in `semantics.md`), over the real
//! binary: kill -9 anywhere, garbled snapshots, views gone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use relive_tests::damage::{self, Chance, files, flip};
use relive_tests::{App, Cli, Http, Known, Launch, Ledger, Manifest, Server, Site, until};
use serde_json::{Value, json};

fn manifest() -> Manifest {
    Manifest::new()
        .sync("POST /put/{key}", "put", r#"kv::set("fresh", ctx.request.params.key, ctx.request.body); ()"#)
        .sync("GET /old", "old", r#"kv::get("old", "k3")"#)
        .sync("POST /fail", "fail", r#"kv::set("trouble", "k", ctx.request.body); ()"#)
        .on_kv(
            "trouble",
            "breaks",
            r#"if kv::get("config", "fixed") == () { throw "broken" } kv::set("mended", ctx.event.key, ctx.event.value)"#,
            "retry = { max_attempts = 1 }",
        )
}

fn launch(data: &Path) -> Launch {
    Launch::on(data).env("RELIVE_SEGMENT_BYTES", "64KiB").env("RELIVE_SNAPSHOT_BYTES", "128KiB")
}

fn short(data: &Path) -> Launch {
    launch(data).env("RELIVE_HISTORY_RETENTION", "256KiB")
}

async fn instance(admin: &Http) -> Value {
    admin.get("/api/v1/instance").await.expect(200).json()
}

fn number(answer: &Value, pointer: &str) -> u64 {
    answer.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer} of {answer}"))
}

/// Writes keys of two kilobytes each.
async fn write(app: &App, name: &str, keys: std::ops::Range<usize>) {
    for n in keys {
        drop(app.call("POST", &format!("/put/{name}-{n}"), &"x".repeat(2000)).await.expect(204));
    }
}

/// Waits until something of `/instance` is above a bound.
async fn above(admin: &Http, pointer: &str, bound: u64) -> u64 {
    until(&format!("{pointer} above {bound}"), || async {
        let value = number(&instance(admin).await, pointer);
        (value > bound).then_some(value)
    })
    .await
}

fn snapshots(data: &Path, kind: &str) -> Vec<PathBuf> {
    let named =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind));
    files(&data.join("snapshots")).into_iter().filter(named).collect()
}

fn without_views(data: &Path) {
    std::fs::remove_dir_all(data.join("views")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p19_a_start_without_views_begins_from_the_newest_snapshot_that_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = launch(&data).start();
    let app = server.app("shop");
    app.deploy(&manifest()).await;
    for n in 0..10 {
        app.put("old", &format!("k{n}"), &json!(n)).await;
    }
    let mut newest = 0;
    for round in 0..3 {
        write(&app, &format!("r{round}"), 0..120).await;
        newest = above(&server.admin(), "/lsn/snapshot", newest).await;
    }
    write(&app, "tail", 0..10).await;
    let expected = (app.collection("fresh").await, app.executions("script=put").await);
    // The third goes right after the newest was installed.
    let kept = || async { (snapshots(&data, "snap-").len() == 2).then_some(()) };
    until("two snapshots to be all that is kept", kept).await;
    drop(server.kill());
    for harm in 0..3 {
        without_views(&data);
        let all = snapshots(&data, "snap-");
        if harm > 0 {
            // The newest one is garbled, then all are.
            let newest = all.len() - 1;
            let from = if harm == 1 { newest } else { 0 };
            all.iter().skip(from).for_each(|path| flip(path, 5000));
        }
        let server = launch(&data).start();
        let app = server.app("shop");
        assert_eq!(app.collection("fresh").await, expected.0, "harm {harm}");
        assert_eq!(app.executions("script=put").await, expected.1, "harm {harm}");
        assert_eq!(app.call("GET", "/old", "").await.expect(200).json(), json!(3));
        let log = server.stderr();
        let from_first = log.contains("from_snapshot=0");
        assert!(log.contains("from_snapshot="), "{log}");
        assert_eq!(from_first, harm == 2, "{log}");
        drop(server.kill());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_cut_by_size_and_what_is_current_stays() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = short(&data).start();
    let app = server.app("shop");
    app.deploy(&manifest()).await;
    drop(app.admin.put(&app.path("/secrets/token"), &json!({"value": "very-secret"})).await.expect(200));
    let mut versions = Vec::new();
    for n in 0..10 {
        versions.push(app.put("old", &format!("k{n}"), &json!(n)).await);
    }
    app.put("old", "k0", &json!("newer")).await;
    let early = app.executions("script=old").await;
    assert!(early.is_empty());
    drop(app.call("GET", "/old", "").await.expect(200));
    write(&app, "early", 0..1).await;
    let early = app.executions("script=put").await[0]["id"].as_str().unwrap().to_owned();
    let mut horizon = 1;
    for round in 0..3 {
        write(&app, &format!("r{round}"), 0..250).await;
        horizon = above(&server.admin(), "/lsn/horizon", horizon).await;
    }
    let shown = instance(&server.admin()).await;
    assert!(number(&shown, "/log/base_events") >= 14, "{shown}");
    assert!(number(&shown, "/log/file_bytes") < 2 << 20, "space is freed: {shown}");
    let segments = files(&data.join("log")).len();
    assert!(segments < 20, "{segments} files in log/");
    everything_current_is_there(&app, &versions).await;
    history_says_where_it_begins(&app, horizon, versions[1]).await;
    let gone = app.admin.get(&app.path(&format!("/executions/{early}"))).await.expect(410);
    assert_eq!(gone.json()["code"], "below_horizon");
    // Views gone: what they refer to below the horizon is read from the base.
    drop(server.kill());
    without_views(&data);
    let server = short(&data).start();
    let app = server.app("shop");
    everything_current_is_there(&app, &versions).await;
    // A second cut writes the base anew.
    write(&app, "again", 0..500).await;
    let horizon = above(&server.admin(), "/lsn/horizon", horizon).await;
    everything_current_is_there(&app, &versions).await;
    history_says_where_it_begins(&app, horizon, versions[1]).await;
    // While a cut is made there are two.
    until("the base before it to be gone", || async { (snapshots(&data, "base-").len() == 1).then_some(()) })
        .await;
    assert_eq!(server.terminate().code, Some(0));
    let server = short(&data).start();
    everything_current_is_there(&server.app("shop"), &versions).await;
}

async fn everything_current_is_there(app: &App, versions: &[u64]) {
    let old = app.collection("old").await;
    assert_eq!(old.len(), 10);
    assert_eq!((&old["k0"], &old["k9"]), (&json!("newer"), &json!(9)));
    let one = app.admin.get(&app.key_path("old", "k9")).await.expect(200);
    assert_eq!(one.header("etag").trim_matches('"'), versions[9].to_string());
    assert_eq!(app.call("GET", "/old", "").await.expect(200).json(), json!(3));
    let source = app.admin.get(&app.path("/scripts/old")).await.expect(200);
    assert!(source.text().contains("kv::get"));
    let history = app.items("/kv/old/k9/history").await;
    assert_eq!((history.len(), &history[0]["value"]), (1, &json!(9)), "what was current at the horizon");
}

async fn history_says_where_it_begins(app: &App, horizon: u64, below: u64) {
    for path in [format!("{}?at={below}", app.key_path("old", "k1")), app.path(&format!("/log?from={below}"))]
    {
        let gone = app.admin.get(&path).await.expect(410).json();
        assert_eq!(gone["code"], "below_horizon", "{path}: {gone}");
        assert!(gone["horizon"].as_u64() >= Some(horizon), "{gone}");
    }
    let at = number(&instance(&app.admin).await, "/lsn/horizon");
    let then = app.admin.get(&format!("{}?at={at}", app.key_path("old", "k1"))).await.expect(200);
    assert_eq!(then.json(), json!(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_dead_letter_holds_the_horizon_until_it_is_redriven() {
    let dir = tempfile::tempdir().unwrap();
    let server = short(&dir.path().join("data")).start();
    let app = server.app("shop");
    app.deploy(&manifest()).await;
    drop(app.call("POST", "/fail", "precious input").await.expect(204));
    let letters = until("a letter", || async {
        Some(app.letters("status=open").await).filter(|letters| !letters.is_empty())
    })
    .await;
    let enqueued = number(&instance(&server.admin()).await, "/lsn/durable");
    write(&app, "a", 0..600).await;
    above(&server.admin(), "/lsn/snapshot", enqueued).await;
    let held = number(&instance(&server.admin()).await, "/lsn/horizon");
    assert!(held <= enqueued, "horizon {held}, the letter's input is below {enqueued}");
    app.put("config", "fixed", &json!(true)).await;
    let id = letters[0]["id"].as_str().unwrap();
    drop(app.admin.post(&app.path(&format!("/dead-letters/{id}/redrive")), &json!({})).await.expect(202));
    app.settled().await;
    assert_eq!(app.value("mended", "k").await, Some(json!("precious input")));
    write(&app, "b", 0..300).await;
    above(&server.admin(), "/lsn/horizon", enqueued).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hold_keeps_stays_readable_until_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = short(&data).start();
    let app = server.app("shop");
    app.deploy(&manifest()).await;
    let version = app.put("old", "k", &json!("then")).await;
    app.put("old", "k", &json!("now")).await;
    let cli = Cli::of(&server, "shop");
    let at = version.to_string();
    let hold =
        cli.run(&["hold", "set", "audit", "--at", &at, "--reason", "case 7", "--json"]).expect(0).json();
    assert_eq!((&hold["from_lsn"], &hold["reason"]), (&json!(version), &json!("case 7")), "{hold}");
    let again = cli.run(&["hold", "set", "audit"]).expect(1);
    assert!(again.stderr.contains("exists already"), "{again:?}");
    let then = async |app: &App| app.admin.get(&format!("{}?at={version}", app.key_path("old", "k"))).await;
    // Far more than what is kept by size; over a crash, and without the views.
    for round in 0..3 {
        write(&app, &format!("r{round}"), 0..200).await;
    }
    above(&server.admin(), "/lsn/snapshot", version).await;
    drop(server.kill());
    without_views(&data);
    let server = short(&data).start();
    let app = server.app("shop");
    write(&app, "more", 0..200).await;
    // Without the hold this is where it would be cut: the older snapshot is above it, and so is what is asked for.
    let shown = until("snapshots and what is asked for above the hold", || async {
        let shown = instance(&server.admin()).await;
        let snapshots = shown["snapshots"].as_array().unwrap();
        let above = snapshots.iter().filter(|snapshot| snapshot["lsn"].as_u64() > Some(version)).count();
        (number(&shown, "/log/kept_from/retention") > version && above == 2).then_some(shown)
    })
    .await;
    write(&app, "and-more", 0..100).await;
    assert_eq!(number(&shown, "/log/kept_from/holds"), version, "{shown}");
    assert!(number(&instance(&server.admin()).await, "/lsn/horizon") <= version, "{shown}");
    assert_eq!(then(&app).await.expect(200).json(), json!("then"));
    let cli = Cli::of(&server, "shop");
    let listed = cli.run(&["hold", "list", "--json"]).expect(0).json_lines();
    assert_eq!((listed.len(), &listed[0]["name"]), (1, &json!("audit")), "{listed:?}");
    // Released: it is cut, and whoever comes too late is told.
    // Another one, from now on, keeps the record of it.
    let _ = cli.run(&["hold", "set", "witness"]).expect(0);
    let _ = cli.run(&["hold", "release", "audit"]).expect(0);
    write(&app, "after", 0..100).await;
    above(&server.admin(), "/lsn/horizon", version).await;
    assert_eq!(then(&app).await.expect(410).json()["code"], "below_horizon");
    assert_eq!(app.value("old", "k").await, Some(json!("now")));
    let late = app.admin.post("/api/v1/holds", &json!({"name": "late", "at": version})).await;
    late.problem(410, "below_horizon");
    let _ = cli.run(&["hold", "release", "audit"]).expect(3);
    // The log says who did what.
    assert_eq!(server.terminate().code, Some(0));
    let words = ["log", "show", "--data", data.to_str().unwrap(), "--kind", "hold_released", "--json"];
    let released = Cli::offline().run(&words).expect(0).json_lines();
    assert_eq!(released[0]["data"]["name"], json!("audit"), "{released:?}");
    assert!(released[0]["data"]["by"].is_object(), "{released:?}");
}

/// A hold and a cut that meet: whichever comes first, a hold that was taken keeps what it names, for ever, and one that was
/// too late is told so. Nothing in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_races_a_cut_is_kept_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = short(&data).start();
    let app = server.app("shop");
    app.deploy(&manifest()).await;
    let mut asked = 0;
    let (mut kept, mut late) = (0, 0);
    let deadline = std::time::Instant::now() + Duration::from_secs(40);
    while (kept < 5 || late < 5) && std::time::Instant::now() < deadline {
        // What is asked for is about to be cut: the horizon itself, while the log grows.
        let at = number(&instance(&server.admin()).await, "/lsn/horizon");
        let (admin, name) = (server.admin(), format!("h{asked}"));
        let grow = write(&app, &name, 0..60);
        let hold = async {
            tokio::time::sleep(Duration::from_millis(7 * (asked % 40))).await;
            admin.post("/api/v1/holds", &json!({"name": name, "at": at})).await
        };
        let (answer, ()) = tokio::join!(hold, grow);
        asked += 1;
        if answer.status == 201 {
            kept += 1;
            for round in 0..3 {
                assert!(number(&instance(&server.admin()).await, "/lsn/horizon") <= at, "hold {name}");
                write(&app, &format!("{name}-{round}"), 0..40).await;
            }
            assert!(number(&instance(&server.admin()).await, "/lsn/horizon") <= at, "hold {name}");
            drop(server.admin().delete(&format!("/api/v1/holds/{name}")).await.expect(204));
            write(&app, &format!("{name}-go"), 0..60).await;
        } else {
            answer.problem(410, "below_horizon");
            late += 1;
        }
    }
    println!("holds beside cuts: asked={asked} kept={kept} late={late}");
    assert!(kept > 0 && asked > 5, "asked {asked}, kept {kept}, late {late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_are_for_administrators_of_the_instance_and_name_what_is_there() {
    let site = Site::with(&manifest()).await;
    let holds = "/api/v1/holds";
    let token = json!({"name": "t", "scopes": ["app:admin", "log:read"], "app": "shop"});
    let token = site.app.admin.post("/api/v1/tokens", &token).await.expect(201).json();
    let other = site.app.admin.with_token(token["token"].as_str());
    other.get(holds).await.problem(403, "forbidden");
    other.post(holds, &json!({"name": "x"})).await.problem(403, "forbidden");
    other.delete("/api/v1/holds/x").await.problem(403, "forbidden");
    let admin = &site.app.admin;
    for (body, code) in [
        (json!({"name": "a b"}), "invalid"),
        (json!({"name": "x", "at": 1_000_000}), "in_the_future"),
        (json!({"name": "x", "at": "2999-01-01T00:00:00Z"}), "in_the_future"),
        (json!({"name": "x", "at": "yesterday"}), "invalid"),
    ] {
        admin.post(holds, &body).await.problem(422, code);
    }
    drop(admin.post(holds, &json!({"name": "x", "until": 3})).await.expect(422));
    assert_eq!(admin.get(holds).await.expect(200).json()["items"], json!([]));
    // A time before the first event keeps everything; without one, what comes is kept.
    let early = json!({"name": "all", "at": "2020-01-01T00:00:00Z"});
    let all = admin.post(holds, &early).await.expect(201).json();
    assert_eq!(all["from_lsn"], json!(1));
    let next = number(&instance(admin).await, "/lsn/durable") + 1;
    let from_now = admin.post(holds, &json!({"name": "from-now"})).await.expect(201).json();
    assert_eq!(number(&from_now, "/from_lsn"), next);
    admin.post(holds, &json!({"name": "all"})).await.problem(409, "duplicate");
    drop(admin.delete("/api/v1/holds/all").await.expect(204));
    admin.delete("/api/v1/holds/all").await.problem(404, "not_found");
    assert_eq!(number(&instance(admin).await, "/holds"), 1);
    let site = site.crashed();
    let listed = site.app.admin.get(holds).await.expect(200).json();
    assert_eq!(listed["items"][0]["name"], json!("from-now"), "{listed}");
}

/// Ten keys, one of them with a second version, that two cuts of the log leave below its beginning: the keys' versions.
async fn old_keys_and_two_cuts(server: &Server, app: &App) -> Vec<u64> {
    let mut versions = Vec::new();
    for n in 0..10 {
        versions.push(app.put("old", &format!("k{n}"), &json!(n)).await);
    }
    app.put("old", "k0", &json!("newer")).await;
    let mut horizon = 1;
    for round in 0..2 {
        write(app, &format!("r{round}"), 0..250).await;
        horizon = above(&server.admin(), "/lsn/horizon", horizon).await;
    }
    versions
}

/// The commands that work on a directory, on one whose log was cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_cut_is_verified_and_its_views_are_made_again_offline() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = short(&data).env("RELIVE_LOG_RECYCLE", "reuse").env("RELIVE_LOG_ALIGN", "4KiB").start();
    let app = server.app("shop");
    app.deploy(&manifest()).await;
    let versions = old_keys_and_two_cuts(&server, &app).await;
    let shown = instance(&server.admin()).await;
    let set = (&shown["log"]["align_bytes"], &shown["log"]["recycle"]);
    assert_eq!(set, (&json!(4096), &json!("reuse")), "{shown}");
    assert_eq!(server.terminate().code, Some(0));
    let log = |words: &[&str]| {
        let all = ["log"].iter().chain(words).copied().chain(["--data", data.to_str().unwrap()]);
        Cli::offline().run(&all.collect::<Vec<_>>())
    };
    let found = log(&["verify", "--deep", "--json"]).expect(0).json();
    assert_eq!((&found["status"], &found["views"]), (&json!("sound"), &json!("same")), "{found}");
    let listed = found["snapshots"].as_array().unwrap();
    assert_eq!(listed.iter().filter(|snapshot| snapshot["is_base"] == true).count(), 1, "{found}");
    assert!(listed.len() == 3 && listed.iter().all(|snapshot| snapshot["problem"].is_null()), "{found}");
    // Views gone: made again from a snapshot and the log behind it.
    without_views(&data);
    let rebuilt = log(&["rebuild-views", "--json"]).expect(0).json();
    assert_eq!(rebuilt["applied_lsn"], found["report"]["valid_lsn"], "{rebuilt}");
    let again = log(&["verify", "--deep", "--json"]).expect(0).json();
    assert_eq!(again["views"], json!("same"), "{again}");
    // A damaged snapshot and a damaged base are named, with what to do; nothing is changed.
    let before = damage::digests(&data);
    for (kind, advice) in [("snap-", "a start uses the older one"), ("base-", "from a backup")] {
        let path = snapshots(&data, kind).pop().unwrap();
        let whole = std::fs::read(&path).unwrap();
        flip(&path, 4096 + 200);
        let text = log(&["verify", "--deep"]).expect(65);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(text.stdout.contains("DAMAGED") && text.stdout.contains(advice), "{text:?}");
        assert!(text.stdout.contains(&name) && text.stderr.contains(&name), "{text:?}");
        std::fs::write(&path, whole).unwrap();
    }
    assert!(damage::digests(&data) == before, "L40");
    let server = short(&data).start();
    everything_current_is_there(&server.app("shop"), &versions).await;
    let shown = instance(&server.admin()).await;
    assert_eq!(shown["log"]["align_bytes"], json!(4096), "a log keeps its shape");
}

/// A log whose beginning was cut, damaged behind its snapshots: the salvaged directory serves what was kept below the cut,
/// what the snapshots hold and what follows, and an instance lives on in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l41_a_log_that_was_cut_is_salvaged_and_serves() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = short(&data).start();
    let app = server.app("shop");
    app.deploy(&manifest()).await;
    let versions = old_keys_and_two_cuts(&server, &app).await;
    let hurt = app.put("late", "lost", &json!("this-value-is-lost")).await;
    app.put("late", "kept", &json!("this-value-is-kept")).await;
    assert_eq!(server.terminate().code, Some(0));
    let found = damage::files_with(&data.join("log"), b"this-value-is-lost");
    let [file] = found.as_slice() else { panic!("{found:?}") };
    flip(file, damage::find(&std::fs::read(file).unwrap(), b"this-value-is-lost").unwrap());
    let before = damage::digests(&data);
    let log = |data: &Path, words: &[&str]| {
        let all = ["log"].iter().chain(words).copied().chain(["--data", data.to_str().unwrap()]);
        Cli::offline().run(&all.collect::<Vec<_>>())
    };
    let out = dir.path().join("out");
    let (to, loss) = (out.to_str().unwrap().to_owned(), format!("{hurt}-{hurt}"));
    let refused = log(&data, &["salvage", "--out", &to]).expect(1);
    assert!(refused.stderr.contains(&format!("--accept-loss {loss}")) && !out.exists(), "{refused:?}");
    let words = ["salvage", "--out", &to, "--accept-loss", &loss, "--json"];
    // Without its base, or with no sound snapshot, it is refused by name.
    let base = snapshots(&data, "base-").pop().unwrap();
    let whole = std::fs::read(&base).unwrap();
    std::fs::remove_file(&base).unwrap();
    let refused = log(&data, &words).expect(65);
    assert!(
        refused.stderr.contains("base-") && refused.stderr.contains("backup") && !out.exists(),
        "{refused:?}"
    );
    std::fs::write(&base, whole).unwrap();
    let made = log(&data, &words).expect(0).json();
    assert_eq!(made["salvaged"]["beginning"]["lost_below"], json!([]), "{made}");
    assert!(!made["salvaged"]["beginning"]["snapshots"].as_array().unwrap().is_empty(), "{made}");
    assert!(damage::digests(&data) == before, "L41");
    let found = log(&out, &["verify", "--deep", "--json"]).expect(0).json();
    assert_eq!(found["status"], json!("sound"), "{found}");
    let server = short(&out).env("RELIVE_LOG_RECYCLE", "off").start();
    let app = server.app("shop");
    everything_current_is_there(&app, &versions).await;
    assert_eq!(app.value("late", "kept").await, Some(json!("this-value-is-kept")));
    assert_eq!(app.value("late", "lost").await, None);
    let first_segment = files(&out.join("log"))[0].file_name().unwrap().to_string_lossy().into_owned();
    // It is cut again, and what stood in the old log's places is taken along.
    write(&app, "after", 0..400).await;
    above(&server.admin(), "/lsn/horizon", hurt).await;
    // Segments that were cut are gone: with recycling off none is kept for another use.
    let shown = instance(&server.admin()).await;
    assert_eq!(shown["log"]["recycle"], json!("off"), "{shown}");
    let names = || files(&out.join("log")).into_iter().map(|path| path.file_name().unwrap().to_owned());
    until("retired segments to be removed", || async {
        let gone = |name: &str| name > first_segment.as_str() && !name.starts_with("tmp-");
        names().all(|name| gone(&name.to_string_lossy())).then_some(())
    })
    .await;
    everything_current_is_there(&app, &versions).await;
    assert_eq!(app.value("late", "kept").await, Some(json!("this-value-is-kept")));
    assert_eq!(server.terminate().code, Some(0));
    let found = log(&out, &["verify", "--deep", "--json"]).expect(0).json();
    assert_eq!((&found["status"], &found["views"]), (&json!("sound"), &json!("same")), "{found}");
}

/// kill -9 while snapshots are written and the log is cut, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l15_kill_9_during_snapshots_and_cuts_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let launch = || {
        Launch::on(&data)
            .env("RELIVE_SEGMENT_BYTES", "64KiB")
            .env("RELIVE_SNAPSHOT_BYTES", "32KiB")
            .env("RELIVE_HISTORY_RETENTION", "128KiB")
    };
    let seed = 11;
    let mut chance = Chance::new(seed);
    let ledger = Ledger::default();
    let (mut cuts, mut taken) = (0, 0);
    for life in 0..14 {
        let server = launch().start();
        let app = server.app("shop");
        if life == 0 {
            app.deploy(&manifest()).await;
            for n in 0..10 {
                app.put("old", &format!("k{n}"), &json!(n)).await;
            }
        }
        let fresh = app.collection("fresh").await;
        for (key, known) in ledger.all() {
            assert!(
                fresh.contains_key(&key) || !matches!(known, Known::Acknowledged(_)),
                "seed {seed}, life {life}: acknowledged and lost: {key}"
            );
        }
        assert_eq!(app.collection("old").await.len(), 10, "seed {seed}, life {life}");
        assert_eq!(app.call("GET", "/old", "").await.expect(200).json(), json!(3));
        let shown = instance(&server.admin()).await;
        cuts += u64::from(number(&shown, "/lsn/horizon") > 1);
        taken += u64::from(number(&shown, "/lsn/snapshot") > 0);
        let until = std::time::Instant::now() + Duration::from_millis(300 + chance.below(900));
        let mut n = 0;
        while std::time::Instant::now() < until {
            n += 1;
            let key = format!("l{life}-{n}");
            ledger.sent(&key);
            let body = "y".repeat(3000);
            match app.data.try_send("POST", &format!("/shop/put/{key}"), &[], body).await {
                Ok(reply) if reply.status == 204 => ledger.answered(&key, Known::Acknowledged(reply.lsn())),
                other => panic!("{other:?}"),
            }
        }
        drop(server.kill());
        if life % 4 == 3 {
            without_views(&data);
        }
    }
    println!("lives=14 with_horizon={cuts} with_snapshot={taken}");
    assert!(cuts >= 6 && taken >= 10, "{cuts} lives began behind a cut, {taken} with a snapshot");
}

/// Crashes at numbered calls of the disk, while snapshots are installed and the log is cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l13_l15_crash_points_of_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let origin = dir.path().join("origin");
    let launch = |data: &Path| {
        Launch::on(data)
            .env("RELIVE_SEGMENT_BYTES", "64KiB")
            .env("RELIVE_SNAPSHOT_BYTES", "32KiB")
            .env("RELIVE_HISTORY_RETENTION", "128KiB")
    };
    let prepare = async |server: &Server| {
        let app = server.app("shop");
        app.deploy(&manifest()).await;
        for n in 0..10 {
            app.put("old", &format!("k{n}"), &json!(n)).await;
        }
        write(&app, "first", 0..40).await;
    };
    let server = launch(&origin).start();
    prepare(&server).await;
    drop(server.kill());
    let mut crashed = 0;
    for point in (0..16).map(|n| 60 + n * 37) {
        let data = dir.path().join("data");
        relive_tests::damage::copy(&origin, &data);
        let mut acknowledged = Vec::new();
        if let Ok(server) = launch(&data).env("RELIVE_CRASH_AT", format!("{point}:after")).try_start() {
            let app = server.app("shop");
            for n in 0..150 {
                let path = format!("/shop/put/more-{n}");
                match app.data.try_send("POST", &path, &[], "z".repeat(3000)).await {
                    Ok(reply) if reply.status == 204 => acknowledged.push(format!("more-{n}")),
                    _ => {
                        crashed += 1;
                        break;
                    }
                }
            }
            drop(server.kill());
        }
        let server = launch(&data).start();
        let app = server.app("shop");
        let fresh = app.collection("fresh").await;
        for key in &acknowledged {
            assert!(fresh.contains_key(key), "RELIVE_CRASH_AT={point}: {key} is lost");
        }
        assert_eq!(
            (app.collection("old").await.len(), fresh.contains_key("first-39")),
            (10, true),
            "{point}"
        );
        drop(server.kill());
        std::fs::remove_dir_all(&data).unwrap();
    }
    println!("points=16 crashed={crashed}");
    assert!(crashed >= 6, "{crashed}");
}
