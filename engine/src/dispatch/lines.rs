//! Lines of work that runs in order (D13): one for each (trigger, key).
//!
//! Owns: who stands where in which line, and who is its head. Never does: start anything or know what is due.
//!
//! Invariants: E55 a line has one head, and only its head may start; E56 a head that began stays head until it ended,
//! while it waits for its retry too; E57 others stand by due time at enqueue, then LSN; a redrive joins at the end.
//!
//! A line is known by the hash of its key: two keys that hash alike share a line, which costs time, not order.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use relive_log::{ExecutionId, Lsn, UnixMicros};

use super::turns::Stream;

/// A line: its stream and the hash of its key.
pub(super) type Line = (Stream, u64);

pub(super) fn line(stream: Stream, key: &str) -> Line {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    (stream, hasher.finish())
}

/// One execution in its line; places sort in the order in which a line runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: Line,
    /// Not before.
    pub(super) at: UnixMicros,
    lsn: Lsn,
    pub(super) execution: ExecutionId,
}

/// How an execution joins its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// By its due time.
    ByDue,
    /// Behind all that stand there: a redrive.
    AtEnd,
    /// It began before the process did: it is the head.
    Begun,
}

/// What joining came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// It is the head.
    Head(Place),
    /// It waits behind the head.
    Waits,
    /// It is the head instead of this one, which had not begun and was not due.
    Before { head: Place, displaced: Place },
}

#[derive(Clone, Copy, Debug)]
struct Head {
    place: Place,
    /// It is due or began: nobody gets before it.
    fixed: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lines {
    places: BTreeSet<Place>,
    heads: HashMap<Line, Head>,
    /// Lines by their heads.
    headed: HashMap<ExecutionId, Line>,
}

impl Lines {
    pub(super) fn join(
        &mut self,
        line: Line,
        due_at: UnixMicros,
        lsn: Lsn,
        execution: ExecutionId,
        join: Join,
    ) -> Joined {
        let at = match join {
            Join::ByDue => due_at,
            Join::AtEnd => self.last(line).map_or(due_at, |last| last.at.max(due_at)),
            Join::Begun => UnixMicros(0),
        };
        let place = Place { line, at, lsn, execution };
        self.places.insert(place);
        match self.heads.get(&line).copied() {
            Some(head) if join != Join::Begun && (head.fixed || head.place < place) => Joined::Waits,
            before => {
                self.set_head(place, join == Join::Begun);
                match before {
                    Some(Head { place: displaced, .. }) => {
                        self.headed.remove(&displaced.execution);
                        Joined::Before { head: place, displaced }
                    }
                    None => Joined::Head(place),
                }
            }
        }
    }

    fn set_head(&mut self, place: Place, fixed: bool) {
        self.heads.insert(place.line, Head { place, fixed });
        self.headed.insert(place.execution, place.line);
    }

    fn range(line: Line) -> std::ops::RangeInclusive<Place> {
        let (lowest, highest) = ([0; 16], [0xff; 16]);
        Place { line, at: UnixMicros(0), lsn: Lsn::ZERO, execution: ExecutionId::from_bytes(lowest) }
            ..=Place {
                line,
                at: UnixMicros(u64::MAX),
                lsn: Lsn(u64::MAX),
                execution: ExecutionId::from_bytes(highest),
            }
    }

    fn last(&self, line: Line) -> Option<&Place> {
        self.places.range(Lines::range(line)).next_back()
    }

    /// The head is due, or its attempt begins: it stays where it is until it ended (E56).
    pub(super) fn fix(&mut self, execution: ExecutionId) {
        if let Some(head) = self.headed.get(&execution).and_then(|line| self.heads.get_mut(line)) {
            head.fixed = true;
        }
    }

    /// A head ended; the answer is the next one.
    pub(super) fn leave(&mut self, execution: ExecutionId) -> Option<Place> {
        let line = self.headed.remove(&execution)?;
        let head = self.heads.remove(&line)?;
        self.places.remove(&head.place);
        let next = *self.places.range(Lines::range(line)).next()?;
        self.set_head(next, false);
        Some(next)
    }

    /// Who stands at the head of a line.
    pub(super) fn head(&self, line: Line) -> Option<ExecutionId> {
        self.heads.get(&line).map(|head| head.place.execution)
    }

