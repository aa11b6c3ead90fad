//! Decision on a time to live that ended (K2): `kv_expired` names the version that it ends, and is written only while
//! that version is the key's newest.
//!
//! Owns: the one place that pushes `kv_expired`. Never does: look for keys that are due (`node/expiry.rs`).
//!
//! Invariants: E110 a `kv_expired` ends the key's newest version, whose time to live was over at the time of the
//! decision; E111 a commit that took a key for expired carries its `kv_expired` before its own writes.

use std::collections::BTreeSet;

use relive_log::events::{Event, KvEvent, KvExpired};
use relive_log::{AppId, Lsn, UnixMicros};
use relive_projections::{KvVersion, ReadError};

use super::{Decision, Scene};

/// Longest time to live: 100 years. A longer one is a mistake in units.
pub(crate) const TTL_MS_MAX: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

/// Ends times to live within one batch, each key at most once.
#[derive(Default)]
pub(crate) struct Endings {
    ended: BTreeSet<(String, String)>,
}

impl Endings {
    /// Ends this version of a key, if it is still the newest and not ended in this batch (E110).
    pub(crate) fn end(
        &mut self,
        scene: &Scene<'_>,
        app: AppId,
        key: (&str, &str),
        version: Lsn,
        out: &mut Decision,
    ) -> Result<(), ReadError> {
        let last = scene.views.kv().last_write(app, key.0, key.1)?;
        let stands = last.is_some_and(|last| last.lsn == version && last.is_lapsed_at(scene.steady));
        if stands {
            self.push(app, key, version, out);
        }
        Ok(())
    }

    fn push(&mut self, app: AppId, key: (&str, &str), version: Lsn, out: &mut Decision) {
        let (collection, key) = (key.0.to_owned(), key.1.to_owned());
        if self.ended.insert((collection.clone(), key.clone())) {
            out.push(Event::Kv(KvEvent::Expired(KvExpired { app, collection, key, version })));
        }
    }

    /// The version that a write of this key replaces, as of a time: one whose time to live is over by then is ended
    /// first, and the write is an insert (K2).
    pub(crate) fn replaced(
        &mut self,
        app: AppId,
        key: (&str, &str),
        last: Option<KvVersion>,
        time: UnixMicros,
        out: &mut Decision,
    ) -> Option<Lsn> {
        let last = last.filter(|last| !last.deleted)?;
        if self.ended.contains(&(key.0.to_owned(), key.1.to_owned())) {
            return None;
        }
        if last.is_lapsed_at(time) {
            self.push(app, key, last.lsn, out);
            return None;
        }
        Some(last.lsn)
    }
}
