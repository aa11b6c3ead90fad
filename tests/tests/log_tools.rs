//! `relive log …` on the real binary: every command, every exit code, online and offline.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use relive_tests::{Cli, Launch, Manifest, Output, Server, Site, damage};
use serde_json::{Value, json};

const RETRY_LATER: &str =
    r#"retry = { max_attempts = 5, backoff = "fixed", base_ms = 3600000, max_ms = 3600000, jitter_pct = 0 }"#;

/// A stopped instance: some keys, some work that waits for its second attempt.
struct Stopped {
    dir: tempfile::TempDir,
    data: PathBuf,
    last_lsn: u64,
}

async fn stopped() -> Stopped {
    let manifest = Manifest::new().on_kv("orders", "later", "throw \"not yet\"", RETRY_LATER);
    let site = Site::launched(|launch| launch.env("RELIVE_SEGMENT_BYTES", "64KiB"), &manifest).await;
    site.app.put("orders", "o1", &json!("waits-for-its-second-attempt")).await;
    relive_tests::until("a first attempt", || async {
        (site.app.executions("status=retrying").await.len() == 1).then_some(())
    })
    .await;
    for n in 0..40 {
        site.app
            .put(
                "c",
                &format!("k{n}"),
                &json!({ "n": n, "text": format!("value-number-{n}-{}", "x".repeat(3000)) }),
            )
            .await;
    }
    let last_lsn = site.app.put("c", "last", &json!("the-very-last-value")).await;
    let data = site.server.data.clone();
    let Site { server, dir, .. } = site;
    assert_eq!(server.terminate().code, Some(0));
    Stopped { dir, data, last_lsn }
}

impl Stopped {
    fn log(&self, words: &[&str]) -> Output {
        log_on(&self.data, words)
    }

    fn digests(&self) -> BTreeMap<PathBuf, String> {
        damage::digests(&self.data)
    }

    /// Changes a byte of the batch that holds this text; the segment's file.
    fn hurt(&self, text: &str) -> PathBuf {
        let found = damage::files_with(&self.data.join("log"), text.as_bytes());
        let [path] = found.as_slice() else { panic!("{text} is in {found:?}") };
        let at = damage::find(&std::fs::read(path).unwrap(), text.as_bytes()).unwrap();
        damage::flip(path, at);
        path.clone()
    }
}

fn log_on(data: &Path, words: &[&str]) -> Output {
    let mut all = vec!["log"];
    all.extend(words);
    all.extend(["--data", data.to_str().unwrap()]);
    Cli::offline().run(&all)
}

