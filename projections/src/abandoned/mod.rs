//! The view `abandoned`: outcomes that nobody took, until their records expire (D5, D11).
//!
//! Owns: the records by app and execution, and by age. Never does: hold the execution (it has a row of its own).
//!
//! ```text
//! b | app | execution      reason and time
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use parking_lot::RwLock;
use relive_log::events::{AbandonReason, AppEvent, ExecutionEvent, RetentionEvent};
use relive_log::{AppId, ExecutionId, UnixMicros};

use crate::digest::Digest;
use crate::rows::{self, tag};
use crate::source::At;
use crate::store::Change;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AbandonedRecord {
    /// The app.
    pub app: AppId,
    /// The execution.
    pub execution: ExecutionId,
    /// Why.
    pub reason: AbandonReason,
    /// When.
    pub at: UnixMicros,
}

type Key = (AppId, ExecutionId);

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<Key, AbandonedRecord>,
    by_age: BTreeSet<(UnixMicros, AppId, ExecutionId)>,
    dirty: BTreeSet<Key>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Abandoned {
    state: RwLock<State>,
}

impl Abandoned {
    /// Folds one event of an execution.
    pub(crate) fn fold(&self, event: &ExecutionEvent, at: At) {
        match event {
            ExecutionEvent::Abandoned(e) => {
                let (app, execution, reason) = (e.app, e.execution, e.reason);
                let mut state = self.state.write();
                if state.insert(AbandonedRecord { app, execution, reason, at: at.time }) {
                    state.dirty.insert((app, execution));
                }
            }
            ExecutionEvent::Enqueued(_)
            | ExecutionEvent::Claimed(_)
            | ExecutionEvent::AloneEnded(_)
            | ExecutionEvent::Released(_)
            | ExecutionEvent::Completed(_)
            | ExecutionEvent::AttemptFailed(_)
            | ExecutionEvent::Dropped(_)
            | ExecutionEvent::DepthExceeded(_) => {}
        }
    }

    /// Folds one event of retention.
    pub(crate) fn fold_retention(&self, event: &RetentionEvent) {
        match event {
            RetentionEvent::AbandonedExpired(e) => self.state.write().remove((e.app, e.execution)),
            RetentionEvent::HoldSet(_) | RetentionEvent::HoldReleased(_) => {}
        }
    }

    /// Folds one event of an app: records of an app that is gone are gone.
    pub(crate) fn fold_app(&self, event: &AppEvent) {
        let AppEvent::Deleted(e) = event else { return };
        let mut state = self.state.write();
        let of_app = (e.app, ExecutionId::default())..=(e.app, ExecutionId::from_bytes([0xff; 16]));
        let gone: Vec<Key> = state.rows.range(of_app).map(|(key, _)| *key).collect();
        gone.into_iter().for_each(|key| state.remove(key));
    }

    /// Takes a row of the store.
    pub(crate) fn load(&self, value: &[u8]) -> Option<()> {
        self.state.write().insert(rows::decode(value)?);
        Some(())
    }

    /// Rows of the store that the next cut writes.
    pub(crate) fn dirty(&self) -> usize {
        self.state.read().dirty.len()
    }

    /// The changes of the store since the last cut.
    pub(crate) fn cut(&self, out: &mut Vec<Change>) {
        let mut state = self.state.write();
        for key in std::mem::take(&mut state.dirty) {
            out.push((store_key(key), state.rows.get(&key).map(rows::encode)));
        }
    }

    /// Adds every row to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        for (key, row) in &self.state.read().rows {
            digest.add(&store_key(*key), &rows::encode(row));
        }
    }

    /// Records of an app, the highest execution first, below the cursor.
    #[must_use]
    pub fn list(&self, app: AppId, cursor: Option<ExecutionId>, limit: usize) -> Vec<AbandonedRecord> {
        let state = self.state.read();
        let all = (app, ExecutionId::default())..=(app, ExecutionId::from_bytes([0xff; 16]));
        let below = |key: &Key| cursor.is_none_or(|cursor| key.1 < cursor);
        state.rows.range(all).rev().filter(|(key, _)| below(key)).take(limit).map(|(_, row)| *row).collect()
    }

    /// The oldest record of all apps.
    #[must_use]
    pub fn oldest(&self) -> Option<UnixMicros> {
        self.state.read().by_age.first().map(|(at, ..)| *at)
    }

    /// Records from before a time, oldest first.
    #[must_use]
    pub fn before(&self, time: UnixMicros, limit: usize) -> Vec<(AppId, ExecutionId)> {
        let state = self.state.read();
        let old = state.by_age.iter().take_while(|(at, ..)| *at < time);
        old.take(limit).map(|(_, app, execution)| (*app, *execution)).collect()
    }
}

impl State {
    /// The first record of an execution stays.
    fn insert(&mut self, row: AbandonedRecord) -> bool {
        let key = (row.app, row.execution);
        if self.rows.contains_key(&key) {
            return false;
        }
        self.by_age.insert((row.at, row.app, row.execution));
        self.rows.insert(key, row);
        true
    }

    fn remove(&mut self, key: Key) {
        let Some(row) = self.rows.remove(&key) else { return };
        self.by_age.remove(&(row.at, row.app, row.execution));
        self.dirty.insert(key);
    }
}

fn store_key((app, execution): Key) -> Vec<u8> {
    rows::key(tag::ABANDONED, &[app.as_bytes(), execution.as_bytes()])
}
