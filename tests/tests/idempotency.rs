//! D14 over HTTP and over SIGKILL: `Idempotency-Key`.

use std::collections::BTreeMap;

use relive_tests::{Manifest, Reply, Site, until};
use serde_json::json;

const COUNT: &str = r#"let n = kv::incr("c", "n", 1);
    #{ status: 201, headers: #{ "x-n": `${n}`, "set-cookie": "a=b" }, body: #{ n: n, sent: ctx.request.body } }"#;

async fn send(site: &Site, path: &str, key: &str, body: &str, more: &[(&str, &str)]) -> Reply {
    let mut headers = vec![("idempotency-key", key)];
    headers.extend_from_slice(more);
    site.app.data.send("POST", &format!("/shop{path}"), &headers, body.to_owned()).await
}

/// Everything of an answer but what belongs to the connection.
fn whole(reply: &Reply) -> (u16, BTreeMap<String, String>, Vec<u8>) {
    let headers =
        reply.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let headers = headers.filter(|(name, _)| name != "date" && name != "idempotency-replayed");
    (reply.status, headers.collect(), reply.body.to_vec())
}

fn manifest() -> Manifest {
    Manifest::new()
        .sync("POST /count", "count", COUNT)
        .sync("POST /fail", "fail", r#"kv::set("c", "gone", 1); throw "no";"#)
        .sync("POST /bytes", "bytes", "ctx.request.bytes")
        .route("POST /off", "off", COUNT, "sync", "record = \"off\"")
        .asynchronous("POST /later", "later", r#"kv::incr("c", "later", 1)"#, "")
        .sync("GET /count", "get", r#"kv::get("c", "n")"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d14_the_first_answer_comes_again_byte_for_byte() {
    let site = Site::with(&manifest()).await;
    let mut first = BTreeMap::new();
    for path in ["/count", "/fail", "/bytes", "/off", "/later"] {
        let reply = send(&site, path, "key-1", "\u{fffd} body", &[]).await;
        assert_eq!(reply.header("idempotency-replayed"), "", "{path}");
        let again = send(&site, path, "key-1", "\u{fffd} body", &[]).await;
        assert_eq!(again.header("idempotency-replayed"), "true", "{path}: {again}");
        assert_eq!(whole(&reply), whole(&again), "{path}");
        first.insert(path, reply);
    }
    assert_eq!(first["/count"].status, 201);
    first["/fail"].problem(422, "throw");
    site.app.settled().await;
    let counts = |site: &Site| {
        let app = site.app.clone();
        async move { (app.value("c", "n").await, app.value("c", "later").await) }
    };
    assert_eq!(counts(&site).await, (Some(json!(2)), Some(json!(1))));
    // Another body, query or authorization is another call; another method or route has keys of its own.
    send(&site, "/count", "key-1", "other", &[]).await.problem(422, "idempotency_key_reused");
    send(&site, "/count?q=1", "key-1", "\u{fffd} body", &[]).await.problem(422, "idempotency_key_reused");
    let someone = [("authorization", "Bearer someone")];
    send(&site, "/count", "key-1", "\u{fffd} body", &someone).await.problem(422, "idempotency_key_reused");
    let get = site.app.data.send("GET", "/shop/count", &[("idempotency-key", "key-1")], "").await;
    assert_eq!(get.expect(200).header("idempotency-replayed"), "");
    for bad in ["", " ", "ü", &"k".repeat(256)] {
        let reply = send(&site, "/count", bad, "", &[]).await;
        assert_eq!(reply.problem(422, "invalid")["field"], json!("idempotency-key"), "{bad}");
    }
    assert_eq!(counts(&site).await, (Some(json!(2)), Some(json!(1))), "nothing ran");
    // A deploy that changes the route keeps its keys; so do a crash and views that are built anew.
    site.app.deploy(&manifest().route("POST /extra", "count", COUNT, "sync", "timeout_ms = 9000")).await;
    let site = site.crashed();
    for (path, reply) in &first {
        assert_eq!(whole(&send(&site, path, "key-1", "\u{fffd} body", &[]).await), whole(reply), "{path}");
    }
    let site = site.restarted(|server| {
        let data = server.data.clone();
        drop(server.terminate());
        std::fs::remove_dir_all(data.join("views")).unwrap();
    });
    for (path, reply) in &first {
        assert_eq!(whole(&send(&site, path, "key-1", "\u{fffd} body", &[]).await), whole(reply), "{path}");
    }
    assert_eq!(counts(&site).await, (Some(json!(2)), Some(json!(1))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d14_concurrent_calls_with_one_key_run_once() {
    let site = Site::with(&manifest()).await;
    let calls = (0..64).map(|n| {
        let (app, key) = (site.app.clone(), format!("key-{}", n % 4));
        tokio::spawn(async move {
            let headers = [("idempotency-key", key.as_str())];
            (key.clone(), app.data.send("POST", "/shop/count", &headers, key.clone()).await)
        })
    });
    let mut answers: BTreeMap<String, Vec<Reply>> = BTreeMap::new();
    for call in calls.collect::<Vec<_>>() {
        let (key, reply) = call.await.unwrap();
        answers.entry(key).or_default().push(reply);
    }
    for (key, replies) in &answers {
        let fresh = replies.iter().filter(|reply| reply.header("idempotency-replayed").is_empty()).count();
        assert_eq!((replies.len(), fresh), (16, 1), "{key}");
        assert!(replies.iter().all(|reply| whole(reply) == whole(&replies[0])), "{key}");
    }
    assert_eq!(site.app.value("c", "n").await, Some(json!(4)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d14_after_kill_9_every_answered_key_stands_and_every_other_is_free() {
    let mut site = Site::with(&manifest()).await;
    let mut answered: BTreeMap<String, Reply> = BTreeMap::new();
    for round in 0..4 {
        let calls = (0..200).map(|n| {
            let (app, key) = (site.app.clone(), format!("{round}-{n}"));
            tokio::spawn(async move {
                let headers = [("idempotency-key", key.as_str())];
                let reply = app.data.try_send("POST", "/shop/count", &headers, key.clone()).await;
                (key.clone(), reply)
            })
        });
        let calls: Vec<_> = calls.collect();
        let app = site.app.clone();
        until("some calls to be answered", || async {
            app.value("c", "n").await.filter(|n| n.as_i64() > Some(20 * round))
        })
        .await;
        site = site.crashed();
        for call in calls {
            let (key, reply) = call.await.unwrap();
            if let Ok(reply) = reply {
                answered.insert(key, reply);
            }
        }
    }
    assert!(!answered.is_empty());
    // Everybody asks again: who was answered gets the same, who was not gets one answer now.
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..4 {
        for n in 0..200 {
            let key = format!("{round}-{n}");
            let reply = send(&site, "/count", &key, &key, &[]).await.expect(201);
            if let Some(first) = answered.get(&key) {
                assert_eq!(whole(&reply), whole(first), "{key}");
            }
            assert!(seen.insert(reply.json()["n"].as_i64().unwrap()), "{key} has a number of its own");
        }
    }
    assert_eq!(site.app.value("c", "n").await, Some(json!(800)), "each key counted once");
    println!("answered_before_kills={}", answered.len());
}
