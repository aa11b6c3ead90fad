//! Which runs are merged, and when.
//!
//! Runs fall into size classes, each `merge_ratio` times the one below. As many runs of one class as that ratio, with
//! nothing but smaller ones between them, become one run: every row is rewritten once a class, and the number of
//! runs grows with the logarithm of the rows.
//!
//! Invariant: P28 a merge leaves fewer runs than it read, so that maintenance comes to an end.

use std::sync::Arc;

use relive_log::Lsn;

use super::meta::Meta;
use super::{DiskLayer, State};
use crate::error::ViewsError;
use crate::executions::{collapse, is_gone};
use crate::idempotency::{enqueued_at, newest};
use crate::kv;
use crate::layers::{LayerSet, MemoryTable};
use crate::options::Limits;
use crate::run::{Collapse, Reach, Run, RunKind, merge};
use crate::views::Views;

/// So many times as many rows of runs as executions that wait are kept.
const WAITING_RATIO: u64 = 4;

/// Neighbours that should be merged: position of the newest among the runs of one kind, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    at: usize,
    len: usize,
}

/// The lowest class that has enough neighbours, smaller ones between them included, none of `merge_rows_max` rows.
/// `rows`: newest run first.
pub(super) fn due(rows: &[u64], limits: &Limits) -> Option<Group> {
    let ratio = limits.merge_ratio.max(2);
    let step = u64::try_from(ratio).unwrap_or(u64::MAX);
    let highest = rows.iter().copied().max()?;
    let (mut from, mut end) = (0, limits.tier_rows.max(1));
    while from <= highest {
        let sum = |group: &Group| rows.iter().skip(group.at).take(group.len).sum::<u64>();
        let due = stretches(rows, from, end)
            .into_iter()
            .filter(|(group, members)| *members >= ratio && sum(group) <= limits.merge_rows_max)
            .max_by_key(|(_, members)| *members);
        if let Some((group, _)) = due {
            return Some(group);
        }
        (from, end) = (end, end.saturating_mul(step).max(end.saturating_add(1)));
    }
    None
}

/// The stretches of runs below `end`, each with the number of its members of the class `from..end`.
fn stretches(rows: &[u64], from: u64, end: u64) -> Vec<(Group, usize)> {
    let mut stretches = vec![(Group { at: 0, len: 0 }, 0)];
    for (at, &count) in rows.iter().enumerate() {
        match stretches.last_mut() {
            Some((group, members)) if count < end => {
                group.len += 1;
                *members += usize::from(count >= from);
            }
            Some(_) | None => stretches.push((Group { at: at + 1, len: 0 }, 0)),
        }
    }
    stretches
}

impl DiskLayer {
    /// Whether runs should be merged before another one is written.
    pub(crate) fn too_many_runs(&self, state: &State) -> bool {
        state.meta.runs.len() >= self.limits.runs_max
    }

    /// Merges one group, if one is due: how many runs became one.
    pub(crate) fn merge_one(&self, state: &mut State, views: &Views) -> Result<usize, ViewsError> {
        let horizon = views.horizon();
        let versions = Collapse::Versions { horizon, is_deleted: kv::is_deleted };
        let merged = self.merge_kind(state, RunKind::Kv, &views.kv().layers, versions)?;
        if merged > 0 {
            return Ok(merged);
        }
        let into = Collapse::Into { horizon, make: &collapse };
        let merged = self.merge_kind(state, RunKind::Ended, &views.executions().ended, into)?;
        if merged > 0 {
            return Ok(merged);
        }
        let index = views.index();
        let keeps = |key: &[u8]| index.keeps(key);
        let merged = self.merge_kind(state, RunKind::Index, &index.layers, Collapse::Where(&keeps))?;
        if merged > 0 {
            return Ok(merged);
        }
        let keyed = views.idempotency();
        // What is too old in the newest row of a key is so in every older one.
        let make = |values: &[Vec<u8>], _: Lsn| {
            Some(newest(values)).filter(|row| enqueued_at(row).is_none_or(|at| keyed.keeps(at)))
        };
        let into = Collapse::Into { horizon, make: &make };
        let merged = self.merge_kind(state, RunKind::Keyed, &keyed.layers, into)?;
        if merged > 0 {
            return Ok(merged);
        }
        self.merge_waiting(state, views)
    }

