//! A disk that fills up under the real binary, on a small filesystem of its own: new work is refused by name,
//! nothing acknowledged is lost, and with room everything goes on by itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use relive_tests::{App, Known, Launch, Ledger, Manifest, Reply, Server, until};

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
        let mut bytes = vec![1; DISK_MIB << 20];
        while std::fs::write(self.ballast(), &bytes).is_err() {
            bytes.truncate(bytes.len().saturating_sub(64 << 10));
        }
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
