//! Executions that ended, by app and id: a table in memory, and rows of runs.
//!
//! Owns: [`EndedTable`], [`Slot`] and the bytes of both. An event that reaches an execution after its end (its
//! caller went away, its letter's id) must not depend on which layer holds the row (P5): unless the row is in the
//! active table, it becomes a *patch*, which reads and merges lay over the older row.
//!
//! ```text
//! key    app, 16 bytes | execution, 16 bytes             LSN   of the end, or of the patch
//! row    u8 0 | u8 status | u8 abandoned | u64 hash of the script | u64 enqueued at, µs | root | trigger or zero | bincode
//! patch  u8 1 | bincode
//! ```
//! The columns before the bincode decide most filters without decoding.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::atomic::{AtomicUsize, Ordering};

use bincode::{Decode, Encode};
use relive_log::events::AbandonReason;
use relive_log::{AppId, ExecutionId, LetterId, Lsn, TriggerId, UnixMicros};

use super::open::OpenWork;
use super::row::{Delivery, ExecutionFilter, ExecutionRow};
use crate::error::ViewsError;
use crate::layers::MemoryTable;
use crate::lazy_map::LazyMap;
use crate::rows;
use crate::run::{Bytes, RowRef, RunWriter};

/// About what a slot costs beside its bytes.
const SLOT_BYTES: usize = 96;
/// Room for the bytes of most rows.
const ENCODED_BYTES: usize = 320;
const ROW: u8 = 0;
const PATCH: u8 = 1;

/// App and execution.
pub(super) type Key = [u8; 32];

pub(super) fn key_of(app: AppId, execution: ExecutionId) -> Key {
    let mut key = [0; 32];
    let (front, back) = key.split_at_mut(16);
    front.copy_from_slice(app.as_bytes());
    back.copy_from_slice(execution.as_bytes());
    key
}

/// What later events add to an execution that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Patch {
    pub(super) lsn: Lsn,
    pub(super) abandoned: Option<(AbandonReason, UnixMicros)>,
    pub(super) letter: Option<LetterId>,
}

impl Patch {
    /// This one over an older one.
    fn over(self, older: Patch) -> Patch {
        Patch {
            lsn: self.lsn.max(older.lsn),
            abandoned: self.abandoned.or(older.abandoned),
            letter: self.letter.or(older.letter),
        }
    }

    pub(super) fn apply(self, row: &mut ExecutionRow) {
        if let Some(abandoned) = self.abandoned {
            row.abandoned = Some(abandoned);
            row.delivery = Some(Delivery::Abandoned);
        }
        if self.letter.is_some() {
            row.letter = self.letter;
        }
    }
}

/// What a layer holds of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Row(Box<ExecutionRow>),
    Patch(Patch),
}

impl Slot {
    fn lsn(&self) -> Lsn {
        match self {
            Slot::Row(row) => row_lsn(row),
            Slot::Patch(patch) => patch.lsn,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Slot::Row(row) => encode_row(row),
            Slot::Patch(patch) => {
                let mut out = vec![PATCH];
                rows::encode_to(patch, &mut out);
                out
            }
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Slot> {
        match bytes.split_first()? {
            (&ROW, rest) => Some(Slot::Row(Box::new(rows::decode(rest.get(COLUMNS_LEN..)?)?))),
            (&PATCH, rest) => Some(Slot::Patch(rows::decode(rest)?)),
            (_, _) => None,
        }
    }
}

fn encode_row(row: &ExecutionRow) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENCODED_BYTES);
    out.push(ROW);
    Columns::of(row).put(&mut out);
    rows::encode_to(row, &mut out);
    out
}

fn row_lsn(row: &ExecutionRow) -> Lsn {
    row.ended_at.map_or(row.enqueued.lsn, |at| at.lsn)
}

const COLUMNS_LEN: usize = 2 + 8 + 8 + 16 + 16;

/// The columns that filters look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    status: u8,
    abandoned: u8,
    script: u64,
    enqueued_at: UnixMicros,
    root: ExecutionId,
    trigger: TriggerId,
}

fn script_hash(script: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(script.as_bytes())
}

