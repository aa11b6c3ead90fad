//! P17 to P19: snapshots of the state, views that begin from one, and cuts of the log between them.

#![expect(clippy::disallowed_methods, reason = "tests harm files behind the seam's back")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::*;
use relive_log::{AppId, Lsn, SnapshotError, UnixMicros};

use super::generator::{Op, app, history, put};
use super::opening::filled;
use super::rig::{Rig, settle};
use crate::{
    AsOf, ExecutionFilter, KvRange, RebuildReason, SnapshotItems, SnapshotSource, Trust, Views, ViewsError,
};

fn as_of(lsn: u64) -> AsOf {
    AsOf { lsn: Lsn(lsn), time: UnixMicros(0) }
}

type Snapshot = (Vec<Vec<u8>>, u128);

/// Snapshots in memory.
#[derive(Default)]
struct Kept {
    snapshots: Mutex<BTreeMap<Lsn, Snapshot>>,
    given_up: Mutex<Vec<Lsn>>,
    /// Apps that were not there when the log was cut: nothing of theirs was kept. (Real ones have ids of their own.)
    gone: Mutex<BTreeSet<AppId>>,
}

struct Items(std::vec::IntoIter<Vec<u8>>);

impl SnapshotItems for Items {
    fn next_item(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        Ok(self.0.next())
    }
}

impl SnapshotSource for Kept {
    fn newest_first(&self) -> Vec<Lsn> {
        self.snapshots.lock().keys().rev().copied().collect()
    }

    fn open(&self, lsn: Lsn) -> Result<(Box<dyn SnapshotItems>, u128), SnapshotError> {
        let (items, digest) =
            self.snapshots.lock().get(&lsn).cloned().ok_or(SnapshotError::Missing { lsn })?;
        Ok((Box::new(Items(items.into_iter())), digest))
    }

    fn give_up(&self, lsn: Lsn, _why: &SnapshotError) {
        self.given_up.lock().push(lsn);
        self.snapshots.lock().remove(&lsn);
    }
}

impl Kept {
    fn take(&self, views: &Views) -> Option<Lsn> {
        let state = views.state_at_checkpoint().unwrap()?;
        let mut items = Vec::new();
        let digest = state
            .write(&mut |item| {
                items.push(item.to_vec());
                Ok(())
            })
            .unwrap();
        self.snapshots.lock().insert(state.lsn(), (items, digest));
        Some(state.lsn())
    }
}

fn rig() -> (Rig, Arc<Kept>) {
    let mut rig = Rig::new();
    let kept = Arc::new(Kept::default());
    rig.options.snapshots = Some(Arc::clone(&kept) as Arc<dyn SnapshotSource>);
    (rig, kept)
}

