//! A log in memory: batches with LSNs, positions and times, as the real one would give them.

#![expect(clippy::cast_possible_truncation, reason = "histories of tests are short")]

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::RwLock;
use relive_log::events::Event;
use relive_log::{FramePos, Lsn, ReadError, UnixMicros};

use crate::{FoldedBatch, ValueSource, Views};

/// One batch.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) first: Lsn,
    pub(crate) events: Vec<Event>,
}

impl Batch {
    pub(crate) fn last(&self) -> Lsn {
        Lsn(self.first.0 + self.events.len() as u64 - 1)
    }

    pub(crate) fn folded(&self) -> FoldedBatch<'_> {
        FoldedBatch {
            first: self.first,
            last: self.last(),
            commit_time: UnixMicros(1_000_000 + self.first.0),
            pos: pos(self.first),
            events: &self.events,
        }
    }
}

/// Where the batch that begins at this LSN stands: anything that can be told apart.
fn pos(first: Lsn) -> FramePos {
    FramePos { segment: 1 + (first.0 / 50) as u32, offset: 4096 + first.0 as u32 * 512 }
}

/// See the module.
#[derive(Default)]
pub(crate) struct MemoryLog {
    batches: RwLock<Vec<Batch>>,
    /// Where it was cut, and which events below were kept.
    cut: RwLock<(Lsn, BTreeSet<Lsn>)>,
}

impl MemoryLog {
    pub(crate) fn new() -> Arc<MemoryLog> {
        Arc::new(MemoryLog::default())
    }

    pub(crate) fn last(&self) -> Lsn {
        self.batches.read().last().map_or(Lsn::ZERO, Batch::last)
    }

    pub(crate) fn append(&self, events: Vec<Event>) -> Batch {
        let batch = Batch { first: self.last().next(), events };
        self.batches.write().push(batch.clone());
        batch
    }

    /// Appends and applies.
    pub(crate) fn commit(&self, views: &Views, events: Vec<Event>) -> Lsn {
        let batch = self.append(events);
        views.apply(&batch.folded());
        batch.last()
    }

    /// Loses everything above `last`, as a crash does.
    pub(crate) fn truncate(&self, last: Lsn) {
        self.batches.write().retain(|batch| batch.last() <= last);
    }

    pub(crate) fn batches(&self) -> Vec<Batch> {
        self.batches.read().clone()
    }

    /// Forgets the values of the events below `start` but for some.
    pub(crate) fn cut(&self, start: Lsn, kept: BTreeSet<Lsn>) {
        *self.cut.write() = (start, kept);
    }

    /// The first LSN that it still holds.
    pub(crate) fn first(&self) -> Lsn {
        self.cut.read().0.max(Lsn::FIRST)
    }

    /// Folds everything above what is applied.
    pub(crate) fn fold_into(&self, views: &Views) {
        assert!(views.applied().next() >= self.first(), "what was cut is not there to be folded");
        for batch in self.batches.read().iter() {
            views.apply(&batch.folded());
        }
    }

    /// Views of the whole log up to `last`, from nothing.
    pub(crate) fn rebuilt(self: &Arc<Self>, last: Lsn) -> Views {
        let views = Views::in_memory(Arc::clone(self) as Arc<dyn ValueSource>);
        for batch in self.batches.read().iter().filter(|batch| batch.last() <= last) {
            views.apply(&batch.folded());
        }
        views
    }
}

impl ValueSource for MemoryLog {
    fn events(&self, at: FramePos, lsns: &[Lsn]) -> Result<(Vec<Event>, UnixMicros), ReadError> {
        let cut = self.cut.read();
        if lsns.iter().any(|lsn| *lsn < cut.0 && !cut.1.contains(lsn)) {
            return Err(ReadError::Cut { pos: at, first: cut.0 });
        }
        let batches = self.batches.read();
        let found = batches.binary_search_by_key(&at, |batch| pos(batch.first)).ok();
        let Some(batch) = found.and_then(|i| batches.get(i)) else {
            return Err(ReadError::NotDurable { wanted: at.to_string(), durable: Lsn::ZERO });
        };
        let found = |lsn: &Lsn| {
            let event = lsn.0.checked_sub(batch.first.0).and_then(|i| batch.events.get(i as usize));
            event.cloned().ok_or(ReadError::NotInFrame { pos: at, lsn: *lsn })
        };
        let events: Result<Vec<Event>, ReadError> = lsns.iter().map(found).collect();
        Ok((events?, batch.folded().commit_time))
    }

    fn readable(&self) -> Lsn {
        self.last()
    }

    fn first(&self) -> Lsn {
        self.cut.read().0
    }
}
