//! V4 to V10: what opening does with what it finds.

#![expect(clippy::disallowed_methods, reason = "tests harm files behind the seam's back")]

use relive_log::evidence::APPLIED_NAME;
use relive_log::{Lsn, UnixMicros, evidence};

use super::generator::{
    app, app_created, claimed, completed, delete, deployed, enqueued, execution, failed, put, put_until,
    secret_set, trigger,
};
use super::rig::{Rig, settle};
use crate::disk::generation;
use crate::{IfAhead, RebuildReason, Trust, Views, ViewsError, Waiting};
use relive_log::disk::OpenMode;
use relive_log::events::{AfterFailure, ErrorKind, Source};

/// A rig whose views hold a bit of everything, on disk.
pub(super) fn filled(rig: &Rig) -> Views {
    let (views, _) = rig.open();
    rig.log.commit(&views, vec![app_created(app(0), "shop"), deployed(app(0), "s", 1, "let source = 1;")]);
    rig.log.commit(&views, vec![secret_set(app(0), "k", 1)]);
    for n in 0..30_u8 {
        let key = format!("k{}", n % 7);
        rig.log.commit(&views, vec![put(app(0), "c", &key, &format!("\"value-{n}-of-{key}\""))]);
        rig.log.commit(
            &views,
            vec![enqueued(app(0), execution(n), Source::Direct), claimed(app(0), execution(n), 1)],
        );
        if n % 3 > 0 {
            rig.log.commit(&views, vec![completed(app(0), execution(n), 1), delete(app(0), "d", &key)]);
        }
        settle(&views, rig.log.last());
    }
    views
}

fn check_rebuilt(rig: &Rig, reason: &RebuildReason) {
    let (views, opened) = rig.open();
    assert_eq!((opened.rebuilt.as_ref(), opened.applied), (Some(reason), Lsn::ZERO));
    assert_eq!(views.digest().unwrap(), rig.log.rebuilt(rig.log.last()).digest().unwrap());
    settle(&views, rig.log.last());
    drop(views);
    let (_, opened) = rig.try_open().unwrap();
    assert_eq!((opened.rebuilt, opened.applied), (None, rig.log.last()), "the rebuilt ones are in force");
}

#[test]
fn v9_a_new_log_begins_a_generation_and_needs_no_rebuild() {
    let rig = Rig::sled();
    let (views, opened) = rig.open();
    assert_eq!((opened.generation, opened.rebuilt), (1, None));
    rig.log.commit(&views, vec![app_created(app(0), "shop")]);
    views.close(rig.log.last()).unwrap();
    drop(views);
    let (views, opened) = rig.try_open().unwrap();
    assert_eq!((opened.applied, opened.rebuilt), (Lsn(1), None));
    assert!(views.registry().app_by_slug("shop").is_some());
}

#[test]
fn v5_another_boot_discards_and_rebuilds() {
    let mut rig = Rig::sled();
    drop(filled(&rig));
    rig.options.trust = Trust::Discard;
    let (views, opened) = rig.open();
    assert_eq!(opened.rebuilt, Some(RebuildReason::NotTrusted));
    drop(views);
    rig.options.trust = Trust::Open;
    check_rebuilt(&rig, &RebuildReason::Missing);
}

#[test]
fn v7_foreign_views_are_rebuilt() {
    let mut rig = Rig::sled();
    drop(filled(&rig));
    rig.options.timeline = 2;
    check_rebuilt(&rig, &RebuildReason::Foreign);
    assert!(rig.options.quarantine.join("views-1").exists());
    rig.options.log_id = [8; 16];
    check_rebuilt(&rig, &RebuildReason::Foreign);
    assert!(!rig.options.quarantine.join("views-1").exists(), "the last one only");
    assert!(rig.options.quarantine.join("views-2").exists());
}

#[test]
fn v7_views_ahead_of_the_log_are_evidence_of_loss() {
    let mut rig = Rig::sled();
    drop(filled(&rig));
    let had = rig.log.last();
    rig.log.truncate(Lsn(20));
    let error = rig.try_open().unwrap_err();
    assert!(matches!(error, ViewsError::AheadOfLog { applied, last } if applied == had && last == Lsn(20)));
    assert_eq!(error.exit_code(), 65);
    // Even if they could not be trusted for anything else.
    rig.options.trust = Trust::Discard;
    assert!(matches!(rig.try_open(), Err(ViewsError::AheadOfLog { .. })));
    rig.options.trust = Trust::Open;
    rig.options.if_ahead = IfAhead::AcceptLoss;
    check_rebuilt(&rig, &RebuildReason::AheadOfLog);
}

