//! V6 to V8, P8, P11: whatever happens to the files under `views/`, the answer is a rebuild with the same digest.

#![expect(clippy::disallowed_methods, reason = "tests harm files behind the seam's back")]

use std::path::{Path, PathBuf};

use relive_log::Lsn;

use super::opening::filled;
use super::rig::{Rig, settle};
use crate::{RebuildReason, ViewsError};

fn relative(rig: &Rig) -> Vec<PathBuf> {
    rig.files().iter().map(|file| file.strip_prefix(&rig.options.dir).unwrap().to_path_buf()).collect()
}

/// Does something to each file in turn; the views must come back, rebuilt or not.
fn each_file(harm: impl Fn(&Path), rebuilt: impl Fn(&str) -> Option<bool>) {
    let probe = Rig::sled();
    drop(filled(&probe));
    let names = relative(&probe);
    assert!(names.iter().any(|name| name.extension().is_some_and(|e| e == "kv")), "{names:?}");
    assert!(names.iter().any(|name| name.extension().is_some_and(|e| e == "ended")), "{names:?}");
    for name in names {
        let rig = Rig::sled();
        drop(filled(&rig));
        let path = rig.options.dir.join(&name);
        if !path.exists() {
            continue;
        }
        harm(&path);
        let (views, opened) = rig.open();
        let fresh = rig.log.rebuilt(rig.log.last());
        assert_eq!(views.digest().unwrap(), fresh.digest().unwrap(), "{}", name.display());
        let file = name.file_name().unwrap().to_string_lossy().into_owned();
        if let Some(expected) = rebuilt(&file) {
            assert_eq!(opened.rebuilt.is_some(), expected, "{}: {:?}", name.display(), opened.rebuilt);
        }
        rig.log.commit(&views, vec![super::generator::put(super::generator::app(0), "c", "later", "1")]);
        settle(&views, rig.log.last());
        drop(views);
        let (_, opened) = rig.try_open().unwrap();
        assert_eq!((opened.rebuilt, opened.applied), (None, rig.log.last()), "{}", name.display());
    }
}

/// Runs must be rebuilt; the evidence is not needed; of sled's own files it depends.
fn runs_only(file: &str) -> Option<bool> {
    match file {
        "applied" => Some(false),
        "CURRENT" => Some(true),
        run if run.starts_with("run-") => Some(true),
        _ => None,
    }
}

#[test]
fn v7_deleted_files() {
    each_file(|path| std::fs::remove_file(path).unwrap(), runs_only);
}

#[test]
fn v7_empty_files() {
    each_file(|path| std::fs::write(path, b"").unwrap(), runs_only);
}

#[test]
fn v7_garbled_files() {
    let garble = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let len = bytes.len();
        for (i, byte) in bytes.iter_mut().enumerate() {
            if i % 64 == 7 || i + 20 > len {
                *byte ^= 0x5a;
            }
        }
        std::fs::write(path, bytes).unwrap();
    };
    each_file(garble, runs_only);
}

#[test]
fn v7_halved_files() {
    let halve = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    each_file(halve, runs_only);
}

#[test]
fn v6_a_half_written_snapshot_of_sled_does_not_keep_the_views_shut() {
    let rig = Rig::sled();
    drop(filled(&rig));
    let sled = rig.options.dir.join("1/sled");
    std::fs::write(sled.join("snap.FFFFFFFFFFFFFFFF.generating"), b"torn").unwrap();
    let (views, opened) = rig.try_open().unwrap();
    assert_eq!((opened.rebuilt, opened.applied), (None, rig.log.last()));
    assert_eq!(views.digest().unwrap(), rig.log.rebuilt(rig.log.last()).digest().unwrap());
}

#[test]
fn v8_a_row_that_changed_in_the_store_is_found() {
    let rig = Rig::sled();
    drop(filled(&rig));
    let db = sled::open(rig.options.dir.join("1/sled")).unwrap();
    let (key, _) = db.iter().nth(3).unwrap().unwrap();
    db.remove(key).unwrap();
    drop(db);
    let (_, opened) = rig.open();
    assert!(matches!(opened.rebuilt, Some(RebuildReason::Damaged(why)) if why.contains("digest")));
}

#[test]
fn damage_found_while_running_is_reported_and_the_next_start_rebuilds() {
    let mut rig = Rig::sled();
    rig.options.limits.merge_ratio = 5;
    let views = filled(&rig);
    for file in rig.files().iter().filter(|file| file.extension().is_some_and(|e| e == "kv")) {
        let mut bytes = std::fs::read(file).unwrap();
        bytes[80] ^= 1;
        std::fs::write(file, bytes).unwrap();
    }
    assert!(views.digest().is_err());
    assert!(matches!(views.maintain(rig.log.last()), Err(ViewsError::Broken(_))));
    drop(views);
    let (views, opened) = rig.open();
    assert_eq!(opened.rebuilt, Some(RebuildReason::MarkedBroken));
    assert_eq!(views.digest().unwrap(), rig.log.rebuilt(rig.log.last()).digest().unwrap());
}

#[test]
fn p11_no_value_source_or_secret_stands_under_views() {
    let rig = Rig::sled();
    let views = filled(&rig);
    views.close(rig.log.last()).unwrap();
    drop(views);
    let mut seen = Vec::new();
    for file in rig.files() {
        let bytes = std::fs::read(&file).unwrap();
        for needle in ["value-", "let source", "sealed-secret-bytes"] {
            let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!found, "{needle} in {}", file.display());
        }
        seen.extend(bytes.windows(7).any(|window| window == b"handler").then_some(()));
    }
    assert!(!seen.is_empty(), "rows are there");
    assert!(rig.log.last() > Lsn(60));
}
