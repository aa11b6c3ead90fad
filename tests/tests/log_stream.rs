//! `/apps/{app}/log/stream` and `relive log tail`: what is there, then what becomes durable, in order, once.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use relive_tests::{Events, Launch, Manifest, Site, StreamEvent, binary, until};
use serde_json::{Value, json};

fn ids(events: &[StreamEvent]) -> Vec<u64> {
    events.iter().map(|(id, ..)| id.parse().unwrap()).collect()
}

async fn open(site: &Site, query: &str) -> Events {
    let path = site.app.path(&format!("/log/stream{query}"));
    site.app.admin.events(&path, &[]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_shows_what_the_log_shows_and_goes_on() {
    let manifest =
        Manifest::new().sync("POST /put/{k}", "put", r#"kv::set("c", ctx.request.params.k, 1); ()"#);
    let site = Site::with(&manifest).await;
    for n in 0..5 {
        drop(site.app.call("POST", &format!("/put/{n}"), "").await.expect(204));
    }
    // Another app's events stand in between (S6).
    let other = site.server.app("other");
    other.deploy(&Manifest::new()).await;
    other.put("c", "k", &json!(1)).await;
    let listed = site.app.items("/log").await;
    let mut stream = open(&site, "").await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    let seen = stream.take(listed.len()).await;
    let data: Vec<Value> = seen.iter().map(|(_, _, data)| data.clone()).collect();
    assert_eq!(data, listed, "the same, in the same order");
    let follows = |(id, name, data): &(String, String, Value)| {
        name.is_empty() && id.parse().ok() == data["lsn"].as_u64()
    };
    assert!(seen.iter().all(follows));

    // What comes is there at once: nothing looks again and again.
    let mut took = Vec::new();
    for n in 0..10 {
        other.put("c", "k", &json!(n)).await;
        let lsn = site.app.put("c", "live", &json!(n)).await;
        let answered = Instant::now();
        let (id, _, data) = stream.next().await.unwrap();
        took.push(answered.elapsed());
        assert_eq!((id, &data["kind"]), (lsn.to_string(), &json!("kv_put")));
    }
    took.sort();
    assert!(took[5] < Duration::from_millis(200), "half of the events took longer: {took:?}");

    // Taken up again behind what was seen, as a browser does.
    let last = seen[seen.len() - 1].0.clone();
    let path = site.app.path("/log/stream?from=1");
    let mut again = site.app.admin.events(&path, &[("last-event-id", &last)]).await.unwrap();
    let more = again.take(10).await;
    assert!(ids(&more).iter().all(|id| *id > last.parse().unwrap()), "{more:?}");
    assert_eq!(more[9].2["data"]["key"], json!("live"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_takes_the_filters_of_the_list_and_ends_where_it_is_asked_to() {
    let site = Site::with(&Manifest::new().sync("POST /go", "go", r#"kv::set("c", "k", 1); ()"#)).await;
    let one = site.app.call("POST", "/go", "").await.expect(204).execution();
    drop(site.app.call("POST", "/go", "").await.expect(204));
    for query in [format!("?execution={one}"), "?kind=completed".to_owned(), "?kind=kv_put".to_owned()] {
        let listed = site.app.items(&format!("/log{query}")).await;
        assert!(!listed.is_empty());
        let last = listed[listed.len() - 1]["lsn"].as_u64().unwrap();
        let mut stream = open(&site, &format!("{query}&to={last}")).await;
        let mut seen = Vec::new();
        while let Some((.., data)) = stream.next().await {
            seen.push(data);
        }
        assert_eq!(seen, listed, "{query}");
    }
    for (query, status, code) in [
        ("?kind=nonsense", 422, "invalid"),
        ("?from=x", 422, "invalid"),
        ("?limit=3", 422, "unknown_parameter"),
    ] {
        let refused = site.app.admin.events(&site.app.path(&format!("/log/stream{query}")), &[]).await;
        refused.unwrap_err().problem(status, code);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_token_with_its_app_and_with_the_instance() {
    let site = Site::with(&Manifest::new()).await;
    let token = json!({"name": "watcher", "scopes": ["log:read"], "app": "shop"});
    let token = site.app.admin.post("/api/v1/tokens", &token).await.expect(201).json();
    let path = site.app.path("/log/stream");
    let watcher = site.app.admin.with_token(token["token"].as_str());
    let mut stream = watcher.events(&path, &[]).await.unwrap();
    let first = stream.next().await.unwrap();
    assert_eq!(first.0, "1");
    let id = token["id"].as_str().unwrap();
    drop(site.app.admin.delete(&format!("/api/v1/tokens/{id}")).await.expect(204));
    site.app.put("c", "k", &json!("after")).await;
    let mut last = None;
    while let Some(event) = stream.next().await {
        assert_ne!(event.2["data"]["key"], json!("k"), "shown to a token that is gone");
        last = Some(event);
    }
    let (_, name, problem) = last.unwrap();
    assert_eq!((name.as_str(), &problem["status"]), ("error", &json!(401)), "{problem}");

    let other = site.server.app("other");
    other.deploy(&Manifest::new()).await;
    let mut of_other = other.admin.events(&other.path("/log/stream"), &[]).await.unwrap();
    drop(other.admin.delete("/api/v1/apps/other").await.expect(204));
    let mut kinds = Vec::new();
    while let Some((_, name, data)) = of_other.next().await {
        kinds.push(if name.is_empty() { data["kind"].clone() } else { data["code"].clone() });
    }
    assert_eq!(kinds.last(), Some(&json!("not_found")), "{kinds:?}");

    let mut stream = open(&site, "?from=1000000").await;
    let begun = Instant::now();
    let Site { server, .. } = site;
    let ended = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
    assert_eq!(ended.code, Some(0));
    let (_, name, problem) = stream.next().await.unwrap();
    assert_eq!((name.as_str(), &problem["code"]), ("error", &json!("shutting_down")));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// LSNs of the next lines of a tail, and the lines to come.
fn take(lines: Receiver<String>, count: usize) -> tokio::task::JoinHandle<(Receiver<String>, Vec<u64>)> {
    tokio::task::spawn_blocking(move || {
        let next = || {
            let text = lines.recv_timeout(Duration::from_secs(30)).expect("a line of the tail");
            serde_json::from_str::<Value>(&text).unwrap()["lsn"].as_u64().unwrap()
        };
        let seen = std::iter::repeat_with(next).take(count).collect();
        (lines, seen)
    })
}

/// `relive log tail` prints each event once, also over a restart of the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_follows_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Launch::on(&data).start();
    let app = server.app("shop");
    app.deploy(&Manifest::new()).await;
    let port = server.admin_url.rsplit(':').next().unwrap().to_owned();
    let mut command = Command::new(binary());
    command
        .args(["log", "tail", "--from", "1", "--kind", "kv_put", "--json"])
        .env("RELIVE_URL", &server.admin_url)
        .env("RELIVE_TOKEN", &server.token)
        .env("RELIVE_APP", "shop")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut tail = command.spawn().unwrap();
    let (line, lines) = channel();
    let out = tail.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        for text in BufReader::new(out).lines().map_while(Result::ok) {
            if line.send(text).is_err() {
                return;
            }
        }
    });
    let mut expected = Vec::new();
    for n in 0..3 {
        expected.push(app.put("c", &format!("k{n}"), &json!(n)).await);
    }
    // It has begun: it looks for a server that is gone, not for one that never was there.
    let (lines, seen) = take(lines, 3).await.unwrap();
    drop(server.kill());
    // The same port: the tail comes back by itself.
    let server =
        until("the port to be free", || async { Launch::on(&data).admin_port(&port).try_start().ok() }).await;
    let app = server.app("shop");
    for n in 3..6 {
        expected.push(app.put("c", &format!("k{n}"), &json!(n)).await);
    }
    let (_, later) = take(lines, 3).await.unwrap();
    assert_eq!([seen, later].concat(), expected);
    tail.kill().unwrap();
    drop(tail.wait());
    reader.join().unwrap();
}

/// The limit has a name, and whoever goes makes room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_streams_is_bounded() {
    const STREAMS_MAX: usize = 256;
    let site = Site::with(&Manifest::new()).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS_MAX {
        streams.push(open(&site, "?from=1").await);
    }
    let path = site.app.path("/log/stream");
    let refused = site.app.admin.events(&path, &[]).await.expect_err("a refusal");
    assert!(refused.text().contains("256 streams"), "{refused:?}");
    refused.problem(503, "overloaded");
    // Those that are open go on, and the instance answers everybody else.
    let lsn = site.app.put("c", "k", &json!(1)).await;
    let last = streams.last_mut().unwrap();
    while last.next().await.unwrap().0 != lsn.to_string() {}
    streams.truncate(STREAMS_MAX - 1);
    let opened = until("a place to be free", || async { site.app.admin.events(&path, &[]).await.ok() }).await;
    assert_eq!(opened.headers["content-type"], "text/event-stream");
}
