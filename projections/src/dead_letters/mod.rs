//! The `dead_letters` view: work that used up its attempts, open or resolved.
//!
//! Owns: the fold of the family `dead_letter`, and letters by age. Never does: hold the input (it is read at the letter's
//! `enqueued`), or decide that one expires.

mod row;

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::RwLock;
use relive_log::events::{AppEvent, DeadLetterEvent};
use relive_log::{AppId, LetterId, Lsn, UnixMicros};

pub use row::{LetterFilter, LetterGroup, LetterRow, Resolution};

use crate::digest::Digest;
use crate::rows::{self, tag};
use crate::source::At;
use crate::store::Change;

/// See the module.
#[derive(Debug, Default)]
pub struct DeadLetters {
    letters: RwLock<Letters>,
}

type Key = (AppId, LetterId);

#[derive(Debug, Default)]
struct Letters {
    rows: BTreeMap<Key, Box<LetterRow>>,
    open: BTreeMap<AppId, u64>,
    by_age: BTreeSet<(UnixMicros, AppId, LetterId)>,
    /// Changed since the last cut.
    dirty: BTreeSet<Key>,
}

impl DeadLetters {
    /// Folds one event.
    pub(crate) fn fold(&self, event: &DeadLetterEvent, at: At) {
        let mut letters = self.letters.write();
        match event {
            DeadLetterEvent::DeadLettered(e) => letters.insert(LetterRow::of(e, at)),
            DeadLetterEvent::HandlerFailed(e) => {
                letters.resolve((e.app, e.letter), Resolution::HandlerFailed { execution: e.execution }, at);
            }
            DeadLetterEvent::Redriven(e) => {
                let resolution = Resolution::Redriven {
                    execution: e.execution,
                    by: e.by.clone(),
                    by_execution: e.by_execution,
                    job: e.job,
                    proof: e.proof.clone(),
                };
                letters.resolve((e.app, e.letter), resolution, at);
            }
            DeadLetterEvent::Resolved(e) => {
                let resolution = Resolution::Resolved {
                    resolution: e.resolution.clone(),
                    note: e.note.clone(),
                    by: e.by.clone(),
                    by_execution: e.execution,
                    job: e.job,
                };
                letters.resolve((e.app, e.letter), resolution, at);
            }
            DeadLetterEvent::Expired(e) => letters.remove((e.app, e.letter)),
        }
    }

    /// Folds one event of an app: letters of an app that is gone are gone.
    pub(crate) fn fold_app(&self, event: &AppEvent) {
        match event {
            AppEvent::Created(_)
            | AppEvent::Forked(_)
            | AppEvent::Changed(_)
            | AppEvent::Paused(_)
            | AppEvent::Resumed(_) => {}
            AppEvent::Deleted(e) => self.letters.write().remove_app(e.app),
        }
    }

    /// Takes a row of the store.
    pub(crate) fn load(&self, bytes: &[u8]) -> Option<()> {
        let mut letters = self.letters.write();
        letters.insert(rows::decode(bytes)?);
        letters.dirty.clear();
        Some(())
    }

    /// Rows of the store that the next cut writes.
    pub(crate) fn dirty(&self) -> usize {
        self.letters.read().dirty.len()
    }

    /// The changes of the store since the last cut.
    pub(crate) fn cut(&self, out: &mut Vec<Change>) {
        let mut letters = self.letters.write();
        for key in std::mem::take(&mut letters.dirty) {
            out.push((store_key(key), letters.rows.get(&key).map(|row| rows::encode(&**row))));
        }
    }

