//! D5: a caller that vanished.

use relive_tests::{Launch, Manifest, Site, busy, forever, until};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_the_execution_of_a_vanished_caller_ends_as_what_it_is_with_an_abandoned_record() {
    let work = busy(500);
    let manifest = Manifest::new()
        .sync("POST /good", "good", &format!("{work} kv::set(\"w\", \"good\", 1); ()"))
        .sync("POST /bad", "bad", &format!("{work} kv::set(\"w\", \"bad\", 1); throw \"no\";"))
        .on_kv("w", "seen", "kv::set(\"fired\", ctx.event.key, 1)", "");
    let settings = |launch: Launch| launch.env("RELIVE_EXECUTION_TIMEOUT_MS", 60_000);
    let site = Site::launched(settings, &manifest).await;
    for (name, status) in [("good", "completed"), ("bad", "failed")] {
        let mut stream = TcpStream::connect(site.app.data.authority()).await.unwrap();
        let request = format!("POST /shop/{name} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let id = until("the call to run", || async {
            let rows = site.app.executions(&format!("script={name}&status=running")).await;
            rows.first().map(|row| row["id"].as_str().unwrap().to_owned())
        })
        .await;
        drop(stream);
        let record = site.app.execution_in(&id, "completed|failed|abandoned").await;
        assert_eq!(record["status"], json!(status), "ends as what it is: {record}");
        // The record of the delivery follows the outcome.
        let record = until("the delivery to be abandoned", || async {
            let record = site.app.execution(&id).await;
            (record["delivery"] == json!("abandoned")).then_some(record)
        })
        .await;
        assert_eq!(record["status"], json!(status), "{record}");
        let abandoned = site.app.items("/abandoned").await;
        let row = abandoned.iter().find(|row| row["execution_id"] == json!(id)).unwrap();
        assert_eq!(row["reason"], json!("client_gone"), "{row}");
        assert!(row["at"].is_string(), "{row}");
    }
    site.app.settled().await;
    assert_eq!(site.app.collection("w").await.keys().collect::<Vec<_>>(), ["good"], "its writes are kept");
    assert_eq!(site.app.collection("fired").await.keys().collect::<Vec<_>>(), ["good"]);
    println!("vanished=2 abandoned={}", site.app.items("/abandoned").await.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_sync_work_in_flight_in_a_crash_is_recorded_as_abandoned_at_the_start() {
    let manifest = Manifest::new()
        .sync("POST /slow", "slow", &format!("kv::set(\"w\", \"a\", 1); {}", forever()))
        .script("direct", &format!("kv::set(\"w\", \"b\", 1); {}", forever()));
    let settings = |launch: Launch| launch.env("RELIVE_EXECUTION_TIMEOUT_MS", 60_000);
    let site = Site::launched(settings, &manifest).await;
    let app = site.app.clone();
    let call = tokio::spawn(async move { app.data.try_send("POST", "/shop/slow", &[], "").await });
    let app = site.app.clone();
    let direct = tokio::spawn(async move {
        app.admin.try_send("POST", &app.path("/scripts/direct/execute"), &[], "{}").await
    });
    let ids = until("both to run", || async {
        // The claim of reply-to work need not be durable before it runs (S3): ask until the list has it.
        let rows = site.app.executions("status=running").await;
        (rows.len() == 2)
            .then(|| rows.iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    })
    .await;
    let site = site.crashed();
    assert!(call.await.unwrap().is_err() && direct.await.unwrap().is_err());
    for id in &ids {
        let record = site.app.execution(id).await;
        assert_eq!(record["status"], json!("abandoned"), "{record}");
    }
    let abandoned = site.app.items("/abandoned").await;
    assert_eq!(abandoned.len(), 2, "{abandoned:?}");
    assert!(abandoned.iter().all(|row| row["reason"] == json!("crash")), "{abandoned:?}");
    assert!(site.app.items("/outbox").await.is_empty());
    assert!(site.app.collection("w").await.is_empty());
}