impl Columns {
    fn of(row: &ExecutionRow) -> Columns {
        Columns {
            status: row.status.number(),
            abandoned: u8::from(row.abandoned.is_some()),
            script: script_hash(&row.script),
            enqueued_at: row.enqueued.time,
            root: row.root,
            trigger: row.source.trigger().unwrap_or_default(),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.status, self.abandoned]);
        out.extend_from_slice(&self.script.to_le_bytes());
        out.extend_from_slice(&self.enqueued_at.0.to_le_bytes());
        out.extend_from_slice(self.root.as_bytes());
        out.extend_from_slice(self.trigger.as_bytes());
    }

    /// The columns of an encoded row; `None` for a patch.
    pub(super) fn peek(bytes: &[u8]) -> Option<Columns> {
        let mut rest = Bytes(bytes);
        if rest.u8()? != ROW {
            return None;
        }
        Some(Columns {
            status: rest.u8()?,
            abandoned: rest.u8()?,
            script: rest.u64()?,
            enqueued_at: UnixMicros(rest.u64()?),
            root: ExecutionId::from_bytes(rest.array()?),
            trigger: TriggerId::from_bytes(rest.array()?),
        })
    }

    /// Whether a row with these columns may be wanted. `false` is certain.
    pub(super) fn may_match(&self, wanted: &Wanted<'_>) -> bool {
        let filter = wanted.filter;
        filter.status.is_none_or(|status| status.number() == self.status)
            && (self.abandoned == 1 || !wanted.only_abandoned())
            && filter.script.as_ref().is_none_or(|script| script_hash(script) == self.script)
            && filter.trigger.is_none_or(|trigger| trigger == self.trigger)
            && filter.root.is_none_or(|root| root == self.root)
            && filter.since.is_none_or(|since| self.enqueued_at >= since)
            && filter.until.is_none_or(|until| self.enqueued_at < until)
    }
}

/// A listing's question.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) filter: &'a ExecutionFilter,
    pub(super) which: Which,
}

/// Which records a listing is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Those with an abandoned record (D5).
    Abandoned,
}

impl Wanted<'_> {
    fn only_abandoned(&self) -> bool {
        match self.which {
            Which::All => false,
            Which::Abandoned => true,
        }
    }

    /// Whether open work of which only this is known may be wanted. `false` is certain.
    pub(super) fn may_rest(&self, work: &OpenWork<'_>) -> bool {
        let filter = self.filter;
        filter.status.is_none_or(|status| status == work.status)
            && !self.only_abandoned()
            && filter.script.as_ref().is_none_or(|script| script == work.script)
            && filter.trigger.is_none_or(|trigger| work.source.trigger() == Some(trigger))
    }

    pub(super) fn matches(&self, row: &ExecutionRow) -> bool {
        let filter = self.filter;
        filter.status.is_none_or(|status| status == row.status)
            && (row.abandoned.is_some() || !self.only_abandoned())
            && filter.script.as_ref().is_none_or(|script| *script == row.script)
            && filter.trigger.is_none_or(|trigger| row.source.trigger() == Some(trigger))
            && filter.root.is_none_or(|root| root == row.root)
            && filter.since.is_none_or(|since| row.enqueued.time >= since)
            && filter.until.is_none_or(|until| row.enqueued.time < until)
    }
}

/// What the slots of one execution come to, newest first, until a row is there.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) patch: Option<Patch>,
    pub(super) row: Option<Box<ExecutionRow>>,
}

impl Gathered {
    /// Takes the next older slot; `true` when no older one matters.
    pub(super) fn take(&mut self, slot: Slot) -> bool {
        match slot {
            Slot::Patch(older) => {
                self.patch = Some(self.patch.map_or(older, |newer| newer.over(older)));
                false
            }
            Slot::Row(mut row) => {
                if let Some(patch) = self.patch {
                    patch.apply(&mut row);
                }
                self.row = Some(row);
                true
            }
        }
    }

    pub(super) fn slot(self) -> Option<Slot> {
        self.row.map(Slot::Row).or(self.patch.map(Slot::Patch))
    }
}

