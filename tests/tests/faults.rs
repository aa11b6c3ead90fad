//! Failing and lying disks under the real binary: a failed sync ends the process, damage is refused untouched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use relive_tests::damage::{copy, cut, digests, files, find, flip};
use relive_tests::{App, Ended, Known, Launch, Ledger, Manifest};
use serde_json::json;

fn launch(data: &Path) -> Launch {
    Launch::on(data).env("RELIVE_SEGMENT_BYTES", "64KiB")
}

fn manifest() -> Manifest {
    Manifest::new().sync(
        "POST /put/{key}",
        "put",
        r#"kv::set("c", ctx.request.params.key, ctx.request.body); ()"#,
    )
}

/// Writes until there is an answer that is no success; whether all were.
async fn write(app: &App, ledger: &Ledger, name: &str, most: usize) -> bool {
    for n in 0..most {
        let key = format!("{name}-{n}");
        ledger.sent(&key);
        match app
            .data
            .try_send("POST", &format!("/shop/put/{key}"), &[], format!("marker-{key}-{}", "z".repeat(600)))
            .await
        {
            Ok(reply) if reply.status == 204 => ledger.answered(&key, Known::Acknowledged(reply.lsn())),
            Ok(_) | Err(_) => return false,
        }
    }
    true
}

async fn everything_is_there(app: &App, ledger: &Ledger, about: &str) {
    let stored = app.collection("c").await;
    for (key, known) in ledger.all() {
        let there = stored.contains_key(&key);
        assert!(there || !matches!(known, Known::Acknowledged(_)), "{about}: acknowledged and lost: {key}");
    }
}

/// A stopped directory with a few segments of acknowledged writes.
async fn filled(data: &Path) -> Ledger {
    let server = launch(data).start();
    let app = server.app("shop");
    app.deploy(&manifest()).await;
    let ledger = Ledger::default();
    assert!(write(&app, &ledger, "first", 250).await);
    assert_eq!(server.terminate().code, Some(0));
    ledger
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_a_failed_call_of_the_log_ends_the_process_and_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let origin = dir.path().join("origin");
    let first = filled(&origin).await;
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let mut unacknowledged = 0;
    for (point, errno) in (4..94).step_by(3).zip(["EIO", "EIO", "ENOSPC"].into_iter().cycle()) {
        let data = dir.path().join("data");
        copy(&origin, &data);
        let (ledger, about) = (first.deep_copy(), format!("RELIVE_FAIL_AT={point}:{errno}"));
        match launch(&data).env("RELIVE_FAIL_AT", format!("{point}:{errno}")).try_start() {
            Err(ended) => {
                assert!(matches!(ended.code, Some(70 | 74)), "{about}: {ended:?}");
                assert!(!ended.panicked(), "{about}: {}", ended.stderr);
                *ends.entry(format!("start {:?}", ended.code)).or_default() += 1;
            }
            Ok(server) => {
                if write(&server.app("shop"), &ledger, "more", 40).await {
                    *ends.entry("went on".into()).or_default() += 1;
                    drop(server.kill());
                } else {
                    let ended = server.ended();
                    assert_eq!(ended.code, Some(70), "{about}: {ended:?}");
                    assert!(!ended.stderr.trim().is_empty(), "{about}: says why");
                    *ends.entry("load 70".into()).or_default() += 1;
                    unacknowledged += ledger.counts().2;
                }
            }
        }
        let server = launch(&data).start();
        everything_is_there(&server.app("shop"), &ledger, &about).await;
        assert_eq!(server.terminate().code, Some(0), "{about}");
        std::fs::remove_dir_all(&data).unwrap();
    }
    println!("points=30 ends={ends:?} unacknowledged={unacknowledged}");
    assert!(ends.get("load 70").copied().unwrap_or(0) >= 3, "{ends:?}");
}

/// The start is refused with this code, says why, and touches nothing.
fn refused(data: &Path, code: i32, about: &str) -> Ended {
    let before = digests(data);
    let ended = match launch(data).try_start() {
        Ok(_) => panic!("{about}: served"),
        Err(ended) => ended,
    };
    assert_eq!(ended.code, Some(code), "{about}: {}", ended.stderr);
    assert!(!ended.stderr.trim().is_empty() && !ended.panicked(), "{about}: {}", ended.stderr);
    assert_eq!(digests(data), before, "{about}: the evidence was touched");
    ended
}

fn segments(data: &Path) -> Vec<PathBuf> {
    files(&data.join("log"))
}

