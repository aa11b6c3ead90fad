//! The sequencer's lock, and what can be known without it: whether a brief call may run before it is let in.
//!
//! Owns: [`Sequencer`], its guard [`Held`], the [`Door`]. Never does: decide what may start; the door only shows what the
//! last holder of the lock left behind.
//!
//! Invariants: E164 a call runs before it is let in only if the last holder of the lock left room for it and for those inside;
//! E165 nothing begins to run alone (D3) while such a call runs.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard, WaitTimeoutResult};
use relive_log::Durability;

use super::core::Core;

/// So often a thread looks whether the lock is free before it sleeps: it is held for microseconds, and to be woken takes
/// longer.
const SPINS: u32 = 100;

/// See the module.
pub(super) struct Sequencer {
    core: Mutex<Core>,
    durability: Durability,
    door: Door,
}

impl Sequencer {
    /// Nothing runs before the first holder of the lock gave it up.
    pub(super) const fn new(core: Core, durability: Durability) -> Sequencer {
        let door = Door { room: AtomicUsize::new(0), inside: AtomicUsize::new(0) };
        Sequencer { core: Mutex::new(core), durability, door }
    }

    /// Becomes the sequencer.
    pub(super) fn lock(&self) -> Held<'_> {
        for _ in 0..SPINS {
            if let Some(core) = self.core.try_lock() {
                return Held { core, of: self };
            }
            std::hint::spin_loop();
        }
        Held { core: self.core.lock(), of: self }
    }

    /// The way in for calls that run before they are let in.
    pub(super) const fn door(&self) -> &Door {
        &self.door
    }

    fn show(&self, core: &Core) {
        self.door.room.store(core.room(&self.durability), Ordering::SeqCst);
    }
}

/// Holds the sequencer's lock.
pub(super) struct Held<'a> {
    core: MutexGuard<'a, Core>,
    of: &'a Sequencer,
}

impl Held<'_> {
    /// Gives the lock up until the condition is notified.
    pub(super) fn wait(&mut self, condition: &Condvar) {
        self.of.show(&self.core);
        condition.wait(&mut self.core);
    }

    /// As [`Held::wait`], for so long at most.
    pub(super) fn wait_for(&mut self, condition: &Condvar, longest: Duration) -> WaitTimeoutResult {
        self.of.show(&self.core);
        condition.wait_for(&mut self.core, longest)
    }

    /// Lets others have the lock in between.
    pub(super) fn bump(&mut self) {
        self.of.show(&self.core);
        MutexGuard::bump(&mut self.core);
    }
}

impl Deref for Held<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Core {
        &mut self.core
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.of.show(&self.core);
    }
}

/// How many may be inside without having asked for the lock, and how many are.
///
/// Who enters is counted before it looks whether there is room, who shuts it shuts it before it counts: one of both
/// sees the other (E165).
pub(super) struct Door {
    room: AtomicUsize,
    inside: AtomicUsize,
}

impl Door {
    /// Enters if there is room.
    pub(super) fn enter(&self) -> Option<Inside<'_>> {
        let others = self.inside.fetch_add(1, Ordering::SeqCst);
        let inside = Inside(self);
        (others < self.room.load(Ordering::SeqCst)).then_some(inside)
    }

    /// Lets nobody in until the lock is given up; answers how many are inside. For the holder of the lock.
    pub(super) fn shut(&self) -> usize {
        self.room.store(0, Ordering::SeqCst);
        self.inside.load(Ordering::SeqCst)
    }
}

/// A call that runs before it is let in. Whoever leaves takes the lock next and looks whether something waited for that.
pub(super) struct Inside<'a>(&'a Door);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e164_nobody_enters_where_there_is_no_room() {
        let door = Door { room: AtomicUsize::new(0), inside: AtomicUsize::new(0) };
        assert!(door.enter().is_none());
        assert_eq!(door.inside.load(Ordering::SeqCst), 0, "who was turned away is not counted");
        door.room.store(1, Ordering::SeqCst);
        let first = door.enter();
        assert!(first.is_some() && door.enter().is_none(), "no more than there is room for");
        drop(first);
        assert!(door.enter().is_some());
    }

    #[test]
    fn e165_who_shuts_the_door_knows_who_is_inside() {
        let door = Door { room: AtomicUsize::new(2), inside: AtomicUsize::new(0) };
        let (first, second) = (door.enter(), door.enter());
        assert!(first.is_some() && second.is_some());
        assert_eq!(door.shut(), 2);
        assert!(door.enter().is_none());
        drop(first);
        assert_eq!(door.shut(), 1);
        drop(second);
        assert_eq!(door.shut(), 0);
    }
}
