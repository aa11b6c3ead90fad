//! The view `idempotency`: which execution an `Idempotency-Key` led to last, per app and route (D14).
//!
//! Owns: [`Idempotency`] and the bytes of its rows. Never does: know whether that execution ran to an end (its own row
//! says so), or how long a key counts: whoever asks judges by [`KeyedCall::at`], and says from when on older ones may go.
//!
//! ```text
//! key    app, 16 bytes | XXH3-128(length of the route, route, key), big-endian      LSN   of its `enqueued`
//! value  execution, 16 bytes | digest, 32 bytes | u64 enqueued at, µs
//! ```
//! A key is hashed with its route; two that collide have different digests of their calls, which is refused, never
//! mixed up. The newest row of a key counts.
//!
//! Invariant: P21 rows from before [`Idempotency::forget_before`] may be gone, all other rows stay.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use relive_log::events::{Enqueued, ExecutionEvent};
use relive_log::{AppId, ExecutionId, Lsn, UnixMicros};
use xxhash_rust::xxh3::Xxh3;

use crate::digest::Digest;
use crate::error::{ReadError, ViewsError};
use crate::layers::{Direction, KeyMerge, LayerCursor, LayerSet, MemoryTable};
use crate::run::{Bytes, Cursor, RowRef, Run, RunWriter};
use crate::source::At;

/// About what a row costs.
const ROW_BYTES: usize = 200;

type Key = [u8; 32];

/// The call that a key led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedCall {
    /// Its execution.
    pub execution: ExecutionId,
    /// Digest of the call.
    pub digest: [u8; 32],
    /// When it was enqueued.
    pub at: UnixMicros,
    /// Its `enqueued` event.
    pub lsn: Lsn,
}

impl KeyedCall {
    fn encode(&self) -> Vec<u8> {
        let mut out = self.execution.as_bytes().to_vec();
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8], lsn: Lsn) -> Option<KeyedCall> {
        let mut rest = Bytes(bytes);
        let execution = ExecutionId::from_bytes(rest.array()?);
        Some(KeyedCall { execution, digest: rest.array()?, at: UnixMicros(rest.u64()?), lsn })
    }
}

fn key_of(app: AppId, route: &str, key: &str) -> Key {
    let mut hasher = Xxh3::new();
    // The length keeps (ab, c) and (a, bc) apart.
    hasher.update(&u64::try_from(route.len()).unwrap_or(u64::MAX).to_le_bytes());
    hasher.update(route.as_bytes());
    hasher.update(key.as_bytes());
    let mut out = [0; 32];
    let (front, back) = out.split_at_mut(16);
    front.copy_from_slice(app.as_bytes());
    back.copy_from_slice(&hasher.digest128().to_be_bytes());
    out
}

/// See the module.
pub struct Idempotency {
    pub(crate) layers: LayerSet<KeyedTable>,
    /// Calls from before this time count no longer.
    forgotten: AtomicU64,
}

impl Idempotency {
    pub(crate) fn new(runs: Vec<Arc<Run>>) -> Idempotency {
        Idempotency { layers: LayerSet::new(runs), forgotten: AtomicU64::new(0) }
    }

    /// Calls from before this time count no longer: merges may drop them. Never moves back.
    pub fn forget_before(&self, time: UnixMicros) {
        self.forgotten.fetch_max(time.0, Ordering::Relaxed);
    }

    /// Whether a call is kept (P21).
    pub(crate) fn keeps(&self, at: UnixMicros) -> bool {
        at.0 >= self.forgotten.load(Ordering::Relaxed)
    }

    /// Folds one event of an execution: calls with a key are noted.
    pub(crate) fn fold(&self, event: &ExecutionEvent, at: At) {
        match event {
            ExecutionEvent::Enqueued(e) => self.enqueued(e, at),
            ExecutionEvent::Claimed(_)
            | ExecutionEvent::AloneEnded(_)
            | ExecutionEvent::Released(_)
            | ExecutionEvent::Completed(_)
            | ExecutionEvent::AttemptFailed(_)
            | ExecutionEvent::Abandoned(_)
            | ExecutionEvent::Dropped(_)
            | ExecutionEvent::DepthExceeded(_) => {}
        }
    }

    fn enqueued(&self, event: &Enqueued, at: At) {
        let Some(keyed) = &event.idempotency else { return };
        let call = KeyedCall { execution: event.execution, digest: keyed.digest, at: at.time, lsn: at.lsn };
        self.layers.now().active.put(key_of(event.app, &keyed.route, &keyed.key), call);
    }