    /// Forgets all lines of a stream.
    pub(super) fn drop_stream(&mut self, stream: Stream) {
        let (first, last) = ((stream, 0), (stream, u64::MAX));
        let range = *Lines::range(first).start()..=*Lines::range(last).end();
        let gone: Vec<Place> = self.places.range(range).copied().collect();
        for place in gone {
            self.places.remove(&place);
            self.heads.remove(&place.line);
            self.headed.remove(&place.execution);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> ExecutionId {
        ExecutionId::from_bytes(u128::from(n).to_be_bytes())
    }

    fn join(lines: &mut Lines, key: &str, due: u64, n: u64, join: Join) -> Joined {
        lines.join(line(1, key), UnixMicros(due), Lsn(n), id(n), join)
    }

    /// Runs a line to its end, each head as soon as it is one.
    fn drain(lines: &mut Lines, key: &str) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(head) = lines.head(line(1, key)) {
            order.push(u64::try_from(u128::from_be_bytes(*head.as_bytes())).unwrap_or(u64::MAX));
            lines.fix(head);
            lines.leave(head);
        }
        order
    }

    #[test]
    fn d13_e57_due_time_then_lsn_and_redrives_at_the_end() {
        let mut lines = Lines::default();
        join(&mut lines, "k", 100, 1, Join::ByDue);
        join(&mut lines, "k", 900, 2, Join::ByDue);
        join(&mut lines, "k", 100, 3, Join::ByDue);
        join(&mut lines, "k", 100, 4, Join::AtEnd);
        join(&mut lines, "k", 50, 5, Join::ByDue);
        assert_eq!(drain(&mut lines, "k"), [5, 1, 3, 2, 4]);
    }

    #[test]
    fn d13_e56_a_head_that_began_is_not_displaced() {
        let mut lines = Lines::default();
        join(&mut lines, "k", 100, 1, Join::ByDue);
        lines.fix(id(1));
        assert_eq!(join(&mut lines, "k", 50, 2, Join::ByDue), Joined::Waits);
        assert_eq!(lines.head(line(1, "k")), Some(id(1)));
        assert_eq!(lines.leave(id(1)).map(|next| next.execution), Some(id(2)));
    }

    #[test]
    fn d13_keys_have_lines_of_their_own() {
        let mut lines = Lines::default();
        assert!(matches!(join(&mut lines, "a", 100, 1, Join::ByDue), Joined::Head(_)));
        assert!(matches!(join(&mut lines, "b", 100, 2, Join::ByDue), Joined::Head(_)));
        assert_eq!(join(&mut lines, "a", 100, 3, Join::ByDue), Joined::Waits);
        lines.drop_stream(1);
        assert_eq!((lines.head(line(1, "a")), lines.places.len(), lines.headed.len()), (None, 0, 0));
    }

    proptest! {
        /// E55 to E57 against a list that is sorted again after every step.
        #[test]
        fn d13_a_line_runs_in_the_order_of_a_sorted_list(
            steps in prop::collection::vec((0..4_u8, 0..40_u64), 1..80)
        ) {
            let mut lines = Lines::default();
            let mut waiting: Vec<(u64, u64)> = Vec::new();
            let mut begun: Option<(u64, u64)> = None;
            for ((what, due), lsn) in steps.into_iter().zip(1..) {
                match what {
                    0 | 1 => {
                        join(&mut lines, "k", due, lsn, Join::ByDue);
                        waiting.push((due, lsn));
                    }
                    2 => {
                        let end = waiting.iter().chain(&begun).map(|(at, _)| *at).max().unwrap_or(0);
                        join(&mut lines, "k", due, lsn, Join::AtEnd);
                        waiting.push((end.max(due), lsn));
                    }
                    _ => {
                        if let Some((_, lsn)) = begun.take() {
                            lines.leave(id(lsn));
                        } else if let Some(first) = waiting.iter().min().copied() {
                            waiting.retain(|other| *other != first);
                            lines.fix(id(first.1));
                            begun = Some(first);
                        }
                    }
                }
                let head = begun.or_else(|| waiting.iter().min().copied()).map(|(_, lsn)| id(lsn));
                prop_assert_eq!(lines.head(line(1, "k")), head);
            }
        }
    }
}
