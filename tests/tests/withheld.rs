//! T1, T5, secrets: what is recorded, what is not, and what never stands in clear.

use relive_tests::{Manifest, Site, damage};
use serde_json::{Value, json};

const TOKEN: &str = "tok-5f1c9e7a-never-in-clear";
const SECRET: &str = "s3cr3t-value-8842-never-in-clear";

async fn set_secret(site: &Site, name: &str, value: &str) {
    let path = site.app.path(&format!("/secrets/{name}"));
    let _ = site.app.admin.put(&path, &json!({ "value": value })).await.expect(200);
}

/// Neither the API's answers nor any file under the data directory hold it.
async fn nowhere(site: &Site, executions: &[&str], needle: &str) {
    for id in executions {
        let record = site.app.execution(id).await.to_string();
        assert!(!record.contains(needle), "GET executions/{id} shows it: {record}");
    }
    let log = json!(site.app.items("/log").await).to_string();
    assert!(!log.contains(needle), "GET log shows it");
    let files = damage::files_with(&site.server.data, needle.as_bytes());
    assert!(files.is_empty(), "in clear in {files:?}");
    assert!(!site.server.stderr().contains(needle), "in clear on stderr");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t5_a_sensitive_header_is_given_to_the_script_and_stands_nowhere_in_clear() {
    let echo = r#"let h = ctx.request.headers;
        #{ authorization: h["authorization"], cookie: h["cookie"], key: h["x-api-key"], plain: h["x-plain"] }"#;
    let manifest = Manifest::new()
        .sync("POST /sync", "echo", echo)
        .asynchronous(
            "POST /async",
            "later",
            r#"kv::set("got", "len", ctx.request.headers["authorization"].len); throw "once more";"#,
            r#"retry = { max_attempts = 2, backoff = "none" }"#,
        )
        .asynchronous(
            "POST /ok",
            "ok",
            r#"kv::set("got", "len", ctx.request.headers["authorization"].len)"#,
            "",
        );
    let site = Site::with(&manifest).await;
    let (bearer, cookie) = (format!("Bearer {TOKEN}"), format!("session={TOKEN}"));
    let headers = [
        ("authorization", bearer.as_str()),
        ("cookie", &cookie),
        ("x-api-key", TOKEN),
        ("x-plain", "plain-is-kept"),
    ];
    let reply = site.app.data.send("POST", "/shop/sync", &headers, "").await.expect(200);
    // The answer itself is recorded, with what the script put in it: use a script that does not tell.
    assert_eq!(reply.json()["plain"], json!("plain-is-kept"));
    assert_eq!(reply.json()["authorization"], json!(bearer));
    println!("the script saw the headers");
    let quiet = Manifest::new().sync(
        "POST /quiet",
        "quiet",
        r#"
        let h = ctx.request.headers;
        [h["authorization"].len, h["cookie"].len, h["x-api-key"].len, h["x-plain"]]"#,
    );
    let other = Site::with(&quiet).await;
    let reply = other.app.data.send("POST", "/shop/quiet", &headers, "").await.expect(200);
    assert_eq!(reply.json(), json!([bearer.len(), cookie.len(), TOKEN.len(), "plain-is-kept"]));
    let record = other.app.execution_in(&reply.execution(), "completed").await;
    assert!(record["input"].to_string().contains("plain-is-kept"), "other headers are recorded: {record}");
    assert!(record["input"].to_string().contains("authorization"), "that it was there is shown: {record}");
    nowhere(&other, &[&reply.execution()], TOKEN).await;
    // Async: sealed, given to each attempt.
    for (path, status) in [("/shop/async", "dead_lettered"), ("/shop/ok", "completed")] {
        let async_site = Site::with(&manifest).await;
        let accepted = async_site.app.data.send("POST", path, &headers, "").await.expect(202).json();
        let id = accepted["execution_id"].as_str().unwrap();
        async_site.app.execution_in(id, status).await;
        let got = async_site.app.value("got", "len").await;
        assert_eq!(got.is_some(), status == "completed");
        assert!(got.is_none_or(|len| len == json!(bearer.len())));
        nowhere(&async_site, &[id], TOKEN).await;
        // The key outlives the process: a redrive after a restart still gets it.
        let async_site = async_site.crashed();
        nowhere(&async_site, &[id], TOKEN).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_a_live_token_in_any_header_is_removed_before_script_and_log_see_it() {
    let source = r#"#{ names: ctx.request.headers.keys(), principal: ctx.principal != () }"#;
    let site = Site::with(&Manifest::new().sync("GET /h", "h", source)).await;
    let token = site.server.token.clone();
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("x-mine", token.as_str()), ("x-other", "stays")];
    let reply = site.app.data.send("GET", "/shop/h", &headers, "").await.expect(200);
    let names = reply.json()["names"].to_string();
    assert!(
        !names.contains("authorization") && !names.contains("x-mine") && names.contains("x-other"),
        "{names}"
    );
    site.app.execution_in(&reply.execution(), "completed").await;
    let log = json!(site.app.items("/log").await).to_string();
    assert!(!log.contains(&token));
    let files: Vec<_> = damage::files_with(&site.server.data, token.as_bytes());
    assert!(files.iter().all(|file| file.ends_with("admin.token")), "{files:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secret_values_are_masked_in_logs_and_errors_and_stored_encrypted() {
    let log = r#"let s = secrets::get("KEY"); log::info(`the key is ${s}`); print(s); log::warn("plain line"); s.len"#;
    let fail = r#"let s = secrets::get("KEY"); throw `bad key ${s}!`;"#;
    let manifest = Manifest::new().sync("GET /log", "logger", log).sync("GET /fail", "failer", fail).sync(
        "POST /echo",
        "echo",
        "secrets::get(\"KEY\").len",
    );
    let site = Site::with(&manifest).await;
    set_secret(&site, "KEY", SECRET).await;
    let logged = site.app.call("GET", "/log", "").await.expect(200);
    assert_eq!(logged.json(), json!(SECRET.len()));
    let record = site.app.execution_in(&logged.execution(), "completed").await;
    let lines = &record["attempts"][0]["logs"];
    assert_eq!(lines.as_array().map(Vec::len), Some(3), "{record}");
    assert!(
        lines.to_string().contains("‹secret:KEY›") && lines.to_string().contains("plain line"),
        "{lines}"
    );
    let failed = site.app.call("GET", "/fail", "").await;
    failed.problem(422, "throw");
    let record = site.app.execution_in(&failed.execution(), "failed").await;
    assert!(record["attempts"][0]["error"]["message"].to_string().contains("‹secret:KEY›"), "{record}");
    // A request that happens to hold the value is recorded without it.
    let echoed = site.app.data.send("POST", "/shop/echo", &[("x-note", SECRET)], SECRET).await.expect(200);
    site.app.execution_in(&echoed.execution(), "completed").await;
    nowhere(&site, &[&logged.execution(), &failed.execution(), &echoed.execution()], SECRET).await;
    let names = site.app.items("/secrets").await;
    assert_eq!(names.len(), 1);
    assert_eq!(names[0]["name"], json!("KEY"), "{names:?}");
    // Deleted: no script gets it.
    let _ = site.app.admin.delete(&site.app.path("/secrets/KEY")).await.expect(204);
    assert_eq!(site.app.call("GET", "/log", "").await.status, 422);
    let site = site.crashed();
    nowhere(&site, &[&logged.execution()], SECRET).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_an_attempt_records_reads_writes_versions_logs_and_never_shows_its_seed() {
    let source = r#"
        let a = kv::get("c", "a");
        let missing = kv::get("c", "missing");
        let page = kv::list("c");
        kv::set("c", "b", random::int(1, 1000000));
        log::error("seen");
        page.items.len
    "#;
    let site = Site::with(&Manifest::new().sync("GET /r", "r", source)).await;
    let version = site.app.put("c", "a", &json!("value-of-a")).await;
    let reply = site.app.call("GET", "/r", "").await.expect(200);
    let record = site.app.execution_in(&reply.execution(), "completed").await;
    let attempt = &record["attempts"][0];
    let reads = attempt["reads"].to_string();
    assert!(
        reads.contains(&version.to_string()) && reads.contains("missing"),
        "reads as (key, version): {record}"
    );
    assert!(!reads.contains("value-of-a"), "never the value: {record}");
    assert!(attempt["writes"].to_string().contains("\"b\""), "{record}");
    assert_eq!(attempt["version"], json!(1), "{record}");
    assert!(attempt["logs"].to_string().contains("seen"), "{record}");
    let text = Value::to_string(&record) + &json!(site.app.items("/log").await).to_string();
    assert!(!text.contains("seed"), "T1: a seed is never returned: {record}");
    // `record = "off"` keeps no input.
    let off = Manifest::new().route("POST /off", "off", "kv::get(\"c\", \"a\")", "sync", "record = \"off\"");
    site.app.deploy(&off).await;
    let reply = site.app.call("POST", "/off", "body-that-is-not-kept").await.expect(200);
    let record = site.app.execution_in(&reply.execution(), "completed").await;
    assert!(!record.to_string().contains("body-that-is-not-kept"), "{record}");
    assert!(damage::files_with(&site.server.data, b"body-that-is-not-kept").is_empty());
}
