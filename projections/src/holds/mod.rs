//! The view `holds`: which history has to stay, whatever retention asks for.
//!
//! Owns: the holds by name, and the lowest LSN that any of them keeps. Never does: cut, or keep a cut from happening;
//! whoever cuts asks.
//!
//! ```text
//! o | name      first LSN that stays, why, who asked for it and when
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use parking_lot::RwLock;
use relive_log::Lsn;
use relive_log::events::{Principal, RetentionEvent};

use crate::digest::Digest;
use crate::rows::{self, tag};
use crate::source::At;
use crate::store::Change;

/// One hold.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hold {
    /// Its name.
    pub name: String,
    /// The first LSN that stays.
    pub from: Lsn,
    /// Why, for people.
    pub reason: Option<String>,
    /// Who asked for it.
    pub by: Principal,
    /// Its `hold_set` event.
    pub set: At,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<String, Hold>,
    dirty: BTreeSet<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Holds {
    state: RwLock<State>,
}

impl Holds {
    /// Folds one event of retention.
    pub(crate) fn fold(&self, event: &RetentionEvent, at: At) {
        let mut state = self.state.write();
        match event {
            RetentionEvent::AbandonedExpired(_) => {}
            RetentionEvent::HoldSet(e) => {
                let (name, from) = (e.name.clone(), e.from);
                let row = Hold { name, from, reason: e.reason.clone(), by: e.by.clone(), set: at };
                // The first of a name stays until it is released.
                state.rows.entry(e.name.clone()).or_insert(row);
                state.dirty.insert(e.name.clone());
            }
            RetentionEvent::HoldReleased(e) => {
                if state.rows.remove(&e.name).is_some() {
                    state.dirty.insert(e.name.clone());
                }
            }
        }
    }

    /// Takes a row of the store.
    pub(crate) fn load(&self, value: &[u8]) -> Option<()> {
        let row: Hold = rows::decode(value)?;
        self.state.write().rows.insert(row.name.clone(), row);
        Some(())
    }

    /// Rows of the store that the next cut writes.
    pub(crate) fn dirty(&self) -> usize {
        self.state.read().dirty.len()
    }

    /// The changes of the store since the last cut.
    pub(crate) fn cut(&self, out: &mut Vec<Change>) {
        let mut state = self.state.write();
        for name in std::mem::take(&mut state.dirty) {
            out.push((store_key(&name), state.rows.get(&name).map(rows::encode)));
        }
    }

    /// Adds every row to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        for (name, row) in &self.state.read().rows {
            digest.add(&store_key(name), &rows::encode(row));
        }
    }

    /// One hold.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Hold> {
        self.state.read().rows.get(name).cloned()
    }

    /// All of them, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Hold> {
        self.state.read().rows.values().cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.read().rows.len()
    }

    /// The lowest LSN that any hold keeps.
    #[must_use]
    pub fn oldest(&self) -> Option<Lsn> {
        self.state.read().rows.values().map(|row| row.from).min()
    }
}

fn store_key(name: &str) -> Vec<u8> {
    rows::key(tag::HOLD, &[name.as_bytes()])
}

#[cfg(test)]
mod tests;
