//! S6: no key, script, execution, cursor or log read crosses apps.

use relive_tests::{Launch, Manifest, Site};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s6_apps_with_the_same_names_see_nothing_of_each_other() {
    let manifest = |mark: &str| {
        Manifest::new()
            .sync("POST /x", "x", &format!(r#"kv::set("c", "{mark}", 1); #{{ n: kv::incr("c", "n", 1), keys: kv::list("c").items.len }}"#))
            .on_kv("c", "t", &format!(r#"kv::incr("fired", "{mark}", 1)"#), "ops = [\"insert\"]")
            .on_kv("dead", "d", "throw \"no\";", "retry = { max_attempts = 1 }")
    };
    let site = Site::with(&manifest("one")).await;
    let (one, two) = (site.app.clone(), site.server.app("second"));
    two.deploy(&manifest("two")).await;
    let first = one.call("POST", "/x", "").await.expect(200);
    let _ = one.call("POST", "/x", "").await.expect(200);
    let other = two.call("POST", "/x", "").await.expect(200);
    assert_eq!(other.json(), json!({ "n": 1, "keys": 2 }));
    one.put("dead", "k", &json!(1)).await;
    one.settled().await;
    two.settled().await;
    assert_eq!(one.collection("fired").await.into_iter().collect::<Vec<_>>(), [("one".into(), json!(2))]);
    assert_eq!(two.collection("fired").await.into_iter().collect::<Vec<_>>(), [("two".into(), json!(2))]);
    // Every kind of thing of one is 404 in the other.
    let letter = one.letters("").await[0]["id"].as_str().unwrap().to_owned();
    let trigger = one.items("/triggers").await[0]["id"].as_str().unwrap().to_owned();
    let route = one.items("/routes").await[0]["id"].as_str().unwrap().to_owned();
    for path in [
        format!("/executions/{}", first.execution()),
        format!("/dead-letters/{letter}"),
        format!("/triggers/{trigger}"),
    ] {
        two.admin.get(&two.path(&path)).await.problem(404, "not_found");
        let _ = one.admin.get(&one.path(&path)).await.expect(200);
    }
    let _ = two.admin.delete(&two.path(&format!("/triggers/{trigger}"))).await.expect(404);
    let _ = two.admin.delete(&two.path(&format!("/routes/{route}"))).await.expect(404);
    let redrive = two.path(&format!("/dead-letters/{letter}/redrive"));
    two.admin.post(&redrive, &json!({})).await.problem(404, "not_found");
    assert!(two.letters("").await.is_empty() && two.value("c", "one").await.is_none());
    // The logs have no LSN in common, and a cursor of one is refused by the other.
    let lsns = |items: Vec<serde_json::Value>| {
        items.iter().map(|e| e["lsn"].as_u64().unwrap()).collect::<std::collections::BTreeSet<_>>()
    };
    let (a, b) = (lsns(one.items("/log").await), lsns(two.items("/log").await));
    assert!(!a.is_empty() && !b.is_empty() && a.is_disjoint(&b));
    let cursor = one.get("/kv/c?limit=1").await["cursor"].as_str().unwrap().to_owned();
    let stolen = two.admin.get(&two.path(&format!("/kv/c?limit=1&cursor={cursor}"))).await;
    assert_eq!(stolen.status, 422, "{stolen}");
    let other_query = one.admin.get(&one.path(&format!("/kv/fired?limit=1&cursor={cursor}"))).await;
    assert_eq!(other_query.status, 422, "bound to its query: {other_query}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s6_a_slug_that_is_used_again_sees_nothing_of_its_predecessor() {
    let manifest = Manifest::new().sync("POST /x", "x", r#"kv::incr("c", "n", 1)"#).on_kv(
        "c",
        "stuck",
        "throw \"no\";",
        r#"retry = { max_attempts = 5, backoff = "fixed", base_ms = 60000 }"#,
    );
    let site = Site::launched(|launch: Launch| launch, &manifest).await;
    let app = site.app.clone();
    let old = app.call("POST", "/x", "").await.expect(200);
    let _ =
        app.admin.put(&app.path("/secrets/KEY"), &json!({ "value": "secret-value-old" })).await.expect(200);
    let path = app.path("");
    relive_tests::until("the trigger to wait for its retry", || async {
        (app.executions("status=retrying").await.len() == 1).then_some(())
    })
    .await;
    let _ = app.admin.delete(&path).await.expect(204);
    app.call("POST", "/x", "").await.problem(404, "not_found");
    app.admin.get(&path).await.problem(404, "not_found");
    app.admin.get(&app.key_path("c", "n")).await.problem(404, "not_found");
    let _ = app.admin.delete(&path).await.expect(404);
    let created = app.admin.post("/api/v1/apps", &json!({ "slug": "shop" })).await.expect(201);
    assert_eq!(created.json()["slug"], json!("shop"));
    app.admin.post("/api/v1/apps", &json!({ "slug": "shop" })).await.problem(409, "duplicate");
    for rest in [
        "/kv",
        "/kv/c",
        "/scripts",
        "/routes",
        "/triggers",
        "/executions",
        "/outbox",
        "/dead-letters",
        "/secrets",
        "/abandoned",
    ] {
        assert!(app.items(rest).await.is_empty(), "{rest}");
    }
    app.admin.get(&app.path(&format!("/executions/{}", old.execution()))).await.problem(404, "not_found");
    let log = app.items("/log").await;
    assert!(log.iter().all(|event| event["kind"] == json!("app_created")), "{log:?}");
    assert_eq!(app.admin.get(&format!("{}?at={}", app.key_path("c", "n"), old.lsn())).await.status, 404);
    assert!(
        app.items("/kv/c/n/history").await.is_empty()
            || app.admin.get(&app.path("/kv/c/n/history")).await.status == 404
    );
    app.deploy(&manifest).await;
    assert_eq!(app.call("POST", "/x", "").await.expect(200).json(), json!(1), "counts from nothing");
    assert_eq!(app.items("/scripts/x/versions").await[0]["version"], json!(1));
    // Also after a rebuild of everything.
    let site = site.restarted(|server| {
        let data = server.data.clone();
        drop(server.kill());
        std::fs::remove_dir_all(data.join("views")).unwrap();
    });
    assert_eq!(site.app.value("c", "n").await, Some(json!(1)));
    assert_eq!(site.app.items("/kv/c/n/history").await.len(), 1);
}
