//! P1 to P7, P12: random histories, with cuts, merges, tidy stops and kills anywhere between two batches.

use proptest::prelude::*;
use relive_log::Lsn;

use super::generator::{Op, app, history};
use super::model::Model;
use super::rig::{Rig, settle};
use crate::{ExecutionFilter, LetterFilter, Status, Views};

/// What happens after a batch.
#[derive(Clone, Copy, Debug)]
enum Act {
    Nothing,
    /// All that was appended becomes durable.
    Sync,
    /// One step of maintenance.
    Maintain,
    /// Everything is written that may be.
    Settle,
    /// A tidy stop and a start.
    Restart,
    /// The process dies; what was not durable is lost with it.
    Kill,
}

fn acts(batches: usize) -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => Just(Act::Nothing),
        4 => Just(Act::Sync),
        4 => Just(Act::Maintain),
        2 => Just(Act::Settle),
        1 => Just(Act::Restart),
        1 => Just(Act::Kill),
    ];
    prop::collection::vec(act, batches)
}

struct Run {
    rig: Rig,
    views: Views,
    durable: Lsn,
}

impl Run {
    fn new(rig: Rig) -> Run {
        let (views, _) = rig.open();
        Run { rig, views, durable: Lsn::ZERO }
    }

    fn commit(&mut self, batch: &[Op]) {
        let first = self.rig.log.last().next();
        let events = batch.iter().enumerate().map(|(i, op)| op.event(first.plus(i as u64))).collect();
        self.rig.log.commit(&self.views, events);
    }

    fn act(self, act: Act) -> Run {
        let Run { rig, views, mut durable } = self;
        match act {
            Act::Nothing => {}
            Act::Sync => durable = rig.log.last(),
            Act::Maintain => drop(views.maintain(durable).unwrap()),
            Act::Settle => settle(&views, durable),
            Act::Restart => {
                durable = rig.log.last();
                views.close(durable).unwrap();
                drop(views);
                let (views, opened) = rig.try_open().unwrap();
                assert_eq!(
                    (opened.applied, opened.rebuilt),
                    (durable, None),
                    "a tidy stop leaves nothing to fold"
                );
                return Run { rig, views, durable };
            }
            Act::Kill => {
                drop(views);
                rig.log.truncate(durable);
                let (views, opened) = rig.open();
                assert!(opened.applied <= durable, "P2: {} is on disk, {durable} is durable", opened.applied);
                assert_eq!(opened.rebuilt, None);
                return Run { rig, views, durable };
            }
        }
        Run { rig, views, durable }
    }

    fn check(&self) {
        let fresh = self.rig.log.rebuilt(self.rig.log.last());
        assert_eq!(self.views.digest().unwrap(), fresh.digest().unwrap(), "P12 at {}", self.rig.log.last());
        same_answers(&self.views, &fresh);
    }
}

/// Every list and row of two views.
fn same_answers(a: &Views, b: &Views) {
    assert_eq!(a.registry(), b.registry());
    assert_eq!(a.executions().open(None).unwrap(), b.executions().open(None).unwrap());
    for app in (0..4).map(app) {
        let statuses = Status::NAMES.iter().map(|(status, _)| Some(*status)).chain([None]);
        for status in statuses {
            let filter = ExecutionFilter { status, limit: 100, ..ExecutionFilter::default() };
            let listed = a.executions().list(app, &filter).unwrap();
            assert_eq!(listed, b.executions().list(app, &filter).unwrap(), "{status:?}");
            for row in &listed {
                let mut paged = filter.clone();
                paged.cursor = Some(row.execution);
                paged.limit = 2;
                assert_eq!(
                    a.executions().list(app, &paged).unwrap(),
                    b.executions().list(app, &paged).unwrap()
                );
                let got = a.executions().get(app, row.execution).unwrap();
                assert_eq!(got, b.executions().get(app, row.execution).unwrap());
            }
        }
        let abandoned = |views: &Views| views.executions().abandoned(app, 100, None).unwrap();
        assert_eq!(abandoned(a), abandoned(b));
        let filter = LetterFilter { limit: 100, ..LetterFilter::default() };
        let letters = a.dead_letters().list(app, &filter);
        assert_eq!(letters, b.dead_letters().list(app, &filter));
        let open = letters.iter().filter(|row| row.is_open()).count() as u64;
        assert_eq!((open, open), (a.dead_letters().open_count(app), b.dead_letters().open_count(app)));
    }
}

fn run(rig: Rig, batches: &[Vec<Op>], acts: &[Act]) {
    let mut run = Run::new(rig);
    for (batch, act) in batches.iter().zip(acts) {
        run.commit(batch);
        run.check();
        run = run.act(*act);
        run.check();
    }
    let model = Model::of(&run.rig.log.batches());
    model.check(&run.views);
    settle(&run.views, run.rig.log.last());
    model.check(&run.views);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p12_live_views_are_a_rebuild_at_every_lsn(batches in history(40), acts in acts(40)) {
        run(Rig::new(), &batches, &acts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p12_on_sled(batches in history(30), acts in acts(30)) {
        run(Rig::sled(), &batches, &acts);
    }
}
