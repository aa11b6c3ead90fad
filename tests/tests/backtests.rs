//! T4, T6: candidates over what was recorded, bisection, capsules, the debugger on a pipe and for editors.

use relive_tests::{Cli, Manifest, Site};
use serde_json::{Value, json};

const BROKEN: &str = "let order = ctx.event.value;
let total = 0;
for item in order.items {
  total += item.price;
}
kv::set(\"totals\", ctx.event.key, total);
total";

const ONCE: &str = "retry = { max_attempts = 1 }";

fn fixed() -> String {
    BROKEN.replace("item.price", "(item.price ?? 0)")
}

fn manifest(source: &str) -> Manifest {
    Manifest::new().on_kv("in", "worker", source, ONCE)
}

/// Two deliveries that worked and two that died.
async fn site() -> Site {
    let site = Site::with(&manifest(BROKEN)).await;
    for (key, items) in [
        ("a", json!([{"price": 3}, {"price": 4}])),
        ("b", json!([{"price": 1}, {"prise": 4}])),
        ("c", json!([])),
        ("d", json!([{}])),
    ] {
        site.app.put("in", key, &json!({ "items": items })).await;
    }
    site.app.settled().await;
    site
}

async fn dead(site: &Site) -> String {
    let rows = site.app.executions("script=worker&status=dead_lettered").await;
    rows[0]["execution_id"].as_str().unwrap().to_owned()
}

async fn backtest(site: &Site, body: &Value) -> relive_tests::Reply {
    site.app.admin.post(&site.app.path("/scripts/worker/backtest"), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_a_fix_is_proven_on_the_past_and_what_it_repairs_is_redriven() {
    let site = site().await;
    let got = backtest(&site, &json!({ "source": fixed() })).await.expect(200).json();
    let summary = &got["summary"];
    assert_eq!(
        (&summary["executions"], &summary["same"], &summary["fixed"]),
        (&json!(4), &json!(2), &json!(2)),
        "{got}"
    );
    let item =
        got["items"].as_array().unwrap().iter().find(|item| item["verdict"] == json!("fixed")).unwrap();
    assert_eq!(
        (&item["status"]["before"], &item["status"]["after"]),
        (&json!("failed"), &json!("completed"))
    );
    assert_eq!(item["error"]["before"]["line"], json!(4));
    let early = json!({"source": fixed(), "dead_letters": true, "redrive": true});
    let refused = backtest(&site, &early).await.expect(409).json();
    assert!(refused["detail"].as_str().unwrap().contains("deploy the candidate first"), "{refused}");
    assert_eq!(site.app.letters("status=open").await.len(), 2);
    site.app.deploy(&manifest(&fixed())).await;
    let done = json!({"version": 2, "dead_letters": true, "redrive": true});
    let done = backtest(&site, &done).await.expect(200).json();
    assert_eq!(
        (&done["summary"]["fixed"], done["redriven"].as_array().unwrap().len()),
        (&json!(2), 2),
        "{done}"
    );
    site.app.settled().await;
    assert!(site.app.letters("status=open").await.is_empty());
    assert_eq!(site.app.value("totals", "b").await, Some(json!(1)));
    // The proof stands with the resolution, and stays there.
    let site = site.crashed();
    let letters = site.app.letters("status=resolved").await;
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        let (proof, redriven) = (&letter["proof"], &letter["redriven_as"]);
        assert_eq!((&proof["verdict"], &proof["version"]), (&json!("fixed"), &json!(2)), "{letter}");
        assert_eq!((&proof["backtest_id"], &proof["attempt"]), (&done["backtest_id"], &json!(1)), "{proof}");
        assert!(proof["lsn"].as_u64() < letter["lsn"].as_u64().map(|lsn| lsn + 1000) && redriven.is_string());
        let id = letter["id"].as_str().unwrap();
        let told = Cli::of(&site.server, "shop").run(&["dl", "show", id]).expect(0);
        assert!(told.stdout.contains("backtest") && told.stdout.contains("fixed"), "{}", told.stdout);
    }
    let events = site.app.items("/log?kind=dead_letter_redriven").await;
    assert_eq!(events.iter().filter(|event| event["data"]["proof"]["verdict"] == json!("fixed")).count(), 2);
    for (body, code) in [
        (json!({}), "invalid"),
        (json!({"source": "let = 1"}), "parse"),
        (json!({"source": "1", "limit": 0}), "invalid"),
        (json!({"source": "1", "since": "yesterday"}), "invalid"),
        (json!({"source": "1", "redrive": true}), "invalid"),
    ] {
        assert_eq!(backtest(&site, &body).await.expect(422).json()["code"], json!(code), "{body}");
    }
    let _ = backtest(&site, &json!({"version": 9})).await.expect(404).json();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_a_deploy_that_would_break_the_past_is_held_back() {
    let site = site().await;
    let cli = Cli::of(&site.server, "shop");
    let dir = tempfile::tempdir().unwrap();
    let write = |source: &str| {
        std::fs::write(dir.path().join("relive.toml"), manifest(source).text("shop")).unwrap();
        std::fs::write(dir.path().join("worker.rhai"), source).unwrap();
    };
    let path = dir.path().to_str().unwrap();
    write("throw \"everything\"");
    let held = cli.run(&["deploy", path, "--backtest", "7d"]).expect(6);
    assert!(held.stdout.contains("2 broken") && held.stderr.contains("nothing was deployed"), "{held:?}");
    let version = |site: &Site| {
        let path = site.app.path("/scripts/worker");
        let admin = site.app.admin.clone();
        async move { admin.get(&path).await.expect(200).json()["version"].clone() }
    };
    assert_eq!(version(&site).await, json!(1));
    write(&fixed());
    let done = cli.run(&["deploy", path, "--backtest", "7d"]).expect(0);
    assert!(done.stdout.contains("2 fixed"), "{}", done.stdout);
    assert_eq!(version(&site).await, json!(2));
    let bad = dir.path().join("bad.rhai");
    std::fs::write(&bad, "1").unwrap();
    let _ = cli.run(&["exec", "backtest", "worker", "--source", bad.to_str().unwrap()]).expect(6);
    let redriven = cli.run(&["exec", "backtest", "worker", "--dead-letters", "--redrive"]).expect(0);
    assert!(redriven.stdout.contains("redriven"), "{}", redriven.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bisection_names_the_first_bad_version() {
    let site = Site::with(&manifest(&fixed())).await;
    site.app.deploy(&manifest(BROKEN)).await;
    site.app.put("in", "k", &json!({"items": [{}]})).await;
    site.app.settled().await;
    let id = dead(&site).await;
    let path = site.app.path(&format!("/executions/{id}/bisect"));
    let got = site.app.admin.post(&path, &json!({})).await.expect(200).json();
    assert_eq!((&got["first_bad_version"], &got["last_good_version"]), (&json!(2), &json!(1)), "{got}");
    let told = Cli::of(&site.server, "shop").run(&["exec", "bisect", &id]).expect(0);
    assert!(told.stdout.contains("first broken by version 2"), "{}", told.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t6_capsules_run_without_a_server_and_data_directories_offline() {
    let site = site().await;
    let id = dead(&site).await;
    let cli = Cli::of(&site.server, "shop");
    let dir = tempfile::tempdir().unwrap();
    let capsules = dir.path().join("capsules");
    std::fs::create_dir(&capsules).unwrap();
    for (n, row) in site.app.executions("script=worker").await.iter().enumerate() {
        let id = row["execution_id"].as_str().unwrap();
        let text = cli.run(&["exec", "export", id]).expect(0).stdout;
        std::fs::write(capsules.join(format!("{n}.json")), text).unwrap();
    }
    let data = site.server.data.to_str().unwrap().to_owned();
    let offline = Cli::offline();
    let busy = offline.run(&["exec", "replay", &id, "--data", &data]);
    assert_eq!(busy.code, 75, "a server runs on it: {}", busy.stderr);
    let server = site.server;
    drop(server.terminate());
    let path = capsules.to_str().unwrap();
    let passed = offline.run(&["test", path]).expect(0);
    assert!(passed.stdout.contains("4 capsules, 0 differ"), "{}", passed.stdout);
    let scripts = dir.path().join("scripts");
    std::fs::create_dir(&scripts).unwrap();
    std::fs::write(scripts.join("worker.rhai"), fixed()).unwrap();
    let scripts = scripts.to_str().unwrap();
    let repaired = offline.run(&["test", path, "--scripts", scripts]).expect(0);
    assert_eq!(repaired.stdout.matches("fixed ").count(), 2, "{}", repaired.stdout);
    std::fs::write(dir.path().join("scripts/worker.rhai"), "throw 1").unwrap();
    let broken = offline.run(&["test", path, "--scripts", scripts]).expect(6);
    assert_eq!(broken.stdout.matches("broken ").count(), 2, "{}", broken.stdout);
    std::fs::write(capsules.join("foreign.json"), "{}").unwrap();
    let foreign = offline.run(&["test", path]).expect(1);
    assert!(foreign.stderr.contains("no Relive capsule"), "{}", foreign.stderr);
    let same = offline.run(&["exec", "replay", &id, "--data", &data]).expect(0);
    assert!(same.stdout.contains("faithful"), "{}", same.stdout);
    let walked = offline.run_with_input(&["exec", "debug", &id, "--data", &data], b"vars\n").expect(0);
    assert!(walked.stdout.contains("total = "), "{}", walked.stdout);
    let _ = offline.run(&["exec", "bisect", &id, "--data", &data]).expect(0);
    let _ =
        offline.run(&["exec", "replay", "00000000-0000-7000-8000-000000000000", "--data", &data]).expect(3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_the_terminal_view_walks_back_from_the_failing_line() {
    let site = Site::with(&manifest(BROKEN)).await;
    site.app.put("in", "k", &json!({"items": [{"price": 3}, {"prise": 4}]})).await;
    site.app.settled().await;
    let id = dead(&site).await;
    let cli = Cli::of(&site.server, "shop");
    let input =
        b"vars item\nback\nvars item\nbreak 2\nbreak 5\nrc\nkv\nstack\nc\nlist\ngoto 99\nnonsense\nq\n";
    let told = cli.run_with_input(&["exec", "debug", &id], input).expect(0).stdout;
    println!("{told}");
    for part in [
        "5 steps, fails with runtime",
        "step 5 of 5, line 4: total += item.price;",
        "\"prise\": 4",
        "step 4 of 5, line 4",
        "\"price\": 3",
        "line 5 has no code; the next line with code is 6",
        "step 2 of 5, line 2: let total = 0;",
        "(script) at line 2",
        "no breakpoint was met: the end",
        ">     4    total += item.price;",
        "there is no step 99; the run has 5 steps",
        "`nonsense` is no command",
    ] {
        assert!(told.contains(part), "{part:?} in\n{told}");
    }
}

/// Messages of a client of the Debug Adapter Protocol.
pub(crate) fn requests(all: &[(&str, Value)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (seq, (command, arguments)) in (1..).zip(all) {
        let message =
            json!({"seq": seq, "type": "request", "command": command, "arguments": arguments}).to_string();
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n{message}", message.len()).as_bytes());
    }
    bytes
}

/// Messages of the adapter, in order.
pub(crate) fn messages(mut text: &str) -> Vec<Value> {
    let mut found = Vec::new();
    while let Some((head, rest)) = text.split_once("\r\n\r\n") {
        let length: usize = head.strip_prefix("Content-Length: ").unwrap().parse().unwrap();
        let (body, after) = rest.split_at(length);
        found.push(serde_json::from_str(body).unwrap());
        text = after;
    }
    assert!(text.is_empty(), "{text:?}");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_an_editor_steps_back_over_the_debug_adapter_protocol() {
    let site = Site::with(&manifest(BROKEN)).await;
    site.app.put("in", "k", &json!({"items": [{"price": 3}, {"prise": 4}]})).await;
    site.app.settled().await;
    let id = dead(&site).await;
    let lines = |lines: &[u32]| json!({"breakpoints": lines.iter().map(|line| json!({"line": line})).collect::<Vec<_>>()});
    let input = requests(&[
        ("initialize", json!({"adapterID": "relive"})),
        ("launch", json!({})),
        ("setBreakpoints", lines(&[2, 5])),
        ("configurationDone", json!({})),
        ("threads", json!({})),
        ("stackTrace", json!({"threadId": 1})),
        ("scopes", json!({"frameId": 1})),
        ("variables", json!({"variablesReference": 1})),
        ("evaluate", json!({"expression": "item.prise", "frameId": 1})),
        ("stepBack", json!({"threadId": 1})),
        ("evaluate", json!({"expression": "item.price", "frameId": 1})),
        ("reverseContinue", json!({"threadId": 1})),
        ("stackTrace", json!({"threadId": 1})),
        ("next", json!({"threadId": 1})),
        ("stepIn", json!({"threadId": 1})),
        ("continue", json!({"threadId": 1})),
        ("source", json!({"sourceReference": 1})),
        ("made_up", json!({})),
        ("disconnect", json!({})),
    ]);
    let output =
        Cli::of(&site.server, "shop").run_with_input(&["exec", "debug", &id, "--dap"], &input).expect(0);
    let all = messages(&output.stdout);
    let responses: Vec<&Value> = all.iter().filter(|message| message["type"] == json!("response")).collect();
    assert_eq!(responses.len(), 19);
    let body = |at: usize| &responses[at]["body"];
    assert_eq!(body(0)["supportsStepBack"], json!(true));
    assert_eq!(
        (&body(2)["breakpoints"][0]["verified"], &body(2)["breakpoints"][1]["verified"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(body(5)["stackFrames"][0]["line"], json!(4));
    let variables = body(7)["variables"].as_array().unwrap();
    let total = variables.iter().find(|variable| variable["name"] == json!("total")).unwrap();
    assert_eq!(total["value"], json!("3"));
    let item = variables.iter().find(|variable| variable["name"] == json!("item")).unwrap();
    assert_ne!(item["variablesReference"], json!(0));
    assert_eq!((&body(8)["result"], &body(10)["result"]), (&json!("4"), &json!("3")));
    assert_eq!(body(12)["stackFrames"][0]["line"], json!(2), "reverseContinue met the breakpoint");
    assert!(body(16)["content"].as_str().unwrap().starts_with("let order"));
    assert_eq!(responses[17]["success"], json!(false));
    let stops: Vec<&Value> = all
        .iter()
        .filter(|message| message["event"] == json!("stopped"))
        .map(|event| &event["body"]["reason"])
        .collect();
    let want = ["exception", "step", "breakpoint", "step", "step", "exception"];
    assert_eq!(stops, want.map(|reason| json!(reason)).iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_an_editor_walks_into_an_imported_script() {
    let main = "import \"lib\" as lib;\nkv::set(\"out\", ctx.event.key, lib::total(ctx.event.value))";
    let lib = "fn total(order) {\n  let sum = 0;\n  for item in order { sum += item.price }\n  sum\n}";
    let site = Site::with(&Manifest::new().on_kv("in", "worker", main, ONCE).script("lib", lib)).await;
    site.app.put("in", "k", &json!([{"price": 3}, {"prise": 4}])).await;
    site.app.settled().await;
    let id = dead(&site).await;
    let at = |name: &str, line: u32| json!({"source": {"name": name}, "breakpoints": [{"line": line}]});
    let input = requests(&[
        ("initialize", json!({"adapterID": "relive"})),
        ("launch", json!({})),
        ("setBreakpoints", at("worker.rhai", 2)),
        ("setBreakpoints", at("lib.rhai", 2)),
        ("setBreakpoints", at("lib.rhai", 5)),
        ("setBreakpoints", at("lib.rhai", 2)),
        ("configurationDone", json!({})),
        ("stackTrace", json!({"threadId": 1})),
        ("reverseContinue", json!({"threadId": 1})),
        ("stackTrace", json!({"threadId": 1})),
        ("source", json!({"sourceReference": 2})),
        ("reverseContinue", json!({"threadId": 1})),
        ("stackTrace", json!({"threadId": 1})),
        ("disconnect", json!({})),
    ]);
    let cli = Cli::of(&site.server, "shop");
    let output = cli.run_with_input(&["exec", "debug", &id, "--dap"], &input).expect(0);
    let all = messages(&output.stdout);
    let responses: Vec<&Value> = all.iter().filter(|message| message["type"] == json!("response")).collect();
    let body = |at: usize| &responses[at]["body"];
    assert_eq!(body(4)["breakpoints"][0]["verified"], json!(false), "{}", body(4));
    assert_eq!(body(5)["breakpoints"][0]["verified"], json!(true), "{}", body(5));
    let frames = |at: usize| -> Vec<(Value, Value, Value)> {
        let frames = body(at)["stackFrames"].as_array().unwrap();
        frames.iter().map(|f| (f["name"].clone(), f["source"]["name"].clone(), f["line"].clone())).collect()
    };
    let frame = |name: &str, source: &str, line: u32| (json!(name), json!(source), json!(line));
    let outer = frame("(script)", "worker.rhai", 2);
    assert_eq!(frames(7), [frame("total", "lib.rhai", 3), outer.clone()]);
    assert_eq!(frames(9), [frame("total", "lib.rhai", 2), outer.clone()]);
    assert_eq!(body(10)["content"], json!(lib));
    assert_eq!(frames(12), [outer]);
    let input = b"break lib:2\nrc\nstack\nlist\nbreak nope:1\n";
    let told = cli.run_with_input(&["exec", "debug", &id], input).expect(0).stdout;
    for part in [
        "lib line 3: for item in order",
        "stops at line 2 of lib",
        "total at line 2 of lib",
        ">*    2    let sum = 0;",
        "imports no script `nope`",
    ] {
        assert!(told.contains(part), "{part:?} in\n{told}");
    }
}
