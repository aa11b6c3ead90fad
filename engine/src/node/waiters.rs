//! Who waits for the log: actions that may happen only once an LSN is durable (S3).
//!
//! Owns: the queue of waiting actions and the loop that carries them out. Never does: append or decide.
//! Invariants: E60 an action runs once, only when its LSN is durable or the log has failed; E61 actions run
//! without the queue's lock, so that they may add further ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use parking_lot::{Condvar, Mutex};
use relive_log::{Durability, Lsn};

use crate::refusal::Failure;

/// What to do when an LSN is durable (`Ok`) or never will be (`Err`).
pub(crate) type Action = Box<dyn FnOnce(Result<(), Failure>) + Send>;

struct Waiting {
    lsn: Lsn,
    order: u64,
    action: Action,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.lsn, self.order) == (other.lsn, other.order)
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.lsn, self.order).cmp(&(other.lsn, other.order))
    }
}

#[derive(Default)]
struct Queue {
    heap: BinaryHeap<Reverse<Waiting>>,
    added: u64,
    closed: bool,
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

    /// Wakes the loop; the log's listener calls this after each group, and once when the log fails.
    pub(crate) fn wake(&self) {
        // Taking the lock orders this wake-up behind a loop that has just looked and is about to sleep.
        drop(self.queue.lock());
        self.changed.notify_all();
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
        queue.added += 1;
        let order = queue.added;
        queue.heap.push(Reverse(Waiting { lsn, order, action }));
        drop(queue);
        self.durability.hurry(lsn);
        // The group may have become durable (or the log may have failed) between the look and the push.
        if self.durability.durable() >= lsn || self.durability.poisoned().is_some() {
            self.wake();
        }
    }

    fn failed(&self) -> Option<Failure> {
        self.durability.poisoned().map(|poison| Failure::Log { message: poison.to_string() })
    }

    /// Carries out what is due now; answers how many actions ran. For loops that do not block.
    pub(crate) fn step(&self) -> usize {
        let due = self.take_due(&mut self.queue.lock());
        let count = due.len();
        self.carry_out(due);
        count
    }

    fn take_due(&self, queue: &mut Queue) -> Vec<Waiting> {
        let durable = self.durability.durable();
        let failed = self.durability.poisoned().is_some();
        let mut due = Vec::new();
        while queue.heap.peek().is_some_and(|Reverse(waiting)| failed || waiting.lsn <= durable) {
            due.extend(queue.heap.pop().map(|Reverse(waiting)| waiting));
        }
        due
    }

    fn carry_out(&self, due: Vec<Waiting>) {
        let durable = self.durability.durable();
        for waiting in due {
            let result = if waiting.lsn <= durable { Ok(()) } else { self.failed().map_or(Ok(()), Err) };
            (waiting.action)(result);
        }
    }

    /// Carries out actions as they become due, until closed and empty.
    pub(crate) fn run(&self) {
        loop {
            let mut queue = self.queue.lock();
            let due = loop {
                let due = self.take_due(&mut queue);
                if !due.is_empty() {
                    break due;
                }
                if queue.closed && queue.heap.is_empty() {
                    return;
                }
                self.changed.wait(&mut queue);
            };
            drop(queue);
            self.carry_out(due);
        }
    }

    /// No further actions will come: `run` returns when the queue is empty.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.changed.notify_all();
    }
}
