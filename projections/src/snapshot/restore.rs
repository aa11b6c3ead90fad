//! A generation made from a snapshot: its runs are written anew, its rows go into the store in small batches.

use std::path::Path;
use std::sync::Arc;

use relive_log::disk::Disk;
use relive_log::{Lsn, SnapshotError};

use super::{META, ROWS, RUN, STORE, SnapshotItems, SnapshotMeta};
use crate::digest::Digest;
use crate::disk::Meta;
use crate::error::ViewsError;
use crate::rows::{self, SCHEMA};
use crate::run::{Bytes, Common, RowRef, Run, RunId, RunKind, RunMeta, RunWriter};
use crate::store::{Change, ProjectionStore, Rows};

/// Rows of one batch of the store: sled pins memory for larger ones.
const BATCH_ROWS: usize = 500;

/// What a generation holds then.
pub(crate) struct Restored {
    pub(crate) meta: Meta,
    /// In the order of the list.
    pub(crate) runs: Vec<Arc<Run>>,
    pub(crate) rows: Rows,
}

/// Where a generation is made.
pub(crate) struct Target<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) dir: &'a Path,
    pub(crate) store: &'a dyn ProjectionStore,
    /// Of a generation that holds nothing.
    pub(crate) empty: Meta,
    pub(crate) block_bytes: usize,
    pub(crate) common: &'a Arc<Common>,
}

/// Makes a generation of the items. `!meta` is written last.
pub(crate) fn restore(
    target: &Target<'_>,
    lsn: Lsn,
    items: &mut dyn SnapshotItems,
    digest: u128,
) -> Result<Restored, ViewsError> {
    let first = items.next_item()?.ok_or_else(|| wrong(lsn, "it has no item"))?;
    let meta = match first.split_first() {
        Some((&META, rest)) => rows::decode::<SnapshotMeta>(rest),
        _ => None,
    };
    let meta = meta.ok_or_else(|| wrong(lsn, "its first item"))?;
    if meta.schema != SCHEMA || meta.applied != lsn {
        return Err(wrong(lsn, "it is of another shape or LSN"));
    }
    let mut restoring = Restoring { target, lsn, digest: Digest::default(), rows: Vec::new(), written: 0 };
    let next = restoring.store_rows(items)?;
    let runs = restoring.runs(items, next, &meta.runs)?;
    if restoring.digest.0 != digest {
        return Err(wrong(lsn, "its rows do not add up to its digest"));
    }
    let Restoring { rows, .. } = restoring;
    let store_digest = rows.iter().fold(Digest::default(), |mut sum, (key, value)| {
        sum.add(key, value);
        sum
    });
    if store_digest.0 != meta.store_digest {
        return Err(wrong(lsn, "the rows of the store do not add up"));
    }
    let made = Meta {
        applied: lsn,
        runs: runs.iter().map(|run| *run.meta()).collect(),
        digest: store_digest.0,
        ..target.empty.clone()
    };
    target.store.apply(&[made.change()])?;
    Ok(Restored { meta: made, runs, rows })
}

pub(crate) fn wrong(lsn: Lsn, check: &str) -> ViewsError {
    ViewsError::Snapshot(SnapshotError::Damaged {
        path: format!("snapshot {lsn}").into(),
        check: check.to_owned(),
    })
}

struct Restoring<'a> {
    target: &'a Target<'a>,
    lsn: Lsn,
    digest: Digest,
    rows: Rows,
    written: usize,
}

