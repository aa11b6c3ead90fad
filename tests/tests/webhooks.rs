//! The example, on all of its real input: 225 deliveries of GitHub webhooks, signed and sent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hmac::{Hmac, Mac};
use relive_tests::{App, Cli, Launch, Reply, Server, repository, until};
use serde_json::{Value, json};
use sha2::Sha256;

const SECRET_NAME: &str = "github_webhook_secret";
const SECRET: &str = "it-is-a-secret-for-development-only";
const DELIVERIES: usize = 225;

struct Delivery {
    id: String,
    event: String,
    payload: Value,
    body: String,
}

fn example() -> PathBuf {
    repository().join("examples/webhooks")
}

fn deliveries() -> Vec<Delivery> {
    let text = std::fs::read_to_string(example().join("data/deliveries.jsonl")).unwrap();
    let delivery = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        let payload = line["payload"].clone();
        Delivery { id: text("id"), event: text("event"), body: payload.to_string(), payload }
    };
    text.lines().map(delivery).collect()
}

fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

async fn send(app: &App, delivery: &Delivery, secret: &str) -> Reply {
    let signature = signature(secret, &delivery.body);
    let headers = [
        ("content-type", "application/json"),
        ("x-github-event", delivery.event.as_str()),
        ("x-github-delivery", &delivery.id),
        ("x-hub-signature-256", &signature),
    ];
    app.data.send("POST", "/webhooks/github", &headers, delivery.body.clone()).await
}

fn start(dir: &std::path::Path) -> (Server, App, Cli) {
    let server = Launch::on(&dir.join("data")).start();
    let (app, cli) = (server.app("webhooks"), Cli::of(&server, "webhooks"));
    (server, app, cli)
}

/// Deploys the example as a person does, from its directory.
async fn deployed(app: &App, cli: &Cli) {
    let dir = example();
    let _ = cli.run(&["deploy", dir.to_str().unwrap()]).expect(0);
    let path = app.path(&format!("/secrets/{SECRET_NAME}"));
    let _ = app.admin.put(&path, &json!({ "value": SECRET })).await.expect(200);
}

/// Sends all over eight connections; the answers by id.
async fn send_all(app: &App, deliveries: &Arc<Vec<Delivery>>) -> BTreeMap<String, Reply> {
    let mut senders = tokio::task::JoinSet::new();
    for connection in 0..8 {
        let (app, deliveries) = (app.clone(), Arc::clone(deliveries));
        senders.spawn(async move {
            let mut replies = Vec::new();
            for delivery in deliveries.iter().skip(connection).step_by(8) {
                replies.push((delivery.id.clone(), send(&app, delivery, SECRET).await));
            }
            replies
        });
    }
    senders.join_all().await.into_iter().flatten().collect()
}

