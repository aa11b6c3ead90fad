//! The client against servers on loopback, and resolvers that lie.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use relive_engine::script::CallRequest;
use relive_engine::seams::{CallBounds, CallResult, Outgoing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::connect::Resolve;
use super::{Allow, HttpOutgoing};

type Boxed<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;

/// Answers each name with its lists of addresses, one after the other; the last one stays.
#[derive(Default)]
struct Names(Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>);

impl Names {
    fn put(&self, name: &str, answers: &[&[&str]]) {
        let lists = answers.iter().map(|list| list.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
        self.0.lock().insert(name.to_owned(), lists);
    }
}

impl Resolve for Names {
    fn resolve(&self, host: String) -> Boxed<std::io::Result<Vec<IpAddr>>> {
        let mut names = self.0.lock();
        let found = names
            .get_mut(&host)
            .map(|lists| if lists.len() > 1 { lists.remove(0) } else { lists[0].clone() });
        Box::pin(async move { found.ok_or_else(|| std::io::Error::other("no such name")) })
    }
}

/// A server on loopback that answers by path and keeps what it was sent.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start(runtime: &Runtime) -> Server {
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let connections: Arc<AtomicUsize> = Arc::default();
        let (into, count) = (Arc::clone(&seen), Arc::clone(&connections));
        runtime.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let into = Arc::clone(&into);
                tokio::spawn(async move {
                    let mut bytes = vec![0; 64 << 10];
                    while let Ok(len @ 1..) = stream.read(&mut bytes).await {
                        let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
                        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                        into.lock().push(text);
                        if path == "/hang" {
                            std::future::pending::<()>().await;
                        }
                        if stream.write_all(answer(&path, address.port()).as_bytes()).await.is_err() {
                            return;
                        }
                        if path == "/broken" {
                            return;
                        }
                    }
                });
            }
        });
        Server { address, seen, connections }
    }
}

fn answer(path: &str, port: u16) -> String {
    let ok = |body: &str| {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nX-A: 1\r\nx-a: 2\r\n\r\n{body}", body.len())
    };
    let to = |url: &str| format!("HTTP/1.1 302 Found\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n");
    match path {
        "/loop" => to("/loop"),
        "/to-private" => to(&format!("http://private.test:{port}/secret")),
        "/to-literal" => to("http://169.254.169.254/latest/meta-data"),
        "/to-mapped" => to(&format!("http://[::ffff:127.0.0.1]:{port}/secret")),
        "/to-number" => to(&format!("http://2130706433:{port}/secret")),
        "/to-other" => to(&format!("http://other.test:{port}/plain")),
        "/to-file" => to("file:///etc/passwd"),
        "/missing" => "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone".to_owned(),
        "/long" => ok(&"x".repeat(2000)),
        "/chunked" => format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n{}\r\n0\r\n\r\n",
            "x".repeat(2000)
        ),
        "/broken" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_owned(),
        "/no-http" => "SSH-2.0-OpenSSH_9.9\r\n".to_owned(),
        _ => ok(path),
    }
}

struct Rig {
    runtime: Runtime,
    server: Server,
    names: Arc<Names>,
    outgoing: HttpOutgoing,
}

/// `here.test` leads to the server and is allowed.
fn rig() -> Rig {
    rig_allowing("here.test, other.test")
}

fn rig_allowing(allow: &str) -> Rig {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = Server::start(&runtime);
    let names = Arc::new(Names::default());
    for name in ["here.test", "other.test", "private.test"] {
        names.put(name, &[&["127.0.0.1"]]);
    }
    let resolver = Arc::clone(&names) as Arc<dyn Resolve>;
    let sensitive = vec!["x-api-key".to_owned()];
    let outgoing = HttpOutgoing::resolving_with(
        runtime.handle().clone(),
        Allow::parse(allow).unwrap(),
        sensitive,
        resolver,
    );
    Rig { runtime, server, names, outgoing }
}

