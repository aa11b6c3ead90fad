//! Where the keys of a fork come from: the line of apps that it descends from, and one walk over the keys of all.
//!
//! Owns: [`Lines`], which app reads through to which, as of when; [`LineKeys`], keys of a whole line in order. Never
//! does: copy a key. A fork costs nothing at its beginning, and one look more for each key that it has not written.
//!
//! ```text
//! fork     ──●─────●──▶  its own writes, above the fork
//! base  ──●──●──┊─●──▶   of these, what stood at or below the moment of the fork
//! ```
//!
//! Invariant: P20 as of any instant at or after its beginning a fork reads what its base held at the moment of the fork,
//! but for keys that were written in it; time to live goes on from what was left of it at that moment. Before its beginning
//! it reads what its base held then, up to that moment.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use relive_log::events::Fork;
use relive_log::{AppId, Lsn};

use super::read::{Found, version_in};
use super::table::Table;
use crate::error::ReadError;
use crate::layers::{Direction, KeyMerge, Layers};

/// The lines of all forks.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Whether there is a fork at all: most reads ask no further.
    any: AtomicBool,
    by_app: RwLock<BTreeMap<AppId, Arc<[Fork]>>>,
}

/// One app of a line, and how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) app: AppId,
    /// What was written there up to here.
    pub(super) lsn: Lsn,
    /// Times to live end so many microseconds later than they say.
    pub(super) later: u64,
}

impl Level {
    /// The app itself.
    const fn own(app: AppId, lsn: Lsn) -> Level {
        Level { app, lsn, later: 0 }
    }

    /// What the app of this level began with.
    fn base(self, fork: &Fork) -> Level {
        let (app, base) = (fork.base.app, fork.base.lsn);
        if self.lsn >= fork.lsn {
            let passed = fork.at.0.saturating_sub(fork.base.at.0);
            return Level { app, lsn: base, later: self.later.saturating_add(passed) };
        }
        Level { app, lsn: self.lsn.min(base), later: self.later }
    }
}

impl Lines {
    /// Takes the lines of all apps that are forks.
    pub(super) fn set(&self, lines: BTreeMap<AppId, Arc<[Fork]>>) {
        let any = !lines.is_empty();
        *self.by_app.write() = lines;
        self.any.store(any, Ordering::Release);
    }

    fn of(&self, app: AppId) -> Option<Arc<[Fork]>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.by_app.read().get(&app).cloned()
    }

    /// The app as of `lsn`, then what it began with, and so on.
    pub(super) fn levels(&self, app: AppId, lsn: Lsn) -> impl Iterator<Item = Level> + use<> {
        let own = Level::own(app, lsn);
        let line = self.of(app);
        let mut level = own;
        let bases = (0..).map_while(move |at| {
            level = level.base(line.as_ref()?.get(at)?);
            Some(level)
        });
        std::iter::once(own).chain(bases)
    }
}

/// The keys of a line, each once, in order, with its version as of `N` instants.
pub(super) struct LineKeys<'a, const N: usize> {
    parts: Vec<Part<'a, N>>,
    direction: Direction,
}

/// A key without its app, and what was found.
type Seen<const N: usize> = (Vec<u8>, [Option<Found>; N]);

struct Part<'a, const N: usize> {
    keys: KeyMerge<'a, Table>,
    levels: [Level; N],
    /// The next key of this part; only where there are several parts.
    head: Option<Seen<N>>,
}

impl<const N: usize> Part<'_, N> {
    fn next(&mut self) -> Result<Option<Seen<N>>, ReadError> {
        let mut found = std::array::from_fn(|_| None);
        let levels = &self.levels;
        let look = self.keys.next(|layer, key| {
            for (found, level) in found.iter_mut().zip(levels) {
                if found.is_none() {
                    *found = version_in(layer, key, level.lsn)?.map(|found| found.later(level.later));
                }
            }
            Ok::<_, ReadError>(found.iter().all(Option::is_some).then_some(()))
        })?;
        Ok(look.map(|(key, _)| (key, found)))
    }
}

impl<'a, const N: usize> LineKeys<'a, N> {
    /// Over the keys of `app` as of these LSNs; `range` gives the range of encoded keys of an app of the line.
    pub(super) fn new(
        layers: &'a Layers<Table>,
        lines: &Lines,
        app: AppId,
        at: [Lsn; N],
        range: impl Fn(AppId) -> Range<Vec<u8>>,
        direction: Direction,
    ) -> Result<LineKeys<'a, N>, ReadError> {
        let mut instants = at.map(|lsn| lines.levels(app, lsn));
        let mut parts = Vec::new();
        loop {
            let level = instants.each_mut().map(Iterator::next);
            let Some(first) = level.first().copied().flatten() else { break };
            let levels = level.map(|level| level.unwrap_or(first));
            let highest = levels.iter().map(|level| level.lsn).max().unwrap_or(Lsn::MAX);
            let keys = KeyMerge::new(layers, range(first.app), direction, highest)?;
            parts.push(Part { keys, levels, head: None });
        }
        let mut keys = LineKeys { parts, direction };
        if keys.parts.len() > 1 {
            for part in &mut keys.parts {
                part.head = part.next()?.map(without_app);
            }
        }
        Ok(keys)
    }

    /// The next key, encoded (of whichever app), and its versions: of each instant the nearest in the line.
    pub(super) fn next(&mut self) -> Result<Option<Seen<N>>, ReadError> {
        if let [only] = self.parts.as_mut_slice() {
            return only.next();
        }
        let heads = self.parts.iter().filter_map(|part| part.head.as_ref()).map(|(key, _)| key);
        let next = match self.direction {
            Direction::Up => heads.min(),
            Direction::Down => heads.max(),
        };
        let Some(key) = next.cloned() else { return Ok(None) };
        let mut nearest = std::array::from_fn(|_| None);
        for part in &mut self.parts {
            let Some((_, found)) = part.head.take_if(|(head, _)| *head == key) else { continue };
            for (nearest, found) in nearest.iter_mut().zip(found) {
                if nearest.is_none() {
                    *nearest = found;
                }
            }
            part.head = part.next()?.map(without_app);
        }
        let mut encoded = vec![0; super::key::APP_LEN];
        encoded.extend_from_slice(&key);
        Ok(Some((encoded, nearest)))
    }
}

fn without_app<const N: usize>((mut key, found): Seen<N>) -> Seen<N> {
    key.drain(..super::key::APP_LEN.min(key.len()));
    (key, found)
}
