//! The admin API of `contract.md`: who may, what is refused and how, lists, conditions.

use relive_tests::{Http, Manifest, Site};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_live_token_every_path_of_the_api_is_401_and_health_is_open() {
    let site = Site::with(&Manifest::new().sync("GET /x", "x", "1")).await;
    let app = &site.app;
    for http in
        [app.admin.with_token(None), app.admin.with_token(Some("nonsense")), app.admin.with_token(Some(""))]
    {
        for path in [
            "/api/v1/apps",
            "/api/v1/apps/shop",
            "/api/v1/apps/nobody",
            "/api/v1/instance",
            &app.path("/kv/c/k"),
        ] {
            http.get(path).await.problem(401, "unauthorized");
        }
        http.put(&app.key_path("c", "k"), &json!(1)).await.problem(401, "unauthorized");
        http.post("/api/v1/apps", &json!({ "slug": "evil" })).await.problem(401, "unauthorized");
    }
    // A token never travels in a query string.
    let open = app.admin.with_token(None);
    open.get(&format!("/api/v1/apps?token={}", site.server.token)).await.problem(401, "unauthorized");
    let _ = open.get("/healthz").await.expect(200);
    let _ = open.get("/readyz").await.expect(200);
    let instance = app.get_instance().await;
    assert!(instance["version"].is_string(), "{instance}");
    let token = std::fs::metadata(site.server.data.join("admin.token")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&token.permissions()) & 0o777, 0o600);
    let key = std::fs::metadata(site.server.data.join("instance.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
    // The data plane serves no API, the control plane no routes.
    let data = Http::new(&site.server.data_url, Some(&site.server.token));
    assert_eq!(data.get("/api/v1/apps").await.status, 404);
    assert_eq!(app.admin.get("/shop/x").await.status, 404);
}

trait Instance {
    async fn get_instance(&self) -> Value;
}

impl Instance for relive_tests::App {
    async fn get_instance(&self) -> Value {
        self.admin.get("/api/v1/instance").await.expect(200).json()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kv_has_versions_etags_and_conditions() {
    let site = Site::with(&Manifest::new()).await;
    let app = &site.app;
    let path = app.key_path("c", "k/with ünusual?chars");
    app.admin.get(&path).await.problem(404, "not_found");
    app.admin.delete(&path).await.problem(404, "not_found");
    let put = |headers: Vec<(&'static str, String)>, value: &'static str| {
        let (admin, path) = (app.admin.clone(), path.clone());
        async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            admin.send("PUT", &path, &headers, value).await
        }
    };
    put(vec![("if-match", "\"1\"".into())], "1").await.problem(412, "precondition_failed");
    put(vec![("if-match", "*".into())], "1").await.problem(412, "precondition_failed");
    let first = put(vec![("if-none-match", "*".into())], "{\"n\": 1}").await.expect(200).json()["lsn"]
        .as_u64()
        .unwrap();
    put(vec![("if-none-match", "*".into())], "2").await.problem(412, "precondition_failed");
    let got = app.admin.get(&path).await.expect(200);
    assert_eq!((got.json(), got.header("etag")), (json!({ "n": 1 }), format!("\"{first}\"").as_str()));
    let second = put(vec![("if-match", format!("\"{first}\""))], "2").await.expect(200).json()["lsn"]
        .as_u64()
        .unwrap();
    assert!(second > first);
    put(vec![("if-match", format!("\"{first}\""))], "3").await.problem(412, "precondition_failed");
    let gone = app.admin.delete(&path).await.expect(200).json()["lsn"].as_u64().unwrap();
    app.admin.get(&path).await.problem(404, "not_found");
    let history = app.items("/kv/c/k%2Fwith%20%C3%BCnusual%3Fchars/history").await;
    let rows: Vec<_> = history
        .iter()
        .map(|row| (row["lsn"].as_u64().unwrap(), row["op"].clone(), row["value"].clone()))
        .collect();
    let expected = [
        (gone, json!("delete"), Value::Null),
        (second, json!("update"), json!(2)),
        (first, json!("insert"), json!({ "n": 1 })),
    ];
    assert_eq!(rows, expected, "newest first");
    assert!(
        history
            .iter()
            .all(|row| row["at"].is_string() && !row["principal"].is_null() && row["execution_id"].is_null()),
        "{history:?}"
    );
    let again = put(vec![], "4").await.expect(200).json()["lsn"].as_u64().unwrap();
    assert!(again > gone);
    for bad in ["", "{", "nope", "1 2"] {
        let reply = app.admin.send("PUT", &path, &[], bad).await;
        assert!(matches!(reply.status, 400 | 422), "{bad}: {reply}");
    }
    assert_eq!(app.value("c", "k/with ünusual?chars").await, Some(json!(4)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_page_by_limit_and_cursor_stable_under_writes() {
    let site = Site::with(&Manifest::new()).await;
    let app = &site.app;
    for n in 0..25 {
        app.put("c", &format!("k{n:02}"), &json!(n)).await;
    }
    let mut seen = Vec::new();
    let first = app.get("/kv/c?limit=10").await;
    let as_of = first["as_of_lsn"].as_u64().unwrap();
    let mut page = first;
    let mut rounds = 0;
    loop {
        let keys = page["items"].as_array().unwrap().iter();
        seen.extend(keys.map(|item| (item["key"].as_str().unwrap().to_owned(), item["value"].clone())));
        assert_eq!(page["as_of_lsn"].as_u64(), Some(as_of), "pinned");
        // Whatever happens meanwhile: the listing is of one instant.
        app.put("c", &format!("k{rounds:02}"), &json!("changed")).await;
        app.put("c", "k99", &json!(rounds)).await;
        let _ = app.admin.delete(&app.key_path("c", &format!("k{:02}", 24 - rounds))).await.expect(200);
        app.put("c", &format!("k05-{rounds}"), &json!("new")).await;
        rounds += 1;
        let Some(cursor) = page["cursor"].as_str() else { break };
        page = app.get(&format!("/kv/c?limit=10&cursor={cursor}")).await;
    }
    let expected: Vec<_> = (0..25).map(|n| (format!("k{n:02}"), json!(n))).collect();
    assert_eq!(seen, expected);
    assert_eq!(rounds, 3);
    let prefix = app.get("/kv/c?prefix=k05").await;
    assert_eq!(prefix["items"].as_array().map(Vec::len), Some(4), "{prefix}");
    assert!(prefix["items"][0]["lsn"].is_u64() && prefix["items"][0]["updated_at"].is_string(), "{prefix}");
    assert_eq!(app.get("/kv/nobody").await["items"], json!([]), "a collection without keys is an empty list");
    let collections = app.items("/kv").await;
    assert!(collections.len() == 1 && collections[0].to_string().contains("\"c\""), "{collections:?}");
    for bad in ["limit=0", "limit=1001", "limit=x", "cursor=nonsense", "unknown=1", "prefix=a&prefix=b"] {
        let reply = app.admin.get(&app.path(&format!("/kv/c?{bad}"))).await;
        assert_eq!(reply.status, 422, "{bad}: {reply}");
        assert_eq!(reply.header("content-type"), "application/problem+json");
    }
    // Listings of rows page too.
    let (mut rows, mut cursor) = (0, String::new());
    loop {
        let page = app.get(&format!("/log?limit=7{cursor}")).await;
        rows += page["items"].as_array().unwrap().len();
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(rows, app.items("/log").await.len());
    println!("pages=3 changed_meanwhile=12 events={rows}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_fields_and_bad_values_are_422_naming_them() {
    let site = Site::with(&Manifest::new().sync("GET /x", "x", "1")).await;
    let app = &site.app;
    let rows: &[(&str, String, Value, &str)] = &[
        ("POST", "/api/v1/apps".into(), json!({ "slug": "good", "colour": "red" }), "colour"),
        ("POST", "/api/v1/apps".into(), json!({ "slug": "Bad Slug" }), "slug"),
        ("POST", "/api/v1/apps".into(), json!({ "slug": "9lives" }), "slug"),
        ("POST", "/api/v1/apps".into(), json!({ "slug": "x".repeat(64) }), "slug"),
        ("POST", "/api/v1/apps".into(), json!({}), "slug"),
        ("PUT", app.path("/secrets/K"), json!({ "valu": "x" }), "valu"),
        ("POST", app.path("/deploy"), json!({ "manifest": "app = \"shop\"", "scrips": {} }), "scrips"),
        ("POST", app.path("/deploy"), json!({ "manifest": "app = \"shop\"\nroutes = 1" }), "routes"),
        ("POST", app.path("/deploy"), json!({ "manifest": { "app": "shop", "routte": [] } }), "routte"),
        (
            "POST",
            app.path("/routes"),
            json!({ "method": "GET", "path": "/y", "script": "x", "dispatch_mode": "sometimes" }),
            "dispatch_mode",
        ),
        (
            "POST",
            app.path("/routes"),
            json!({ "method": "GET", "path": "/y", "script": "x", "dispatch_mode": "sync", "speed": 1 }),
            "speed",
        ),
        (
            "POST",
            app.path("/routes"),
            json!({ "method": "GET", "path": "y", "script": "x", "dispatch_mode": "sync" }),
            "path",
        ),
        (
            "POST",
            app.path("/triggers"),
            json!({ "name": "t", "kind": "kv", "collection": "c", "script": "x", "ops": ["insrt"] }),
            "ops",
        ),
        ("POST", app.path("/triggers"), json!({ "name": "t", "kind": "kv", "script": "x" }), "collection"),
        ("POST", app.path("/scripts/x/execute"), json!({ "payloat": 1 }), "payloat"),
    ];
    let before = app.get_instance().await;
    for (method, path, body, named) in rows {
        let reply = app.admin.send(method, path, &[], body.to_string()).await;
        assert_eq!(reply.status, 422, "{method} {path} {body}: {reply}");
        assert_eq!(reply.header("content-type"), "application/problem+json", "{reply}");
        assert!(reply.text().contains(named), "{path} {body} names `{named}`: {reply}");
    }
    assert_eq!(app.admin.send("POST", "/api/v1/apps", &[], "{not json").await.status / 100, 4);
    let after = app.get_instance().await;
    assert_eq!(before["lsn"], after["lsn"], "nothing was written");
    app.admin.get("/api/v1/nothing").await.problem(404, "not_found");
    app.admin.get("/api/v1/apps/nobody/kv/c").await.problem(404, "not_found");
    let wrong = app.admin.send("PATCH", "/api/v1/instance", &[], "").await;
    assert!(wrong.status == 405 && !wrong.header("allow").is_empty(), "{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_of_a_script_that_is_not_there_is_refused_with_its_line() {
    let site = Site::with(&Manifest::new().script("x", "1")).await;
    let import =
        site.app.admin.send("PUT", &site.app.path("/scripts/y"), &[], "1;\nimport \"z\" as z;").await;
    assert_eq!(import.problem(422, "parse")["line"], json!(2));
    assert!(import.text().contains("there is no script `z`"), "{import}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_over_the_limit_are_refused_and_name_the_limit() {
    let site = Site::with(&Manifest::new()).await;
    let app = &site.app;
    let mib = 1024 * 1024;
    let value = |len: usize| json!("x".repeat(len - 2));
    let fits = app.admin.put(&app.key_path("c", "k"), &value(mib)).await;
    assert_eq!(fits.status, 200, "a value of exactly 1 MiB: {}", fits.status);
    for (what, reply) in [
        ("value", site.server.admin().put(&app.key_path("c", "large"), &value(mib + 1)).await),
        ("key", site.server.admin().put(&app.key_path("c", &"k".repeat(1025)), &json!(1)).await),
        ("collection", site.server.admin().put(&app.key_path(&"c".repeat(257), "k"), &json!(1)).await),
        (
            "source",
            site.server
                .admin()
                .send("PUT", &app.path("/scripts/big"), &[], format!("//{}", "x".repeat(256 * 1024)))
                .await,
        ),
    ] {
        assert!(matches!(reply.status, 413 | 422), "{what}: {reply}");
        assert!(reply.text().contains("limit"), "{what} names the limit: {reply}");
    }
    let app = &site.server.app("shop");
    app.put("c", &"k".repeat(1024), &json!(1)).await;
    app.put(&"c".repeat(256), "k", &json!(1)).await;
    assert_eq!(app.items("/kv/c").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_is_all_or_nothing_idempotent_and_prunes_only_when_asked() {
    let one = Manifest::new().sync("GET /a", "a", "1").sync("GET /b", "b", "1").on_kv("c", "t", "()", "");
    let site = Site::with(&one).await;
    let app = &site.app;
    let lsn = |value: &Value| value["lsn"].as_u64().unwrap();
    let again = app.deploy(&one).await;
    let once_more = app.deploy(&one).await;
    assert_eq!(lsn(&again), lsn(&once_more), "nothing changed, nothing written");
    for name in ["a", "b", "t"] {
        assert_eq!(app.items(&format!("/scripts/{name}/versions")).await.len(), 1, "D17");
    }
    let mut body = Manifest::new().sync("GET /a", "a", "2").body("shop");
    body["dry_run"] = json!(true);
    body["prune"] = json!(true);
    let plan = app.admin.post(&app.path("/deploy"), &body).await.expect(200).json();
    assert!(plan["changes"].as_array().is_some_and(|changes| changes.len() >= 3), "{plan}");
    assert_eq!(app.call("GET", "/a", "").await.text(), "1", "a dry run changes nothing");
    let keep = app.deploy(&Manifest::new().sync("GET /a", "a", "2")).await;
    assert!(lsn(&keep) > lsn(&again));
    assert_eq!(app.call("GET", "/a", "").await.text(), "2");
    assert_eq!(app.call("GET", "/b", "").await.expect(200).text(), "1", "not named, not touched");
    assert_eq!(app.items("/triggers").await.len(), 1);
    body["dry_run"] = json!(false);
    let _ = app.admin.post(&app.path("/deploy"), &body).await.expect(200);
    assert_eq!(app.call("GET", "/b", "").await.status, 404);
    assert!(app.items("/triggers").await.is_empty());
    assert_eq!(app.items("/scripts").await.len(), 1);
    // Scripts and versions by the API.
    let put = app.admin.send("PUT", &app.path("/scripts/a"), &[], "3").await.expect(200).json();
    assert_eq!((&put["name"], &put["version"]), (&json!("a"), &json!(3)), "{put}");
    let same = app.admin.send("PUT", &app.path("/scripts/a"), &[], "3").await.expect(200).json();
    assert_eq!(
        (&same["version"], &same["sha256"]),
        (&json!(3), &put["sha256"]),
        "unchanged source makes no version"
    );
    let old = app.get("/scripts/a?version=1").await;
    assert!(old.to_string().contains("\"1\""), "{old}");
    app.admin.get(&app.path("/scripts/a?version=9")).await.problem(404, "not_found");
    // A direct run has the statuses of a sync route and the principal of the token.
    let _ = app
        .admin
        .send(
            "PUT",
            &app.path("/scripts/direct"),
            &[],
            r#"log::info("hi"); #{ got: ctx.payload, who: ctx.principal.name, event: "event" in ctx }"#,
        )
        .await
        .expect(200);
    let run = app
        .admin
        .post(&app.path("/scripts/direct/execute"), &json!({ "payload": { "n": 1 } }))
        .await
        .expect(200)
        .json();
    assert_eq!(run["result"], json!({ "got": { "n": 1 }, "who": "instance", "event": false }), "{run}");
    assert!(run["logs"].to_string().contains("hi") && run["lsn"].is_u64(), "{run}");
    let record = app.execution_in(run["execution_id"].as_str().unwrap(), "completed").await;
    assert_eq!(record["source"], json!("direct"), "{record}");
    let _ = app.admin.send("PUT", &app.path("/scripts/direct"), &[], "throw \"no\";").await.expect(200);
    let failed = app.admin.post(&app.path("/scripts/direct/execute"), &json!({})).await;
    failed.problem(422, "throw");
    app.admin.post(&app.path("/scripts/nobody/execute"), &json!({})).await.problem(404, "not_found");
}