    /// What waits no more is worth nothing: when most rows are of that, all runs become one, so that a start reads about
    /// as many rows as there is work. One run alone stays: it has no row of what ended before the last cut, and merged it
    /// would be the same again (P28).
    fn merge_waiting(&self, state: &mut State, views: &Views) -> Result<usize, ViewsError> {
        let executions = views.executions();
        let rows: Vec<u64> = state.meta.of_kind(RunKind::Waiting).map(|run| run.rows).collect();
        let live = u64::try_from(executions.open_count()).unwrap_or(u64::MAX);
        let worth = live.saturating_add(self.limits.tier_rows).saturating_mul(WAITING_RATIO);
        let newest = Collapse::Newest { is_gone };
        if rows.len() > 1 && rows.iter().sum::<u64>() > worth {
            let all = Group { at: 0, len: rows.len() };
            return self.merge_group(state, RunKind::Waiting, &executions.waiting, newest, all);
        }
        self.merge_kind(state, RunKind::Waiting, &executions.waiting, newest)
    }

    fn merge_kind<T: MemoryTable>(
        &self,
        state: &mut State,
        kind: RunKind,
        layers: &LayerSet<T>,
        collapse: Collapse<'_>,
    ) -> Result<usize, ViewsError> {
        let rows: Vec<u64> = state.meta.of_kind(kind).map(|run| run.rows).collect();
        match due(&rows, &self.limits) {
            Some(group) => self.merge_group(state, kind, layers, collapse, group),
            None => Ok(0),
        }
    }

    fn merge_group<T: MemoryTable>(
        &self,
        state: &mut State,
        kind: RunKind,
        layers: &LayerSet<T>,
        collapse: Collapse<'_>,
        group: Group,
    ) -> Result<usize, ViewsError> {
        let old: Vec<Arc<Run>> = layers.now().runs.iter().skip(group.at).take(group.len).cloned().collect();
        // Nothing below the oldest run can come back to light.
        let reach = if group.at + group.len == state.meta.of_kind(kind).count() {
            Reach::Oldest
        } else {
            Reach::OlderStay
        };
        let new =
            self.write_run(state, kind, |writer| merge(&old, writer, collapse, reach)).map_err(|error| {
                if matches!(error, ViewsError::Run(_)) { self.break_off(state, error) } else { error }
            })?;
        let mut meta: Meta = state.meta.clone();
        let is_old = |number: u64| old.iter().any(|run| run.meta().number == number);
        let at = meta.runs.iter().position(|run| is_old(run.number)).unwrap_or(0);
        meta.runs.retain(|run| !is_old(run.number));
        if let Some(new) = &new {
            meta.runs.insert(at, *new.meta());
        }
        self.commit(state, meta, &[])?;
        layers.merged(&old, new.as_ref());
        Ok(old.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[u64], expected: Option<(usize, usize)>) {
        let limits = Limits { merge_ratio: 4, tier_rows: 10, merge_rows_max: 100_000, ..Limits::default() };
        assert_eq!(due(rows, &limits).map(|group| (group.at, group.len)), expected, "{rows:?}");
    }

    #[test]
    fn groups_are_neighbours_of_one_class_lowest_first() {
        check(&[], None);
        check(&[1, 1, 1], None);
        check(&[20_000, 30_000, 30_000, 30_000], None);
        check(&[1, 1, 1, 1, 20_000, 30_000, 30_000, 30_000], Some((0, 4)));
        check(&[1, 1, 1, 1], Some((0, 4)));
        check(&[1, 1, 50, 1, 1], None);
        check(&[1, 50, 1, 1, 1, 1, 1], Some((2, 5)));
        check(&[20, 20, 20, 20, 1, 1], Some((0, 6)));
        check(&[1, 1, 1, 20, 20, 20], None);
        check(&[1, 50, 1, 50, 50, 50, 2000], Some((0, 6)));
        check(&[1, 15, 100, 1000, 10_000, 100_000], None);
        check(&[20, 20, 20, 1, 1, 1, 1, 20], Some((3, 4)));
        check(&[1, 20, 1, 20], None);
        check(&[1000, 20, 20, 20, 1000, 1], None);
        check(&[5000, 5000, 5000, 5000], Some((0, 4)));
    }
}