/// Several encoded slots of one execution, newest first, as one; `None` if it ended below the horizon.
pub(crate) fn collapse(values: &[Vec<u8>], horizon: Lsn) -> Option<Vec<u8>> {
    let mut gathered = Gathered::default();
    for value in values {
        let Some(slot) = Slot::decode(value) else { break };
        if gathered.take(slot) {
            break;
        }
    }
    match gathered.slot() {
        // A patch comes after the end: below the horizon, so is the row.
        Some(slot) => (slot.lsn() >= horizon).then(|| slot.encode()),
        None => values.first().cloned(),
    }
}

/// The bytes of a slot. Rows are kept as they are written later: they are many, and hardly one is looked at before.
#[derive(Debug)]
struct Encoded {
    lsn: Lsn,
    bytes: Box<[u8]>,
}

impl Encoded {
    fn of(slot: &Slot) -> Encoded {
        Encoded { lsn: slot.lsn(), bytes: slot.encode().into() }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct EndedTable {
    slots: LazyMap<Key, Encoded>,
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl EndedTable {
    /// An execution ended.
    pub(super) fn put(&self, row: &ExecutionRow) {
        let slot = Encoded { lsn: row_lsn(row), bytes: encode_row(row).into() };
        self.add(key_of(row.app, row.execution), slot);
    }

    /// Something reached an execution that is not open (and may not exist at all).
    pub(super) fn patch(&self, app: AppId, execution: ExecutionId, patch: Patch) {
        let key = key_of(app, execution);
        let slot = match self.slot(&key) {
            Some(Slot::Row(mut row)) => {
                patch.apply(&mut row);
                Slot::Row(row)
            }
            Some(Slot::Patch(older)) => Slot::Patch(patch.over(older)),
            None => Slot::Patch(patch),
        };
        self.add(key, Encoded::of(&slot));
    }

    /// For the one who folds: nobody else changes a slot.
    fn add(&self, key: Key, slot: Encoded) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(SLOT_BYTES + slot.bytes.len(), Ordering::Relaxed);
        self.slots.put(key, slot);
    }

    pub(super) fn slot(&self, key: &[u8]) -> Option<Slot> {
        let slot = self.with_bytes(key, Slot::decode)?;
        debug_assert!(slot.is_some(), "a slot is decoded as it was encoded");
        slot
    }

    /// Looks at the bytes of a slot.
    pub(super) fn with_bytes<R>(&self, key: &[u8], look: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let key: &Key = key.try_into().ok()?;
        self.slots.ordered().get(key).map(|slot| look(&slot.bytes))
    }

    /// Writes a frozen table.
    pub(crate) fn write_run(&self, writer: &mut RunWriter<'_>) -> Result<(), ViewsError> {
        for (key, slot) in self.slots.ordered().iter() {
            writer.push(RowRef { key, lsn: slot.lsn, value: &slot.bytes })?;
        }
        Ok(())
    }
}

impl MemoryTable for EndedTable {
    fn rows(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn key_from(&self, bound: &[u8]) -> Option<Vec<u8>> {
        self.slots.ordered().range(from_bound(bound)..).next().map(|(key, _)| key.to_vec())
    }

    fn key_before(&self, bound: &[u8]) -> Option<Vec<u8>> {
        let slots = self.slots.ordered();
        slots.range((Unbounded, before_bound(bound))).next_back().map(|(key, _)| key.to_vec())
    }
}

/// The smallest key at or above bytes of any length.
fn from_bound(bound: &[u8]) -> Key {
    let mut key = [0; 32];
    let len = bound.len().min(32);
    if let (Some(to), Some(from)) = (key.get_mut(..len), bound.get(..len)) {
        to.copy_from_slice(from);
    }
    if bound.len() > 32 {
        // Above the key that it begins with: the next one.
        for byte in key.iter_mut().rev() {
            let (next, carry) = byte.overflowing_add(1);
            *byte = next;
            if !carry {
                break;
            }
        }
    }
    key
}

fn before_bound(bound: &[u8]) -> std::ops::Bound<Key> {
    let key = from_bound(bound);
    if bound.len() > 32 && key == [0; 32] {
        // Above the highest key: all are before it.
        return Included([0xff; 32]);
    }
    Excluded(key)
}
