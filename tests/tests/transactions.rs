//! S1, S2: executions are transactions, serialisable in log order.

use std::collections::BTreeSet;

use relive_tests::{App, Manifest, Site};
use serde_json::{Value, json};

/// Calls one route from many tasks at once; all answers.
async fn concurrently(app: &App, calls: Vec<(&'static str, String)>) -> Vec<relive_tests::Reply> {
    let mut tasks = tokio::task::JoinSet::new();
    for (method, path) in calls {
        let app = app.clone();
        tasks.spawn(async move { app.call(method, &path, "").await });
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_256_concurrent_increments_leave_exactly_256() {
    let manifest = Manifest::new().sync("POST /up", "up", r#"kv::incr("c", "n", 1)"#);
    let site = Site::with(&manifest).await;
    let replies = concurrently(&site.app, vec![("POST", "/up".into()); 256]).await;
    let answers: BTreeSet<i64> =
        replies.into_iter().map(|reply| reply.expect(200).json().as_i64().unwrap()).collect();
    assert_eq!(answers, (1..=256).collect(), "every caller saw another value");
    assert_eq!(site.app.value("c", "n").await, Some(json!(256)));
    let history = site.app.items("/kv/c/n/history").await;
    println!("increments=256 value=256 versions={}", history.len());
    assert_eq!(history.len(), 256);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_256_concurrent_reads_and_writes_of_one_key_lose_nothing() {
    let source = r#"let n = kv::get("c", "n") ?? 0; kv::set("c", "n", n + 1); n"#;
    let site = Site::with(&Manifest::new().sync("POST /up", "up", source)).await;
    let replies = concurrently(&site.app, vec![("POST", "/up".into()); 256]).await;
    let answers: BTreeSet<i64> =
        replies.into_iter().map(|reply| reply.expect(200).json().as_i64().unwrap()).collect();
    assert_eq!(answers, (0..256).collect());
    assert_eq!(site.app.value("c", "n").await, Some(json!(256)));
    // A run again because of a conflict is no attempt (S2).
    let executions = site.app.executions("script=up").await;
    assert_eq!(executions.len(), 256);
    println!("read_modify_writes=256 executions={}", executions.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_no_write_skew_over_keys() {
    let source = r#"
        let round = ctx.request.params.round;
        let sum = (kv::get("s", round + "/a") ?? 1) + (kv::get("s", round + "/b") ?? 1);
        if sum < 2 { return false; }
        kv::set("s", round + "/" + ctx.request.params.side, 0);
        true
    "#;
    let site = Site::with(&Manifest::new().sync("POST /take/{round}/{side}", "take", source)).await;
    let (mut taken, rounds) = (0, 60);
    for round in 0..rounds {
        let calls = ["a", "b", "a", "b"].map(|side| ("POST", format!("/take/{round}/{side}")));
        let replies = concurrently(&site.app, calls.to_vec()).await;
        let got = replies.into_iter().filter(|reply| reply.clone().expect(200).json() == json!(true)).count();
        assert_eq!(got, 1, "round {round}: both sides were taken");
        taken += got;
    }
    println!("rounds={rounds} taken={taken}");
    assert_eq!(site.app.collection("s").await.len(), rounds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_no_phantoms_in_listings_and_absent_keys() {
    let listing = r#"
        let room = "room-" + ctx.request.params.round;
        if kv::list(room).items.len > 0 { return false; }
        kv::set(room, ctx.execution_id, true);
        true
    "#;
    let absent = r#"
        let key = "seat-" + ctx.request.params.round;
        if kv::has("seats", key) { return false; }
        kv::set("seats", key, ctx.execution_id);
        true
    "#;
    let manifest = Manifest::new().sync("POST /enter/{round}", "enter", listing).sync(
        "POST /sit/{round}",
        "sit",
        absent,
    );
    let site = Site::with(&manifest).await;
    for path in ["/enter", "/sit"] {
        for round in 0..25 {
            let replies = concurrently(&site.app, vec![("POST", format!("{path}/{round}")); 8]).await;
            let won =
                replies.into_iter().filter(|reply| reply.clone().expect(200).json() == json!(true)).count();
            assert_eq!(won, 1, "{path}/{round}");
        }
    }
    assert_eq!(site.app.collection("seats").await.len(), 25);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_an_attempt_reads_its_own_writes_and_commits_the_last_of_each_key() {
    let source = r#"
        kv::set("w", "a", 1);
        kv::set("w", "a", 2);
        kv::incr("w", "a", 40);
        kv::set("w", "gone", 1);
        let was = kv::delete("w", "gone");
        let keys = kv::list("w").items.map(|item| item.key);
        #{ a: kv::get("w", "a"), gone: kv::get("w", "gone"), was: was, keys: keys, never: kv::delete("w", "never") }
    "#;
    let site = Site::with(&Manifest::new().sync("POST /w", "w", source)).await;
    let answer = site.app.call("POST", "/w", "").await.expect(200);
    assert_eq!(answer.json(), json!({ "a": 42, "gone": null, "was": true, "keys": ["a"], "never": false }));
    let history = site.app.items("/kv/w/a/history").await;
    assert_eq!(history.len(), 1, "{history:?}");
    assert_eq!((&history[0]["op"], &history[0]["value"]), (&json!("insert"), &json!(42)));
    assert_eq!(history[0]["execution_id"], json!(answer.execution()));
    // All of it is one batch: the version of the key is not above the answer's LSN.
    assert!(history[0]["lsn"].as_u64().unwrap() <= answer.lsn());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_a_failed_attempt_leaves_no_write_behind_and_fires_nothing() {
    let broken =
        |how: &str| format!(r#"kv::set("f", "k", 1); kv::incr("f", "n", 1); kv::delete("f", "old"); {how}"#);
    let manifest = Manifest::new()
        .sync("POST /throw", "thrower", &broken("throw \"no\";"))
        .sync("POST /runtime", "runtime", &broken("let x = 1; x.nothing();"))
        .sync("POST /response", "response", &broken("#{ status: 99 }"))
        .on_kv("f", "watch", r#"kv::incr("fired", ctx.event.key, 1)"#, "");
    let site = Site::with(&manifest).await;
    site.app.put("f", "old", &json!("here")).await;
    site.app.settled().await;
    for (path, status) in [("/throw", 422), ("/runtime", 422), ("/response", 502)] {
        let _ = site.app.call("POST", path, "").await.expect(status);
    }
    site.app.settled().await;
    let keys: Vec<_> = site.app.collection("f").await.into_iter().collect();
    assert_eq!(keys, [("old".to_owned(), json!("here"))]);
    assert_eq!(
        site.app.collection("fired").await.into_iter().collect::<Vec<(String, Value)>>(),
        [("old".into(), json!(1))]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_an_answer_that_only_read_names_its_snapshot_and_a_write_is_seen_by_the_next_call() {
    let manifest = Manifest::new()
        .sync("PUT /k/{k}", "write", r#"kv::set("k", ctx.request.params.k, ctx.request.json); ()"#)
        .sync("GET /k/{k}", "read", r#"#{ value: kv::get("k", ctx.request.params.k), lsn: ctx.lsn }"#);
    let site = Site::with(&manifest).await;
    for n in 0..50 {
        let wrote = site.app.call("PUT", "/k/a", &n.to_string()).await.expect(204);
        let read = site.app.call("GET", "/k/a", "").await.expect(200);
        assert_eq!(read.json()["value"], json!(n));
        assert!(read.lsn() >= wrote.lsn(), "{} then {}", wrote.lsn(), read.lsn());
        assert_eq!(read.json()["lsn"].as_u64(), Some(read.lsn()), "the snapshot LSN is the answer's");
    }
}