impl Rig {
    fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.server.address.port())
    }

    fn call(&self, request: CallRequest, timeout_ms: u64) -> CallResult {
        let (sender, receiver) = std::sync::mpsc::channel();
        let bounds = CallBounds { timeout_ms, response_bytes_max: 1000 };
        self.outgoing.start(request, bounds, Box::new(move |result| sender.send(result).unwrap()));
        let result = receiver.recv_timeout(Duration::from_secs(20)).expect("W3: called once");
        assert!(receiver.recv().is_err(), "W3: called once only");
        result
    }

    fn get(&self, url: &str) -> CallResult {
        self.call(CallRequest { method: "GET".into(), url: url.into(), ..CallRequest::default() }, 5000)
    }

    fn refused(&self, url: &str, part: &str) {
        let message = self.get(url).expect_err(url).message;
        assert!(message.starts_with("http: ") && message.contains(part), "{url}: {message}");
    }
}

#[test]
fn an_answer_comes_back_whole() {
    let rig = rig();
    let request = CallRequest {
        method: "POST".into(),
        url: rig.url("here.test", "/plain?q=1#frag"),
        headers: vec![("x-b".into(), "1".into()), ("x-b".into(), "2".into())],
        body: b"the body".to_vec(),
        timeout_ms: None,
    };
    let answer = rig.call(request, 5000).unwrap();
    assert_eq!((answer.status, &answer.body[..], answer.masked), (200, &b"/plain?q=1"[..], false));
    let twice: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "x-a").map(|(_, v)| v).collect();
    assert_eq!(twice, ["1", "2"]);
    let seen = rig.server.seen.lock().join("\n");
    for part in [
        "POST /plain?q=1 HTTP/1.1",
        "x-b: 1\r\nx-b: 2",
        "content-length: 8",
        "user-agent: relive/",
        "the body",
    ] {
        assert!(seen.contains(part), "{seen} lacks {part}");
    }
    assert_eq!(rig.get(&rig.url("here.test", "/missing")).unwrap().status, 404, "an answer");
}

