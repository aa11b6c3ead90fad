//! What is durable, who waits for it, and the end of it.
//!
//! Owns: the durable LSN, the end of the writer (poison, or an orderly close), waiters and listeners. Never does:
//! I/O.
//!
//! Upholds L1 (the durable LSN moves only after a successful sync, and never back) and L8 (after poison nothing
//! is acknowledged and every waiter gets the error; the same holds for a close: nobody waits for ever).
//!
//! Waiters stand in the order of their LSNs and park one by one: a group wakes exactly those whose events it holds,
//! where a condition would wake everybody to look and sleep again.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;

use crate::Lsn;
use crate::error::{Poisoned, WaitError};
use crate::sync::{AtomicU64, Mutex, Ordering, RwLock, Thread, current, park};

/// Called after each group became durable, with the new durable LSN, and once on poison.
pub type DurableListener = Box<dyn Fn(Result<Lsn, Poisoned>) + Send + Sync>;

/// A handle to wait for durability. Cheap to clone.
#[derive(Clone)]
pub struct Durability {
    core: Arc<Core>,
}

struct Core {
    durable: AtomicU64,
    end: OnceLock<End>,
    /// In the order of their LSNs.
    waiters: Mutex<VecDeque<Waiter>>,
    listeners: RwLock<Vec<DurableListener>>,
    /// Everything up to here is committed as soon as the disk is free.
    hurried: AtomicU64,
    /// Tells the committer that somebody waits.
    hurry: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Why nothing will become durable any more.
enum End {
    Poisoned(Poisoned),
    Closed,
}

struct Waiter {
    lsn: Lsn,
    thread: Thread,
}

impl fmt::Debug for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durability")
            .field("durable", &self.durable())
            .field("poisoned", &self.poisoned())
            .finish()
    }
}

impl Durability {
    pub(crate) fn new(durable: Lsn) -> Self {
        let core = Core {
            durable: AtomicU64::new(durable.0),
            end: OnceLock::new(),
            waiters: Mutex::new(VecDeque::new()),
            listeners: RwLock::new(Vec::new()),
            hurried: AtomicU64::new(durable.0),
            hurry: OnceLock::new(),
        };
        Self { core: Arc::new(core) }
    }

