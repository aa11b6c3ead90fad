//! Memory that a run leaves behind and nothing frees: a closure kept in what it captured is a cycle, and reference
//! counting never frees one (`docs/adr/0002`).
//!
//! Owns: which scripts can leave any, and the proof that a run does. Never does: free it, or decide what follows.
//!
//! What a thread holds more after a run than before is a suspicion only: its answer is still to be delivered, caches
//! are warm now that were not. The proof makes the same run again (E40) on the same thread, with the answers of the store
//! kept from the first time, drops all that it left, and looks again. Nothing of such a run gets out.
//!
//! Invariants: E167 what a run is said to leak it leaves every time that it is made again, and no cache, answer or
//! other thread has a part in that; E168 a script that captures nothing leaves nothing, and is never made again.

use std::sync::Arc;

use parking_lot::Mutex;
use relive_log::events::{ErrorKind, ErrorRecord};
use relive_log::{LetterId, Lsn};
use rhai::{AST, ASTNode, Stmt};

use super::memory::held_bytes;
use super::run::{Run, run_watched};
use super::types::{ListPage, ListQuery, Moment, NoPast, PastVersion, ReadFailed, Slot, Snapshot, Unhurried};
use super::watch::{EndsAt, Watch};

/// How often a run is made again and measured; the least that it left counts.
const MEASURED_RUNS: usize = 2;
/// How often it is made again in all: once before, so that nothing is new to the thread.
pub const PROOF_RUNS: u64 = 1 + MEASURED_RUNS as u64;

/// Whether a function or closure of this script captures a variable: only that makes values which can hold themselves.
pub(super) fn captures(tree: &AST) -> bool {
    let mut found = false;
    tree.walk(&mut |path: &[ASTNode<'_>]| {
        found = matches!(path.last(), Some(ASTNode::Stmt(Stmt::Share(..))));
        !found
    });
    found
}

impl Run {
    /// Whether it may leave memory that nothing frees (E168).
    #[must_use]
    pub fn may_leak(&self) -> bool {
        self.compiled.captures() || self.imports.scripts().any(|script| script.captures())
    }

    /// Bytes that this run leaves allocated for ever whenever it is made; `operations` is how many it took. `None`: that
    /// could not be told, because it did not get the same answers again. To be called on a thread that may
    /// [`run`](super::run), after everything that the run asked of the world is known to [`Run::calls`].
    #[must_use]
    pub fn leaked_bytes(&self, operations: u64) -> Option<u64> {
        let tape = Arc::new(Tape { store: Arc::clone(&self.snapshot), told: Mutex::default() });
        let watch = Watch { ends_at: Some(ends_after(operations)), ..Watch::default() };
        let again = || {
            let snapshot = Arc::clone(&tape) as Arc<dyn Snapshot>;
            drop(run_watched(Run { snapshot, stopwatch: Arc::new(Unhurried), ..self.clone() }, &watch));
        };
        again();
        let mut least = u64::MAX;
        for _ in 0..MEASURED_RUNS {
            tape.rewind();
            let before = held_bytes();
            again();
            least = least.min(u64::try_from(held_bytes() - before).unwrap_or(0));
        }
        tape.is_whole().then_some(least)
    }
}

/// A run that a clock ended has no end of its own: the next operation is the last.
fn ends_after(operations: u64) -> EndsAt {
    let error = ErrorRecord::without_place(ErrorKind::Timeout, "it is over");
    EndsAt { operations: operations + 1, error }
}

/// One answer of the store.
enum Answer {
    Slot(Slot),
    Letter(Option<bool>),
    Page(ListPage),
    Moment(Result<Lsn, NoPast>),
    Versions(Vec<PastVersion>),
}

#[derive(Default)]
struct Told {
    answers: Vec<Answer>,
    at: usize,
    /// Something was asked for that was not asked for before, or could not be told.
    strayed: bool,
    rewound: bool,
}

/// A store that is asked once: the same run asks the same in the same order.
struct Tape {
    store: Arc<dyn Snapshot>,
    told: Mutex<Told>,
}

impl Tape {
    fn rewind(&self) {
        let mut told = self.told.lock();
        told.at = 0;
        told.rewound = true;
    }

    fn is_whole(&self) -> bool {
        !self.told.lock().strayed
    }

    fn tell<T>(
        &self,
        known: impl FnOnce(&Answer) -> Option<T>,
        ask: impl FnOnce() -> Result<(T, Answer), ReadFailed>,
    ) -> Result<T, ReadFailed> {
        let mut told = self.told.lock();
        let at = told.at;
        told.at += 1;
        if let Some(answer) = told.answers.get(at).and_then(known) {
            return Ok(answer);
        }
        if told.rewound {
            told.strayed = true;
            return Err(ReadFailed { message: "it asks for something else".to_owned() });
        }
        match ask() {
            Ok((answer, kept)) => {
                told.answers.push(kept);
                Ok(answer)
            }
            Err(failed) => {
                told.strayed = true;
                Err(failed)
            }
        }
    }
}

/// `known` for one kind of answer.
macro_rules! of_kind {
    ($kind:ident) => {
        |answer| if let Answer::$kind(it) = answer { Some(it.clone()) } else { None }
    };
}

impl Snapshot for Tape {
    fn get(&self, collection: &str, key: &str) -> Result<Slot, ReadFailed> {
        let ask = || self.store.get(collection, key).map(|slot| (slot.clone(), Answer::Slot(slot)));
        self.tell(of_kind!(Slot), ask)
    }

    fn letter(&self, letter: LetterId) -> Result<Option<bool>, ReadFailed> {
        let ask = || self.store.letter(letter).map(|open| (open, Answer::Letter(open)));
        self.tell(of_kind!(Letter), ask)
    }

    fn list(&self, query: &ListQuery) -> Result<ListPage, ReadFailed> {
        let ask = || self.store.list(query).map(|page| (page.clone(), Answer::Page(page)));
        self.tell(of_kind!(Page), ask)
    }

    fn resolve(&self, at: Moment) -> Result<Lsn, NoPast> {
        let ask = || match self.store.resolve(at) {
            Err(NoPast::Failed(failed)) => Err(failed),
            told => Ok((told.clone(), Answer::Moment(told))),
        };
        self.tell(of_kind!(Moment), ask).map_err(NoPast::Failed)?
    }

    fn get_at(&self, collection: &str, key: &str, at: Lsn) -> Result<Slot, ReadFailed> {
        let ask = || self.store.get_at(collection, key, at).map(|slot| (slot.clone(), Answer::Slot(slot)));
        self.tell(of_kind!(Slot), ask)
    }

    fn history(
        &self,
        collection: &str,
        key: &str,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<PastVersion>, ReadFailed> {
        let ask = || {
            let versions = self.store.history(collection, key, limit, bytes_max)?;
            Ok((versions.clone(), Answer::Versions(versions)))
        };
        self.tell(of_kind!(Versions), ask)
    }
}
