//! Who waits for the log: actions that may happen only once an LSN is durable (S3).
//!
//! Owns: the queue of waiting actions and the loop that carries them out. Never does: append or decide.
//! Invariants: E60 an action runs once, only when its LSN is durable or the log has failed; E61 actions run
//! without the queue's lock, so that they may add further ones; E62 what runs on the committer's thread only hands an
//! outcome over: it takes no lock of the node, and whatever else follows is an action.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use parking_lot::{Condvar, Mutex};
use relive_log::{Durability, Lsn};

use crate::refusal::Failure;

/// What to do when an LSN is durable (`Ok`) or never will be (`Err`).
pub(crate) type Action = Box<dyn FnOnce(Result<(), Failure>) + Send>;
/// Hands an outcome over when an LSN is durable, on the committer's thread; answers what is left to do elsewhere.
pub(crate) type HandOver = Box<dyn FnOnce(Result<(), Failure>) -> Option<Action> + Send>;

struct Waiting<T> {
    lsn: Lsn,
    order: u64,
    then: T,
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.lsn, self.order) == (other.lsn, other.order)
    }
}
impl<T> Eq for Waiting<T> {}
impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.lsn, self.order).cmp(&(other.lsn, other.order))
    }
}

/// What waits, the lowest LSN first.
struct Line<T>(BinaryHeap<Reverse<Waiting<T>>>);

impl<T> Default for Line<T> {
    fn default() -> Self {
        Line(BinaryHeap::new())
    }
}

impl<T> Line<T> {
    fn is_due(&self, upto: Lsn) -> bool {
        self.0.peek().is_some_and(|Reverse(first)| first.lsn <= upto)
    }

    fn take_due(&mut self, upto: Lsn) -> Vec<Waiting<T>> {
        let mut due = Vec::new();
        while self.is_due(upto) {
            due.extend(self.0.pop().map(|Reverse(waiting)| waiting));
        }
        due
    }
}

#[derive(Default)]
struct Queue {
    actions: Line<Action>,
    hand_overs: Line<HandOver>,
    added: u64,
    /// Threads that hand over what they took from here: what follows is not here yet.
    handing_over: usize,
    closed: bool,
}

impl Queue {
    /// Whether nothing is left and nothing will come.
    fn is_over(&self) -> bool {
        self.closed && self.handing_over == 0 && self.actions.0.is_empty() && self.hand_overs.0.is_empty()
    }

    fn next(&mut self) -> u64 {
        self.added += 1;
        self.added
    }
}

/// The queue of actions.
pub(crate) struct Waiters {
    durability: Durability,
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Waiters {
    pub(crate) fn new(durability: Durability) -> Waiters {
        Waiters { durability, queue: Mutex::new(Queue::default()), changed: Condvar::new() }
    }

    /// Hands over what is due and wakes the loop if it has something to do; the log's listener calls this after each
    /// group, and once when the log fails.
    pub(crate) fn log_moved(&self) {
        let upto = self.settled();
        let mut queue = self.queue.lock();
        let hand_overs = queue.hand_overs.take_due(upto);
        let awake = queue.actions.is_due(upto);
        queue.handing_over += 1;
        drop(queue);
        if awake {
            self.changed.notify_all();
        }
        self.hand_over(hand_overs);
        let mut queue = self.queue.lock();
        queue.handing_over -= 1;
        let closed = queue.closed;
        drop(queue);
        if closed {
            self.changed.notify_all();
        }
    }

    /// Runs `action` once `lsn` is durable: at once, on this thread, if it is.
    pub(crate) fn when_durable(&self, lsn: Lsn, action: Action) {
        if self.durability.durable() >= lsn {
            action(Ok(()));
            return;
        }
        if let Some(failure) = self.failed() {
            action(Err(failure));
            return;
        }
        self.queue_up(lsn, action);
    }

    /// As [`Waiters::when_durable`], but never on this thread: for callers that hold a lock which the action takes.
    pub(crate) fn queue_up(&self, lsn: Lsn, action: Action) {
        let mut queue = self.queue.lock();
        let order = queue.next();
        queue.actions.0.push(Reverse(Waiting { lsn, order, then: action }));
        drop(queue);
        self.queued(lsn);
    }

    /// Hands an outcome over once `lsn` is durable, never on this thread.
    pub(crate) fn hand_over_when_durable(&self, lsn: Lsn, then: HandOver) {
        let mut queue = self.queue.lock();
        let order = queue.next();
        queue.hand_overs.0.push(Reverse(Waiting { lsn, order, then }));
        drop(queue);
        self.queued(lsn);
    }

    fn queued(&self, lsn: Lsn) {
        self.durability.hurry(lsn);
        // The group may have become durable (or the log may have failed) between the look and the push.
        if self.settled() >= lsn {
            // Taking the lock orders this wake-up behind a loop that has just looked and is about to sleep.
            drop(self.queue.lock());
            self.changed.notify_all();
        }
    }

    /// Up to where it is known what becomes of the log: all of it once it has failed.
    fn settled(&self) -> Lsn {
        if self.durability.poisoned().is_some() { Lsn(u64::MAX) } else { self.durability.durable() }
    }

    fn failed(&self) -> Option<Failure> {
        self.durability.poisoned().map(|poison| Failure::Log { message: poison.to_string() })
    }

    fn result(&self, lsn: Lsn) -> Result<(), Failure> {
        if lsn <= self.durability.durable() { Ok(()) } else { self.failed().map_or(Ok(()), Err) }
    }

    fn hand_over(&self, due: Vec<Waiting<HandOver>>) {
        for Waiting { lsn, then, .. } in due {
            if let Some(action) = then(self.result(lsn)) {
                self.queue_up(lsn, action);
            }
        }
    }

    /// Carries out what is due now; answers how many actions ran. For loops that do not block.
    pub(crate) fn step(&self) -> usize {
        let upto = self.settled();
        let mut queue = self.queue.lock();
        let (hand_overs, actions) = (queue.hand_overs.take_due(upto), queue.actions.take_due(upto));
        drop(queue);
        self.carry_out(hand_overs, actions)
    }

    fn carry_out(&self, hand_overs: Vec<Waiting<HandOver>>, actions: Vec<Waiting<Action>>) -> usize {
        let count = hand_overs.len() + actions.len();
        self.hand_over(hand_overs);
        for Waiting { lsn, then, .. } in actions {
            then(self.result(lsn));
        }
        count
    }

    /// Carries out actions as they become due, until closed and empty.
    pub(crate) fn run(&self) {
        loop {
            let mut queue = self.queue.lock();
            let (hand_overs, actions) = loop {
                let upto = self.settled();
                let due = (queue.hand_overs.take_due(upto), queue.actions.take_due(upto));
                if !(due.0.is_empty() && due.1.is_empty()) {
                    break due;
                }
                if queue.is_over() {
                    return;
                }
                self.changed.wait(&mut queue);
            };
            drop(queue);
            self.carry_out(hand_overs, actions);
        }
    }

    /// No further actions will come: `run` returns when the queue is empty.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.changed.notify_all();
    }
}
