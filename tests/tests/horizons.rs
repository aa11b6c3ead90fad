//! What time travel says of what is not there any more, of files that are not its own, and of calls that were never made:
//! a clear refusal from every command, online and offline.

use std::sync::atomic::Ordering;

use relive_tests::{Cli, Launch, Manifest, Output, Site, until};
use serde_json::{Value, json};

use crate::backtests::{messages, requests};
use crate::outgoing;

const COUNT: &str = "let n = kv::incr(\"c\", \"n\", 1);\nkv::get(\"d\", \"then\");\nn";

fn says(output: &Output, code: i32, parts: &[&str]) {
    assert_eq!(output.code, code, "{output:?}");
    for part in parts {
        assert!(output.stderr.contains(part), "{part:?} in {}", output.stderr);
    }
}

/// The horizon that a refusal names.
fn horizon_in(text: &str) -> u64 {
    let (_, rest) = text.split_once("goes back to LSN ").unwrap_or_else(|| panic!("no horizon in {text:?}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// An execution whose record was cut off answers every command with the horizon; later ones replay from what is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_cut_is_refused_with_the_horizon_by_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Launch::on(&data)
        .env("RELIVE_SEGMENT_BYTES", "64KiB")
        .env("RELIVE_SNAPSHOT_BYTES", "128KiB")
        .env("RELIVE_HISTORY_RETENTION", "256KiB")
        .start();
    let app = server.app("shop");
    app.deploy(&Manifest::new().sync("POST /count", "count", COUNT)).await;
    let old = app.call("POST", "/count", "").await.expect(200).execution();
    let then = app.put("d", "then", &json!("old")).await;
    let horizon = || async {
        let instance = app.admin.get("/api/v1/instance").await.expect(200).json();
        instance["lsn"]["horizon"].as_u64().unwrap()
    };
    for n in 0..300 {
        app.put("fresh", &format!("k{n}"), &json!("x".repeat(2000))).await;
    }
    until("the log to be cut", || async { (horizon().await > then).then_some(()) }).await;
    let recent = app.call("POST", "/count", "").await.expect(200).execution();

    let cli = Cli::of(&server, "shop");
    let refused = |output: &Output| {
        says(output, 1, &[]);
        assert!(horizon_in(&output.stderr) > then, "{output:?}");
    };
    for words in [
        ["exec", "show", &old].as_slice(),
        &["exec", "trace", &old],
        &["exec", "replay", &old],
        &["exec", "replay", &old, "--source", "/dev/null"],
        &["exec", "debug", &old],
        &["exec", "debug", &old, "--dap"],
        &["exec", "bisect", &old],
        &["exec", "export", &old],
        &["exec", "undo", &old],
        &["kv", "get", "d", "then", "--at", &then.to_string()],
        &["kv", "diff", "--from", &then.to_string()],
        &["fork", "scratch", "--at", &then.to_string()],
    ] {
        refused(&cli.run(words));
    }
    // An editor is told as the answer to its launch.
    let asked = requests(&[
        ("initialize", json!({"adapterID": "relive"})),
        ("launch", json!({})),
        ("disconnect", json!({})),
    ]);
    let output = cli.run_with_input(&["exec", "debug", &old, "--dap"], &asked);
    refused(&output);
    let told = messages(&output.stdout);
    let launch = told.iter().find(|message| message["command"] == json!("launch")).unwrap();
    assert_eq!(launch["success"], json!(false));
    assert!(horizon_in(launch["message"].as_str().unwrap()) > then, "{launch}");
    // What expired is no part of a backtest any more; what is there is.
    let tested = cli.run(&["exec", "backtest", "count", "--version", "1", "--json"]).expect(0);
    let items = app.admin.post(&app.path("/scripts/count/backtest"), &json!({"version": 1})).await;
    let items = items.expect(200).json();
    assert_eq!(items["summary"]["executions"], json!(1), "{items} {}", tested.stdout);
    assert_eq!(items["items"][0]["execution_id"], json!(recent));

    drop(server.terminate());
    let (offline, from) = (Cli::offline(), data.to_str().unwrap());
    for words in [["exec", "replay", &old, "--data", from], ["exec", "debug", &old, "--data", from]] {
        refused(&offline.run(&words));
    }
    let same = offline.run(&["exec", "replay", &recent, "--data", from]).expect(0);
    assert!(same.stdout.contains("faithful"), "{}", same.stdout);
    refused(&offline.run(&["exec", "replay", "00000000-0000-7000-8000-000000000000", "--data", from]));
    says(
        &offline.run(&["exec", "replay", "ffffffff-ffff-7fff-bfff-ffffffffffff", "--data", from]),
        3,
        &["no execution"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_a_newer_and_a_damaged_capsule_are_refused_by_name() {
    let site = Site::with(&Manifest::new().sync("POST /count", "count", COUNT)).await;
    let id = site.app.call("POST", "/count", "").await.expect(200).execution();
    let capsule = Cli::of(&site.server, "shop").run(&["exec", "export", &id]).expect(0).stdout;
    let parsed: Value = serde_json::from_str(&capsule).unwrap();
    let changed = |field: &str, value: Value| {
        let mut other = parsed.clone();
        other[field] = value;
        other.to_string()
    };
    let file = site.dir.path().join("capsule.json");
    let path = file.to_str().unwrap();
    let offline = Cli::offline();
    for (text, parts) in [
        ("{\"name\": \"a package\"}".to_owned(), ["no Relive capsule", "relive_capsule"]),
        ("PNG".to_owned(), ["no Relive capsule", "expected value"]),
        (changed("relive_capsule", json!(2)), ["format 2", "reads format 1"]),
        (changed("seed", json!("00")), ["damaged", "`seed`"]),
        (changed("ended", parsed["enqueued"].clone()), ["damaged", "`ended`"]),
        (capsule.replace("\"snapshot_lsn\"", "\"snapshot\""), ["damaged", "snapshot_lsn"]),
    ] {
        std::fs::write(&file, text).unwrap();
        says(&offline.run(&["test", path]), 1, &parts);
        says(&offline.run(&["exec", "debug", "-", "--capsule", path]), 1, &parts);
        let asked = requests(&[("initialize", json!({})), ("launch", json!({}))]);
        let output = offline.run_with_input(&["exec", "debug", "-", "--capsule", path, "--dap"], &asked);
        says(&output, 1, &parts);
        let launch = messages(&output.stdout).pop().unwrap();
        assert!(launch["message"].as_str().unwrap().contains(parts[0]), "{launch}");
    }
    std::fs::write(&file, &capsule).unwrap();
    let _ = offline.run(&["test", path]).expect(0);
    let missing = site.dir.path().join("nothing.json");
    says(&offline.run(&["test", missing.to_str().unwrap()]), 1, &["nothing.json"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_a_candidate_that_asks_for_another_call_is_unmatched_and_nothing_is_sent() {
    let (port, count) = outgoing::world().await;
    let dir = tempfile::tempdir().unwrap();
    let server = Launch::on(dir.path()).env("RELIVE_HTTP_ALLOW", format!("localhost:{port}")).start();
    let app = server.app("shop");
    let asks = |path: &str| format!("http::get(\"http://localhost:{port}/{path}\").body");
    app.deploy(&Manifest::new().sync("POST /ask", "ask", &asks("a"))).await;
    let id = app.call("POST", "/ask", "").await.expect(200).execution();
    let backtest = |source: String| {
        let path = app.path("/scripts/ask/backtest");
        let admin = app.admin.clone();
        async move { admin.post(&path, &json!({ "source": source })).await.expect(200).json() }
    };
    let verdict = |report: &Value| report["items"][0]["verdict"].clone();
    let same = backtest(format!("let more = 1;\n{}", asks("a"))).await;
    assert_eq!(verdict(&same), json!("same"), "{same}");
    for source in [
        asks("b"),
        format!("{}; {}", asks("a"), asks("a")),
        format!("try {{ {} }} catch {{ 1 }}", asks("b")),
        format!("http::post(\"http://localhost:{port}/a\", 1).body"),
    ] {
        let report = backtest(source.clone()).await;
        assert_eq!(verdict(&report), json!("unmatched"), "{source}: {report}");
        assert_eq!(report["summary"]["unmatched"], json!(1));
    }
    let fix = dir.path().join("fix.rhai");
    std::fs::write(&fix, asks("b")).unwrap();
    let cli = Cli::of(&server, "shop");
    let told = cli.run(&["exec", "backtest", "ask", "--source", fix.to_str().unwrap()]).expect(6);
    assert!(told.stdout.contains("unmatched"), "{}", told.stdout);
    let replay = cli.run(&["exec", "replay", &id, "--source", fix.to_str().unwrap()]).expect(6);
    assert!(replay.stdout.contains("was not recorded"), "{}", replay.stdout);
    let _ = cli.run(&["exec", "replay", &id]).expect(0);
    assert_eq!(count.load(Ordering::Relaxed), 1, "nothing was sent");
}
