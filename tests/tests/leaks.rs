//! An app whose scripts leave memory that nothing frees is paused and says why; what merely uses closures never is.

use relive_tests::{App, Cli, Launch, Manifest, Site, until};
use serde_json::{Value, json};

const LIMIT: u64 = 4 << 20;
/// Leaves 100,000 bytes: a function's map that holds the closure that captured it.
const LEAKY: &str =
    "fn f() { let s = \"\"; s.pad(100000, 'x'); let m = #{ s: s }; m.f = || m.len(); 1 } f();";
/// Captures, reads, writes, answers much, fails at times; and leaves nothing.
const FINE: &str = "let n = kv::incr(\"n\", \"runs\", 1);
    let bad = ctx.request.body == \"bad\";
    fn over(items, limit) { items.filter(|x| x > limit).len() }
    let page = kv::list(\"n\", #{});
    if bad { throw [n].map(|x| x * n); }
    let s = \"\"; s.pad(over([n % 5, 1, 2], 1) * 3000, 'x'); let t = s;
    [1].map(|x| `${x}${t}${page.items.len()}`)";

fn low(launch: Launch) -> Launch {
    launch.env("RELIVE_MAX_LEAKED_MEMORY", LIMIT)
}

/// Calls until the app is paused; how many calls were answered before.
async fn until_paused(app: &App, path: &str) -> usize {
    for calls in 0..500 {
        let reply = app.call("POST", path, "").await;
        if reply.status == 503 {
            let problem = reply.problem(503, "app_paused");
            assert!(!problem.to_string().contains("leaky"), "no names for strangers: {problem}");
            return calls;
        }
        let _ = reply.expect(200);
    }
    panic!("{path} is still served");
}

/// The pause of an app that leaks, checked.
fn leak(shown: &Value, script: &str, version: u64) -> u64 {
    let pause = &shown["pause"];
    assert_eq!((&shown["paused"], &pause["reason"]), (&json!(true), &json!("leaks")), "{shown}");
    assert_eq!(
        (&pause["leak"]["script"], &pause["leak"]["version"]),
        (&json!(script), &json!(version)),
        "{pause}"
    );
    assert_eq!(pause["leak"]["limit"], json!(LIMIT), "{pause}");
    let message = pause["message"].as_str().unwrap();
    for part in [script, "RELIVE_MAX_LEAKED_MEMORY", "resume"] {
        assert!(message.contains(part), "{message}");
    }
    pause["leak"]["bytes"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e170_an_app_that_leaks_is_paused_with_its_reason_until_it_is_resumed() {
    let manifest = Manifest::new()
        .sync("POST /leaky", "leaky", LEAKY)
        .sync("POST /fine", "fine", "1")
        .asynchronous("POST /later", "later", "kv::set(\"w\", \"k\", 1)", "");
    let mut site = Site::launched(low, &manifest).await;
    let other = site.server.app("other");
    other.deploy(&Manifest::new().sync("POST /fine", "fine", FINE)).await;
    // 4 MiB are 42 calls of 100,000 bytes; proofs leave some themselves.
    let calls = until_paused(&site.app, "/leaky").await;
    assert!((10..=60).contains(&calls), "{calls} calls were answered");
    let bytes = leak(&site.app.get("").await, "leaky", 1);
    assert!((LIMIT..2 * LIMIT).contains(&bytes), "{bytes}");
    // The whole app rests; nothing that is accepted is lost; the neighbour does not notice.
    let _ = site.app.call("POST", "/fine", "").await.problem(503, "app_paused");
    let later = site.app.call("POST", "/later", "").await.expect(202).json();
    let waiting = &site.app.items("/outbox").await[0];
    assert_eq!(waiting["waiting_for"], json!("app_paused"), "{waiting}");
    let _ = other.call("POST", "/fine", "").await.expect(200);
    let events = site.app.items("/log?kind=app_paused").await;
    assert_eq!(events[0]["data"]["reason"], json!("leaks"), "{events:?}");
    assert_eq!(events[0]["data"]["leak"]["bytes"], json!(bytes), "{events:?}");

    // It outlives the process; resumed as it is, it goes on for as long again.
    site = site.crashed();
    assert_eq!(leak(&site.app.get("").await, "leaky", 1), bytes);
    let cli = Cli::of(&site.server, "shop");
    let shown = cli.run(&["app", "show"]).expect(0);
    assert!(shown.stdout.contains("left") && shown.stdout.contains("leaky"), "{}", shown.stdout);
    let _ = cli.run(&["app", "resume"]).expect(0);
    site.app.execution_in(later["execution_id"].as_str().unwrap(), "completed").await;
    assert!((10..=60).contains(&until_paused(&site.app, "/leaky").await));
    leak(&site.app.get("").await, "leaky", 1);

    // Mended, it stays.
    let mended = Manifest::new().sync("POST /leaky", "leaky", "let m = #{ s: 1 }; m.f = || m.len(); 1");
    site.app.deploy(&mended).await;
    let _ = cli.run(&["app", "resume"]).expect(0);
    for _ in 0..200 {
        let _ = site.app.call("POST", "/leaky", "").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e170_leaks_of_background_work_and_of_imports_are_found() {
    let importer = "import \"helper\" as h; let n = 0; while n < 20000 { n += 1; } h::f();";
    let helper = LEAKY.strip_suffix("f();").unwrap();
    let manifest =
        Manifest::new().script("helper", helper).asynchronous("POST /later", "importer", importer, "");
    let site = Site::launched(low, &manifest).await;
    for _ in 0..100 {
        let _ = site.app.call("POST", "/later", "").await.expect(202);
    }
    let shown = until("the app is paused", || async {
        Some(site.app.get("").await).filter(|shown| shown["paused"] == json!(true))
    })
    .await;
    leak(&shown, "importer", 1);
    let waiting = site.app.items("/outbox").await;
    assert!((30..=95).contains(&waiting.len()), "{} wait", waiting.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e169_closures_alone_never_pause_an_app() {
    let manifest = Manifest::new().sync("POST /fine", "fine", FINE);
    let tight = |launch: Launch| launch.env("RELIVE_MAX_LEAKED_MEMORY", "1MiB");
    let site = Site::launched(tight, &manifest).await;
    for n in 1..=1500 {
        let (body, status) = if n % 7 == 0 { ("bad", 422) } else { ("", 200) };
        let _ = site.app.call("POST", "/fine", body).await.expect(status);
    }
    assert_eq!(site.app.get("").await["paused"], json!(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e171_replays_of_a_script_that_leaks_end_before_the_memory_does() {
    let manifest = Manifest::new().sync("POST /leaky", "leaky", LEAKY).sync("POST /fine", "fine", FINE);
    let site = Site::launched(low, &manifest).await;
    let app = &site.app;
    let run = app.call("POST", "/leaky", "").await.expect(200).execution();
    let fine = app.call("POST", "/fine", "").await.expect(200).execution();
    let replay = async |id: &str, body: &Value| {
        app.admin.post(&app.path(&format!("/executions/{id}/replay")), body).await
    };
    let mut replays = 0;
    let refused = loop {
        let reply = replay(&run, &json!({})).await;
        if reply.status != 200 {
            break reply.problem(507, "memory");
        }
        assert_eq!(reply.json()["faithful"], json!(true), "{reply}");
        replays += 1;
        assert!(replays < 200, "it is still replayed");
    };
    assert!((10..=60).contains(&replays), "{replays} replays");
    assert_eq!(refused["setting"], json!("RELIVE_MAX_LEAKED_MEMORY"), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("`leaky`"), "{refused}");
    let backtest = app.admin.post(&app.path("/scripts/leaky/backtest"), &json!({"version": 1})).await;
    let _ = backtest.problem(507, "memory");
    // Others, and a mended source, are; and the app, whose calls left little, is not paused for it.
    for _ in 0..100 {
        assert_eq!(replay(&fine, &json!({})).await.expect(200).json()["faithful"], json!(true));
    }
    let _ = replay(&run, &json!({"source": "1"})).await.expect(200);
    let _ = app.call("POST", "/leaky", "").await.expect(200);
    assert_eq!(app.get("").await["paused"], json!(false));
}