    /// Adds every letter to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        for (key, row) in &self.letters.read().rows {
            digest.add(&store_key(*key), &rows::encode(&**row));
        }
    }

    /// One letter of this app.
    #[must_use]
    pub fn get(&self, app: AppId, letter: LetterId) -> Option<LetterRow> {
        self.letters.read().rows.get(&(app, letter)).map(|row| LetterRow::clone(row))
    }

    /// Letters of an app, the highest id first.
    #[must_use]
    pub fn list(&self, app: AppId, filter: &LetterFilter) -> Vec<LetterRow> {
        let end =
            filter.cursor.map_or(std::ops::Bound::Included(LetterId::from_bytes([0xff; 16])), |cursor| {
                std::ops::Bound::Excluded(cursor)
            });
        let start = std::ops::Bound::Included((app, LetterId::default()));
        if filter.cursor == Some(LetterId::default()) {
            return Vec::new();
        }
        let letters = self.letters.read();
        let range = letters.rows.range((start, end.map(|letter| (app, letter))));
        range
            .rev()
            .filter(|(_, row)| filter.wants(row))
            .take(filter.limit)
            .map(|(_, row)| LetterRow::clone(row))
            .collect()
    }

    /// Letters of an app, the lowest id first, above `after`, up to `limit`, that died at or before `until`.
    #[must_use]
    pub fn next(
        &self,
        app: AppId,
        filter: &LetterFilter,
        after: Option<LetterId>,
        until: Lsn,
    ) -> Vec<LetterRow> {
        let start = after.map_or(std::ops::Bound::Included((app, LetterId::default())), |after| {
            std::ops::Bound::Excluded((app, after))
        });
        let end = std::ops::Bound::Included((app, LetterId::from_bytes([0xff; 16])));
        let letters = self.letters.read();
        let wanted = letters.rows.range((start, end)).map(|(_, row)| row);
        let wanted = wanted.filter(|row| row.at.lsn <= until && filter.wants(row));
        wanted.take(filter.limit).map(|row| LetterRow::clone(row)).collect()
    }

    /// How many letters of an app a filter wants.
    #[must_use]
    pub fn count(&self, app: AppId, filter: &LetterFilter) -> u64 {
        let letters = self.letters.read();
        let all = (app, LetterId::default())..=(app, LetterId::from_bytes([0xff; 16]));
        letters.rows.range(all).map(|(_, row)| u64::from(filter.wants(row))).sum()
    }

    /// Letters of an app that a filter wants and that died at or before `until`, by fingerprint.
    #[must_use]
    pub fn groups(&self, app: AppId, filter: &LetterFilter, until: Lsn) -> Vec<LetterGroup> {
        let mut groups: BTreeMap<u64, LetterGroup> = BTreeMap::new();
        let letters = self.letters.read();
        let all = (app, LetterId::default())..=(app, LetterId::from_bytes([0xff; 16]));
        let wanted = letters.rows.range(all).map(|(_, row)| row);
        for row in wanted.filter(|row| row.at.lsn <= until && filter.wants(row)) {
            let group = groups.entry(row.fingerprint).or_insert_with(|| LetterGroup {
                fingerprint: row.fingerprint,
                count: 0,
                open: 0,
                first_at: row.at.time,
                last: LetterRow::clone(row),
            });
            group.count += 1;
            group.open += u64::from(row.is_open());
            group.first_at = group.first_at.min(row.at.time);
            if row.at.lsn > group.last.at.lsn {
                group.last = LetterRow::clone(row);
            }
        }
        groups.into_values().collect()
    }

    /// When the oldest letter of all apps died.
    #[must_use]
    pub fn oldest(&self) -> Option<UnixMicros> {
        self.letters.read().by_age.first().map(|(at, ..)| *at)
    }

    /// Letters from before a time, oldest first.
    #[must_use]
    pub fn before(&self, time: UnixMicros, limit: usize) -> Vec<(AppId, LetterId)> {
        let letters = self.letters.read();
        let old = letters.by_age.iter().take_while(|(at, ..)| *at < time);
        old.take(limit).map(|(_, app, letter)| (*app, *letter)).collect()
    }

    /// The open letters.
    pub(crate) fn open_letters(&self) -> Vec<(AppId, LetterId)> {
        let letters = self.letters.read();
        letters.rows.iter().filter(|(_, row)| row.is_open()).map(|(key, _)| *key).collect()
    }

    /// How many letters of an app are open.
    #[must_use]
    pub fn open_count(&self, app: AppId) -> u64 {
        self.letters.read().open.get(&app).copied().unwrap_or(0)
    }
}

impl Letters {
    fn insert(&mut self, row: LetterRow) {
        let key = (row.app, row.letter);
        if self.rows.contains_key(&key) {
            return;
        }
        if row.is_open() {
            *self.open.entry(row.app).or_default() += 1;
        }
        self.by_age.insert((row.at.time, row.app, row.letter));
        self.rows.insert(key, Box::new(row));
        self.dirty.insert(key);
    }

    /// Closes or annotates an open letter; a resolved one stays as it is.
    fn resolve(&mut self, key: Key, resolution: Resolution, at: At) {
        let Some(row) = self.rows.get_mut(&key).filter(|row| row.is_open()) else { return };
        row.resolution = Some(resolution);
        if !row.is_open() {
            row.resolved_at = Some(at);
            if let Some(open) = self.open.get_mut(&key.0) {
                *open = open.saturating_sub(1);
            }
        }
        self.dirty.insert(key);
    }

    fn remove_app(&mut self, app: AppId) {
        let range = (app, LetterId::default())..=(app, LetterId::from_bytes([0xff; 16]));
        let gone: Vec<Key> = self.rows.range(range).map(|(key, _)| *key).collect();
        gone.into_iter().for_each(|key| self.remove(key));
        self.open.remove(&app);
    }

    fn remove(&mut self, key: Key) {
        let Some(row) = self.rows.remove(&key) else { return };
        self.by_age.remove(&(row.at.time, key.0, key.1));
        if let Some(open) = self.open.get_mut(&key.0).filter(|_| row.is_open()) {
            *open = open.saturating_sub(1);
        }
        self.dirty.insert(key);
    }
}

fn store_key((app, letter): Key) -> Vec<u8> {
    rows::key(tag::LETTER, &[app.as_bytes(), letter.as_bytes()])
}

#[cfg(test)]
mod tests;
