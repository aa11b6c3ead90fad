//! Starting and stopping: one process a directory, orderly ends, settings, keys.

use std::time::Duration;

use relive_tests::{Cli, Launch, Manifest, Site, busy, damage, until};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_directory_ends_with_75_at_once_and_harms_nothing() {
    let site = Site::with(&Manifest::new()).await;
    site.app.put("c", "k", &json!(1)).await;
    let second = Launch::on(&site.server.data).try_start().map(drop).unwrap_err();
    assert_eq!(second.code, Some(75), "{second:?}");
    assert!(second.after < Duration::from_secs(1), "{:?}", second.after);
    assert!(!second.stderr.trim().is_empty());
    site.app.put("c", "k", &json!(2)).await;
    let site = site.crashed();
    assert_eq!(site.app.value("c", "k").await, Some(json!(2)));
    println!("second_process_ended_after={:?}", second.after);
}

/// Somebody else's directory, and one that a newer version wrote: refused with 78, both versions in the text, not a byte
/// or a name changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l11_foreign_and_newer_directories_are_refused_and_left_alone() {
    let site = Site::with(&Manifest::new()).await;
    site.app.put("c", "k", &json!(1)).await;
    let data = site.server.data.clone();
    let Site { server, dir, .. } = site;
    assert_eq!(server.terminate().code, Some(0));
    let refused = |data: &std::path::Path, says: &str| {
        let before = damage::digests(data);
        let ended = Launch::on(data).try_start().map(drop).unwrap_err();
        assert_eq!(ended.code, Some(78), "{ended:?}");
        assert!(ended.stderr.contains(says), "{says}: {ended:?}");
        assert!(damage::digests(data) == before, "L11: {says}");
    };
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.doc"), "precious").unwrap();
    refused(&foreign, "thesis.doc");
    for name in ["MANIFEST", "log/seg-0000000000000001.log"] {
        let newer = dir.path().join("newer");
        damage::copy(&data, &newer);
        let path = newer.join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8] = 9;
        let crc = crc32fast::hash(&bytes[..4092]);
        bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        refused(&newer, "format 9.0");
        std::fs::remove_dir_all(&newer).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_what_runs_exits_0_and_everything_is_there_afterwards() {
    let busy = format!("{}kv::set(\"w\", ctx.request.params.n, 1); \"done\"", busy(200));
    let manifest = Manifest::new().sync("POST /busy/{n}", "busy", &busy).on_kv(
        "w",
        "t",
        "kv::set(\"x\", ctx.event.key, 1)",
        "",
    );
    let site = Site::with(&manifest).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..4 {
        let app = site.app.clone();
        calls.spawn(async move { app.call("POST", &format!("/busy/{n}"), "").await });
    }
    relive_tests::until("calls to run", || async {
        (site.app.executions("script=busy").await.len() == 4).then_some(())
    })
    .await;
    site.server.signal_term();
    for reply in calls.join_all().await {
        assert_eq!(reply.expect(200).text(), "done", "what runs is finished");
    }
    let site = site.restarted(|server| {
        let ended = server.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    });
    site.app.settled().await;
    assert_eq!(site.app.collection("w").await.len(), 4);
    assert_eq!(site.app.collection("x").await.len(), 4);
    assert!(site.app.items("/abandoned").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_settings_stop_the_start_with_one_clear_line_and_78() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for (name, value) in [
        ("RELIVE_MAX_TRIGGER_DEPTH", "deep"),
        ("RELIVE_RETRY_BACKOFF", "sometimes"),
        ("RELIVE_SEGMENT_BYTES", "7"),
        ("RELIVE_DURABILITY", "never"),
        ("RELIVE_RETRY_JITTER_PCT", "101"),
        ("RELIVE_INSTANCE_KEY", "short"),
        ("RELIVE_ALLOW_NETWORK_FILESYSTEM", "perhaps"),
    ] {
        let ended = Launch::on(&data).env(name, value).try_start().map(drop).unwrap_err();
        assert_eq!(ended.code, Some(78), "{name}={value}: {ended:?}");
        assert_eq!(ended.stderr.trim().lines().count(), 1, "one line: {}", ended.stderr);
        let key = name.trim_start_matches("RELIVE_").to_lowercase();
        assert!(ended.stderr.contains(name) || ended.stderr.contains(&key), "names it: {}", ended.stderr);
    }
    assert!(!data.join("MANIFEST").exists());
    let unknown = Cli::offline().run(&["serve", "--no-such-flag"]).expect(2);
    assert!(unknown.stderr.contains("no-such-flag"));
    // Flag > environment > file > default, each shown with its source.
    let file = dir.path().join("relive.toml");
    std::fs::write(&file, "max_trigger_depth = 5\nretry_max_attempts = 9\nretry_base_ms = 7\n").unwrap();
    let shown = Cli::offline()
        .with("RELIVE_RETRY_MAX_ATTEMPTS", "4")
        .run(&["config", "show", "--config", file.to_str().unwrap()])
        .expect(0);
    let line = |key: &str| shown.stdout.lines().find(|line| line.contains(key)).unwrap_or("").to_owned();
    assert!(
        line("retry_max_attempts").contains('4') && line("retry_max_attempts").contains("env"),
        "{}",
        shown.stdout
    );
    assert!(
        line("max_trigger_depth").contains('5') && line("max_trigger_depth").contains("file"),
        "{}",
        shown.stdout
    );
    assert!(
        line("allow_network_filesystem").contains("false")
            && line("allow_network_filesystem").contains("default"),
        "{}",
        shown.stdout
    );
    let allowed = Cli::offline().run(&["config", "show", "--allow-network-filesystem", "--json"]).expect(0);
    let row = allowed.json_lines().into_iter().find(|row| row["setting"] == "allow_network_filesystem");
    assert_eq!(
        row.map(|row| (row["value"].clone(), row["source"].clone())),
        Some((json!("true"), json!("flag")))
    );
    assert!(
        line("retry_max_ms").contains("60000") && line("retry_max_ms").contains("default"),
        "{}",
        shown.stdout
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_with_sealed_data_gets_no_new_key_by_itself() {
    let site = Site::with(&Manifest::new().sync("GET /s", "s", "secrets::get(\"KEY\").len")).await;
    let _ = site
        .app
        .admin
        .put(&site.app.path("/secrets/KEY"), &json!({ "value": "abc-value" }))
        .await
        .expect(200);
    let data = site.server.data.clone();
    let key = data.join("instance.key");
    let original = std::fs::read(&key).unwrap();
    assert_eq!(site.server.terminate().code, Some(0));
    std::fs::remove_file(&key).unwrap();
    let missing = Launch::on(&data).try_start().map(drop).unwrap_err();
    assert_eq!(missing.code, Some(78), "missing: {missing:?}");
    assert!(!key.exists(), "no key is made");
    let other =
        Launch::on(&data).env("RELIVE_INSTANCE_KEY", "ab".repeat(32)).try_start().map(drop).unwrap_err();
    assert_eq!(other.code, Some(78), "another one: {other:?}");
    std::fs::write(&key, original).unwrap();
    let server = Launch::on(&data).start();
    assert_eq!(server.app("shop").call("GET", "/s", "").await.expect(200).json(), json!(9));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_instance_token_may_be_set_and_ports_are_printed_once_both_answer() {
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::on(&dir.path().join("data")).env("RELIVE_ADMIN_TOKEN", "a-token-of-my-own");
    let server = launch.start();
    let _ = server.admin().get("/api/v1/apps").await.expect(200);
    server.admin().with_token(Some("another")).get("/api/v1/apps").await.problem(401, "unauthorized");
    assert_eq!(server.data().get("/").await.status, 404);
    let ended = server.terminate();
    let lines: Vec<_> =
        ended.stdout.lines().filter(|line| line.contains("listening on http://127.0.0.1:")).collect();
    assert_eq!(lines.len(), 2, "{}", ended.stdout);
    assert!(!ended.stderr.contains("a-token-of-my-own") && !ended.stdout.contains("a-token-of-my-own"));
}

/// V10: while the views are rebuilt, what needs none of them is answered, and the rest says how far the rebuild is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v10_a_rebuild_can_be_watched_and_what_needs_no_view_is_served() {
    let site = Site::with(&Manifest::new().sync("GET /n", "n", "kv::get(\"c\", \"k299\")")).await;
    for n in 0..300 {
        site.app.put("c", &format!("k{n}"), &json!(n)).await;
    }
    let data = site.server.data.clone();
    let Site { server, dir: _dir, .. } = site;
    assert_eq!(server.terminate().code, Some(0));
    std::fs::remove_dir_all(data.join("views")).unwrap();
    std::fs::remove_dir_all(data.join("snapshots")).ok();
    let server = Launch::on(&data).env("RELIVE_FOLD_PAUSE_MS", "60").start();
    let admin = server.admin();
    let _ = admin.get("/healthz").await.expect(200);
    let told = admin.get("/readyz").await.expect(503).json();
    assert_eq!(told["status"], json!("rebuilding"), "{told}");
    let (folded, target) = (told["folded_lsn"].as_u64().unwrap(), told["target_lsn"].as_u64().unwrap());
    assert!(folded < target && target > 300, "{told}");
    let instance = admin.get("/api/v1/instance").await.expect(200).json();
    assert_eq!(instance["rebuild"]["target_lsn"], json!(target), "{instance}");
    assert_eq!((&instance["lsn"]["durable"], &instance["apps"]), (&json!(target), &json!(null)));
    assert!(instance["log"]["bytes"].as_u64().unwrap() > 0, "{instance}");
    let log = admin.get("/api/v1/instance/log").await.expect(200).json();
    assert_eq!(log["kinds"]["kv_put"]["events"], json!(300), "{log}");
    // What needs views waits for a while, then says how long it will take.
    let refused = admin.get("/api/v1/apps").await.expect(503).json();
    assert_eq!(refused["code"], json!("rebuilding"), "{refused}");
    assert!(refused["folded_lsn"].as_u64().unwrap() > folded, "{refused}");
    assert!(refused["seconds_left"].as_u64().is_some(), "{refused}");
    until("the end of the rebuild", || async { (admin.get("/readyz").await.status == 200).then_some(()) })
        .await;
    assert_eq!(server.app("shop").call("GET", "/n", "").await.expect(200).json(), json!(299));
    let instance = admin.get("/api/v1/instance").await.expect(200).json();
    assert_eq!((&instance["rebuild"], &instance["apps"]), (&json!(null), &json!(1)));
}

/// V5: what a process left that died is served at once and read in full beside; damage is said, met as an error and never as a
/// wrong value, and gone after the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v5_damage_that_a_dead_process_left_is_found_beside_and_mended_by_the_next_start() {
    let site = Site::with(&Manifest::new()).await;
    for n in 0..400 {
        site.app.put("c", &format!("k{n:03}"), &json!(n)).await;
    }
    let data = site.server.data.clone();
    let Site { server, dir: _dir, .. } = site;
    assert_eq!(server.terminate().code, Some(0), "the runs are written");
    let server = Launch::on(&data).start();
    server.app("shop").put("c", "later", &json!(true)).await;
    drop(server.kill());
    let mut damaged = 0;
    for run in damage::files(&data.join("views"))
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "kv"))
    {
        damage::flip(run, usize::try_from(std::fs::metadata(run).unwrap().len() / 3).unwrap());
        damaged += 1;
    }
    assert!(damaged > 0, "there is a run of keys");
    let server = Launch::on(&data).env("RELIVE_VERIFY_BYTES", "0").start();
    let told = until("the damage to be found", || async {
        let instance = server.admin().get("/api/v1/instance").await.expect(200).json();
        instance["views"]["damage"].as_str().map(str::to_owned)
    })
    .await;
    assert!(told.contains("damaged"), "{told}");
    let app = server.app("shop");
    let (mut right, mut refused) = (0, 0);
    for n in 0..400 {
        let path = app.path(&format!("/kv/c/k{n:03}"));
        let reply = app.admin.get(&path).await;
        match reply.status {
            200 => {
                assert_eq!(reply.json(), json!(n), "never a wrong value");
                right += 1;
            }
            500 => refused += 1,
            status => panic!("{status}: {path}"),
        }
    }
    assert!(refused > 0, "{right} right, {refused} refused");
    let ended = server.terminate();
    assert!(ended.stderr.contains("the views are damaged"), "{}", ended.stderr);
    let server = Launch::on(&data).start();
    let app = server.app("shop");
    for n in 0..400 {
        assert_eq!(app.value("c", &format!("k{n:03}")).await, Some(json!(n)));
    }
    assert_eq!(app.value("c", "later").await, Some(json!(true)));
    let instance = server.admin().get("/api/v1/instance").await.expect(200).json();
    assert_eq!(instance["views"]["damage"], json!(null));
}
