//! Positions of schedules, rule by rule.

use relive_log::events::{Ordering, Principal, TriggerCreated};
use relive_log::{FramePos, Lsn};

use super::*;

const APP: AppId = AppId::from_bytes([1; 16]);
const TRIGGER: TriggerId = TriggerId::from_bytes([2; 16]);
const RUN: ExecutionId = ExecutionId::from_bytes([3; 16]);

fn at(time: u64) -> At {
    At { lsn: Lsn(time), pos: FramePos::default(), time: UnixMicros(time) }
}

fn spec(schedule: &str) -> TriggerSpec {
    TriggerSpec {
        name: "t".into(),
        pattern: Pattern::Cron { schedule: schedule.into(), timezone: None },
        script: "s".into(),
        ordering: Ordering::None,
        retry: None,
    }
}

fn created(view: &CronView, schedule: &str, time: u64) {
    let (spec, by) = (spec(schedule), Principal::instance());
    let event = TriggerCreated { app: APP, trigger: TRIGGER, spec, by };
    view.fold_trigger(&TriggerEvent::Created(event), at(time));
}

fn changed(view: &CronView, schedule: &str, time: u64) {
    let (spec, by) = (spec(schedule), Principal::instance());
    let event = relive_log::events::TriggerChanged { app: APP, trigger: TRIGGER, spec, by };
    view.fold_trigger(&TriggerEvent::Changed(event), at(time));
}

fn ticked(view: &CronView, scheduled_at: u64, ticks: u64, execution: Option<ExecutionId>) {
    let scheduled_at = UnixMicros(scheduled_at);
    view.fold(&CronEvent::Ticked(CronTicked { app: APP, trigger: TRIGGER, scheduled_at, ticks, execution }));
}

fn position(view: &CronView) -> CronPosition {
    view.get(APP, TRIGGER).expect("a position")
}

#[test]
fn p15_a_position_never_goes_back() {
    let view = CronView::default();
    created(&view, "* * * * *", 100);
    ticked(&view, 160, 1, Some(RUN));
    ticked(&view, 120, 1, Some(RUN));
    assert_eq!(position(&view).until, UnixMicros(160));
    changed(&view, "0 * * * *", 130);
    assert_eq!(position(&view).until, UnixMicros(160), "another schedule begins where the old one stood");
    changed(&view, "0 3 * * *", 500);
    assert_eq!(position(&view).until, UnixMicros(500));
    changed(&view, "0 3 * * *", 900);
    assert_eq!(position(&view).until, UnixMicros(500), "the same schedule goes on");
}

#[test]
fn d16_skipped_ticks_are_missed_until_the_next_run() {
    let view = CronView::default();
    created(&view, "* * * * *", 100);
    ticked(&view, 160, 1, None);
    ticked(&view, 280, 2, None);
    assert_eq!((position(&view).missed, position(&view).skipped), (3, 3));
    ticked(&view, 340, 1, Some(RUN));
    assert_eq!((position(&view).missed, position(&view).skipped), (0, 3));
    assert_eq!(position(&view).last_scheduled, Some(UnixMicros(340)));
}

#[test]
fn a_row_of_the_store_is_the_position_that_was_cut() {
    let view = CronView::default();
    created(&view, "0 3 * * *", 100);
    ticked(&view, 160, 1, Some(RUN));
    let mut rows = Vec::new();
    view.cut(&mut rows);
    let again = CronView::default();
    for (_, row) in rows {
        again.load(&row.expect("a row")).expect("it decodes");
    }
    assert_eq!(position(&again), position(&view));
    changed(&again, "0 3 * * *", 900);
    assert_eq!(position(&again).until, UnixMicros(160), "it still knows the schedule");
}
