//! The `dead_letters` view: work that used up its attempts, open or resolved.
//!
//! Owns: the fold of the family `dead_letter`. Never does: hold the input (it is read at the letter's `enqueued`),
//! or expire anything.

mod row;

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::RwLock;
use relive_log::events::{AppEvent, DeadLetterEvent};
use relive_log::{AppId, LetterId};

pub use row::{LetterFilter, LetterRow, Resolution};

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
                let resolution = Resolution::Redriven { execution: e.execution, by: e.by.clone() };
                letters.resolve((e.app, e.letter), resolution, at);
            }
        }
    }

    /// Folds one event of an app: letters of an app that is gone are gone.
    pub(crate) fn fold_app(&self, event: &AppEvent) {
        match event {
            AppEvent::Created(_) | AppEvent::Changed(_) | AppEvent::Paused(_) | AppEvent::Resumed(_) => {}
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
        for key in gone {
            self.rows.remove(&key);
            self.dirty.insert(key);
        }
        self.open.remove(&app);
    }
}

fn store_key((app, letter): Key) -> Vec<u8> {
    rows::key(tag::LETTER, &[app.as_bytes(), letter.as_bytes()])
}

#[cfg(test)]
mod tests;