    /// The last call of a route (`METHOD pattern`) with this key.
    ///
    /// # Errors
    /// A run could not be read.
    pub fn find(&self, app: AppId, route: &str, key: &str) -> Result<Option<KeyedCall>, ReadError> {
        let key = key_of(app, route, key);
        let layers = self.layers.now();
        for table in std::iter::once(&layers.active).chain(&layers.frozen) {
            if let Some(call) = table.get(&key) {
                return Ok(Some(call));
            }
        }
        for run in layers.runs.iter().filter(|run| run.may_contain(&key)) {
            if let Some(call) = call_in_run(&mut Cursor::new(run), &key)? {
                return Ok(Some(call));
            }
        }
        Ok(None)
    }

    /// Whether a call with a key may have come at or after `since`: what its answer stands in is still needed.
    pub(crate) fn any_since(&self, since: Lsn) -> bool {
        let layers = self.layers.now();
        let in_memory = std::iter::once(&layers.active).chain(&layers.frozen).any(|table| table.rows() > 0);
        in_memory || layers.runs.iter().any(|run| run.meta().last >= since)
    }

    /// Adds the newest call of every key to a digest, but those that merges may drop.
    pub(crate) fn digest(&self, digest: &mut Digest) -> Result<(), ReadError> {
        let layers = self.layers.now();
        let mut keys = KeyMerge::new(&layers, Vec::new()..vec![0xff; 33], Direction::Up, Lsn::MAX)?;
        loop {
            let next = keys.next(|layer, key| match layer {
                LayerCursor::Table(table) => Ok(<&Key>::try_from(key).ok().and_then(|key| table.get(key))),
                LayerCursor::Run(cursor) => call_in_run(cursor, key),
            })?;
            let Some((key, call)) = next else { return Ok(()) };
            if let Some(call) = call.filter(|call| self.keeps(call.at)) {
                let mut value = call.encode();
                value.extend_from_slice(&call.lsn.0.to_le_bytes());
                digest.add(&key, &value);
            }
        }
    }
}

fn call_in_run(cursor: &mut Cursor, key: &[u8]) -> Result<Option<KeyedCall>, ReadError> {
    match cursor.seek(key, Lsn::MAX)?.filter(|row| row.key == key) {
        Some(row) => {
            let call = KeyedCall::decode(row.value, row.lsn);
            call.map(Some).ok_or(ReadError::WrongEvent { lsn: row.lsn })
        }
        None => Ok(None),
    }
}

/// Several calls of one key, newest first: the newest counts.
pub(crate) fn newest(values: &[Vec<u8>]) -> Vec<u8> {
    values.first().cloned().unwrap_or_default()
}

/// When the call of a row was enqueued; `None` if it is no row.
pub(crate) fn enqueued_at(value: &[u8]) -> Option<UnixMicros> {
    KeyedCall::decode(value, Lsn::ZERO).map(|call| call.at)
}

/// Calls with a key since the last cut.
#[derive(Debug, Default)]
pub(crate) struct KeyedTable {
    calls: RwLock<BTreeMap<Key, KeyedCall>>,
    count: AtomicUsize,
}

impl KeyedTable {
    fn put(&self, key: Key, call: KeyedCall) {
        if self.calls.write().insert(key, call).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn get(&self, key: &Key) -> Option<KeyedCall> {
        self.calls.read().get(key).copied()
    }

    /// Writes a frozen table.
    pub(crate) fn write_run(&self, writer: &mut RunWriter<'_>) -> Result<(), ViewsError> {
        for (key, call) in self.calls.read().iter() {
            writer.push(RowRef { key, lsn: call.lsn, value: &call.encode() })?;
        }
        Ok(())
    }
}

impl MemoryTable for KeyedTable {
    fn rows(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> usize {
        self.rows() * ROW_BYTES
    }

    fn key_from(&self, bound: &[u8]) -> Option<Vec<u8>> {
        let calls = self.calls.read();
        let mut keys = calls.range::<[u8], _>((Included(bound), Unbounded));
        keys.next().map(|(key, _)| key.to_vec())
    }

    fn key_before(&self, bound: &[u8]) -> Option<Vec<u8>> {
        let calls = self.calls.read();
        let mut keys = calls.range::<[u8], _>((Unbounded, Excluded(bound)));
        keys.next_back().map(|(key, _)| key.to_vec())
    }
}

#[cfg(test)]
pub(crate) mod tests;
