//! S5, D1, D8: what fires, how often, how deep.

use relive_tests::{Cli, Manifest, Site};
use serde_json::json;

const COUNT: &str = r#"kv::incr("fired", `${ctx.script.name} ${ctx.event.op} ${ctx.event.key}`, 1)"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_triggers_fire_once_per_mutation_and_matching_trigger_whichever_way_it_was_made() {
    let write = r#"
        let r = ctx.request;
        if r.method == "PUT" { kv::set("a", r.params.k, r.json); } else { kv::delete("a", r.params.k); }
        ()
    "#;
    let manifest = Manifest::new()
        .sync("PUT /{k}", "write", write)
        .route("DELETE /{k}", "write", write, "sync", "")
        .on_kv("a", "all", COUNT, "")
        .on_kv("a", "inserts", COUNT, "ops = [\"insert\"]")
        .on_kv("a", "deletes", COUNT, "ops = [\"delete\", \"update\"]")
        .on_kv("a", "prefix", COUNT, "key_prefix = \"x/\"")
        .on_kv("b", "other", COUNT, "");
    let site = Site::with(&manifest).await;
    let app = &site.app;
    // By the script, the API and the command line.
    let _ = app.call("PUT", "/k1", "1").await.expect(204);
    let _ = app.call("PUT", "/k1", "2").await.expect(204);
    let _ = app.call("DELETE", "/k1", "").await.expect(204);
    app.put("a", "x/1", &json!(1)).await;
    app.put("a", "x/1", &json!(1)).await;
    let _ = app.admin.delete(&app.key_path("a", "x/1")).await.expect(200);
    let cli = Cli::of(&site.server, "shop");
    let _ = cli.run(&["kv", "put", "a", "x/2", "{\"n\":1}"]).expect(0);
    app.settled().await;
    let fired = app.collection("fired").await;
    let expected = [
        "all delete k1",
        "all delete x/1",
        "all insert k1",
        "all insert x/1",
        "all insert x/2",
        "all update k1",
        "all update x/1",
        "deletes delete k1",
        "deletes delete x/1",
        "deletes update k1",
        "deletes update x/1",
        "inserts insert k1",
        "inserts insert x/1",
        "inserts insert x/2",
        "prefix delete x/1",
        "prefix insert x/1",
        "prefix insert x/2",
        "prefix update x/1",
    ];
    let expected: Vec<_> = expected.iter().map(|name| ((*name).to_owned(), json!(1))).collect();
    assert_eq!(fired.into_iter().collect::<Vec<_>>(), expected);
    println!("mutations=7 triggers=5 fired={}", expected.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_the_event_says_what_happened_and_a_key_written_thrice_in_one_commit_fires_once() {
    let seen = r#"
        let e = ctx.event;
        kv::set("seen", `${e.lsn}`, #{ source: e.source, op: e.op, collection: e.collection, key: e.key,
            value: e.value, old: e.old_value, depth: ctx.depth, attempt: ctx.attempt,
            root: ctx.root_execution_id, version: ctx.script.version, app: ctx.app, principal: ctx.principal != () })
    "#;
    let write =
        r#"for n in 0..3 { kv::set("a", "k", n); } kv::set("a", "gone", 1); kv::delete("a", "gone"); ()"#;
    let manifest = Manifest::new().sync("POST /w", "w", write).on_kv("a", "seen", seen, "");
    let site = Site::with(&manifest).await;
    let call = site.app.call("POST", "/w", "").await.expect(204);
    let update = site.app.put("a", "k", &json!({ "deep": [1, 2.5, null, "ä"] })).await;
    site.app.settled().await;
    let seen: Vec<_> = site.app.collection("seen").await.into_values().collect();
    let insert = json!({ "source": "kv", "op": "insert", "collection": "a", "key": "k", "value": 2, "old": null,
        "depth": 1, "attempt": 1, "root": call.execution(), "version": 1, "app": "shop", "principal": true });
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen.contains(&insert), "{seen:?}");
    let updated = site.app.value("seen", &update.to_string()).await.unwrap();
    assert_eq!(
        (&updated["op"], &updated["old"], &updated["depth"]),
        (&json!("update"), &json!(2), &json!(0))
    );
    assert_eq!(updated["value"], json!({ "deep": [1, 2.5, null, "ä"] }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d8_depths_0_to_8_run_and_depth_9_is_dropped_and_not_dead_lettered() {
    let next = r#"kv::set("chain", `${parse_int(ctx.event.key) + 1}`, ctx.depth)"#;
    let site = Site::with(&Manifest::new().on_kv("chain", "next", next, "")).await;
    site.app.put("chain", "0", &json!("start")).await;
    site.app.settled().await;
    let chain: Vec<_> = site.app.collection("chain").await.into_iter().collect();
    let expected: Vec<_> =
        (0..=9).map(|n: i32| (n.to_string(), if n == 0 { json!("start") } else { json!(n - 1) })).collect();
    assert_eq!(chain, expected);
    let dropped = site.app.executions("status=dropped").await;
    assert_eq!(dropped.len(), 1, "{dropped:?}");
    assert_eq!(dropped[0]["depth"], json!(9), "{dropped:?}");
    assert_eq!(site.app.executions("status=completed").await.len(), 9);
    assert!(site.app.letters("").await.is_empty());
    let events = site.app.items("/log?kind=depth_exceeded").await;
    assert_eq!(events.len(), 1, "{events:?}");
    println!("depths=0..8 dropped=1 dead_letters=0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d8_the_deepest_depth_is_a_setting_and_a_route_call_has_depth_0() {
    let next = r#"kv::set("chain", `${parse_int(ctx.event.key) + 1}`, ctx.depth)"#;
    let manifest = Manifest::new()
        .sync("POST /go", "go", r#"kv::set("chain", "0", "start"); ctx.depth"#)
        .on_kv("chain", "next", next, "");
    let site = Site::launched(|launch| launch.env("RELIVE_MAX_TRIGGER_DEPTH", 2), &manifest).await;
    let call = site.app.call("POST", "/go", "").await.expect(200);
    assert_eq!(call.json(), json!(0));
    site.app.settled().await;
    assert_eq!(site.app.collection("chain").await.keys().collect::<Vec<_>>(), ["0", "1", "2"]);
    let root = format!("root={}", call.execution());
    let tree = site.app.executions(&root).await;
    assert_eq!(tree.len(), 4, "the call, two that ran, one dropped: {tree:?}");
    assert!(tree.iter().all(|row| row["root_execution_id"] == json!(call.execution())), "{tree:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_one_commit_that_fires_more_than_10000_executions_is_refused_as_fan_out() {
    let burst = r#"for n in 0..5001 { kv::set("burst", `k${n}`, n); }"#;
    let manifest = Manifest::new()
        .sync("POST /burst", "burst", burst)
        .on_kv("burst", "one", "()", "")
        .on_kv("burst", "two", "()", "");
    let site = Site::with(&manifest).await;
    site.app.call("POST", "/burst", "").await.problem(507, "fan_out");
    assert!(site.app.collection("burst").await.is_empty());
    assert!(site.app.executions("script=one").await.is_empty());
    println!("fan_out=10002 refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d2_background_work_runs_while_sync_calls_keep_coming() {
    let manifest = Manifest::new()
        .sync("POST /w/{n}", "w", r#"kv::set("in", ctx.request.params.n, 1); ()"#)
        .on_kv("in", "copy", r#"kv::set("out", ctx.event.key, 1)"#, "");
    let site = Site::launched(|launch| launch.env("RELIVE_MAX_CONCURRENT_EXECUTIONS", 1), &manifest).await;
    let calling = async {
        for n in 0..300 {
            let _ = site.app.call("POST", &format!("/w/{n}"), "").await.expect(204);
        }
    };
    calling.await;
    site.app.settled().await;
    assert_eq!(site.app.collection("out").await.len(), 300);
}
