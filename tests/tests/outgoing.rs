//! Outgoing calls of scripts through the real binary: a server on loopback, allowed by setting, and one that is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use relive_tests::{Launch, Manifest};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers `METHOD path n`, n counting from 1; `/boom` with 503, `/inside` with a redirect to loopback by number.
pub(crate) async fn world() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut bytes = vec![0; 16 << 10];
                while let Ok(len @ 1..) = stream.read(&mut bytes).await {
                    let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
                    let mut words = text.split(' ');
                    let (method, path) = (words.next().unwrap(), words.next().unwrap());
                    let n = counted.fetch_add(1, Ordering::Relaxed) + 1;
                    let (status, location) = match path {
                        "/boom" => ("503 Busy", String::new()),
                        "/inside" => ("302 Found", format!("location: http://2130706433:{port}/x\r\n")),
                        _ => ("200 OK", String::new()),
                    };
                    let body = format!("{method} {path} {n}");
                    let head =
                        format!("HTTP/1.1 {status}\r\n{location}content-length: {}\r\n\r\n", body.len());
                    stream.write_all((head + &body).as_bytes()).await.unwrap();
                }
            });
        }
    });
    (port, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_call_out_and_the_journal_keeps_every_answer() {
    let (port, count) = world().await;
    let dir = tempfile::tempdir().unwrap();
    let server = Launch::on(dir.path()).env("RELIVE_HTTP_ALLOW", format!("localhost:{port}")).start();
    let app = server.app("shop");
    let calls = format!(
        r#"
        let ok = http::get("http://localhost:{port}/a");
        let boom = http::post("http://localhost:{port}/boom", #{{n: 1}});
        let refused = "";
        try {{ http::get("http://127.0.0.1:{port}/b") }} catch (e) {{ refused = e.message }}
        let inside = "";
        try {{ http::get("http://localhost:{port}/inside") }} catch (e) {{ inside = e.message }}
        [ok.body, boom.status, boom.body, refused, inside]"#
    );
    app.deploy(&Manifest::new().sync("POST /go", "go", &calls)).await;
    let reply = app.call("POST", "/go", "").await.expect(200);
    let got = reply.json();
    assert_eq!(got[0], json!("GET /a 1"));
    assert_eq!((&got[1], &got[2]), (&json!(503), &json!("POST /boom 2")));
    for at in [3, 4] {
        let text = got[at].as_str().unwrap();
        assert!(text.contains("a loopback address") && text.contains("RELIVE_HTTP_ALLOW"), "{text}");
    }
    assert_eq!(count.load(Ordering::Relaxed), 3, "what is refused is never asked");
    let shown = app.get(&format!("/executions/{}", reply.execution())).await;
    let journal = shown["attempts"][0]["http"].as_array().unwrap();
    assert_eq!(journal.len(), 4);
    assert_eq!(journal[0]["request"]["method"], json!("GET"));
    assert_eq!(journal[0]["response"]["body"], json!("GET /a 1"));
    assert_eq!(journal[1]["response"]["status"], json!(503));
    assert_eq!(journal[1]["request"]["body"], json!("{\"n\":1}"));
    assert!(journal[2]["response"]["error"].as_str().unwrap().contains("loopback"));
    assert_eq!(journal[0]["line"], json!(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_private_is_reached_without_the_setting() {
    let (port, count) = world().await;
    let dir = tempfile::tempdir().unwrap();
    let server = Launch::on(dir.path()).start();
    let app = server.app("shop");
    let source =
        format!("let url = ctx.request.body;\nurl.replace(\"PORT\", \"{port}\");\nhttp::get(url).body");
    app.deploy(&Manifest::new().sync("POST /go", "go", &source)).await;
    for url in [
        "http://localhost:PORT/",
        "http://127.0.0.1:PORT/",
        "http://[::1]:PORT/",
        "http://0:PORT/",
        "http://0x7f.1:PORT/",
        "http://[::ffff:127.0.0.1]:PORT/",
        "http://169.254.169.254/latest/meta-data/",
    ] {
        let reply = app.call("POST", "/go", url).await;
        assert_eq!(reply.status, 422, "{url}: {reply}");
        let record = app.execution_in(&reply.execution(), "failed").await;
        let message = record["last_error"]["message"].as_str().unwrap();
        assert!(message.contains("RELIVE_HTTP_ALLOW"), "{url}: {message}");
    }
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_imports_are_versioned_with_the_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let server = Launch::on(dir.path()).start();
    let app = server.app("shop");
    let manifest = |lib: &str| {
        Manifest::new().script("lib", lib).sync("POST /go", "go", "import \"lib\" as l;\nl::f(2)")
    };
    app.deploy(&manifest("fn f(x) { x + 1 }")).await;
    assert_eq!(app.call("POST", "/go", "").await.expect(200).json(), json!(3));
    app.deploy(&manifest("fn f(x) { x * 10 }")).await;
    let reply = app.call("POST", "/go", "").await.expect(200);
    assert_eq!(reply.json(), json!(20));
    let shown = app.get(&format!("/executions/{}", reply.execution())).await;
    assert_eq!(shown["attempts"][0]["version"], json!(1));
    assert_eq!(shown["attempts"][0]["imports"], json!([{"script": "lib", "version": 2}]));
    app.deploy(&manifest("fn f(x) {\n  x.nothing()\n}")).await;
    let reply = app.call("POST", "/go", "").await;
    assert_eq!(reply.status, 422, "{reply}");
    let record = app.execution_in(&reply.execution(), "failed").await;
    assert_eq!(record["last_error"]["line"], json!(2));
    let message = record["last_error"]["message"].as_str().unwrap();
    assert!(message.contains("(in `lib`, line 2, column 5)"), "{message}");
    let circle = app.try_deploy(&manifest("import \"go\" as g;")).await;
    assert_eq!(circle.status, 422, "{circle}");
    assert!(circle.text().contains("in a circle"), "{circle}");
}
