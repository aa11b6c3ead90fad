//! The view `index`: what is found by something else than its own key. Which executions read a version of a key,
//! which executions belong to a causal tree, which keys expire when.
//!
//! Owns: the rows, their fold and their reads. Never does: hold a value (P11), or judge whether a time to live that
//! is over still matters (the sequencer does: the key may have been rewritten).
//!
//! ```text
//! d | u64 expires at, µs | u64 LSN of the put                                  -> bytes of the key in the KV table
//! k | bytes of the key in the KV table | u64 version read | u64 LSN of the end -> reader
//! r | app, collection as in the KV table | u64 snapshot | u64 LSN of the end   -> reader
//! t | app, 16 bytes | root, 16 bytes | execution, 16 bytes                     -> nothing
//!
//! reader   execution, 16 bytes | u32 attempt | u64 position of the frame of the end
//! ```
//! Integers in keys are big-endian, so that their order is that of numbers; in values little-endian.
//!
//! An attempt that listed has one row per collection, whatever it saw: it read version *v* of a key by listing only if
//! its snapshot lies between *v* and the next version, and its record in the log says whether it did.
//!
//! Invariant: P13 rows `d` up to [`Index::forget_due`] may be gone, all other rows stay; merges decide nothing else.

mod table;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relive_log::events::{AttemptRecord, ExecutionEvent, KvEvent, ReadRecord};
use relive_log::{AppId, ExecutionId, FramePos, Lsn, UnixMicros};

pub(crate) use table::IndexTable;

use crate::digest::Digest;
use crate::error::{ReadError, RunError};
use crate::horizon::Horizon;
use crate::kv::key as kv_key;
use crate::layers::{Direction, KeyMerge, LayerCursor, LayerSet};
use crate::run::{Bytes, RowRef, Run};
use crate::source::At;

const DUE: u8 = b'd';
const KEY_READ: u8 = b'k';
const RANGE_READ: u8 = b'r';
const TREE: u8 = b't';

/// A time to live that ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// When.
    pub at: UnixMicros,
    /// The version whose end it is.
    pub version: Lsn,
    /// The app.
    pub app: AppId,
    /// The collection.
    pub collection: String,
    /// The key.
    pub key: String,
}

/// An attempt that read something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyReader {
    /// The execution.
    pub execution: ExecutionId,
    /// The attempt.
    pub attempt: u32,
    /// The event that ended it: its record stands there.
    pub ended: Lsn,
    /// The frame of that event.
    pub pos: FramePos,
}

/// See the module.
pub struct Index {
    pub(crate) layers: LayerSet<IndexTable>,
    /// Times to live up to here were dealt with, durably.
    forgotten: AtomicU64,
    horizon: Horizon,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}

impl Index {
    pub(crate) fn new(runs: Vec<Arc<Run>>, horizon: Horizon) -> Index {
        Index { layers: LayerSet::new(runs), forgotten: AtomicU64::new(0), horizon }
    }

    fn put(&self, key: Vec<u8>, lsn: Lsn, value: &[u8]) {
        self.layers.now().active.put(key, lsn, value);
    }

    /// Folds a mutation: a put with a time to live is due.
    pub(crate) fn fold_kv(&self, event: &KvEvent, at: At) {
        match event {
            KvEvent::Put(put) => {
                let Some(end) = put.expires_at else { return };
                let row = [&[DUE], &end.0.to_be_bytes()[..], &at.lsn.0.to_be_bytes()].concat();
                self.put(row, at.lsn, &kv_key::encode(put.app, &put.collection, &put.key));
            }
            KvEvent::Deleted(_) | KvEvent::Expired(_) => {}
        }
    }

    /// Folds an event of an execution: where it stands in its tree, what it read.
    pub(crate) fn fold_execution(&self, event: &ExecutionEvent, at: At) {
        match event {
            ExecutionEvent::Enqueued(e) if e.root != e.execution => {
                self.put(tree_key(e.app, e.root, e.execution), at.lsn, &[]);
            }
            ExecutionEvent::DepthExceeded(e) => {
                self.put(tree_key(e.app, e.root, e.execution), at.lsn, &[]);
            }
            ExecutionEvent::Completed(e) => {
                self.fold_reads(e.app, e.execution, e.attempt, &e.record, at);
            }
            ExecutionEvent::AttemptFailed(e) => {
                if let Some(record) = &e.record {
                    self.fold_reads(e.app, e.execution, e.attempt, record, at);
                }
            }
            ExecutionEvent::Enqueued(_)
            | ExecutionEvent::Claimed(_)
            | ExecutionEvent::AloneEnded(_)
            | ExecutionEvent::Released(_)
            | ExecutionEvent::Abandoned(_)
            | ExecutionEvent::Dropped(_) => {}
        }
    }

