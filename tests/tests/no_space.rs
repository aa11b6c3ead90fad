//! A disk that fills up under the real binary, on a small filesystem of its own: new work is refused by name,
//! nothing acknowledged is lost, and with room everything goes on by itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use relive_tests::{App, Known, Launch, Ledger, Manifest, Reply, Server, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Size of the filesystem.
const DISK_MIB: usize = 24;
/// Bytes of one value.
const VALUE_BYTES: usize = 6000;

/// A small filesystem in memory; unmounted when it is dropped.
struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    /// `None`, said aloud, where nothing can be mounted.
    fn mount(dir: &Path) -> Option<SmallDisk> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m"), "tmpfs"])
            .arg(dir)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk { dir: dir.to_owned() }),
            Ok(output) => {
                println!("SKIPPED: no tmpfs can be mounted: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                println!("SKIPPED: no tmpfs can be mounted: {error}");
                None
            }
        }
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// Writes a file until nothing fits.
    fn fill(&self) {
        let bytes = vec![1; 4096];
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        while std::io::Write::write_all(&mut file, &bytes).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}

fn start(disk: &SmallDisk) -> Server {
    Launch::on(&disk.dir.join("data")).env("RELIVE_SEGMENT_BYTES", "256KiB").start()
}

fn manifest() -> Manifest {
    Manifest::new().sync(
        "POST /put/{key}",
        "put",
        r#"kv::set("c", ctx.request.params.key, ctx.request.body); ()"#,
    )
}

/// Puts fresh keys until one is refused; the refusal.
async fn fill_log(app: &App, ledger: &Ledger, name: &str) -> Reply {
    for n in 0..5000 {
        let key = format!("{name}-{n}");
        ledger.sent(&key);
        let reply = app.call("POST", &format!("/put/{key}"), &"z".repeat(VALUE_BYTES)).await;
        if reply.status != 204 {
            return reply;
        }
        ledger.answered(&key, Known::Acknowledged(reply.lsn()));
    }
    panic!("the disk does not fill up");
}

async fn space(app: &App) -> String {
    let ready = app.admin.get("/readyz").await.expect(200).json();
    ready["space"].as_str().unwrap_or("missing").to_owned()
}

async fn everything_is_there(app: &App, ledger: &Ledger) {
    let stored = app.collection("c").await;
    for (key, known) in ledger.all() {
        let acknowledged = matches!(known, Known::Acknowledged(_));
        assert!(!acknowledged || stored.contains_key(&key), "I17: acknowledged and lost: {key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_a_full_disk_refuses_new_work_loses_nothing_and_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    let server = start(&disk);
    let app = server.app("shop");
    app.deploy(&manifest()).await;
    assert_eq!(space(&app).await, "ample");
    disk.fill();
    let ledger = Ledger::default();
    let refused = fill_log(&app, &ledger, "first").await;
    refused.problem(503, "no_space");
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(space(&app).await, "low");
    let instance = app.admin.get("/api/v1/instance").await.expect(200).json();
    assert_eq!((&instance["space"]["state"], &instance["space"]["shortages"]), (&"low".into(), &1.into()));
    let written =
        app.admin.put(&app.key_path("c", "admin"), &serde_json::json!("z".repeat(VALUE_BYTES))).await;
    written.problem(507, "no_space");
    everything_is_there(&app, &ledger).await;

    disk.free();
    until("there is room again", || async { (space(&app).await == "ample").then_some(()) }).await;
    let reply = app.call("POST", "/put/after", "x").await.expect(204);
    ledger.answered("after", Known::Acknowledged(reply.lsn()));
    drop(app);
    server.kill();
    let server = start(&disk);
    let app = server.app("shop");
    everything_is_there(&app, &ledger).await;
    assert_eq!(server.terminate().code, Some(0));
}

/// A server that takes calls and answers when it is told to.
struct Held {
    port: u16,
    asked: Arc<AtomicUsize>,
    answer: watch::Sender<bool>,
}

impl Held {
    async fn start() -> Held {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, answer) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(false));
        let (count, told) = (Arc::clone(&asked), answer.subscribe());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (count, mut told) = (Arc::clone(&count), told.clone());
                tokio::spawn(async move {
                    let mut bytes = vec![0; 4096];
                    drop(stream.read(&mut bytes).await);
                    count.fetch_add(1, Ordering::Relaxed);
                    drop(told.wait_for(|now| *now).await);
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                    drop(stream.write_all(answer).await);
                });
            }
        });
        Held { port, asked, answer }
    }
}

