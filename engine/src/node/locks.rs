//! Locks of executions that met too many conflicts: on the keys and ranges that they touched, at last on their whole
//! app (S2).
//!
//! Owns: who holds what, and in what order those who wait come. Never does: wait itself (the attempts wait on a
//! condition until they are granted), or protect reads (those are validated at the commit; a lock keeps others from
//! *writing* what its holder touched).
//!
//! All keys of a request are asked for at once, and a request is granted when nothing that was asked for earlier
//! overlaps it: so there is one order in which locks are taken, and no cycle can form (`docs/adr/0012`).
//!
//! Invariants: E91 a granted lock keeps every other execution and API call from writing what it covers; E113 requests
//! that overlap are granted in the order in which they were made, so each is granted in the end; E114 nobody waits for
//! a lock while it holds one.

use std::collections::{BTreeMap, BTreeSet};

use relive_log::events::ReadRecord;
use relive_log::{AppId, ExecutionId};

use crate::decide::commit::Writes;

/// What an execution read and wrote, as far as locks go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Touched {
    keys: BTreeSet<(String, String)>,
    /// Collection and prefix: the whole of it, wherever the listing began or ended.
    ranges: BTreeSet<(String, String)>,
}

impl Touched {
    /// Adds what a run read and wanted to write.
    pub(super) fn add(&mut self, reads: &[&[ReadRecord]], writes: &Writes) {
        self.keys.extend(writes.keys().cloned());
        for read in reads.iter().copied().flatten() {
            match read {
                ReadRecord::Key { collection, key, .. } | ReadRecord::History { collection, key, .. } => {
                    self.keys.insert((collection.clone(), key.clone()));
                }
                ReadRecord::Range { collection, prefix, .. } => {
                    self.ranges.insert((collection.clone(), prefix.clone()));
                }
                // The past is not written any more.
                ReadRecord::KeyAt { .. } | ReadRecord::Letter { .. } => {}
            }
        }
    }

    fn covers(&self, (collection, key): (&str, &str)) -> bool {
        self.keys.iter().any(|(c, k)| c == collection && k == key)
            || self.ranges.iter().any(|(c, prefix)| c == collection && key.starts_with(prefix.as_str()))
    }

    fn overlaps(&self, other: &Touched) -> bool {
        let covers_one = |a: &Touched, b: &Touched| b.keys.iter().any(|(c, k)| a.covers((c, k)));
        let meet = |(c, p): &(String, String), (d, q): &(String, String)| {
            c == d && (p.starts_with(q.as_str()) || q.starts_with(p.as_str()))
        };
        covers_one(self, other)
            || covers_one(other, self)
            || self.ranges.iter().any(|a| other.ranges.iter().any(|b| meet(a, b)))
    }
}

/// What a lock covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// These keys and ranges.
    Keys(Touched),
    /// The whole app.
    App,
}

impl Scope {
    fn covers(&self, key: (&str, &str)) -> bool {
        match self {
            Scope::Keys(touched) => touched.covers(key),
            Scope::App => true,
        }
    }

    fn overlaps(&self, other: &Scope) -> bool {
        match (self, other) {
            (Scope::Keys(a), Scope::Keys(b)) => a.overlaps(b),
            (Scope::App, _) | (_, Scope::App) => true,
        }
    }
}

/// A place in the order of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

#[derive(Debug)]
struct Request {
    app: AppId,
    execution: ExecutionId,
    scope: Scope,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Locks {
    next: u64,
    requests: BTreeMap<Ticket, Request>,
}

impl Locks {
    /// Asks for a lock, behind all that were asked for before.
    pub(super) fn request(&mut self, app: AppId, execution: ExecutionId, scope: Scope) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.requests.insert(ticket, Request { app, execution, scope });
        ticket
    }

    /// Whether a request is granted (E113).
    pub(super) fn is_granted(&self, ticket: Ticket) -> bool {
        let Some(request) = self.requests.get(&ticket) else { return false };
        let earlier = self.requests.range(..ticket).map(|(_, earlier)| earlier);
        !earlier
            .filter(|earlier| earlier.app == request.app)
            .any(|earlier| earlier.scope.overlaps(&request.scope))
    }

    /// Gives a lock, or a request, up.
    pub(super) fn release(&mut self, ticket: Ticket) {
        self.requests.remove(&ticket);
    }

    /// Who holds a granted lock that covers a key.
    pub(super) fn held(&self, app: AppId, key: (&str, &str)) -> Option<ExecutionId> {
        let covering = self.requests.iter().filter(|(_, r)| r.app == app && r.scope.covers(key));
        covering.filter(|(ticket, _)| self.is_granted(**ticket)).map(|(_, request)| request.execution).next()
    }

