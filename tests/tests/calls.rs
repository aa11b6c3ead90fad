//! Routes as callers meet them: what a script gets, what its answer becomes, what is refused before a script runs.

use relive_tests::{Manifest, Site};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn return_values_become_responses_with_execution_id_and_lsn() {
    let rows: &[(&str, &str, u16, &str, &str)] = &[
        ("unit", "()", 204, "", ""),
        ("text", "\"grüß\"", 200, "text/plain", "grüß"),
        ("blob", "blob(3, 65)", 200, "application/octet-stream", "AAA"),
        ("number", "41 + 1", 200, "application/json", "42"),
        ("float", "1.5", 200, "application/json", "1.5"),
        ("truth", "true", 200, "application/json", "true"),
        ("list", "[1, \"a\", (), 2.5]", 200, "application/json", "[1,\"a\",null,2.5]"),
        ("map", "#{ b: 1, a: [()] }", 200, "application/json", "{\"a\":[null],\"b\":1}"),
        ("map_with_text_status", "#{ status: \"ok\" }", 200, "application/json", "{\"status\":\"ok\"}"),
        ("created", "#{ status: 201, body: #{ id: 1 } }", 201, "application/json", "{\"id\":1}"),
        ("only_status", "#{ status: 202 }", 202, "", ""),
        ("text_body", "#{ status: 404, body: \"gone\" }", 404, "text/plain", "gone"),
        (
            "own_type",
            "#{ status: 200, headers: #{ \"Content-Type\": \"text/html\" }, body: \"<p>\" }",
            200,
            "text/html",
            "<p>",
        ),
        ("error_status", "#{ status: 503, body: [1] }", 503, "application/json", "[1]"),
        ("redirect", "#{ status: 303, headers: #{ location: \"/x\" } }", 303, "", ""),
    ];
    let manifest = rows.iter().fold(Manifest::new(), |manifest, (name, source, ..)| {
        manifest.sync(&format!("GET /{name}"), name, source)
    });
    let site = Site::with(&manifest).await;
    for (name, _, status, content_type, body) in rows {
        let reply = site.app.call("GET", &format!("/{name}"), "").await.expect(*status);
        let given = reply.header("content-type").split(';').next().unwrap_or("").trim().to_owned();
        assert_eq!(given, *content_type, "{name}: {reply}");
        if content_type == &"application/json" {
            assert_eq!(reply.json(), serde_json::from_str::<Value>(body).unwrap(), "{name}");
        } else {
            assert_eq!(reply.text(), *body, "{name}");
        }
        let record = site.app.execution_in(&reply.execution(), "completed").await;
        assert_eq!(record["script"], json!(name), "{record}");
        assert!(reply.lsn() > 0);
    }
    let redirect = site.app.call("GET", "/redirect", "").await;
    assert_eq!(redirect.header("location"), "/x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctx_request_has_params_query_headers_body_and_json() {
    let echo = r#"
        let r = ctx.request;
        #{ method: r.method, path: r.path, params: r.params, query: r.query, body: r.body, json: r.json,
           bytes: hex::encode(r.bytes), kind: r.headers["x-kind"], app: ctx.app, script: ctx.script.name,
           version: ctx.script.version, depth: ctx.depth, attempt: ctx.attempt, principal: ctx.principal,
           same_root: ctx.root_execution_id == ctx.execution_id, sdk: type_of(ctx.sdk) }
    "#;
    let manifest = Manifest::new().sync("POST /e/{a}/{*rest}", "echo", echo);
    let site = Site::with(&manifest).await;
    let headers = [("X-Kind", "Test"), ("content-type", "text/plain")];
    let path = "/shop/e/a%20b/c/d%2Fe?q=1&q=2&x=%C3%BC+y&empty";
    let reply = site.app.data.send("POST", path, &headers, r#"{"n": [1, null]}"#).await.expect(200).json();
    assert_eq!(reply["method"], json!("POST"));
    assert_eq!(reply["params"]["a"], json!("a b"));
    assert!(
        reply["params"]["rest"] == json!("c/d/e") || reply["params"]["rest"] == json!("c/d%2Fe"),
        "{reply}"
    );
    assert_eq!(reply["query"], json!({ "q": "2", "x": "ü y", "empty": "" }), "the last value of a name");
    assert_eq!((&reply["json"], &reply["body"]), (&json!({ "n": [1, null] }), &json!(r#"{"n": [1, null]}"#)));
    assert_eq!(
        (&reply["kind"], &reply["app"], &reply["script"]),
        (&json!("Test"), &json!("shop"), &json!("echo"))
    );
    assert_eq!((&reply["depth"], &reply["attempt"], &reply["version"]), (&json!(0), &json!(1), &json!(1)));
    assert_eq!((&reply["principal"], &reply["same_root"]), (&Value::Null, &json!(true)));
    assert!(reply["path"].as_str().unwrap().starts_with("/e/"), "without the app: {reply}");
    // Bad JSON: the script decides; the text is kept.
    let bad = site.app.call("POST", "/e/a/b", "{\"n\": ").await.expect(200).json();
    assert_eq!((&bad["json"], &bad["body"]), (&Value::Null, &json!("{\"n\": ")));
    // No UTF-8: no text, the bytes are there.
    let raw = site.app.data.send("POST", "/shop/e/a/b", &[], vec![0xff, 0x00, 0x7b]).await.expect(200).json();
    assert_eq!((&raw["json"], &raw["body"], &raw["bytes"]), (&Value::Null, &Value::Null, &json!("ff007b")));
    let none = site.app.call("POST", "/e/a/b", "").await.expect(200).json();
    assert_eq!((&none["json"], &none["body"]), (&Value::Null, &json!("")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn literal_beats_name_beats_rest_and_unknown_is_404_and_wrong_method_405_with_allow() {
    let manifest = Manifest::new()
        .sync("GET /a/b", "literal", "\"literal\"")
        .sync("GET /a/{x}", "name", "\"name\"")
        .sync("GET /a/{*rest}", "rest", "\"rest\"")
        .sync("POST /a/b", "post", "\"post\"")
        .sync("GET /", "root", "\"root\"");
    let site = Site::with(&manifest).await;
    for (path, text) in
        [("/a/b", "literal"), ("/a/c", "name"), ("/a/b/c", "rest"), ("/a/c/d/e", "rest"), ("/", "root")]
    {
        assert_eq!(site.app.call("GET", path, "").await.expect(200).text(), text, "{path}");
    }
    assert_eq!(site.app.call("POST", "/a/b", "").await.expect(200).text(), "post");
    site.app.call("GET", "/b", "").await.problem(404, "not_found");
    site.app.data.get("/nobody/a/b").await.problem(404, "not_found");
    site.app.data.get("/").await.problem(404, "not_found");
    let wrong = site.app.call("PUT", "/a/b", "").await;
    wrong.problem(405, "method_not_allowed");
    let allow = wrong.header("allow");
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    let before = site.app.executions("").await.len();
    site.app.call("DELETE", "/a/c", "").await.problem(405, "method_not_allowed");
    assert_eq!(site.app.executions("").await.len(), before, "a refusal is no execution");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_at_the_limit_is_given_to_the_script_as_text_bytes_and_json() {
    let manifest = Manifest::new()
        .sync("POST /text", "text", "ctx.request.body.len")
        .sync("POST /bytes", "bytes", "ctx.request.bytes.len")
        .sync("POST /digest", "digest", "hex::encode(crypto::sha256(ctx.request.bytes)).len")
        .sync("POST /json", "json", "ctx.request.json.len");
    let site = Site::with(&manifest).await;
    for len in [90_000, 110_000, 1024 * 1024] {
        for (path, expected) in [("/text", len), ("/bytes", len), ("/digest", 64), ("/json", len - 2)] {
            let reply = site.app.call("POST", path, &format!("\"{}\"", "x".repeat(len - 2))).await;
            assert_eq!((reply.status, reply.text()), (200, expected.to_string()), "{path} of {len} bytes");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_is_413_naming_it_and_the_connection_is_said_to_close() {
    let site = Site::with(&Manifest::new().sync("POST /n", "n", "1")).await;
    for http in [site.server.data(), site.server.data()] {
        let large = http.send("POST", "/shop/n", &[], "x".repeat(1024 * 1024 + 1)).await;
        large.problem(413, "body_too_large");
        assert!(
            large.text().contains("1048576") || large.text().contains("1 MiB"),
            "names the limit: {large}"
        );
        // The rest of the body is not read, so the connection ends: RFC 9112, 9.6. A pooled client that is not told
        // sends its next request into the void.
        assert_eq!(large.header("connection"), "close", "{large}");
    }
    assert!(site.app.executions("script=n").await.is_empty());
}

/// Sends all of a body before it reads a byte of the answer, as simple clients do.
fn send_then_read(authority: &str, head: &str, body: &[u8]) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    stream.write_all(head.as_bytes())?;
    for part in body.chunks(64 * 1024) {
        stream.write_all(part)?;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_still_sending_sees_the_413_of_both_planes() {
    let site = Site::with(&Manifest::new().sync("POST /n", "n", "1")).await;
    let key = site.app.key_path("c", "k");
    let token = site.server.token.clone();
    for (http, start) in [
        (site.server.data(), "POST /shop/n HTTP/1.1".to_owned()),
        (site.server.admin(), format!("PUT {key} HTTP/1.1\r\nauthorization: Bearer {token}")),
    ] {
        let authority = http.authority().to_owned();
        let body = vec![b' '; 6 * 1024 * 1024];
        let head = format!("{start}\r\nhost: {authority}\r\ncontent-length: {}\r\n\r\n", body.len());
        let sent =
            tokio::task::spawn_blocking(move || send_then_read(&authority, &head, &body)).await.unwrap();
        let answer = sent.unwrap_or_else(|e| panic!("{start}: {e}"));
        assert!(answer.starts_with("HTTP/1.1 413 "), "{start}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{start}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_over_the_limit_is_no_answer() {
    let source = r#"let s = "x"; for i in 0..19 { s += s; } let a = []; for i in 0..9 { a.push(s); } a"#;
    let nested = r#"let s = "x"; for i in 0..19 { s += s; } #{ status: 200, body: s }"#;
    let manifest = Manifest::new().sync("GET /large", "large", source).sync("GET /fits", "fits", nested);
    let site = Site::with(&manifest).await;
    assert_eq!(site.app.call("GET", "/fits", "").await.expect(200).body.len(), 1 << 19);
    let large = site.app.call("GET", "/large", "").await;
    assert!(matches!(large.status, 502 | 507), "{}", large.status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_modules_compute_what_they_say_and_every_claim_has_a_seed_of_its_own() {
    let main = r#"
        #{ sha: hex::encode(crypto::sha256("abc")),
           mac: hex::encode(crypto::hmac_sha256("key", "The quick brown fox jumps over the lazy dog")),
           b64: base64::encode("hi"), back: base64::decode("aGk=").len,
           json: json::parse("{\"a\":[1,null]}").a[0], text: json::stringify(#{ a: 1 }),
           eq: crypto::constant_time_eq("a", "a"), ne: crypto::constant_time_eq("a", "ab"),
           time: time::rfc3339(0), parsed: time::parse("1970-01-01T00:00:01Z"), same: time::now() == time::now(),
           uuid: uuid::v4().len, dice: random::int(1, 6), other: uuid::v4() != uuid::v4(), v7: uuid::v7().len }
    "#;
    let manifest = Manifest::new().sync("GET /m", "main", main);
    let site = Site::with(&manifest).await;
    let got = site.app.call("GET", "/m", "").await.expect(200).json();
    assert_eq!(got["sha"], json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    assert_eq!(got["mac"], json!("f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"));
    assert_eq!((&got["b64"], &got["back"]), (&json!("aGk="), &json!(2)));
    assert_eq!((&got["json"], &got["text"]), (&json!(1), &json!("{\"a\":1}")));
    assert_eq!((&got["eq"], &got["ne"], &got["same"]), (&json!(true), &json!(false), &json!(true)));
    assert!(got["time"].as_str().unwrap().starts_with("1970-01-01T00:00:00"), "{got}");
    assert_eq!((&got["parsed"], &got["uuid"], &got["v7"]), (&json!(1000), &json!(36), &json!(36)));
    assert!((1..=6).contains(&got["dice"].as_i64().unwrap()));
    assert_eq!(got["other"], json!(true));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        seen.insert(site.app.call("GET", "/m", "").await.expect(200).json()["dice"].as_i64().unwrap());
    }
    assert!(seen.len() > 1, "T1: every claim has a seed of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_a_listing_in_a_script_pages_filters_and_reverses() {
    let source = r#"
        let o = #{}; let q = ctx.request.query;
        if "prefix" in q { o.prefix = q.prefix; }
        if "limit" in q { o.limit = parse_int(q.limit); }
        if "cursor" in q { o.cursor = q.cursor; }
        if "reverse" in q { o.reverse = true; }
        let page = kv::list("l", o);
        #{ keys: page.items.map(|i| i.key), cursor: page.cursor }
    "#;
    let site = Site::with(&Manifest::new().sync("GET /l", "l", source)).await;
    for n in 0..5 {
        site.app.put("l", &format!("a{n}"), &json!(n)).await;
        site.app.put("l", &format!("b{n}"), &json!(n)).await;
    }
    let get = |query: &str| {
        let (app, path) = (site.app.clone(), format!("/l?{query}"));
        async move { app.call("GET", &path, "").await.expect(200).json() }
    };
    let all = get("").await;
    assert_eq!(all["keys"], json!(["a0", "a1", "a2", "a3", "a4", "b0", "b1", "b2", "b3", "b4"]));
    assert!(all["cursor"].is_null(), "{all}");
    assert_eq!(get("prefix=b&reverse=1").await["keys"], json!(["b4", "b3", "b2", "b1", "b0"]));
    let first = get("prefix=a&limit=2").await;
    assert_eq!(first["keys"], json!(["a0", "a1"]));
    let cursor = first["cursor"].as_str().unwrap();
    assert_eq!(get(&format!("prefix=a&limit=2&cursor={cursor}")).await["keys"], json!(["a2", "a3"]));
}