/// What the summary of a delivery needs; without it `summarise.rhai` fails on purpose.
fn has_a_place(payload: &Value) -> bool {
    payload["repository"]["full_name"].is_string() || payload["organization"]["login"].is_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_225_deliveries_are_stored_once_counted_by_kind_and_summarised_or_dead_lettered() {
    let dir = tempfile::tempdir().unwrap();
    let (server, app, cli) = start(dir.path());
    deployed(&app, &cli).await;
    let deliveries = Arc::new(deliveries());
    assert_eq!(deliveries.len(), DELIVERIES);
    let replies = send_all(&app, &deliveries).await;
    for reply in replies.values() {
        assert_eq!((reply.status, &reply.json()["stored"]), (201, &json!(true)), "{reply}");
    }
    // Sent again: stored once.
    for delivery in deliveries.iter().take(20) {
        let again = send(&app, delivery, SECRET).await.expect(200).json();
        assert_eq!(again["stored"], json!(false), "{again}");
    }
    app.settled().await;
    let mut expected: BTreeMap<String, Value> = BTreeMap::new();
    for delivery in deliveries.iter() {
        let count = expected.entry(delivery.event.clone()).or_insert(json!(0));
        *count = json!(count.as_u64().unwrap() + 1);
    }
    assert_eq!(app.collection("counts").await, expected);
    let stored = app.collection("deliveries").await;
    assert_eq!(stored.len(), DELIVERIES);
    for delivery in deliveries.iter() {
        assert_eq!(stored[&delivery.id]["payload"], delivery.payload, "{}", delivery.id);
    }
    let stats = app.call("GET", "/stats", "").await.expect(200).json();
    assert_eq!(stats["total"], json!(DELIVERIES));
    // The trigger failed on purpose on deliveries without a repository and without an organization.
    let summaries = app.collection("summaries").await;
    let dead: Vec<_> =
        deliveries.iter().filter(|d| !summaries.contains_key(&d.id)).map(|d| d.id.clone()).collect();
    let placeless: Vec<_> =
        deliveries.iter().filter(|d| !has_a_place(&d.payload)).map(|d| d.id.clone()).collect();
    assert_eq!(dead, placeless);
    assert!(!dead.is_empty(), "the example fails on some kinds on purpose");
    let letters = app.letters("status=open").await;
    assert_eq!(letters.len(), dead.len());
    for letter in &letters {
        assert_eq!((&letter["script"], &letter["attempts"]), (&json!("summarise"), &json!(3)), "{letter}");
        assert!(
            letter["last_error"]["line"].as_u64().is_some_and(|line| line > 0),
            "the line is known: {letter}"
        );
        let alert = app.value("alerts", letter["id"].as_str().unwrap()).await.unwrap();
        assert!(dead.contains(&alert["delivery"].as_str().unwrap().to_owned()), "{alert}");
        let record = app.execution(letter["execution_id"].as_str().unwrap()).await;
        assert_eq!(record["attempts"].as_array().map(Vec::len), Some(3), "{record}");
    }
    let listed = cli.run(&["dl", "list", "--json"]).expect(0).json_lines();
    assert_eq!(listed.len().max(listed[0]["items"].as_array().map_or(0, Vec::len)), letters.len());
    println!(
        "deliveries=225 kinds={} summaries={} dead_letters={}",
        expected.len(),
        summaries.len(),
        letters.len()
    );

    // A value as it was before, by LSN and by time; and its history.
    let history = app.items("/kv/counts/issues/history").await;
    assert_eq!(history.len(), 20, "one version an increment");
    let oldest = history.last().unwrap();
    assert_eq!((&oldest["value"], &oldest["op"]), (&json!(1), &json!("insert")));
    for version in &history {
        let lsn = version["lsn"].as_u64().unwrap();
        let then = app.admin.get(&format!("{}?at={lsn}", app.key_path("counts", "issues"))).await.expect(200);
        assert_eq!(&then.json(), &version["value"]);
        assert_eq!(version["script"], json!("receive"), "{version}");
        assert!(version["line"].as_u64().is_some_and(|line| line > 0), "{version}");
    }

    fix_and_redrive(&app, &cli, &letters, &dead).await;

    // kill -9 and start again: everything is there.
    let before = (app.collection("counts").await, app.collection("summaries").await);
    drop(server.kill());
    let (_server, app, _) = start(dir.path());
    assert_eq!((app.collection("counts").await, app.collection("summaries").await), before);
    assert_eq!(app.letters("status=resolved").await.len(), letters.len());
    assert_eq!(app.items("/kv/counts/issues/history").await, history);
}

/// Deploys a summary that copes, redrives every letter, and finds every summary.
async fn fix_and_redrive(app: &App, cli: &Cli, letters: &[Value], dead: &[String]) {
    let fixed = tempfile::tempdir().unwrap();
    relive_tests::damage::copy(&example(), fixed.path());
    let path = fixed.path().join("summarise.rhai");
    let source = std::fs::read_to_string(&path).unwrap();
    let broken = "payload.organization.login";
    assert!(source.contains(broken), "{source}");
    let copes = "if \"organization\" in payload { payload.organization.login } else { \"somewhere\" }";
    std::fs::write(&path, source.replace(broken, copes)).unwrap();
    let _ = cli.run(&["deploy", fixed.path().to_str().unwrap()]).expect(0);
    for letter in letters {
        let id = letter["id"].as_str().unwrap();
        let redrive = app.path(&format!("/dead-letters/{id}/redrive"));
        let _ = app.admin.post(&redrive, &json!({})).await.expect(202);
        assert_eq!(app.admin.post(&redrive, &json!({})).await.status, 409, "D12: a second redrive");
    }
    app.settled().await;
    let summaries = app.collection("summaries").await;
    assert_eq!(summaries.len(), DELIVERIES);
    for id in dead {
        assert!(
            summaries[id].as_str().is_some_and(|summary| summary.starts_with("somewhere: ")),
            "{}",
            summaries[id]
        );
    }
    assert!(app.letters("status=open").await.is_empty());
    assert_eq!(app.letters("status=resolved").await.len(), letters.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_signature_is_401_and_nothing_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, app, cli) = start(dir.path());
    deployed(&app, &cli).await;
    let deliveries = deliveries();
    for delivery in deliveries.iter().take(10) {
        let _ = send(&app, delivery, "another secret").await.expect(401);
    }
    let unsigned = app.data.send("POST", "/webhooks/github", &[], "{}").await;
    assert_eq!(unsigned.status, 401);
    app.settled().await;
    for collection in ["deliveries", "counts", "summaries", "refs", "alerts"] {
        assert!(app.collection(collection).await.is_empty(), "{collection}");
    }
    // Signed, but no delivery: 400, and nothing stored either.
    let odd = Delivery { id: "x".into(), event: "ping".into(), payload: json!([]), body: "[1]".into() };
    let _ = send(&app, &odd, SECRET).await.expect(400);
    assert!(app.collection("deliveries").await.is_empty());
    println!("bad_signatures=11 stored=0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_async_report_counts_what_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, app, cli) = start(dir.path());
    deployed(&app, &cli).await;
    let deliveries = deliveries();
    for delivery in deliveries.iter().take(30) {
        let _ = send(&app, delivery, SECRET).await.expect(201);
    }
    let accepted = app.call("POST", "/reports", "").await.expect(202).json();
    let id = accepted["execution_id"].as_str().unwrap().to_owned();
    let report = until("the report", || app.value("reports", &id)).await;
    assert_eq!(report["deliveries"], json!(30), "{report}");
    let one = app.call("GET", &format!("/deliveries/{}", deliveries[0].id), "").await.expect(200).json();
    assert_eq!(one["event"], json!(deliveries[0].event));
    let _ = app.call("GET", "/deliveries/nobody", "").await.expect(404);
}

/// The capsules beside the example run without a server, as they ran then and with the scripts of today.
#[test]
fn the_capsules_of_the_example_are_faithful() {
    let example = repository().join("examples/webhooks");
    let cli = Cli::offline();
    let told = cli.run_in(&example, &["test", "capsules"]).expect(0);
    assert!(told.stdout.contains("2 capsules, 0 differ"), "{}", told.stdout);
    let _ = cli.run_in(&example, &["test", "capsules", "--scripts", "."]).expect(0);
}
