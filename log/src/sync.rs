//! The primitives that the writer's threads meet at: locks, conditions, parking.
//!
//! Owns: the choice between the real ones and, with the feature `shuttle`, those of a scheduler that runs the same
//! code through thousands of interleavings. Never does: anything else; both sides have the interface that is used.

#[cfg(not(feature = "shuttle"))]
pub(crate) use self::real::*;
#[cfg(feature = "shuttle")]
pub(crate) use self::scheduled::*;

#[cfg(not(feature = "shuttle"))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
    pub(crate) use std::thread::{Thread, current, park};

    pub(crate) use parking_lot::{Condvar, Mutex, RwLock};
}

#[cfg(feature = "shuttle")]
mod scheduled {
    //! The scheduler's primitives in the clothes of `parking_lot`: a panic below a lock ends the schedule anyway, so
    //! poisoned locks are opened. Its timeouts never pass.

    use std::sync::PoisonError;
    use std::time::Duration;

    pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering};
    pub(crate) use shuttle::thread::{Thread, current, park};

    pub(crate) use shuttle::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> Guard<'_, T> {
            Guard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
        }
    }

    /// A guard that a condition can take out and put back.
    pub(crate) struct Guard<'a, T>(Option<MutexGuard<'a, T>>);

    #[expect(clippy::expect_used, reason = "empty only inside `Condvar::wait`")]
    impl<T> std::ops::Deref for Guard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.0.as_deref().expect("held")
        }
    }

    #[expect(clippy::expect_used, reason = "empty only inside `Condvar::wait`")]
    impl<T> std::ops::DerefMut for Guard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_deref_mut().expect("held")
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(shuttle::sync::Condvar);

    /// How a wait ended.
    pub(crate) struct Notified;

    impl Notified {
        #[expect(clippy::unused_self, reason = "the twin says what happened")]
        pub(crate) const fn timed_out(&self) -> bool {
            false
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(shuttle::sync::Condvar::new())
        }

        pub(crate) fn wait<T>(&self, guard: &mut Guard<'_, T>) {
            if let Some(held) = guard.0.take() {
                guard.0 = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
            }
        }

        /// Its time never passes: what would be noticed by a timeout only is a deadlock here.
        pub(crate) fn wait_for<T>(&self, guard: &mut Guard<'_, T>, _at_most: Duration) -> Notified {
            self.wait(guard);
            Notified
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
