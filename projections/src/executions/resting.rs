//! Open executions of which nothing is kept but where their `enqueued` stands: 48 bytes each, however many wait.
//!
//! Owns: [`RestingRow`], its order by id, and the [`Kind`]s that such rows share. Never does: read the log.
//!
//! Invariant: P22 a row rests only while its `enqueued` is all that ever happened to it, can be read back, and stands in
//! full on disk: views that begin from an older state fold ends of work whose `enqueued` was cut since.
//!
//! Rows stand in leaves, sorted: ids begin with a time, so that nearly all are added at the end of the last leaf and
//! taken from the beginning of the first one, and leaves are full.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use relive_log::events::Source;
use relive_log::{AppId, ExecutionId, FramePos, Lsn, UnixMicros};

use super::row::ExecutionRow;
use super::waiting::Head;

/// Where an open row stands on disk (P25).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    /// No cut took it, or these views live in memory only.
    Nowhere,
    /// In the store.
    Store,
    /// In a run of what waits.
    Run,
}

/// Rows of a leaf that is full.
const LEAF_ROWS: usize = 512;

/// What many waiting executions have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) app: AppId,
    pub(super) script: String,
    pub(super) source: Source,
}

/// App, what it is of (a trigger or a route), and script.
type KindKey = (AppId, u8, [u8; 16], String);

impl Kind {
    /// The kind of this row; `None` for work that never rests: someone waits for it, or it is of a dead letter.
    pub(super) fn of(row: &ExecutionRow) -> Option<Kind> {
        let kind = || Kind { app: row.app, script: row.script.clone(), source: row.source.clone() };
        Kind::may_rest(row).then(kind)
    }

    /// Whether such work rests, as long as nothing happened to it.
    pub(super) fn may_rest(row: &ExecutionRow) -> bool {
        row.redrive_of.is_none() && source_key(&row.source).is_some()
    }

    fn is_of(&self, head: &Head<'_>) -> bool {
        self.app == head.app && self.script == head.script && self.source == head.source
    }

    fn key(&self) -> Option<KindKey> {
        let (tag, id) = source_key(&self.source)?;
        Some((self.app, tag, id, self.script.clone()))
    }
}

/// The trigger or route of work that may rest.
const fn source_key(source: &Source) -> Option<(u8, [u8; 16])> {
    match source {
        Source::Route { route, sync: false } => Some((0, *route.as_bytes())),
        Source::Kv { trigger } => Some((1, *trigger.as_bytes())),
        Source::Cron { trigger } => Some((2, *trigger.as_bytes())),
        Source::Queue { trigger } => Some((3, *trigger.as_bytes())),
        Source::Route { sync: true, .. } | Source::DeadLetter { .. } | Source::Direct => None,
    }
}

/// Kinds by number.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    kinds: Vec<Arc<Kind>>,
    numbers: HashMap<KindKey, u32>,
}

impl Kinds {
    /// The number of the kind of a row that was read; `last`: that of the row before it, mostly the same.
    pub(super) fn number_of(&mut self, head: &Head<'_>, last: Option<u32>) -> Option<u32> {
        let same = last.filter(|number| self.get(*number).is_some_and(|kind| kind.is_of(head)));
        let kind = || Kind { app: head.app, script: head.script.to_owned(), source: head.source.clone() };
        same.or_else(|| self.number(kind()))
    }

    /// The number of a kind.
    pub(super) fn number(&mut self, kind: Kind) -> Option<u32> {
        let key = kind.key()?;
        if let Some(number) = self.numbers.get(&key) {
            return Some(*number);
        }
        let number = u32::try_from(self.kinds.len()).ok()?;
        self.kinds.push(Arc::new(kind));
        self.numbers.insert(key, number);
        Some(number)
    }

    /// The kind with a number that [`Kinds::number`] gave.
    pub(super) fn get(&self, number: u32) -> Option<&Arc<Kind>> {
        usize::try_from(number).ok().and_then(|at| self.kinds.get(at))
    }
}

/// One row that rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RestingRow {
    pub(super) execution: ExecutionId,
    /// Its `enqueued`.
    pub(super) lsn: Lsn,
    /// The frame of that.
    pub(super) pos: FramePos,
    pub(super) due_at: UnixMicros,
    pub(super) kind: u32,
    /// Whether it stands in a line (D13): its key is read from the log.
    pub(super) ordered: bool,
    /// Where a cut put it.
    pub(super) stands: Stands,
}