#[test]
fn v9_half_built_generations_and_orphans_are_removed() {
    let rig = Rig::sled();
    let views = filled(&rig);
    drop(views);
    let dir = generation::path(&rig.options.dir, 1);
    std::fs::create_dir_all(rig.options.dir.join("7/sled/blobs")).unwrap();
    std::fs::write(rig.options.dir.join("7/run-000000000001.kv"), b"half").unwrap();
    std::fs::write(dir.join("run-000000999999.kv"), b"orphan").unwrap();
    std::fs::write(dir.join("tmp-run-000000999998.kv"), b"half").unwrap();
    let (views, opened) = rig.try_open().unwrap();
    assert_eq!((opened.rebuilt, opened.generation), (None, 1));
    assert!(!rig.options.dir.join("7").exists());
    assert!(!dir.join("run-000000999999.kv").exists() && !dir.join("tmp-run-000000999998.kv").exists());
    assert_eq!(views.digest().unwrap(), rig.log.rebuilt(rig.log.last()).digest().unwrap());
}

#[test]
fn p10_current_names_a_rebuilt_generation_only_when_it_caught_up() {
    let rig = Rig::sled();
    drop(filled(&rig));
    std::fs::remove_file(rig.options.dir.join("CURRENT")).unwrap();
    let (views, opened) = rig.try_open().unwrap();
    assert_eq!(opened.rebuilt, Some(RebuildReason::Missing));
    for batch in rig.log.batches().iter().take(10) {
        views.apply(&batch.folded());
        settle(&views, rig.log.last());
    }
    assert_eq!(generation::current(rig.disk(), &rig.options.dir), None);
    rig.log.fold_into(&views);
    settle(&views, rig.log.last());
    assert_eq!(generation::current(rig.disk(), &rig.options.dir), Some(opened.generation));
}

#[test]
fn r7_evidence_says_how_far_the_views_on_disk_are() {
    let rig = Rig::sled();
    let views = filled(&rig);
    let bytes = std::fs::read(rig.options.dir.join("1").join(APPLIED_NAME)).unwrap();
    let applied = evidence::decode(&bytes).unwrap();
    assert_eq!((applied.log_id, applied.timeline, applied.applied_lsn), ([7; 16], 1, views.applied()));
}

#[test]
fn v3_nothing_is_written_before_it_is_durable() {
    let rig = Rig::sled();
    let (views, _) = rig.open();
    for n in 0..20 {
        rig.log.commit(&views, vec![put(app(0), "c", &format!("k{n}"), "1")]);
    }
    for _ in 0..5 {
        let done = views.maintain(Lsn(3)).unwrap();
        assert_eq!((done.checkpoint, done.more), (None, false));
        assert!(matches!(done.waiting, Some(Waiting::Durable(lsn)) if lsn > Lsn(3)));
    }
    assert!(rig.files().iter().all(|file| !file.to_string_lossy().contains("run-")));
    assert!(views.lag_bytes() > 0);
    settle(&views, Lsn(20));
    assert_eq!(views.lag_bytes(), 0);
}

#[test]
fn v12_nothing_is_written_without_room() {
    let mut rig = Rig::sled();
    rig.options.limits.free_bytes_min = u64::MAX;
    let (views, _) = rig.open();
    rig.log.commit(&views, (0..20).map(|n| put(app(0), "c", &format!("k{n}"), "1")).collect());
    assert!(matches!(views.maintain(Lsn(20)).unwrap().waiting, Some(Waiting::Space(_))));
}

#[test]
fn p6_executions_that_came_and_went_leave_no_row_in_the_store() {
    let mut rig = Rig::new();
    rig.options.limits.seal_rows = 1000;
    rig.options.limits.round_rows = 1000;
    let crate::StoreKind::Memory(store) = rig.options.store.clone() else { panic!("a store in memory") };
    let (views, _) = rig.open();
    for n in 0..50 {
        let id = execution(n);
        rig.log.commit(&views, vec![enqueued(app(0), id, Source::Direct), claimed(app(0), id, 1)]);
        rig.log.commit(&views, vec![completed(app(0), id, 1)]);
    }
    rig.log.commit(&views, vec![enqueued(app(0), execution(99), Source::Direct)]);
    let writes = store.changes();
    settle(&views, rig.log.last());
    assert_eq!(store.changes() - writes, 2, "the open one, and !meta");
}

/// Files of what waits, bytes.
fn waiting_bytes(rig: &Rig) -> u64 {
    let waiting =
        rig.files().into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "waiting"));
    waiting.map(|path| rig.disk().open(&path, OpenMode::Read).unwrap().len().unwrap()).sum()
}

