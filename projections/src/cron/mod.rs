//! The `cron` view: up to which scheduled time each cron trigger is accounted for (D16).
//!
//! Owns: the positions and their fold. Never does: read a schedule or know what is due.
//!
//! Invariant: P15 a position never goes back, so that no scheduled time is accounted for twice.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use parking_lot::RwLock;
use relive_log::events::{AppEvent, CronEvent, CronTicked, Pattern, TriggerEvent, TriggerSpec};
use relive_log::{AppId, ExecutionId, TriggerId, UnixMicros};

use crate::digest::Digest;
use crate::rows::{self, tag};
use crate::source::At;
use crate::store::Change;

/// Where one cron trigger stands.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CronPosition {
    /// The app.
    pub app: AppId,
    /// The trigger.
    pub trigger: TriggerId,
    /// Scheduled times up to this one are accounted for.
    pub until: UnixMicros,
    /// Scheduled times since the last run that had none.
    pub missed: u64,
    /// Scheduled times that ever were skipped because a run was unfinished.
    pub skipped: u64,
    /// The last run.
    pub last_run: Option<ExecutionId>,
    /// Its scheduled time.
    pub last_scheduled: Option<UnixMicros>,
}

type Key = (AppId, TriggerId);

#[derive(Debug, Default)]
struct Positions {
    rows: BTreeMap<Key, CronPosition>,
    /// The schedule and zone that a position belongs to.
    schedules: BTreeMap<Key, (String, Option<String>)>,
    /// Changed since the last cut.
    dirty: BTreeSet<Key>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct CronView {
    positions: RwLock<Positions>,
}

/// A row of the store: the position and the schedule that it belongs to.
#[derive(Encode, Decode)]
struct CronRow {
    position: CronPosition,
    schedule: String,
    timezone: Option<String>,
}

impl CronView {
    /// The position of a trigger; `None` if it is no cron trigger.
    #[must_use]
    pub fn get(&self, app: AppId, trigger: TriggerId) -> Option<CronPosition> {
        self.positions.read().rows.get(&(app, trigger)).cloned()
    }

    /// Every position.
    #[must_use]
    pub fn all(&self) -> Vec<CronPosition> {
        self.positions.read().rows.values().cloned().collect()
    }

    /// Folds one event of a schedule.
    pub(crate) fn fold(&self, event: &CronEvent) {
        let CronEvent::Ticked(CronTicked { app, trigger, scheduled_at, ticks, execution }) = event;
        let mut positions = self.positions.write();
        let Positions { rows, dirty, .. } = &mut *positions;
        let Some(row) = rows.get_mut(&(*app, *trigger)) else { return };
        row.until = row.until.max(*scheduled_at);
        match execution {
            Some(execution) => {
                row.missed = 0;
                row.last_run = Some(*execution);
                row.last_scheduled = Some(*scheduled_at);
            }
            None => {
                row.missed = row.missed.saturating_add(*ticks);
                row.skipped = row.skipped.saturating_add(*ticks);
            }
        }
        dirty.insert((*app, *trigger));
    }

    /// Folds one event of a trigger: a new schedule begins now, and never before where the old one stood.
    pub(crate) fn fold_trigger(&self, event: &TriggerEvent, at: At) {
        match event {
            TriggerEvent::Created(e) => self.begin((e.app, e.trigger), &e.spec, at),
            TriggerEvent::Changed(e) => self.begin((e.app, e.trigger), &e.spec, at),
            TriggerEvent::Deleted(e) => self.positions.write().remove((e.app, e.trigger)),
            TriggerEvent::Paused(_) | TriggerEvent::Resumed(_) => {}
        }
    }

    fn begin(&self, key: Key, spec: &TriggerSpec, at: At) {
        let mut positions = self.positions.write();
        let Pattern::Cron { schedule, timezone } = &spec.pattern else {
            positions.remove(key);
            return;
        };
        let schedule = (schedule.clone(), timezone.clone());
        if positions.schedules.get(&key) == Some(&schedule) {
            return;
        }
        let Positions { rows, schedules, dirty } = &mut *positions;
        let row = rows.entry(key).or_insert_with(|| CronPosition {
            app: key.0,
            trigger: key.1,
            until: at.time,
            missed: 0,
            skipped: 0,
            last_run: None,
            last_scheduled: None,
        });
        row.until = row.until.max(at.time);
        row.missed = 0;
        schedules.insert(key, schedule);
        dirty.insert(key);
    }

    /// Folds one event of an app: what is gone has no positions.
    pub(crate) fn fold_app(&self, event: &AppEvent) {
        match event {
            AppEvent::Created(_)
            | AppEvent::Forked(_)
            | AppEvent::Changed(_)
            | AppEvent::Paused(_)
            | AppEvent::Resumed(_) => {}
            AppEvent::Deleted(e) => {
                let mut positions = self.positions.write();
                let range = (e.app, TriggerId::default())..=(e.app, TriggerId::from_bytes([0xff; 16]));
                let gone: Vec<Key> = positions.rows.range(range).map(|(key, _)| *key).collect();
                gone.into_iter().for_each(|key| positions.remove(key));
            }
        }
    }

    /// Takes a row of the store.
    pub(crate) fn load(&self, bytes: &[u8]) -> Option<()> {
        let CronRow { position, schedule, timezone } = rows::decode(bytes)?;
        let key = (position.app, position.trigger);
        let mut positions = self.positions.write();
        positions.rows.insert(key, position);
        positions.schedules.insert(key, (schedule, timezone));
        Some(())
    }

    /// Rows of the store that the next cut writes.
    pub(crate) fn dirty(&self) -> usize {
        self.positions.read().dirty.len()
    }

    /// The changes of the store since the last cut.
    pub(crate) fn cut(&self, out: &mut Vec<Change>) {
        let mut positions = self.positions.write();
        for key in std::mem::take(&mut positions.dirty) {
            out.push((store_key(key), positions.encoded(key)));
        }
    }

    /// Adds every position to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        let positions = self.positions.read();
        for key in positions.rows.keys() {
            digest.add(&store_key(*key), &positions.encoded(*key).unwrap_or_default());
        }
    }
}

impl Positions {
    fn remove(&mut self, key: Key) {
        if self.rows.remove(&key).is_some() {
            self.schedules.remove(&key);
            self.dirty.insert(key);
        }
    }

    fn encoded(&self, key: Key) -> Option<Vec<u8>> {
        let (schedule, timezone) = self.schedules.get(&key)?.clone();
        let position = self.rows.get(&key)?.clone();
        Some(rows::encode(&CronRow { position, schedule, timezone }))
    }
}

fn store_key((app, trigger): Key) -> Vec<u8> {
    rows::key(tag::CRON, &[app.as_bytes(), trigger.as_bytes()])
}

#[cfg(test)]
mod tests;