/// Whatever the layers: what is to be seen is what a fold of everything shows from the horizon on.
fn check(rig: &Rig, kept: &Kept, views: &Views) {
    let fresh = rig.log.rebuilt(rig.log.last());
    fresh.set_horizon(rig.log.first());
    assert_eq!(views.digest().unwrap(), fresh.digest().unwrap(), "P19 at {}", rig.log.last());
    assert_eq!(views.registry(), fresh.registry());
    let range = KvRange { limit: 100, bytes_max: 10_000, ..KvRange::default() };
    for app in [app(0), app(1)].into_iter().filter(|app| !kept.gone.lock().contains(app)) {
        let filter = ExecutionFilter { limit: 100, ..ExecutionFilter::default() };
        let listed = views.executions().list(app, &filter).unwrap();
        assert_eq!(listed, fresh.executions().list(app, &filter).unwrap());
        for collection in ["a", "b", "c", "d"] {
            for at in (rig.log.first().0..=rig.log.last().0).step_by(7).chain([rig.log.last().0]) {
                let page = views.kv().list(app, collection, &range, as_of(at)).unwrap();
                let expected = fresh.kv().list(app, collection, &range, as_of(at)).unwrap();
                assert_eq!(page, expected, "{collection} at {at}");
                for item in &page.items {
                    let seen = views.kv().history(app, collection, &item.key, Lsn(at), 100).unwrap();
                    let all = fresh.kv().history(app, collection, &item.key, Lsn(at), 100).unwrap();
                    assert_eq!(seen, all);
                    for version in seen.iter().filter(|version| !version.deleted) {
                        views.kv().read_value(version.pos, version.lsn).unwrap();
                    }
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Nothing,
    Settle,
    Snapshot,
    /// The views are lost: they begin from the newest snapshot.
    Lose,
    /// The log is cut below the older of the two newest snapshots.
    Cut,
    Restart,
}

fn acts(batches: usize) -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => Just(Act::Nothing),
        4 => Just(Act::Settle),
        4 => Just(Act::Snapshot),
        1 => Just(Act::Lose),
        2 => Just(Act::Cut),
        1 => Just(Act::Restart),
    ];
    prop::collection::vec(act, batches)
}

fn cut(rig: &Rig, kept: &Kept, views: &Views) {
    let Some(older) = kept.newest_first().get(1).copied() else { return };
    let start = older.next().min(views.oldest_needed().unwrap().unwrap_or(Lsn::MAX));
    // Whole batches, as segments hold them.
    let start = rig.log.batches().iter().map(|batch| batch.first).filter(|first| *first <= start).max();
    let Some(start) = start.filter(|start| *start > rig.log.first()) else { return };
    let mut needed = BTreeSet::new();
    let mut after = Lsn::ZERO;
    loop {
        let some = views.needed_below(start, after, 3).unwrap();
        let Some((last, _)) = some.last() else { break };
        after = *last;
        needed.extend(some.iter().map(|(lsn, _)| *lsn));
    }
    let registry = views.registry();
    kept.gone.lock().extend([app(0), app(1)].into_iter().filter(|app| !registry.apps.contains_key(app)));
    rig.log.cut(start, needed);
    views.set_horizon(start);
}

fn act(rig: &Rig, kept: &Kept, views: Views, act: Act) -> Views {
    match act {
        Act::Nothing => {}
        Act::Settle => settle(&views, rig.log.last()),
        Act::Snapshot => {
            settle(&views, rig.log.last());
            kept.take(&views);
        }
        Act::Cut => cut(rig, kept, &views),
        Act::Restart => {
            views.close(rig.log.last()).unwrap();
            drop(views);
            return rig.open().0;
        }
        Act::Lose => {
            drop(views);
            if let Err(error) = std::fs::remove_file(rig.options.dir.join("CURRENT")) {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
            }
            let newest = kept.newest_first().first().copied();
            let (views, opened) = rig.open();
            assert_eq!(opened.snapshot, newest);
            assert_eq!(opened.applied, newest.unwrap_or_default());
            return views;
        }
    }
    views
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p17_p18_p19_histories_with_snapshots_losses_and_cuts(batches in history(50), acts in acts(50)) {
        let (rig, kept) = rig();
        let (mut views, _) = rig.open();
        for (n, batch) in batches.iter().enumerate() {
            let first = rig.log.last().next();
            let events = batch.iter().enumerate().map(|(i, op): (usize, &Op)| op.event(first.plus(i as u64)));
            rig.log.commit(&views, events.collect());
            views = act(&rig, &kept, views, acts[n]);
            if n % 5 == 0 || !matches!(acts[n], Act::Nothing) {
                check(&rig, &kept, &views);
            }
        }
        settle(&views, rig.log.last());
        check(&rig, &kept, &views);
        prop_assert!(kept.given_up.lock().is_empty());
    }
}

/// A history long enough to have several runs, and two snapshots on the way.
fn two_snapshots() -> (Rig, Arc<Kept>, Views) {
    let (rig, kept) = rig();
    let views = filled(&rig);
    kept.take(&views).unwrap();
    for n in 0..20 {
        rig.log.commit(&views, vec![put(app(0), "c", &format!("k{n}"), "1")]);
        settle(&views, rig.log.last());
    }
    kept.take(&views).unwrap();
    rig.log.commit(&views, vec![put(app(0), "c", "after", "1")]);
    (rig, kept, views)
}

#[test]
fn p19_a_damaged_snapshot_is_given_up_and_the_older_one_is_taken() {
    let items = {
        let (_rig, kept, views) = two_snapshots();
        drop(views);
        let newest = kept.newest_first()[0];
        let snapshots = kept.snapshots.lock();
        snapshots[&newest].0.clone()
    };
    assert!(items.len() > 4);
    for n in 0..items.len() {
        // The last byte of the first item is a length that a restored run has of its own.
        for harm in (0..3).filter(|harm| (n, *harm) != (0, 1)) {
            let (mut rig, kept, views) = two_snapshots();
            drop(views);
            let all = kept.newest_first();
            if let Some((items, _)) = kept.snapshots.lock().get_mut(&all[0]) {
                match harm {
                    0 => drop(items.remove(n)),
                    1 => {
                        let last = items[n].len() - 1;
                        items[n][last] ^= 1;
                    }
                    _ => {
                        let len = items[n].len() / 2;
                        items[n].truncate(len);
                    }
                }
            }
            rig.options.trust = Trust::Discard;
            let (views, opened) = rig.open();
            assert_eq!((opened.snapshot, opened.rebuilt), (Some(all[1]), Some(RebuildReason::NotTrusted)));
            assert_eq!(*kept.given_up.lock(), [all[0]], "item {n}, harm {harm}");
            check(&rig, &kept, &views);
            settle(&views, rig.log.last());
            drop(views);
            rig.options.trust = Trust::Open;
            assert_eq!(rig.try_open().unwrap().1.rebuilt, None);
        }
    }
}

#[test]
fn p19_without_a_snapshot_a_log_that_was_cut_cannot_be_folded() {
    let (rig, kept, views) = two_snapshots();
    cut(&rig, &kept, &views);
    assert!(rig.log.first() > Lsn::FIRST);
    drop(views);
    std::fs::remove_file(rig.options.dir.join("CURRENT")).unwrap();
    kept.snapshots.lock().clear();
    let error = rig.try_open().unwrap_err();
    assert!(matches!(error, ViewsError::NoSnapshot { start } if start == rig.log.first()));
    assert_eq!(error.exit_code(), 65);
}

/// sled lost its last batches with the process, and the log was cut above what is left.
#[test]
fn p19_views_behind_the_start_of_the_log_begin_from_a_snapshot() {
    let (rig, kept, views) = two_snapshots();
    let crate::StoreKind::Memory(store) = rig.options.store.clone() else { panic!("a store in memory") };
    drop(views);
    let (views, _) = rig.open();
    cut(&rig, &kept, &views);
    drop(views);
    // What an early checkpoint had left.
    crate::store::ProjectionStore::apply(&store, &[crate::disk::Meta::new([7; 16], 1).change()]).unwrap();
    let (views, opened) = rig.open();
    assert_eq!(opened.snapshot, kept.newest_first().first().copied());
    check(&rig, &kept, &views);
}

/// Merges drop what the horizon hides; what is left takes less room.
#[test]
fn p17_merges_drop_what_the_horizon_hides() {
    let (rig, kept) = rig();
    let (views, _) = rig.open();
    rig.log.commit(&views, vec![super::generator::app_created(app(0), "shop")]);
    let write = |from: u64| {
        for n in from..from + 300 {
            rig.log.commit(&views, vec![put(app(0), "c", &format!("k{}", n % 4), "1")]);
            settle(&views, rig.log.last());
        }
    };
    write(0);
    kept.take(&views).unwrap();
    write(300);
    kept.take(&views).unwrap();
    let before = views.state_at_checkpoint().unwrap().unwrap().bytes();
    cut(&rig, &kept, &views);
    write(600);
    let state = views.state_at_checkpoint().unwrap().unwrap();
    assert!(state.bytes() < before * 3 / 2, "{} of {before}", state.bytes());
    check(&rig, &kept, &views);
}
