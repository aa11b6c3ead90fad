//! Times to live that end: found in the order of their ends, written as `kv_expired` (K2).
//!
//! Owns: the window of ends that come next, and which of them wait. Never does: decide whether an end still matters
//! (`decide/expiry.rs`), or make a read wait: reads look at the time themselves.
//!
//! Only the next ends stand in memory, whatever the number of keys that expire; the rest stands in the index of the
//! views and is fetched when the window is used up. Nothing polls: the timers sleep until the first end.
//!
//! Invariant: E112 every put with a time to live is, until it is dealt with, in the window, waiting, or in the index
//! above what the window covers.

use std::collections::BTreeSet;
use std::sync::Arc;

use relive_log::events::{Event, KvEvent};
use relive_log::{Lsn, UnixMicros};
use relive_projections::{Due, Views};

use super::Node;
use super::core::{Core, NotAppended};
use crate::decide::expiry::Endings;
use crate::decide::fire::{Cause, fire_mutations};
use crate::refusal::Failure;
use crate::settings::RETRY_WAIT_MS_MAX;

/// Ends that are fetched at once; the window holds at most twice as many.
const WINDOW: usize = 4096;
/// Keys that one batch ends.
const BATCH: usize = 256;
/// How long ends wait after the log had no room for them.
const RETRY_MS: u64 = 500;

/// See the module.
pub(super) struct Expiries {
    window: BTreeSet<Due>,
    /// The window holds all ends up to this one; `None`: all there are.
    through: Option<(UnixMicros, Lsn)>,
    /// Ends of keys that an execution holds locked.
    waiting: Vec<Due>,
    /// Nothing is ended before this time.
    not_before: UnixMicros,
}

impl Expiries {
    /// Knows nothing yet: the first look fetches.
    pub(super) fn new() -> Expiries {
        let window = BTreeSet::new();
        let through = Some((UnixMicros(0), Lsn::ZERO));
        Expiries { window, through, waiting: Vec::new(), not_before: UnixMicros(0) }
    }

    /// A batch was applied: its puts with a time to live are due (E112).
    pub(super) fn observe(&mut self, events: &[Event], first: Lsn) {
        let mut version = first;
        for event in events {
            if let Event::Kv(KvEvent::Put(put)) = event
                && let Some(at) = put.expires_at
                && self.through.is_none_or(|through| (at, version) <= through)
            {
                let (app, collection, key) = (put.app, put.collection.clone(), put.key.clone());
                self.window.insert(Due { at, version, app, collection, key });
            }
            version = version.next();
        }
        if self.window.len() > 2 * WINDOW {
            // What is cut off stands in the index.
            if let Some(cut) = self.window.iter().nth(WINDOW).cloned() {
                let _later = self.window.split_off(&cut);
                self.through = self.window.last().map(|last| (last.at, last.version));
            }
        }
    }

    /// When the next time to live ends.
    pub(super) fn next(&self) -> Option<UnixMicros> {
        let next = self.window.first().map(|due| due.at).or(self.through.map(|(at, _)| at));
        next.map(|at| at.max(self.not_before))
    }

    /// Keys that were locked may be ended now.
    pub(super) fn unlocked(&mut self) {
        self.window.extend(self.waiting.drain(..));
    }

    /// Takes ends of one app that are due by `now`, the earliest first; `locked` says which wait.
    fn take(
        &mut self,
        views: &Views,
        now: UnixMicros,
        limit: usize,
        locked: impl Fn(&Due) -> bool,
    ) -> Result<Vec<Due>, relive_projections::ReadError> {
        if now < self.not_before {
            return Ok(Vec::new());
        }
        let mut taken: Vec<Due> = Vec::new();
        while taken.len() < limit {
            if self.window.is_empty() {
                let Some(through) = self.through.filter(|(at, _)| *at <= now) else { break };
                let fetched = views.index().due(through, WINDOW)?;
                self.through = if fetched.len() < WINDOW {
                    None
                } else {
                    fetched.last().map(|last| (last.at, last.version))
                };
                self.window.extend(fetched);
                continue;
            }
            let other_app = |due: &Due| taken.first().is_some_and(|first: &Due| first.app != due.app);
            if self.window.first().is_none_or(|due| due.at > now || other_app(due)) {
                break;
            }
            match self.window.pop_first() {
                Some(due) if locked(&due) => self.waiting.push(due),
                due => taken.extend(due),
            }
        }
        Ok(taken)
    }