    fn fold_reads(&self, app: AppId, execution: ExecutionId, attempt: u32, record: &AttemptRecord, at: At) {
        if record.reads.is_empty() {
            return;
        }
        let mut reader = [0; READER_LEN];
        encode_reader(&mut reader, execution, attempt, at.pos);
        for read in &record.reads {
            let row = match read {
                ReadRecord::Key { collection, key, version, .. }
                | ReadRecord::KeyAt { collection, key, version, .. } => {
                    row_key(KEY_READ, &kv_key::encode(app, collection, key), *version, at.lsn)
                }
                ReadRecord::Range { collection, .. } => {
                    row_key(RANGE_READ, &kv_key::collection_prefix(app, collection), record.snapshot, at.lsn)
                }
                ReadRecord::Letter { .. } => continue,
                ReadRecord::History { collection, key, versions, .. } => {
                    let encoded = kv_key::encode(app, collection, key);
                    for version in versions {
                        self.put(row_key(KEY_READ, &encoded, *version, at.lsn), at.lsn, &reader);
                    }
                    continue;
                }
            };
            self.put(row, at.lsn, &reader);
        }
    }

    /// Times to live that end above `after` (time, then version), the earliest first.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn due(&self, after: (UnixMicros, Lsn), limit: usize) -> Result<Vec<Due>, ReadError> {
        let start = [&[DUE], &after.0.0.to_be_bytes()[..], &after.1.0.to_be_bytes(), &[0]].concat();
        let mut due = Vec::new();
        self.scan(start..vec![DUE + 1], |row| {
            due.push(decode_due(row)?);
            Some(due.len() < limit)
        })?;
        Ok(due)
    }

    /// What was due up to this time was dealt with, and the log says so durably: merges may drop it.
    pub fn forget_due(&self, through: UnixMicros) {
        self.forgotten.fetch_max(through.0, Ordering::Relaxed);
    }

    /// Attempts that read this version of a key by itself, the latest end last. Version 0: the absence of a key that was
    /// never written.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn key_readers(
        &self,
        app: AppId,
        collection: &str,
        key: &str,
        version: Lsn,
    ) -> Result<Vec<KeyReader>, ReadError> {
        let prefix = kv_key::encode(app, collection, key);
        let from = row_key(KEY_READ, &prefix, version, Lsn::ZERO);
        let to = [row_key(KEY_READ, &prefix, version, Lsn::MAX).as_slice(), &[0]].concat();
        self.readers(from..to)
    }

    /// Attempts that listed something of a collection with a snapshot from `from` on and below `to`. Whether they saw
    /// a key their record says.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn range_readers(
        &self,
        app: AppId,
        collection: &str,
        snapshots: Range<Lsn>,
    ) -> Result<Vec<KeyReader>, ReadError> {
        let prefix = kv_key::collection_prefix(app, collection);
        let bound = |lsn| row_key(RANGE_READ, &prefix, lsn, Lsn::ZERO);
        self.readers(bound(snapshots.start)..bound(snapshots.end))
    }

    fn readers(&self, range: Range<Vec<u8>>) -> Result<Vec<KeyReader>, ReadError> {
        let len = range.start.len();
        // The record of an attempt that ended below the horizon is gone.
        let horizon = self.horizon.get();
        let mut readers = Vec::new();
        self.scan(range, |row| {
            // A longer key that begins with the bytes of this one and of a number stands among them.
            if row.key.len() == len && row.lsn >= horizon {
                readers.push(decode_reader(row)?);
            }
            Some(true)
        })?;
        Ok(readers)
    }

    /// The executions of a causal tree but its root, by id.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn tree(&self, app: AppId, root: ExecutionId, limit: usize) -> Result<Vec<ExecutionId>, ReadError> {
        let from = tree_key(app, root, ExecutionId::from_bytes([0; 16]));
        let to = [tree_key(app, root, ExecutionId::from_bytes([0xff; 16])).as_slice(), &[0]].concat();
        let mut tree = Vec::new();
        self.scan(from..to, |row| {
            let id: [u8; 16] = row.key.get(33..)?.try_into().ok()?;
            tree.push(ExecutionId::from_bytes(id));
            Some(tree.len() < limit)
        })?;
        Ok(tree)
    }

    /// Visits rows in order while `take` answers true; `None` from it: the row is not ours.
    fn scan(
        &self,
        range: Range<Vec<u8>>,
        mut take: impl FnMut(RowRef<'_>) -> Option<bool>,
    ) -> Result<(), ReadError> {
        let layers = self.layers.now();
        let mut keys = KeyMerge::new(&layers, range, Direction::Up, Lsn::MAX)?;
        while let Some((key, found)) = keys.next(look)? {
            let Some((lsn, value)) = found else { continue };
            match take(RowRef { key: &key, lsn, value: &value }) {
                Some(true) => {}
                Some(false) => break,
                None => return Err(ReadError::WrongEvent { lsn }),
            }
        }
        Ok(())
    }

    /// Whether a merge keeps a row (P13, P17).
    pub(crate) fn keeps(&self, key: &[u8]) -> bool {
        if let (Some(&(KEY_READ | RANGE_READ)), Some(end)) = (key.first(), key.last_chunk::<8>()) {
            return Lsn(u64::from_be_bytes(*end)) >= self.horizon.get();
        }
        let end = key.strip_prefix(&[DUE]).and_then(|rest| rest.first_chunk::<8>());
        end.is_none_or(|end| u64::from_be_bytes(*end) > self.forgotten.load(Ordering::Relaxed))
    }

    /// Adds every row to a digest but those that merges may drop.
    pub(crate) fn digest(&self, digest: &mut Digest) -> Result<(), ReadError> {
        self.scan(vec![DUE + 1]..vec![0xff], |row| {
            if self.keeps(row.key) {
                digest.add(row.key, &[&row.lsn.0.to_le_bytes(), row.value].concat());
            }
            Some(true)
        })
    }
}

