//! How far back the views look, and what keeps the log from being cut there.
//!
//! Owns: the horizon (P17), the announcement of a cut, and what a log that is cut must keep. Never does: cut the log.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use relive_log::{AppId, FramePos, Lsn};

use super::Views;
use crate::error::ReadError;
use crate::horizon::Lowest;

impl Views {
    /// The first LSN that the log still holds: what is below is not shown any more (P17).
    #[must_use]
    pub fn horizon(&self) -> Lsn {
        self.horizon.get()
    }

    /// The log begins at `first` now.
    pub fn set_horizon(&self, first: Lsn) {
        self.horizon.rise(first);
    }

    /// Announces that the log will begin at `start`. `false`: something needs what is below, and it must not.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn announce_cut(&self, start: Lsn) -> Result<bool, ReadError> {
        let _held = self.cuts.lock();
        if self.oldest_needed()?.is_some_and(|needed| needed < start) {
            return Ok(false);
        }
        self.cut_floor.fetch_max(start.0, Ordering::AcqRel);
        Ok(true)
    }

    /// Keeps cuts from being announced while something is decided and applied that will need the past.
    pub fn hold_cuts(&self) -> MutexGuard<'_, ()> {
        self.cuts.lock()
    }

    /// The first LSN that will still be there when every announced cut is done.
    #[must_use]
    pub fn cut_floor(&self) -> Lsn {
        Lsn(self.cut_floor.load(Ordering::Acquire)).max(self.horizon())
    }

    /// What a log that begins at `start` must keep of the events below: what the views refer to there, above `after`,
    /// by LSN, at most `limit`. Everything that is shown at or above the horizon is read from these or from the log.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn needed_below(
        &self,
        start: Lsn,
        after: Lsn,
        limit: usize,
    ) -> Result<Vec<(Lsn, FramePos)>, ReadError> {
        let mut lowest = Lowest::above(after, limit);
        let registry = self.registry.now();
        // A fork reads what its base held, also when the base's app is gone.
        let bases: BTreeSet<AppId> =
            registry.apps.values().flat_map(|app| &app.line).map(|fork| fork.base.app).collect();
        let is_live = |key: &[u8]| {
            let app = key.first_chunk::<16>().map(|bytes| AppId::from_bytes(*bytes));
            app.is_some_and(|app| registry.apps.contains_key(&app) || bases.contains(&app))
        };
        for app in registry.apps.values() {
            let versions = app.scripts.values().flat_map(|script| &script.versions);
            let sources = versions.map(|version| (version.lsn, version.pos));
            let secrets = app.secrets.values().map(|secret| (secret.lsn, secret.pos));
            let changes = app.changes.iter().copied();
            let below = sources.chain(secrets).chain(changes).filter(|(lsn, _)| *lsn < start);
            below.for_each(|(lsn, pos)| lowest.offer(lsn, pos));
        }
        self.kv.current_below(start, is_live, &mut lowest)?;
        Ok(lowest.into_sorted())
    }

    /// Whether a call with an `Idempotency-Key` may have come at or after `since` (D14).
    #[must_use]
    pub fn keyed_since(&self, since: Lsn) -> bool {
        self.idempotency.any_since(since)
    }

    /// The lowest event that open work, an open dead letter or a fork still needs: the log is not cut above it. Where an
    /// input is that of earlier work (a redrive, a handler), that of the earliest counts; of a fork, the moment of which
    /// it reads its base.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn oldest_needed(&self) -> Result<Option<Lsn>, ReadError> {
        let (mut oldest, mut letters) = self.executions.needed();
        let registry = self.registry.now();
        let bases = registry.apps.values().flat_map(|app| &app.line).map(|fork| fork.base.lsn);
        oldest = oldest.into_iter().chain(bases).min();
        letters.extend(self.dead_letters.open_letters());
        let mut seen = BTreeSet::new();
        while let Some((app, letter)) = letters.pop() {
            if !seen.insert((app, letter)) {
                continue;
            }
            let Some(row) = self.dead_letters.get(app, letter) else { continue };
            oldest = Some(oldest.map_or(row.enqueued, |lsn| lsn.min(row.enqueued)));
            let execution = self.executions.get(app, row.execution)?;
            letters.extend(execution.and_then(|row| row.refers_to()).map(|letter| (app, letter)));
        }
        Ok(oldest)
    }
}
