//! The layers that a view with history reads through: one table that grows, frozen tables that wait to be written,
//! sorted runs.
//!
//! Owns: their order in time and their replacement. Never does: write files, or know what a row means.
//!
//! Invariants: P3 layers are disjoint in LSNs and ordered, newest first: active, frozen, runs. P4 a reader takes
//! all layers at one instant and keeps them: whatever is frozen, written or merged meanwhile stays readable for it.
//! A frozen table is the active one of before, which nobody writes any more.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::RwLock;
use relive_log::Lsn;

use crate::error::RunError;
use crate::run::{Cursor, Run};

/// A table in memory: the active layer, or a frozen one.
pub(crate) trait MemoryTable: Default {
    /// Rows in it; one that was added twice may count twice.
    fn rows(&self) -> usize;
    /// About how many bytes it takes.
    fn bytes(&self) -> usize;
    /// The smallest key at or above the bound.
    fn key_from(&self, bound: &[u8]) -> Option<Vec<u8>>;
    /// The largest key below the bound.
    fn key_before(&self, bound: &[u8]) -> Option<Vec<u8>>;
}

/// All layers at one instant.
pub(crate) struct Layers<T> {
    /// What is appended to.
    pub(crate) active: Arc<T>,
    /// What waits to be written, newest first.
    pub(crate) frozen: Vec<Arc<T>>,
    /// What was written, newest first.
    pub(crate) runs: Vec<Arc<Run>>,
}

impl<T> Clone for Layers<T> {
    fn clone(&self) -> Self {
        Layers { active: Arc::clone(&self.active), frozen: self.frozen.clone(), runs: self.runs.clone() }
    }
}

/// The layers in force. The lock is held only to take or to replace the `Arc`.
pub(crate) struct LayerSet<T> {
    current: RwLock<Arc<Layers<T>>>,
}

impl<T: MemoryTable> LayerSet<T> {
    /// Over these runs, newest first.
    pub(crate) fn new(runs: Vec<Arc<Run>>) -> LayerSet<T> {
        let layers = Layers { active: Arc::new(T::default()), frozen: Vec::new(), runs };
        LayerSet { current: RwLock::new(Arc::new(layers)) }
    }

    /// All layers at this instant.
    pub(crate) fn now(&self) -> Arc<Layers<T>> {
        Arc::clone(&self.current.read())
    }

    fn change(&self, change: impl FnOnce(&mut Layers<T>)) {
        let mut current = self.current.write();
        let mut next = Layers::clone(&current);
        change(&mut next);
        *current = Arc::new(next);
    }

    /// Ends the active table; `None` if it is empty. Only the caller of `apply` may do this, between batches.
    pub(crate) fn freeze(&self) -> Option<Arc<T>> {
        let table = Arc::clone(&self.current.read().active);
        if table.rows() == 0 {
            return None;
        }
        self.change(|layers| {
            layers.frozen.insert(0, Arc::clone(&table));
            layers.active = Arc::new(T::default());
        });
        Some(table)
    }

    /// A frozen table, the oldest one, was written as this run.
    pub(crate) fn written(&self, table: &Arc<T>, run: Arc<Run>) {
        self.change(|layers| {
            layers.frozen.retain(|frozen| !Arc::ptr_eq(frozen, table));
            layers.runs.insert(0, run);
        });
    }

    /// Neighbouring runs were merged into one, or into nothing.
    pub(crate) fn merged(&self, old: &[Arc<Run>], new: Option<&Arc<Run>>) {
        self.change(|layers| {
            let is_old = |run: &Arc<Run>| old.iter().any(|gone| Arc::ptr_eq(gone, run));
            let at = layers.runs.iter().position(is_old).unwrap_or(0);
            layers.runs.retain(|run| !is_old(run));
            if let Some(new) = new {
                layers.runs.insert(at, Arc::clone(new));
            }
        });
        for run in old {
            run.retire();
        }
    }