    /// The highest LSN known to be on stable storage.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        Lsn(self.core.durable.load(Ordering::Acquire))
    }

    /// Has what is in the buffer committed as soon as the disk is free: somebody waits for `lsn`.
    pub fn hurry(&self, lsn: Lsn) {
        if self.core.hurried.load(Ordering::Acquire) < lsn.0
            && let Some(hurry) = self.core.hurry.get()
        {
            hurry();
            self.hurried(lsn);
        }
    }

    /// What is appended up to `lsn` is on its way already.
    pub(crate) fn hurried(&self, lsn: Lsn) {
        self.core.hurried.fetch_max(lsn.0, Ordering::AcqRel);
    }

    /// How [`Durability::hurry`] reaches the committer; set once, when the log is put together.
    pub(crate) fn hurry_through(&self, hurry: Box<dyn Fn() + Send + Sync>) {
        self.core.hurry.get_or_init(|| hurry);
    }

    /// Blocks until `lsn` is durable. `lsn` must have been appended, else this waits until it is.
    ///
    /// # Errors
    /// When the log is poisoned or closed before that: whether `lsn` survives is unknown.
    pub fn wait(&self, lsn: Lsn) -> Result<(), WaitError> {
        if let Some(settled) = self.settled(lsn) {
            return settled;
        }
        {
            let mut waiters = self.core.waiters.lock();
            // Whoever moves the LSN or ends the log takes this lock afterwards: it is seen here, or sees this waiter.
            if let Some(settled) = self.settled(lsn) {
                return settled;
            }
            // New LSNs are high ones: this is near the back.
            let at = waiters.partition_point(|waiter| waiter.lsn <= lsn);
            waiters.insert(at, Waiter { lsn, thread: current() });
        }
        self.hurry(lsn);
        loop {
            park();
            if let Some(settled) = self.settled(lsn) {
                return settled;
            }
        }
    }

    /// What a wait for `lsn` comes to, if that is known.
    fn settled(&self, lsn: Lsn) -> Option<Result<(), WaitError>> {
        // The end is looked at first: what became durable before it counts.
        let end = self.core.end.get();
        let durable = self.durable();
        if durable >= lsn {
            return Some(Ok(()));
        }
        Some(Err(match end? {
            End::Poisoned(poison) => WaitError::Poisoned(poison.clone()),
            End::Closed => WaitError::Closed { lsn, durable },
        }))
    }

    /// Adds a listener. It is called on the committer's thread (on poison: on the thread that met the error),
    /// must not block, and must not call `on_change`. A listener added after poison is told at once.
    pub fn on_change(&self, listener: DurableListener) {
        let mut listeners = self.core.listeners.write();
        // Whoever poisons reads the list afterwards.
        let Some(poison) = self.poisoned() else {
            listeners.push(listener);
            return;
        };
        drop(listeners);
        listener(Err(poison));
    }

    /// Why nothing will become durable any more.
    #[must_use]
    pub fn poisoned(&self) -> Option<Poisoned> {
        match self.core.end.get()? {
            End::Poisoned(poison) => Some(poison.clone()),
            End::Closed => None,
        }
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        matches!(self.core.end.get(), Some(End::Poisoned(_)))
    }

    /// Whether nothing will become durable any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.core.end.get().is_some()
    }

    /// Moves the durable LSN and tells everybody. Does nothing once poisoned.
    pub(crate) fn advance(&self, durable: Lsn) {
        if self.has_ended() {
            return;
        }
        let before = self.core.durable.swap(durable.0, Ordering::AcqRel);
        assert!(before <= durable.0, "L1: the durable LSN never moves back");
        self.wake(durable);
        for listener in self.core.listeners.read().iter() {
            listener(Ok(durable));
        }
    }

    /// Ends this writer. Only the first reason counts.
    pub(crate) fn poison(&self, reason: Poisoned) {
        if !self.end(End::Poisoned(reason.clone())) {
            return;
        }
        for listener in self.core.listeners.read().iter() {
            listener(Err(reason.clone()));
        }
    }

    /// Ends this writer in order: whoever waits still waits for something that was never appended.
    pub(crate) fn close(&self) {
        self.end(End::Closed);
    }

    /// Whether this is the end that counts.
    fn end(&self, end: End) -> bool {
        let mut first = false;
        self.core.end.get_or_init(|| {
            first = true;
            end
        });
        if first {
            self.wake(Lsn(u64::MAX));
        }
        first
    }

    /// Wakes everybody who waits for `upto` or less.
    fn wake(&self, upto: Lsn) {
        let woken: Vec<Waiter> = {
            let mut waiters = self.core.waiters.lock();
            let n = waiters.partition_point(|waiter| waiter.lsn <= upto);
            waiters.drain(..n).collect()
        };
        for waiter in woken {
            waiter.thread.unpark();
        }
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn poison() -> Poisoned {
        Poisoned { op: "sync", path: Arc::new(PathBuf::from("x")), message: Arc::from("it failed") }
    }

    #[test]
    fn l8_an_end_settles_every_wait_and_the_first_one_counts() {
        let durability = Durability::new(Lsn(3));
        durability.advance(Lsn(5));
        durability.poison(poison());
        durability.close();
        durability.advance(Lsn(9));
        assert_eq!(durability.wait(Lsn(5)), Ok(()), "what was durable before stays so");
        assert_eq!(durability.wait(Lsn(6)), Err(WaitError::Poisoned(poison())));
        assert_eq!(durability.durable(), Lsn(5), "L8: nothing is acknowledged after poison");
        let closed = Durability::new(Lsn(3));
        closed.close();
        closed.poison(poison());
        assert_eq!(closed.wait(Lsn(4)), Err(WaitError::Closed { lsn: Lsn(4), durable: Lsn(3) }));
        assert_eq!(closed.poisoned(), None);
    }
}
