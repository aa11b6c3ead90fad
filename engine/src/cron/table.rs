//! Which cron trigger is due when.
//!
//! Owns: the next moment of every trigger that is not paused. Never does: know the time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use relive_log::events::Pattern;
use relive_log::{AppId, TriggerId, UnixMicros};
use relive_projections::{App, CronView};

use super::Schedule;

type Key = (AppId, TriggerId);

#[derive(Debug)]
struct Entry {
    text: (String, Option<String>),
    schedule: Arc<Schedule>,
    next: Option<UnixMicros>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct CronTable {
    entries: HashMap<Key, Entry>,
    due: BTreeSet<(UnixMicros, Key)>,
}

impl CronTable {
    /// Takes over what the registry says of one app; `None`: it is gone.
    pub(crate) fn refresh(&mut self, id: AppId, app: Option<&App>, positions: &CronView) {
        let live = |key: &Key| {
            key.0 != id || app.is_some_and(|app| app.paused.is_none() && triggers(app).any(|t| t.0 == key.1))
        };
        let gone: Vec<Key> = self.entries.keys().filter(|key| !live(key)).copied().collect();
        gone.into_iter().for_each(|key| self.remove(key));
        let Some(app) = app.filter(|app| app.paused.is_none()) else { return };
        for (trigger, schedule, timezone) in triggers(app) {
            let text = (schedule.to_owned(), timezone.map(str::to_owned));
            let known = self.entries.get(&(id, trigger)).filter(|entry| entry.text == text);
            let schedule = match known {
                Some(entry) => Arc::clone(&entry.schedule),
                None => match Schedule::parse(schedule, timezone) {
                    Ok(schedule) => Arc::new(schedule),
                    Err(why) => {
                        // It was checked when it was deployed: the zone's data must have gone since.
                        tracing::error!(%trigger, %why, "a schedule cannot be followed");
                        continue;
                    }
                },
            };
            let Some(position) = positions.get(id, trigger) else { continue };
            self.remove((id, trigger));
            let next = schedule.next(position.until);
            self.due.extend(next.map(|next| (next, (id, trigger))));
            self.entries.insert((id, trigger), Entry { text, schedule, next });
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some(Entry { next: Some(next), .. }) = self.entries.remove(&key) {
            self.due.remove(&(next, key));
        }
    }

    /// When the next trigger is due.
    pub(crate) fn next(&self) -> Option<UnixMicros> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The next moment of a trigger; `None` if it has none or is paused.
    pub(crate) fn next_of(&self, app: AppId, trigger: TriggerId) -> Option<UnixMicros> {
        self.entries.get(&(app, trigger))?.next
    }

    /// A trigger that is due by `now`; it stays due until its tick moved its position.
    pub(crate) fn due(&self, now: UnixMicros) -> Option<(AppId, TriggerId, Arc<Schedule>)> {
        let (at, key) = self.due.first()?;
        let entry = self.entries.get(key).filter(|_| *at <= now)?;
        Some((key.0, key.1, Arc::clone(&entry.schedule)))
    }

    /// The position of a trigger moved, or its tick has to wait until `at`.
    pub(crate) fn rearm(&mut self, app: AppId, trigger: TriggerId, at: Option<UnixMicros>) {
        let key = (app, trigger);
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if let Some(before) = entry.next.take() {
            self.due.remove(&(before, key));
        }
        entry.next = at;
        self.due.extend(at.map(|at| (at, key)));
    }
}

/// The cron triggers of an app that are not paused.
fn triggers(app: &App) -> impl Iterator<Item = (TriggerId, &str, Option<&str>)> {
    app.triggers.values().filter(|trigger| trigger.paused.is_none()).filter_map(|trigger| {
        match &trigger.spec.pattern {
            Pattern::Cron { schedule, timezone } => {
                Some((trigger.id, schedule.as_str(), timezone.as_deref()))
            }
            Pattern::Kv { .. } | Pattern::DeadLetter { .. } | Pattern::Queue { .. } => None,
        }
    })
}
