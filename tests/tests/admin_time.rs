//! K3: every KV read as of an instant.

use relive_tests::{Manifest, Site};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k3_values_and_listings_as_of_every_lsn_are_what_they_were() {
    let source = r#"kv::set("c", "a", ctx.request.json); kv::set("c", `n${ctx.request.json}`, 1); kv::set("c", "b", ctx.request.json); ()"#;
    let site = Site::with(&Manifest::new().sync("POST /w", "w", source)).await;
    let app = &site.app;
    let mut instants: Vec<(u64, usize)> = Vec::new();
    for n in 0..20 {
        let reply = app.call("POST", "/w", &n.to_string()).await.expect(204);
        instants.push((reply.lsn(), n));
    }
    let _ = app.admin.delete(&app.key_path("c", "a")).await.expect(200);
    let site = site.crashed();
    let app = &site.app;
    for (lsn, n) in &instants {
        let a = app.admin.get(&format!("{}?at={lsn}", app.key_path("c", "a"))).await.expect(200);
        assert_eq!(a.json(), json!(n), "at {lsn}");
        let list = app.get(&format!("/kv/c?at={lsn}")).await;
        assert_eq!(list["items"].as_array().map(Vec::len), Some(n + 3), "at {lsn}");
        assert_eq!(list["as_of_lsn"].as_u64(), Some(*lsn));
    }
    // As of an LSN in the middle of a batch is after the whole batch.
    let (last, _) = instants[10];
    let (before, _) = instants[9];
    for middle in before + 1..=last {
        let list = app.get(&format!("/kv/c?at={middle}")).await;
        let a =
            list["items"].as_array().unwrap().iter().find(|item| item["key"] == json!("a")).cloned().unwrap();
        let b =
            list["items"].as_array().unwrap().iter().find(|item| item["key"] == json!("b")).cloned().unwrap();
        assert_eq!(a["value"], b["value"], "never half a batch: at {middle}");
        assert!(list["as_of_lsn"].as_u64().is_some_and(|lsn| lsn >= middle), "{}", list["as_of_lsn"]);
    }
    let first = instants[0].0;
    let key = app.items("/kv/c/a/history").await;
    let oldest = key.last().unwrap()["lsn"].as_u64().unwrap();
    assert!(oldest <= first);
    println!("instants={} middle={}", instants.len(), last - before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k3_as_of_a_time_is_the_last_batch_committed_by_then_and_the_future_is_refused() {
    let site = Site::with(&Manifest::new()).await;
    let app = &site.app;
    let mut times: Vec<(String, Value)> = Vec::new();
    for n in 0..6 {
        app.put("c", "k", &json!(n)).await;
        let row = app.items("/kv/c/k/history").await[0].clone();
        times.push((row["at"].as_str().unwrap().to_owned(), row["value"].clone()));
        // The next version shall have another millisecond.
        relive_tests::until("a millisecond", || async {
            app.put("c", "clock", &json!(n)).await;
            let at = app.items("/kv/c/clock/history").await[0]["at"].clone();
            (at.as_str() > Some(times.last().unwrap().0.as_str())).then_some(())
        })
        .await;
    }
    // A time in the answers has whole milliseconds: the version was committed in the millisecond that follows it.
    for (n, (time, value)) in times.iter().enumerate() {
        let at = |time: &str| format!("{}?at={time}", app.key_path("c", "k"));
        let next = times.get(n + 1).map(|(next, _)| next.clone());
        if let Some(next) = next {
            let got = app.admin.get(&at(&next)).await.expect(200).json();
            assert!(got == *value || got == times[n + 1].1, "{n}: {got}");
        }
        let exact = app.admin.get(&at(time)).await;
        assert!(
            exact.status == 404
                || exact.json() == *value
                || Some(exact.json()) == n.checked_sub(1).map(|p| times[p].1.clone()),
            "{n}: {exact}"
        );
    }
    let ancient = app.admin.get(&format!("{}?at=2001-01-01T00:00:00Z", app.key_path("c", "k"))).await;
    assert_eq!(ancient.status, 404, "{ancient}");
    assert_eq!(app.get("/kv/c?at=2001-01-01T00:00:00.000Z").await["items"], json!([]));
    let future = app.get("/kv/c").await["as_of_lsn"].as_u64().unwrap() + 1000;
    for at in [future.to_string(), "2999-01-01T00:00:00Z".to_owned()] {
        app.admin.get(&format!("{}?at={at}", app.key_path("c", "k"))).await.problem(422, "in_the_future");
        app.admin.get(&app.path(&format!("/kv/c?at={at}"))).await.problem(422, "in_the_future");
    }
    let nonsense = app.admin.get(&app.path("/kv/c?at=yesterday")).await;
    assert_eq!(nonsense.status, 422, "{nonsense}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_shows_every_event_of_the_app_gap_free_within_its_batches_and_filters() {
    let manifest = Manifest::new()
        .sync("POST /w", "w", r#"kv::set("c", "a", 1); kv::set("c", "b", 1); ()"#)
        .on_kv("c", "t", "()", "ops = [\"insert\"]");
    let site = Site::with(&manifest).await;
    let app = &site.app;
    let call = app.call("POST", "/w", "").await.expect(204);
    app.settled().await;
    let log = app.items("/log").await;
    let lsns: Vec<_> = log.iter().map(|event| event["lsn"].as_u64().unwrap()).collect();
    assert!(lsns.is_sorted_by(|a, b| a < b), "{lsns:?}");
    assert!(
        log.iter()
            .all(|event| event["at"].is_string() && event["kind"].is_string() && event.get("data").is_some())
    );
    let kinds: Vec<_> = log.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    for kind in [
        "app_created",
        "script_deployed",
        "route_created",
        "trigger_created",
        "enqueued",
        "claimed",
        "completed",
        "kv_put",
    ] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    // S1: writes, outcome and what they fire are one batch, hence neighbours.
    let id = call.execution();
    let own = app.items(&format!("/log?execution={id}")).await;
    let own: Vec<_> = own.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    for kind in ["enqueued", "claimed", "completed"] {
        assert_eq!(own.iter().filter(|k| **k == kind).count(), 1, "{own:?}");
    }
    let end = log.iter().find(|e| e["kind"] == json!("completed") && e["execution_id"] == json!(id)).unwrap()
        ["lsn"]
        .as_u64()
        .unwrap();
    let around: Vec<_> = log
        .iter()
        .filter(|e| e["lsn"].as_u64().is_some_and(|lsn| lsn.abs_diff(end) <= 4))
        .map(|e| e["kind"].as_str().unwrap())
        .collect();
    assert_eq!(around.iter().filter(|kind| **kind == "kv_put").count(), 2, "{around:?}");
    assert!(around.iter().filter(|kind| **kind == "enqueued").count() >= 2, "{around:?}");
    let puts = app.items("/log?kind=kv_put").await;
    assert_eq!(puts.len(), 2);
    let from = puts[1]["lsn"].as_u64().unwrap();
    let part = app.items(&format!("/log?from={from}&to={from}")).await;
    assert_eq!(part.iter().map(|e| e["lsn"].as_u64().unwrap()).collect::<Vec<_>>(), [from]);
}
