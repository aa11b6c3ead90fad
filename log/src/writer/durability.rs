//! What is durable, who waits for it, and the end of it.
//!
//! Owns: the durable LSN, the poison, waiters and listeners. Never does: I/O.
//!
//! Upholds L1 (the durable LSN moves only after a successful sync, and never back) and L8 (after poison nothing
//! is acknowledged and every waiter gets the error).

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::Lsn;
use crate::error::Poisoned;

/// Called after each group became durable, with the new durable LSN, and once on poison.
pub type DurableListener = Box<dyn Fn(Result<Lsn, Poisoned>) + Send + Sync>;

/// A handle to wait for durability. Cheap to clone.
#[derive(Clone)]
pub struct Durability {
    core: Arc<Core>,
}

struct Core {
    durable: AtomicU64,
    poison: OnceLock<Poisoned>,
    gate: Mutex<()>,
    moved: Condvar,
    listeners: RwLock<Vec<DurableListener>>,
    /// Everything up to here is committed as soon as the disk is free.
    hurried: AtomicU64,
    /// Tells the committer that somebody waits.
    hurry: OnceLock<Box<dyn Fn() + Send + Sync>>,
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
            poison: OnceLock::new(),
            gate: Mutex::new(()),
            moved: Condvar::new(),
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
    /// When the log is poisoned before that: whether `lsn` survives is unknown.
    pub fn wait(&self, lsn: Lsn) -> Result<(), Poisoned> {
        if self.durable() >= lsn {
            return Ok(());
        }
        self.hurry(lsn);
        let mut gate = self.core.gate.lock();
        loop {
            if self.durable() >= lsn {
                return Ok(());
            }
            if let Some(poison) = self.core.poison.get() {
                return Err(poison.clone());
            }
            self.core.moved.wait(&mut gate);
        }
    }

    /// Adds a listener. It is called on the committer's thread (on poison: on the thread that met the error),
    /// must not block, and must not call `on_change`. A listener added after poison is told at once.
    pub fn on_change(&self, listener: DurableListener) {
        if let Some(poison) = self.poisoned() {
            listener(Err(poison));
            return;
        }
        self.core.listeners.write().push(listener);
    }

    /// Why nothing will become durable any more.
    #[must_use]
    pub fn poisoned(&self) -> Option<Poisoned> {
        self.core.poison.get().cloned()
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.core.poison.get().is_some()
    }

    /// Moves the durable LSN and tells everybody. Does nothing once poisoned.
    pub(crate) fn advance(&self, durable: Lsn) {
        if self.is_poisoned() {
            return;
        }
        let before = self.core.durable.swap(durable.0, Ordering::AcqRel);
        assert!(before <= durable.0, "L1: the durable LSN never moves back");
        // Taken and released, so that a waiter between its check and its wait is not missed.
        drop(self.core.gate.lock());
        self.core.moved.notify_all();
        for listener in self.core.listeners.read().iter() {
            listener(Ok(durable));
        }
    }

    /// Ends this writer. Only the first reason counts.
    pub(crate) fn poison(&self, reason: Poisoned) {
        let mut first = false;
        self.core.poison.get_or_init(|| {
            first = true;
            reason.clone()
        });
        if !first {
            return;
        }
        drop(self.core.gate.lock());
        self.core.moved.notify_all();
        for listener in self.core.listeners.read().iter() {
            listener(Err(reason.clone()));
        }
    }
}