#[test]
fn p23_a_backlog_stands_in_runs_not_in_the_store_and_leaves_the_disk_when_it_is_drained() {
    let rig = Rig::new();
    let crate::StoreKind::Memory(store) = rig.options.store.clone() else { panic!("a store in memory") };
    let (views, _) = rig.open();
    rig.log.commit(&views, vec![app_created(app(0), "shop")]);
    settle(&views, rig.log.last());
    let writes = store.changes();
    let source = || Source::Queue { trigger: trigger(1) };
    for n in (0..200).step_by(10) {
        let batch = (n..n + 10).map(|n| enqueued(app(0), execution(n), source())).collect();
        rig.log.commit(&views, batch);
        settle(&views, rig.log.last());
    }
    let checkpoints = store.changes() - writes;
    assert!(checkpoints <= 40, "only !meta, after a cut or a merge: {checkpoints}");
    let (backlog, digest) = (waiting_bytes(&rig), views.digest().unwrap());
    assert!(backlog > 200 * 100, "{backlog}");
    drop(views);
    let (views, opened) = rig.try_open().unwrap();
    assert_eq!((opened.rebuilt, views.executions().open_count()), (None, 200));
    assert_eq!(views.digest().unwrap(), digest, "what a start reads is what was open");
    // One fails once and waits for its retry: the store has it now, and no run.
    let retry = AfterFailure::Retry { due_at: UnixMicros(9) };
    let failing =
        vec![claimed(app(0), execution(0), 1), failed(app(0), execution(0), 1, ErrorKind::Throw, retry)];
    rig.log.commit(&views, failing);
    settle(&views, rig.log.last());
    let digest = views.digest().unwrap();
    drop(views);
    let (views, _) = rig.try_open().unwrap();
    assert_eq!((views.executions().open_count(), views.digest().unwrap()), (200, digest));
    for n in 1..200 {
        let id = execution(n);
        rig.log.commit(&views, vec![claimed(app(0), id, 1), completed(app(0), id, 1)]);
        settle(&views, rig.log.last());
    }
    let left = waiting_bytes(&rig);
    assert!(left * 4 < backlog, "{left} bytes of {backlog} are left on disk");
    let digest = views.digest().unwrap();
    drop(views);
    let (views, _) = rig.try_open().unwrap();
    assert_eq!((views.executions().open_count(), views.digest().unwrap()), (1, digest));
}

/// The runs hold what waited as of the last cut: that it ended since does not make them smaller.
#[test]
fn p28_maintenance_comes_to_an_end_while_work_ends_that_no_cut_took() {
    let mut rig = Rig::new();
    let (views, _) = rig.open();
    rig.log.commit(&views, vec![app_created(app(0), "shop")]);
    let source = || Source::Queue { trigger: trigger(1) };
    for n in (0..200).step_by(10) {
        let batch = (n..n + 10).map(|n| enqueued(app(0), execution(n), source())).collect();
        rig.log.commit(&views, batch);
        settle(&views, rig.log.last());
    }
    drop(views);
    // No cut but of a quiet second.
    (rig.options.limits.seal_rows, rig.options.limits.round_rows) = (1 << 20, 1 << 20);
    let (views, _) = rig.try_open().unwrap();
    for n in 0..200 {
        let id = execution(n);
        rig.log.commit(&views, vec![claimed(app(0), id, 1), completed(app(0), id, 1)]);
    }
    let mut steps = 0;
    while views.maintain(rig.log.last()).unwrap().more {
        steps += 1;
        assert!(steps < 20, "it merges for ever");
    }
    settle(&views, rig.log.last());
    assert_eq!(waiting_bytes(&rig), 0, "nothing waits");
}

#[test]
fn v5_damage_in_any_kind_of_run_is_found() {
    for kind in ["kv", "ended", "index", "keyed", "waiting"] {
        let mut rig = Rig::new();
        rig.options.limits.verify_bytes_max = 0;
        let (views, _) = rig.open();
        let until = UnixMicros(u64::MAX / 2);
        let put = put_until(app(0), "c", "k", "1", until);
        rig.log.commit(&views, vec![app_created(app(0), "shop"), put]);
        let source = || Source::Queue { trigger: trigger(1) };
        rig.log.commit(&views, (0..9).map(|n| enqueued(app(0), execution(n), source())).collect());
        rig.log.commit(&views, vec![claimed(app(0), execution(0), 1), completed(app(0), execution(0), 1)]);
        rig.log.commit(&views, vec![crate::idempotency::tests::call(0, "POST /a", "k", 99)]);
        settle(&views, rig.log.last());
        views.verify().unwrap();
        let of_kind = |path: &std::path::PathBuf| path.extension().is_some_and(|known| known == kind);
        let path = rig.files().into_iter().find(of_kind).unwrap_or_else(|| panic!("no run of kind {kind}"));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[70] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(views.verify().is_err(), "{kind}");
        assert!(matches!(views.maintain(rig.log.last()), Err(ViewsError::Broken(_))), "{kind}");
        drop(views);
        let (views, opened) = rig.open();
        assert_eq!(opened.rebuilt, Some(RebuildReason::MarkedBroken), "{kind}");
        assert_eq!(views.digest().unwrap(), rig.log.rebuilt(rig.log.last()).digest().unwrap(), "{kind}");
    }
}