impl Restoring<'_> {
    fn wrong(&self, check: &str) -> ViewsError {
        wrong(self.lsn, check)
    }

    /// Takes the rows of the store; answers the first item that is none.
    fn store_rows(&mut self, items: &mut dyn SnapshotItems) -> Result<Option<Vec<u8>>, ViewsError> {
        loop {
            let item = items.next_item()?;
            let Some((&STORE, rest)) = item.as_deref().and_then(<[u8]>::split_first) else {
                self.flush()?;
                return Ok(item);
            };
            let mut rest = Bytes(rest);
            while !rest.0.is_empty() {
                let (key, _, value) =
                    take_row(&mut rest, Versioned::No).ok_or_else(|| self.wrong("a row of the store"))?;
                self.digest.add(key, value);
                self.rows.push((key.to_vec(), value.to_vec()));
            }
            if self.rows.len() - self.written >= BATCH_ROWS {
                self.flush()?;
            }
        }
    }

    fn flush(&mut self) -> Result<(), ViewsError> {
        for rows in self.rows.get(self.written..).unwrap_or_default().chunks(BATCH_ROWS) {
            let batch: Vec<Change> =
                rows.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
            self.target.store.apply(&batch)?;
        }
        self.written = self.rows.len();
        Ok(())
    }

    /// Writes the runs of the list, in its order.
    fn runs(
        &mut self,
        items: &mut dyn SnapshotItems,
        mut next: Option<Vec<u8>>,
        list: &[RunMeta],
    ) -> Result<Vec<Arc<Run>>, ViewsError> {
        let mut runs = Vec::new();
        for meta in list {
            let head = match next.as_deref().and_then(<[u8]>::split_first) {
                Some((&RUN, rest)) => rows::decode::<(RunKind, u64)>(rest),
                _ => None,
            };
            if head != Some((meta.kind, meta.number)) {
                return Err(self.wrong("a run is missing"));
            }
            let (run, after) = self.run(items, meta)?;
            runs.push(run);
            next = after;
        }
        if next.is_some() {
            return Err(self.wrong("an item that is none of ours"));
        }
        Ok(runs)
    }

    fn run(
        &mut self,
        items: &mut dyn SnapshotItems,
        meta: &RunMeta,
    ) -> Result<(Arc<Run>, Option<Vec<u8>>), ViewsError> {
        let Target { disk, dir, empty, block_bytes, common, .. } = self.target;
        let (log_id, timeline) = (empty.log_id, empty.timeline);
        let id = RunId { log_id, timeline, kind: meta.kind, number: meta.number };
        let mut writer = RunWriter::create(&***disk, dir, id, *block_bytes)?;
        let mut last: Option<(Vec<u8>, Lsn)> = None;
        let after = loop {
            let item = items.next_item()?;
            let Some((&ROWS, rest)) = item.as_deref().and_then(<[u8]>::split_first) else { break item };
            let mut rest = Bytes(rest);
            while !rest.0.is_empty() {
                let (key, lsn, value) =
                    take_row(&mut rest, Versioned::Yes).ok_or_else(|| self.wrong("a row of a run"))?;
                let ordered = last
                    .as_ref()
                    .is_none_or(|(before, at)| before.as_slice() < key || (before == key && *at > lsn));
                if !ordered {
                    return Err(self.wrong("rows of a run are not in order"));
                }
                self.digest.add_versioned(key, lsn.0, value);
                writer.push(RowRef { key, lsn, value })?;
                last = Some((key.to_vec(), lsn));
            }
        };
        let made = writer.finish()?.ok_or_else(|| self.wrong("a run without rows"))?;
        if (made.rows, made.first, made.last) != (meta.rows, meta.first, meta.last) {
            return Err(self.wrong("a run is not what the list says"));
        }
        let run = Run::open(disk, dir, id, made, Arc::clone(common))?;
        Ok((Arc::new(run), after))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Versioned {
    No,
    Yes,
}

fn take_row<'a>(rest: &mut Bytes<'a>, versioned: Versioned) -> Option<(&'a [u8], Lsn, &'a [u8])> {
    let key_len = usize::try_from(rest.u32()?).ok()?;
    let value_len = usize::try_from(rest.u32()?).ok()?;
    let lsn = match versioned {
        Versioned::Yes => Lsn(rest.u64()?),
        Versioned::No => Lsn::ZERO,
    };
    Some((rest.take(key_len)?, lsn, rest.take(value_len)?))
}