#[test]
fn connections_are_used_again() {
    let rig = rig();
    for _ in 0..5 {
        rig.get(&rig.url("here.test", "/x")).unwrap();
    }
    assert_eq!(rig.server.connections.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_not_public_is_refused_and_no_connection_is_made() {
    let rig = rig();
    let port = rig.server.address.port();
    for (host, part) in [
        ("private.test", "a loopback address"),
        ("127.0.0.1", "a loopback address"),
        ("127.1", "a loopback address"),
        ("2130706433", "a loopback address"),
        ("0x7f000001", "a loopback address"),
        ("0177.0.0.1", "a loopback address"),
        ("0.0.0.0", "an unspecified address"),
        ("[::1]", "a loopback address"),
        ("[::]", "an unspecified address"),
        ("[::ffff:127.0.0.1]", "a loopback address"),
        ("[::ffff:7f00:1]", "a loopback address"),
        ("[fe80::1]", "a link-local address"),
        ("10.1.2.3", "a private address"),
        ("169.254.169.254", "a link-local address"),
        ("nowhere.test", "could not be resolved"),
    ] {
        rig.refused(&format!("http://{host}:{port}/secret"), part);
    }
    rig.refused("https://private.test/", "a loopback address");
    rig.refused("http://user:pass@here.test/", "carries credentials");
    rig.refused("http://", "not valid");
    assert_eq!(rig.server.connections.load(Ordering::Relaxed), 0);
}

#[test]
fn w1_a_name_that_changes_its_mind_reaches_only_what_was_checked() {
    let rig = rig_allowing("");
    // Public when it is judged, loopback when the connection is made: DNS rebinding.
    rig.names.put("rebind.test", &[&["93.184.216.34"], &["127.0.0.1"]]);
    rig.refused(&rig.url("rebind.test", "/secret"), "a loopback address");
    // Public and private at once: what is private is left out. (TEST-NET addresses are not public.)
    rig.names.put("both.test", &[&["127.0.0.1", "192.0.2.1", "10.0.0.1"]]);
    rig.refused(&rig.url("both.test", "/secret"), "a loopback address");
    assert_eq!(rig.server.connections.load(Ordering::Relaxed), 0);
}

#[test]
fn w1_of_several_addresses_only_allowed_ones_are_connected_to() {
    let rig = rig_allowing("127.0.0.2/32");
    rig.names.put("mixed.test", &[&["127.0.0.1", "127.0.0.2"]]);
    // Nothing listens on 127.0.0.2; the server on 127.0.0.1 must not be reached instead.
    rig.refused(&rig.url("mixed.test", "/secret"), "no connection to `mixed.test`");
    assert_eq!(rig.server.connections.load(Ordering::Relaxed), 0);
}

#[test]
fn w2_every_hop_of_a_redirect_is_judged_again() {
    let rig = rig();
    for (path, part) in [
        ("/to-private", "a loopback address"),
        ("/to-literal", "a link-local address"),
        ("/to-mapped", "a loopback address"),
        ("/to-number", "a loopback address"),
        ("/to-file", "not of http or https"),
        ("/loop", "more than 10 redirects"),
    ] {
        rig.refused(&rig.url("here.test", path), part);
    }
    let seen = rig.server.seen.lock().join("\n");
    assert!(!seen.contains("/secret"), "{seen}");
}

#[test]
fn w4_credentials_do_not_follow_to_another_origin() {
    let rig = rig();
    let headers = ["authorization", "cookie", "x-api-key", "x-other"];
    let request = CallRequest {
        method: "GET".into(),
        url: rig.url("here.test", "/to-other"),
        headers: headers.map(|name| (name.to_owned(), "v".to_owned())).to_vec(),
        ..CallRequest::default()
    };
    assert_eq!(&rig.call(request, 5000).unwrap().body[..], b"/plain");
    let seen = rig.server.seen.lock();
    assert!(headers.iter().all(|name| seen[0].contains(&format!("{name}: v"))), "{}", seen[0]);
    assert!(seen[1].contains("x-other: v") && !seen[1].contains("authorization"), "{}", seen[1]);
    assert!(!seen[1].contains("cookie") && !seen[1].contains("x-api-key"), "{}", seen[1]);
}

#[test]
fn answers_are_bounded_in_size_and_time() {
    let rig = rig();
    rig.refused(&rig.url("here.test", "/long"), "longer than 1000 bytes");
    rig.refused(&rig.url("here.test", "/chunked"), "longer than 1000 bytes");
    rig.refused(&rig.url("here.test", "/broken"), "broke off");
    rig.refused(&rig.url("here.test", "/no-http"), "");
    let since = Instant::now();
    let request =
        CallRequest { method: "GET".into(), url: rig.url("here.test", "/hang"), ..CallRequest::default() };
    assert_eq!(rig.call(request, 200).unwrap_err().message, "http: no answer within 200 ms");
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[test]
fn w3_a_runtime_that_ends_answers_too() {
    let rig = rig();
    let (sender, receiver) = std::sync::mpsc::channel();
    let request =
        CallRequest { method: "GET".into(), url: rig.url("here.test", "/hang"), ..CallRequest::default() };
    let bounds = CallBounds { timeout_ms: 60_000, response_bytes_max: 10 };
    rig.outgoing.start(request, bounds, Box::new(move |result| sender.send(result).unwrap()));
    while rig.server.seen.lock().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    rig.runtime.shutdown_timeout(Duration::from_secs(5));
    let result = receiver.recv_timeout(Duration::from_secs(5)).expect("an answer");
    assert_eq!(result.unwrap_err().message, "http: the instance is shutting down");
}

#[test]
fn tls_is_checked() {
    // The server speaks no TLS: the handshake fails, and says so.
    let rig = rig();
    rig.refused(&format!("https://here.test:{}/x", rig.server.address.port()), "");
}
