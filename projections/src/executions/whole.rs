//! Executions that began and ended in one batch: a call that was brief, of which there are more than of anything else.
//!
//! Owns: [`Whole`], how such a batch is recognised. Never does: fold.
//!
//! Invariant: P24 such an execution is folded as its events one by one would be.

use relive_log::Lsn;
use relive_log::events::{Claimed, Completed, Enqueued, Event, ExecutionEvent};

use crate::source::{At, FoldedBatch};

/// The events of an execution that began and ended in one batch, a call that was brief.
pub(crate) struct Whole<'a> {
    pub(super) enqueued: (&'a Enqueued, At),
    pub(super) claimed: (&'a Claimed, At),
    pub(super) completed: (&'a Completed, At),
}

impl<'a> Whole<'a> {
    /// The execution that a batch is about from its first event to its last, if there is one.
    pub(crate) fn of(batch: &FoldedBatch<'a>) -> Option<Whole<'a>> {
        let [
            Event::Execution(ExecutionEvent::Enqueued(enqueued)),
            Event::Execution(ExecutionEvent::Claimed(claimed)),
            ..,
            Event::Execution(ExecutionEvent::Completed(completed)),
        ] = batch.events
        else {
            return None;
        };
        let ids = [(claimed.app, claimed.execution), (completed.app, completed.execution)];
        let at = |lsn| At { lsn, pos: batch.pos, time: batch.commit_time };
        ids.iter().all(|id| *id == (enqueued.app, enqueued.execution)).then_some(Whole {
            enqueued: (enqueued, at(batch.first)),
            claimed: (claimed, at(batch.first.next())),
            completed: (completed, at(batch.last)),
        })
    }

    /// Whether the event is one of the three.
    pub(crate) fn has(&self, lsn: Lsn) -> bool {
        [self.enqueued.1, self.claimed.1, self.completed.1].iter().any(|at| at.lsn == lsn)
    }
}

/// Whether something was folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folded {
    /// It was.
    Yes,
    /// It was not: its events are to be folded one by one.
    No,
}