    /// Bytes in memory that are not written yet.
    pub(crate) fn lag_bytes(&self) -> usize {
        let layers = self.now();
        layers.active.bytes() + layers.frozen.iter().map(|table| table.bytes()).sum::<usize>()
    }
}

/// One layer while keys are merged.
pub(crate) enum LayerCursor<'a, T> {
    /// A table in memory.
    Table(&'a T),
    /// A run.
    Run(Cursor),
}

impl<T: MemoryTable> LayerCursor<'_, T> {
    fn key_from(&mut self, bound: &[u8]) -> Result<Option<Vec<u8>>, RunError> {
        match self {
            LayerCursor::Table(table) => Ok(table.key_from(bound)),
            LayerCursor::Run(cursor) => Ok(cursor.seek(bound, Lsn::MAX)?.map(|row| row.key.to_vec())),
        }
    }

    fn key_before(&mut self, bound: &[u8]) -> Result<Option<Vec<u8>>, RunError> {
        match self {
            LayerCursor::Table(table) => Ok(table.key_before(bound)),
            LayerCursor::Run(cursor) => Ok(cursor.seek_before(bound, Lsn::MAX)?.map(|row| row.key.to_vec())),
        }
    }
}

/// A key, and what was found under it.
pub(crate) type KeyAnd<R> = (Vec<u8>, Option<R>);

/// Which way keys are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the smallest up.
    Up,
    /// From the largest down.
    Down,
}

/// All keys of a range over all layers, each once, in order.
pub(crate) struct KeyMerge<'a, T> {
    layers: Vec<(LayerCursor<'a, T>, Option<Vec<u8>>)>,
    range: Range<Vec<u8>>,
    direction: Direction,
}

impl<'a, T: MemoryTable> KeyMerge<'a, T> {
    /// Over the layers that may hold rows at or below `at`.
    pub(crate) fn new(
        layers: &'a Layers<T>,
        range: Range<Vec<u8>>,
        direction: Direction,
        at: Lsn,
    ) -> Result<Self, RunError> {
        let tables = std::iter::once(&layers.active).chain(&layers.frozen);
        let runs = layers.runs.iter().filter(|run| run.meta().first <= at);
        let mut merged = Vec::new();
        for mut layer in tables
            .map(|table| LayerCursor::Table(&**table))
            .chain(runs.map(|run| LayerCursor::Run(Cursor::new(run))))
        {
            let head = match direction {
                Direction::Up => layer.key_from(&range.start)?,
                Direction::Down => layer.key_before(&range.end)?,
            };
            merged.push((layer, head));
        }
        Ok(KeyMerge { layers: merged, range, direction })
    }

    /// The next key, and the layers that hold it, newest first, asked by `look` until one answers.
    pub(crate) fn next<R, E: From<RunError>>(
        &mut self,
        mut look: impl FnMut(&mut LayerCursor<'a, T>, &[u8]) -> Result<Option<R>, E>,
    ) -> Result<Option<KeyAnd<R>>, E> {
        let heads = self.layers.iter().filter_map(|(_, head)| head.as_ref());
        let next = match self.direction {
            Direction::Up => heads.min(),
            Direction::Down => heads.max(),
        };
        let Some(key) = next.filter(|key| self.range.contains(*key)).cloned() else { return Ok(None) };
        let bound = match self.direction {
            Direction::Up => [key.as_slice(), &[0]].concat(),
            Direction::Down => key.clone(),
        };
        let mut found = None;
        for (layer, head) in &mut self.layers {
            if head.as_ref() != Some(&key) {
                continue;
            }
            if found.is_none() {
                found = look(layer, &key)?;
            }
            *head = match self.direction {
                Direction::Up => layer.key_from(&bound)?,
                Direction::Down => layer.key_before(&bound)?,
            };
        }
        Ok(Some((key, found)))
    }
}