fn look(layer: &mut LayerCursor<'_, IndexTable>, key: &[u8]) -> Result<Option<(Lsn, Vec<u8>)>, RunError> {
    match layer {
        LayerCursor::Table(table) => Ok(table.get(key)),
        LayerCursor::Run(cursor) => {
            let row = cursor.seek(key, Lsn::MAX)?.filter(|row| row.key == key);
            Ok(row.map(|row| (row.lsn, row.value.to_vec())))
        }
    }
}

fn row_key(tag: u8, what: &[u8], number: Lsn, end: Lsn) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + what.len() + 16);
    out.push(tag);
    out.extend_from_slice(what);
    out.extend_from_slice(&number.0.to_be_bytes());
    out.extend_from_slice(&end.0.to_be_bytes());
    out
}

fn tree_key(app: AppId, root: ExecutionId, execution: ExecutionId) -> Vec<u8> {
    [&[TREE], app.as_bytes().as_slice(), root.as_bytes(), execution.as_bytes()].concat()
}

const READER_LEN: usize = 28;

fn encode_reader(out: &mut [u8; READER_LEN], execution: ExecutionId, attempt: u32, pos: FramePos) {
    let bytes =
        [execution.as_bytes().as_slice(), &attempt.to_le_bytes(), &pos.to_u64().to_le_bytes()].concat();
    out.copy_from_slice(&bytes);
}

fn decode_reader(row: RowRef<'_>) -> Option<KeyReader> {
    let mut rest = Bytes(row.value);
    let execution = ExecutionId::from_bytes(rest.array()?);
    let attempt = rest.u32()?;
    let pos = FramePos::from_u64(rest.u64()?);
    rest.0.is_empty().then_some(KeyReader { execution, attempt, ended: row.lsn, pos })
}

fn decode_due(row: RowRef<'_>) -> Option<Due> {
    let (at, version) = row.key.get(1..)?.split_first_chunk::<8>()?;
    let version: [u8; 8] = version.try_into().ok()?;
    let app: [u8; 16] = row.value.get(..16)?.try_into().ok()?;
    let (collection, key) = kv_key::decode(row.value)?;
    Some(Due {
        at: UnixMicros(u64::from_be_bytes(*at)),
        version: Lsn(u64::from_be_bytes(version)),
        app: AppId::from_bytes(app),
        collection,
        key,
    })
}

#[cfg(test)]
mod tests;