    /// Whether another execution holds a lock on one of these keys (E91).
    pub(super) fn blocks<'a>(
        &self,
        app: AppId,
        execution: ExecutionId,
        keys: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> bool {
        if self.requests.is_empty() {
            return false;
        }
        keys.into_iter().any(|key| self.held(app, key).is_some_and(|holder| holder != execution))
    }

    /// Whom an execution waits for whose request is not granted.
    pub(super) fn blocker(&self, execution: ExecutionId) -> Option<ExecutionId> {
        let (ticket, own) = self.requests.iter().find(|(_, request)| request.execution == execution)?;
        let mut earlier = self.requests.range(..ticket).map(|(_, earlier)| earlier);
        let before = earlier.find(|earlier| earlier.app == own.app && earlier.scope.overlaps(&own.scope))?;
        Some(before.execution)
    }

    /// Whether nobody asks for anything.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use relive_log::Lsn;

    use super::*;

    fn id(n: u8) -> ExecutionId {
        ExecutionId::from_bytes([n; 16])
    }

    fn app(n: u8) -> AppId {
        AppId::from_bytes([n; 16])
    }

    fn keys(keys: &[&str]) -> Scope {
        let keys = keys.iter().map(|key| ("c".to_owned(), (*key).to_owned())).collect();
        Scope::Keys(Touched { keys, ..Touched::default() })
    }

    fn range(prefix: &str) -> Scope {
        let ranges = BTreeSet::from([("c".to_owned(), prefix.to_owned())]);
        Scope::Keys(Touched { ranges, ..Touched::default() })
    }

    #[test]
    fn e113_requests_that_overlap_are_granted_in_order() {
        let mut locks = Locks::default();
        let a = locks.request(app(1), id(1), keys(&["a", "b"]));
        let b = locks.request(app(1), id(2), keys(&["b", "c"]));
        let c = locks.request(app(1), id(3), keys(&["c"]));
        let other = locks.request(app(2), id(4), Scope::App);
        let granted = |locks: &Locks| [a, b, c, other].map(|ticket| locks.is_granted(ticket));
        assert_eq!(
            granted(&locks),
            [true, false, false, true],
            "c waits behind b, which waits: no overtaking"
        );
        locks.release(a);
        assert_eq!(granted(&locks), [false, true, false, true]);
        locks.release(b);
        assert_eq!(granted(&locks), [false, false, true, true]);
        let whole = locks.request(app(1), id(5), Scope::App);
        assert!(!locks.is_granted(whole));
        locks.release(c);
        assert!(locks.is_granted(whole));
        locks.release(whole);
        locks.release(other);
        assert!(locks.is_empty());
    }

    #[test]
    fn e91_only_granted_locks_block_and_only_others() {
        let mut locks = Locks::default();
        let a = locks.request(app(1), id(1), range("x/"));
        let _b = locks.request(app(1), id(2), keys(&["x/1", "y"]));
        assert!(locks.blocks(app(1), id(9), [("c", "x/new")]), "a key that is not there yet is in the range");
        assert!(!locks.blocks(app(1), id(1), [("c", "x/new")]));
        assert!(!locks.blocks(app(1), id(9), [("c", "y"), ("d", "x/1")]), "who waits holds nothing");
        assert!(!locks.blocks(app(2), id(9), [("c", "x/1")]), "S6");
        locks.release(a);
        assert!(locks.blocks(app(1), id(9), [("c", "y")]));
    }

    #[test]
    fn ranges_meet_where_one_prefix_begins_with_the_other() {
        for (a, b, meet) in [("", "x", true), ("x/", "x/1", true), ("x/", "y/", false), ("x", "x", true)] {
            assert_eq!(range(a).overlaps(&range(b)), meet, "{a} {b}");
            assert_eq!(range(b).overlaps(&range(a)), meet, "{b} {a}");
        }
        assert!(range("x").overlaps(&keys(&["xy"])) && keys(&["xy"]).overlaps(&range("x")));
        assert!(!range("x").overlaps(&keys(&["y"])));
    }

    #[test]
    fn what_a_run_touched() {
        let key = |key: &str| ReadRecord::Key {
            collection: "c".into(),
            key: key.into(),
            version: Lsn(1),
            present: true,
        };
        let reads = [key("read")];
        let write = crate::script::WriteEffect { value: None, line: 0, expires_at: None };
        let writes = Writes::from([(("c".to_owned(), "written".to_owned()), write)]);
        let mut touched = Touched::default();
        touched.add(&[&reads, &[]], &writes);
        for (name, covered) in [("read", true), ("written", true), ("other", false)] {
            assert_eq!(touched.covers(("c", name)), covered, "{name}");
        }
    }
}