/// Segment and offset of a value in the log.
fn place_of(data: &Path, marker: &str) -> (PathBuf, usize) {
    segments(data)
        .into_iter()
        .find_map(|path| find(&std::fs::read(&path).unwrap(), marker.as_bytes()).map(|at| (path, at)))
        .unwrap_or_else(|| panic!("{marker} stands nowhere"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_damage_in_proven_data_is_refused_with_the_evidence_and_nothing_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let origin = dir.path().join("origin");
    let ledger = filled(&origin).await;
    let data = dir.path().join("data");
    let fresh = || {
        drop(std::fs::remove_dir_all(&data));
        copy(&origin, &data);
    };
    let mut refusals = 0;
    for n in [0, 40, 120, 200] {
        fresh();
        let (segment, at) = place_of(&data, &format!("marker-first-{n}-"));
        flip(&segment, at + 8);
        let ended = refused(&data, 65, &format!("a flipped byte of write {n}"));
        assert!(ended.stderr.contains("LSN"), "says which LSNs: {}", ended.stderr);
        refusals += 1;
    }
    for (what, index) in [("first", 0), ("second", 1)] {
        fresh();
        let path = segments(&data)[index].clone();
        cut(&path, std::fs::metadata(&path).unwrap().len() / 2);
        refused(&data, 65, &format!("the {what} segment cut in half"));
        fresh();
        std::fs::remove_file(&segments(&data)[index]).unwrap();
        refused(&data, 65, &format!("the {what} segment gone"));
        refusals += 2;
    }
    fresh();
    let two = segments(&data);
    std::fs::copy(&two[1], &two[0]).unwrap();
    refused(&data, 65, "a segment twice");
    // A MANIFEST of another log, and one that is none.
    let other = dir.path().join("other");
    let _ = filled(&other).await;
    fresh();
    for manifest in files(&other)
        .iter()
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("MANIFEST")))
    {
        std::fs::copy(manifest, data.join(manifest.file_name().unwrap())).unwrap();
    }
    let before = digests(&data);
    let ended = launch(&data).try_start().map(drop).unwrap_err();
    assert!(matches!(ended.code, Some(65 | 78)), "a foreign MANIFEST: {ended:?}");
    assert_eq!(digests(&data), before);
    refusals += 2;
    // Undamaged, it still starts: the copies were good.
    fresh();
    let server = launch(&data).start();
    everything_is_there(&server.app("shop"), &ledger, "the undamaged copy").await;
    println!("refusals={refusals} acknowledged={}", ledger.counts().0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r0_a_directory_that_is_not_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("thesis.txt"), "irreplaceable").unwrap();
    let before = digests(&data);
    let ended = launch(&data).try_start().map(drop).unwrap_err();
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert_eq!(digests(&data), before, "not even a LOCK");
    let nowhere = launch(Path::new("/proc/no/such/place")).try_start().map(drop).unwrap_err();
    assert!(matches!(nowhere.code, Some(70 | 74 | 78)), "{nowhere:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v_damaged_views_are_rebuilt_and_answer_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let ledger = filled(&data).await;
    let server = launch(&data).start();
    let app = server.app("shop");
    let (before, log) = (app.collection("c").await, app.items("/log").await);
    assert_eq!(server.terminate().code, Some(0));
    let views = files(&data.join("views"));
    assert!(!views.is_empty());
    let mut spoiled = 0;
    for path in views.iter().filter(|path| std::fs::metadata(path).is_ok_and(|m| m.len() > 0)) {
        if !path.exists() {
            continue;
        }
        let len = usize::try_from(std::fs::metadata(path).unwrap().len()).unwrap();
        for at in [0, len / 2, len - 1] {
            flip(path, at);
        }
        let server = launch(&data).start();
        let app = server.app("shop");
        assert_eq!(app.collection("c").await, before, "after damage of {}", path.display());
        assert_eq!(app.items("/log").await, log);
        drop(server.kill());
        spoiled += 1;
    }
    std::fs::remove_dir_all(data.join("views")).unwrap();
    let server = launch(&data).start();
    let app = server.app("shop");
    assert_eq!(
        (app.collection("c").await, app.items("/log").await),
        (before, log),
        "deleted while stopped: nothing is lost"
    );
    assert_eq!(
        app.put("c", "more", &json!(1)).await,
        app.items("/kv/c/more/history").await[0]["lsn"].as_u64().unwrap()
    );
    println!("spoiled_files={spoiled} keys={}", ledger.counts().0);
    assert!(spoiled >= 2);
}