    fn put_back(&mut self, ends: Vec<Due>, not_before: UnixMicros) {
        self.window.extend(ends);
        self.not_before = not_before;
    }

    /// All ends at or below this time were dealt with.
    fn dealt_with(&self, now: UnixMicros) -> UnixMicros {
        let left = self.window.iter().next().into_iter().chain(&self.waiting).map(|due| due.at).min();
        let through = self.through.map(|(at, _)| at);
        let next = [left, through].into_iter().flatten().min();
        next.map_or(now, |next| UnixMicros(next.0.saturating_sub(1)).min(now))
    }
}

impl Node {
    /// Ends what is due by now, one batch; answers whether there may be more.
    pub(super) fn expire_due(self: &Arc<Self>, core: &mut Core) -> bool {
        let now = self.steady.now();
        let locks = &core.locks;
        let taken = core
            .expiries
            .take(&self.views, now, BATCH, |due| locks.held(due.app, (&due.collection, &due.key)).is_some());
        let ends = match taken {
            Ok(ends) if ends.is_empty() => return false,
            Ok(ends) => ends,
            Err(why) => {
                tracing::error!(%why, "keys that expire could not be looked up");
                core.expiries.put_back(Vec::new(), now.plus_millis(RETRY_MS));
                return false;
            }
        };
        let full = ends.len() == BATCH;
        match self.end_all(core, &ends) {
            Ok(lsn) => {
                self.forget_later(core, now, lsn);
                full || core.expiries.next().is_some_and(|next| next <= now)
            }
            Err(why) => {
                tracing::error!(?why, "ends of times to live could not be recorded; they wait");
                core.expiries.put_back(ends, now.plus_millis(RETRY_MS));
                false
            }
        }
    }

    /// Ends those of one app that still stand, in one batch; answers its last LSN, or the last applied one.
    fn end_all(self: &Arc<Self>, core: &mut Core, ends: &[Due]) -> Result<Lsn, NotAppended> {
        let scene = self.scene();
        let mut decision = core.decision();
        let mut endings = Endings::default();
        let Some(app) = ends.first().and_then(|due| scene.registry.app(due.app)).map(Arc::clone) else {
            return Ok(self.views.applied());
        };
        for due in ends {
            endings
                .end(&scene, due.app, (&due.collection, &due.key), due.version, &mut decision)
                .map_err(|e| NotAppended::Failed(Failure::Read { message: e.to_string() }))?;
        }
        if decision.is_empty() {
            return Ok(self.views.applied());
        }
        if let Err(refusal) = fire_mutations(&scene, &app, &Cause::nothing(), &mut decision) {
            if ends.len() > 1 {
                // Too much at once: the halves go apart.
                let (front, back) = ends.split_at(ends.len() / 2);
                self.end_all(core, front)?;
                return self.end_all(core, back);
            }
            tracing::error!(%refusal, "a key's end fires too much and is not written; the key stays absent");
            return Ok(self.views.applied());
        }
        let appended = core.append(&decision, &self.views, scene.now)?;
        Ok(appended.last)
    }

    /// When the log says durably that these times to live are over, the index may forget them. A day later: a slow
    /// attempt may still commit a time to live that began with its claim.
    fn forget_later(&self, core: &Core, now: UnixMicros, lsn: Lsn) {
        let dealt_with = core.expiries.dealt_with(now).0.saturating_sub(RETRY_WAIT_MS_MAX * 1000);
        let views = Arc::clone(&self.views);
        self.waiters.when_durable(
            lsn,
            Box::new(move |durable| {
                if durable.is_ok() {
                    views.index().forget_due(UnixMicros(dealt_with));
                }
            }),
        );
    }
}