const _: () = assert!(size_of::<RestingRow>() <= 48);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Resting {
    /// Leaves by a bound that is at or below all of their rows and above those of the leaf before.
    leaves: BTreeMap<ExecutionId, VecDeque<RestingRow>>,
    len: usize,
}

impl Resting {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a row that is not there.
    pub(super) fn insert(&mut self, row: RestingRow) {
        self.len += 1;
        let Some((_, leaf)) = self.leaves.range_mut(..=row.execution).next_back() else {
            return self.insert_before_all(row);
        };
        let at = leaf.partition_point(|other| other.execution < row.execution);
        if at == leaf.len() && leaf.len() >= LEAF_ROWS {
            leaf.shrink_to_fit();
            self.leaves.insert(row.execution, VecDeque::from([row]));
            return;
        }
        leaf.insert(at, row);
        if leaf.len() > LEAF_ROWS {
            let upper = leaf.split_off(LEAF_ROWS / 4 * 3);
            leaf.shrink_to_fit();
            if let Some(first) = upper.front() {
                self.leaves.insert(first.execution, upper);
            }
        }
    }

    fn insert_before_all(&mut self, row: RestingRow) {
        let leaf = match self.leaves.first_entry().filter(|first| first.get().len() < LEAF_ROWS) {
            Some(first) => {
                let mut leaf = first.remove();
                leaf.push_front(row);
                leaf
            }
            None => VecDeque::from([row]),
        };
        self.leaves.insert(row.execution, leaf);
    }

    pub(super) fn get(&self, execution: ExecutionId) -> Option<&RestingRow> {
        let (_, leaf) = self.leaves.range(..=execution).next_back()?;
        leaf.binary_search_by_key(&execution, |row| row.execution).ok().and_then(|at| leaf.get(at))
    }

    pub(super) fn remove(&mut self, execution: ExecutionId) -> Option<RestingRow> {
        let (&bound, leaf) = self.leaves.range_mut(..=execution).next_back()?;
        let at = leaf.binary_search_by_key(&execution, |row| row.execution).ok()?;
        let row = leaf.remove(at)?;
        if leaf.is_empty() {
            self.leaves.remove(&bound);
        }
        self.len -= 1;
        Some(row)
    }

    /// Rows with an id below the cursor, highest first.
    pub(super) fn below(&self, cursor: Option<ExecutionId>) -> impl Iterator<Item = &RestingRow> {
        let end = cursor.map_or(Unbounded, Excluded);
        let leaves = self.leaves.range((Unbounded, end)).rev();
        let rows = leaves.flat_map(|(_, leaf)| leaf.iter().rev());
        rows.skip_while(move |row| cursor.is_some_and(|cursor| row.execution >= cursor))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(n: u16) -> RestingRow {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        RestingRow {
            execution: ExecutionId::from_bytes(id),
            lsn: Lsn(u64::from(n)),
            pos: FramePos { segment: 1, offset: 0 },
            due_at: UnixMicros(0),
            kind: 0,
            ordered: false,
            stands: Stands::Nowhere,
        }
    }

    proptest! {
        /// Against a sorted map, in the order of ids and in any other.
        #[test]
        fn p22_rows_that_rest_are_a_sorted_map(
            mut ids in prop::collection::vec(any::<u16>(), 0..3000),
            ascending in any::<bool>(),
            removed in prop::collection::vec(any::<u16>(), 0..600),
            cursor in any::<u16>(),
        ) {
            if ascending {
                ids.sort_unstable();
            }
            let (mut resting, mut model) = (Resting::default(), BTreeMap::new());
            for n in &ids {
                if model.insert(row(*n).execution, row(*n)).is_none() {
                    resting.insert(row(*n));
                }
            }
            for n in removed.iter().chain(ids.iter().step_by(3)) {
                prop_assert_eq!(resting.remove(row(*n).execution), model.remove(&row(*n).execution));
            }
            prop_assert_eq!(resting.len(), model.len());
            prop_assert!(resting.below(None).eq(model.values().rev()));
            let cursor = row(cursor).execution;
            prop_assert!(resting.below(Some(cursor)).eq(model.range(..cursor).rev().map(|(_, row)| row)));
            prop_assert_eq!(resting.get(cursor), model.get(&cursor));
        }
    }
}