fn lsn(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no LSN: {value}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l40_verify_show_stats_and_export_of_a_sound_directory_change_nothing() {
    let stopped = stopped().await;
    let before = stopped.digests();
    let text = stopped.log(&["verify"]).expect(0).stdout;
    assert!(text.contains("sound") && text.contains(&format!("LSN {}", stopped.last_lsn)), "{text}");
    let found = stopped.log(&["verify", "--deep", "--json"]).expect(0).json();
    assert_eq!((&found["status"], &found["views"]), (&json!("sound"), &json!("same")), "{found}");
    assert_eq!(found["survey"]["events"], json!(stopped.last_lsn), "{found}");
    assert!(found["survey"]["segments"].as_array().unwrap().len() > 2, "{found}");
    let stats = stopped.log(&["stats", "--json"]).expect(0).json();
    assert_eq!((lsn(&stats["last_lsn"]), lsn(&stats["events"])), (stopped.last_lsn, stopped.last_lsn));
    assert_eq!(lsn(&stats["kinds"]["kv_put"]["events"]), 42, "{stats}");
    assert!(lsn(&stats["kinds"]["kv_put"]["bytes"]) > 40 * 3000, "{stats}");
    let apps = stats["by_app"].as_array().unwrap();
    assert!(apps.iter().any(|app| app["app"] == "shop"), "{stats}");
    let exported = stopped.log(&["export"]).expect(0).json_lines();
    let lsns: Vec<u64> = exported.iter().map(|event| lsn(&event["lsn"])).collect();
    assert_eq!(lsns, (1..=stopped.last_lsn).collect::<Vec<_>>());
    assert!(exported.iter().all(|event| event["app_id"].is_string()), "{}", exported[0]);
    let shown =
        stopped.log(&["show", "--kind", "kv_put", "--limit", "2", "--app", "shop", "--json"]).expect(0);
    assert_eq!(shown.json_lines().len(), 2);
    assert!(stopped.log(&["show", "--app", "none", "--json"]).expect(0).stdout.is_empty());
    let file = stopped.dir.path().join("events.jsonl");
    let words = ["export", "--from", "3", "--to", "9", "--output", file.to_str().unwrap()];
    let _ = stopped.log(&words).expect(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 7);
    let _ = stopped.log(&words).expect(1);
    assert!(stopped.digests() == before, "L40");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn online_and_offline_show_the_same_events() {
    let site = Site::with(&Manifest::new()).await;
    for n in 0..5 {
        site.app.put("c", &format!("k{n}"), &json!(n)).await;
    }
    let cli = Cli::of(&site.server, "shop");
    let online = cli.run(&["log", "export"]).expect(0).json_lines();
    let shown = cli.run(&["log", "show", "--json", "--limit", "1000"]).expect(0).json_lines();
    assert_eq!(online, shown);
    let stats = cli.run(&["log", "stats", "--json"]).expect(0).json();
    assert_eq!(lsn(&stats["events"]), lsn(&stats["lsn"]["durable"]), "{stats}");
    assert_eq!(lsn(&stats["kinds"]["kv_put"]["events"]), 5, "{stats}");
    assert_eq!(stats["by_app"][0]["app"], json!("shop"), "{stats}");
    assert!(
        stats["log"]["disk_free_bytes"].is_u64() && stats["log"].get("disk_full_at").is_some(),
        "{stats}"
    );
    let text = cli.run(&["log", "stats"]).expect(0).stdout;
    for part in
        ["5 events", "kv_put", "app shop", "grows by", "the disk is full at", "history is kept: forever"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let reader = json!({"name": "r", "scopes": ["log:read"], "app": "shop"});
    let reader = site.app.admin.post("/api/v1/tokens", &reader).await.expect(201).json();
    let denied = cli.clone().with("RELIVE_TOKEN", reader["token"].as_str().unwrap()).run(&["log", "stats"]);
    assert!(denied.expect(4).stderr.contains("instance:admin"));
    let online = cli.run(&["log", "export"]).expect(0).json_lines();
    let data = site.server.data.clone();
    for command in [
        "verify",
        "show",
        "stats",
        "export",
        "repair",
        "rebuild-manifest",
        "rebuild-watermark",
        "rebuild-views",
    ] {
        let refused = log_on(&data, &[command]).expect(75);
        assert!(refused.stderr.contains("in use"), "{command}: {}", refused.stderr);
    }
    let out = site.dir.path().join("out");
    let _ = log_on(&data, &["salvage", "--out", out.to_str().unwrap()]).expect(75);
    assert!(!out.exists());
    assert_eq!(site.server.terminate().code, Some(0));
    let mut offline = log_on(&data, &["export", "--app", "shop"]).expect(0).json_lines();
    for event in &mut offline {
        event.as_object_mut().unwrap().remove("app_id");
    }
    assert_eq!(offline, online);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e98_l41_damage_is_named_salvaged_with_consent_and_what_was_open_then_is_a_dead_letter() {
    let stopped = stopped().await;
    let hurt = stopped.hurt("value-number-7-");
    let before = stopped.digests();
    let found = stopped.log(&["verify", "--json"]).expect(65);
    let report = found.json();
    let lost = report["survey"]["losses"][0].clone();
    assert_eq!(lost["from"], lost["to"], "one batch: {lost}");
    let segment = report["survey"]["segments"]
        .as_array()
        .unwrap()
        .iter()
        .find(|segment| segment["file"].as_str() == hurt.file_name().and_then(|name| name.to_str()));
    let spans = segment.unwrap()["spans"].as_array().unwrap();
    let span = spans.iter().find(|span| span["status"] == "damaged").unwrap();
    assert_eq!((&span["lsns"], &span["check"]), (&lost, &json!("payload checksum")), "{spans:?}");
    assert!(found.stderr.contains("acknowledged and damaged"), "{}", found.stderr);
    let list = format!("{}-{}", lost["from"], lost["to"]);
    assert!(stopped.log(&["verify"]).expect(65).stdout.contains(&format!("--accept-loss {list}")));
    let _ = stopped.log(&["repair"]).expect(65);
    let _ = stopped.log(&["rebuild-views"]).expect(65);
    let ended = Launch::on(&stopped.data).try_start().map(drop).unwrap_err();
    assert_eq!(ended.code, Some(65), "{ended:?}");
    let shown = stopped.log(&["show", "--json", "--limit", "1000"]).expect(65);
    assert_eq!(shown.json_lines().len() as u64, lsn(&lost["from"]) - 1, "what stands before it is shown");

    let out = stopped.dir.path().join("out");
    let out_text = out.to_str().unwrap();
    for accepted in [&[][..], &["--accept-loss", "1-1"], &["--accept-loss", "1-99"]] {
        let mut words = vec!["salvage", "--out", out_text];
        words.extend(accepted);
        let refused = stopped.log(&words).expect(1);
        assert!(refused.stderr.contains(&format!("--accept-loss {list}")), "{}", refused.stderr);
        assert!(!out.exists());
    }
    let _ = stopped.log(&["salvage", "--out", out_text, "--accept-loss", "seven"]).expect(2);
    assert!(stopped.digests() == before, "L40, L41: nothing has touched the damaged directory");
    let made =
        stopped.log(&["salvage", "--out", out_text, "--accept-loss", &list, "--json"]).expect(0).json();
    assert_eq!(
        (&made["salvaged"]["lost"][0], lsn(&made["salvaged"]["events"])),
        (&lost, stopped.last_lsn - 1)
    );
    assert!(stopped.digests() == before, "L41");
    let found = log_on(&out, &["verify", "--deep", "--json"]).expect(0).json();
    assert_eq!(found["survey"]["gaps"][0], lost, "{found}");
    let again = stopped.log(&["salvage", "--out", out_text, "--accept-loss", &list]).expect(1);
    assert!(again.stderr.contains("not empty"), "{}", again.stderr);

    let server = Launch::on(&out).start();
    let app = server.app("shop");
    assert_eq!(app.value("c", "k7").await, None, "lost");
    assert_eq!(app.value("c", "last").await, Some(json!("the-very-last-value")));
    let letters = app.letters("").await;
    assert_eq!(letters.len(), 1, "E98: {letters:?}");
    assert_eq!(letters[0]["last_error"]["kind"], json!("log_gap"), "E98: {letters:?}");
    assert!(app.executions("status=retrying").await.is_empty(), "E98");
    let events = app.items("/log").await;
    let gap = events.iter().find(|event| event["kind"] == "gap").unwrap();
    assert_eq!((&gap["data"]["from"], &gap["data"]["to"]), (&lost["from"], &lost["to"]));
    let exported = Cli::of(&server, "shop").run(&["log", "export"]).expect(0).json_lines();
    assert_eq!(exported.len(), events.len());
    app.put("c", "after", &json!(1)).await;
    assert_eq!(server.terminate().code, Some(0));
    let server: Server = Launch::on(&out).start();
    assert_eq!(server.app("shop").letters("").await.len(), 1, "settled once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unproven_tail_is_left_by_verify_and_repair_names_what_it_removes() {
    let stopped = stopped().await;
    // The last group, torn, as after a power loss within the second in which WATERMARK was not synced.
    drop(Launch::on(&stopped.data).start().kill());
    let hurt = stopped.hurt("the-very-last-value");
    std::fs::remove_dir_all(stopped.data.join("views")).unwrap();
    std::fs::remove_file(stopped.data.join("WATERMARK")).unwrap();
    let missing = stopped.log(&["verify"]).expect(65);
    assert!(missing.stderr.contains("WATERMARK"), "{}", missing.stderr);
    let made = stopped.log(&["rebuild-watermark", "--json"]).expect(0).json();
    assert_eq!(made["written"], json!(["WATERMARK"]));
    let again = stopped.log(&["rebuild-watermark"]).expect(0);
    assert!(again.stdout.contains("nothing written"), "{}", again.stdout);
    let before = stopped.digests();
    let found = stopped.log(&["verify", "--deep"]).expect(0);
    assert!(found.stdout.contains("the next start cuts") && found.stdout.contains("LSN"), "{}", found.stdout);
    assert!(stopped.digests() == before, "L40");
    let repaired = stopped.log(&["repair"]).expect(0).stdout;
    for part in [
        "repaired: removed",
        &format!("LSN {}", stopped.last_lsn),
        "the evidence reaches LSN",
        "payload checksum",
    ] {
        assert!(repaired.contains(part), "{repaired} lacks {part}");
    }
    assert!(damage::find(&std::fs::read(&hurt).unwrap(), b"very-last-value").is_none(), "erased");
    let nothing = stopped.log(&["repair", "--json"]).expect(0).json();
    assert_eq!((&nothing["cut"], &nothing["removed_lsns"]), (&json!(false), &Value::Null));
    let folded = stopped.log(&["rebuild-views", "--json"]).expect(0).json();
    assert_eq!(lsn(&folded["applied_lsn"]), stopped.last_lsn - 1);
    let server = Launch::on(&stopped.data).start();
    assert_eq!(server.app("shop").value("c", "last").await, None);
    assert!(server.app("shop").value("c", "k39").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_manifest_is_rebuilt_and_views_that_lie_are_found() {
    let stopped = stopped().await;
    let original = std::fs::read(stopped.data.join("MANIFEST")).unwrap();
    for name in ["MANIFEST", "MANIFEST.bak"] {
        std::fs::remove_file(stopped.data.join(name)).unwrap();
    }
    let _ = stopped.log(&["verify"]).expect(65);
    let _ = stopped.log(&["repair"]).expect(65);
    let made = stopped.log(&["rebuild-manifest", "--json"]).expect(0).json();
    assert_eq!(made["written"], json!(["MANIFEST.bak", "MANIFEST"]));
    assert!(std::fs::read(stopped.data.join("MANIFEST")).unwrap() == original);
    let _ = stopped.log(&["verify", "--deep"]).expect(0);
    let folded = stopped.log(&["rebuild-views"]).expect(0);
    assert!(folded.stdout.contains(&format!("LSN {}", stopped.last_lsn)), "{}", folded.stdout);
    let found = stopped.log(&["verify", "--deep", "--json"]).expect(0).json();
    assert_eq!(found["views"], json!("same"), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_without_a_log_a_foreign_one_and_a_newer_format_are_78_and_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none");
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.doc"), "precious").unwrap();
    let out = dir.path().join("out");
    for data in [&none, &empty, &foreign] {
        let commands: [&[&str]; 8] = [
            &["verify", "--deep"],
            &["repair"],
            &["stats"],
            &["show"],
            &["rebuild-manifest"],
            &["rebuild-watermark"],
            &["rebuild-views"],
            &["salvage", "--out", out.to_str().unwrap()],
        ];
        for command in commands {
            let refused = log_on(data, command).expect(78);
            assert_eq!(refused.stderr.trim().lines().count(), 1, "{}", refused.stderr);
        }
    }
    assert!(!none.exists() && !out.exists());
    assert_eq!((damage::files(&empty).len(), damage::files(&foreign).len()), (0, 1));

    let stopped = stopped().await;
    let path = stopped.data.join("MANIFEST");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 9;
    let crc = crc32fast::hash(&bytes[..4092]);
    bytes[4092..].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let before = stopped.digests();
    for command in ["verify", "repair", "rebuild-manifest", "rebuild-views", "stats"] {
        let refused = stopped.log(&[command]).expect(78);
        assert!(refused.stderr.contains("format 9"), "{command}: {}", refused.stderr);
    }
    assert!(stopped.digests() == before);
}