/// What was begun before the disk was full ends while it is full: commits with their writes, failures with their
/// retries, dead letters; and what brings an instance to rest is accepted. What was admitted and had not begun goes on by
/// itself once there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_admitted_work_ends_in_the_reserve_while_the_disk_is_full() {
    const BEGUN: usize = 6;
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    let held = Held::start().await;
    let launch = || {
        Launch::on(&disk.dir.join("data"))
            .env("RELIVE_SEGMENT_BYTES", "256KiB")
            .env("RELIVE_HTTP_ALLOW", format!("127.0.0.1:{}", held.port))
            .env("RELIVE_MAX_CONCURRENT_EXECUTIONS", "16")
            .env("RELIVE_EXECUTION_TIMEOUT_MS", "60000")
    };
    let server = launch().start();
    let app = server.app("shop");
    let call = format!(
        r#"http::request(#{{method: "GET", url: "http://127.0.0.1:{}/", timeout_ms: 60000}});"#,
        held.port
    );
    let once = "retry = { max_attempts = 1 }";
    let twice = r#"retry = { max_attempts = 2, backoff = "fixed", base_ms = 1, max_ms = 1, jitter_pct = 0 }"#;
    let manifest = manifest()
        .asynchronous(
            "POST /good/{k}",
            "good",
            &format!("{call} kv::set(\"done\", ctx.request.params.k, 1)"),
            once,
        )
        .asynchronous("POST /bad", "bad", &format!("{call} throw \"no\""), once)
        .asynchronous(
            "POST /again",
            "again",
            &format!("{call} if ctx.attempt == 1 {{ throw \"once more\" }}"),
            twice,
        )
        .sync("POST /wait", "wait", &format!("{call} kv::set(\"done\", \"sync\", 1); \"answered\""));
    app.deploy(&manifest).await;
    for n in 0..BEGUN - 2 {
        drop(app.call("POST", &format!("/good/{n}"), "").await.expect(202));
    }
    let bad = app.call("POST", "/bad", "").await.expect(202).json();
    let retried = app.call("POST", "/again", "").await.expect(202).json();
    let waiting = app.clone();
    let sync = tokio::spawn(async move { waiting.call("POST", "/wait", "").await });
    until("all to be under way", || async {
        (held.asked.load(Ordering::Relaxed) == BEGUN + 1).then_some(())
    })
    .await;
    disk.fill();
    let ledger = Ledger::default();
    fill_log(&app, &ledger, "full").await.problem(503, "no_space");
    assert_eq!(space(&app).await, "low");
    held.answer.send_replace(true);
    let answered = sync.await.unwrap().expect(200);
    assert_eq!(answered.text(), "answered");
    let keys = until("their commits", || async {
        let keys = app.collection("done").await;
        (keys.len() == BEGUN - 1).then_some(keys)
    })
    .await;
    assert!(keys.contains_key("sync") && keys.contains_key("0"), "{keys:?}");
    let id = |accepted: &serde_json::Value| accepted["execution_id"].as_str().unwrap().to_owned();
    app.execution_in(&id(&bad), "dead_lettered").await;
    app.execution_in(&id(&retried), "retrying|running|completed").await;
    assert_eq!(space(&app).await, "low", "all of that happened on a full disk");
    // What makes room, or less work, is accepted.
    let letter = app.letters("status=open").await[0]["id"].as_str().unwrap().to_owned();
    let resolve = app.path(&format!("/dead-letters/{letter}/resolve"));
    assert!(app.admin.post(&resolve, &serde_json::json!({})).await.status < 300);
    let pause = serde_json::json!({"paused": true});
    let paused = app.admin.send("PATCH", &app.path(""), &[], pause.to_string()).await;
    drop(paused.expect(200));
    app.call("POST", "/put/no", "x").await.problem(503, "app_paused");
    everything_is_there(&app, &ledger).await;
    // A crash here, still without room: served again, still refusing, nothing lost.
    server.kill();
    let again = launch().start();
    let app = again.app("shop");
    everything_is_there(&app, &ledger).await;
    assert_eq!(app.collection("done").await.len(), BEGUN - 1);
    let resume = serde_json::json!({"paused": false});
    drop(app.admin.send("PATCH", &app.path(""), &[], resume.to_string()).await.expect(200));
    let log = again.stderr();
    assert!(log.contains("the reserve is given up") || log.contains("low"), "{log}");
    fill_log(&app, &ledger, "still-full").await.problem(503, "no_space");
    disk.free();
    app.execution_in(&id(&retried), "completed").await;
    until("there is room again", || async { (space(&app).await == "ample").then_some(()) }).await;
    drop(app.call("POST", "/put/after", "x").await.expect(204));
    everything_is_there(&app, &ledger).await;
    assert_eq!(again.terminate().code, Some(0));
}

/// Without the reserve file and without a single free byte the views cannot be opened: the start says so, with the code of
/// a disk, and changes nothing; with room the next one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_a_start_that_finds_no_room_at_all_says_so_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    let server = start(&disk);
    let app = server.app("shop");
    app.deploy(&manifest()).await;
    drop(app.call("POST", "/put/k", "x").await.expect(204));
    let reserve = disk.dir.join("data/reserve");
    until("the reserve", || async { reserve.exists().then_some(()) }).await;
    server.kill();
    std::fs::remove_file(&reserve).unwrap();
    disk.fill();
    let ended = Launch::on(&disk.dir.join("data")).env("RELIVE_SEGMENT_BYTES", "256KiB").try_start();
    let ended = ended.map(|_| ()).unwrap_err();
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.stderr.contains("no space") && ended.stderr.contains("free some space"), "{ended:?}");
    assert!(!disk.dir.join("data/quarantine").exists(), "sound views are not thrown away");
    disk.free();
    let server = start(&disk);
    let app = server.app("shop");
    assert_eq!(app.value("c", "k").await, Some(serde_json::json!("x")));
    assert_eq!(server.terminate().code, Some(0));
}
