//! Claimed attempts on their way to a script thread, and how many such threads it takes.
//!
//! Owns: the line, and the count of threads that were lent. Never does: start a thread; the server lends one when
//! [`Jobs::wanted`] says so.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::core::Job;
use crate::script::memory;

/// How long a thread without work keeps memory that it may need again.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// How long a thread that was lent on demand waits for work before it is given back.
const SPARE_FOR: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Line {
    jobs: VecDeque<Box<Job>>,
    threads: usize,
    wanted: usize,
    closed: bool,
}

/// The line in front of the script threads. Bounded by the gate: only claimed attempts stand in it.
#[derive(Default)]
pub(super) struct Jobs {
    line: Mutex<Line>,
    changed: Condvar,
    demand: Condvar,
}

impl Jobs {
    pub(super) fn push(&self, job: Box<Job>) {
        self.line.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    /// As [`Jobs::push`], by a thread that takes a job itself right behind: nobody is woken for it.
    pub(super) fn push_for_self(&self, job: Box<Job>) {
        self.line.lock().jobs.push_back(job);
    }

    /// A thread that stays serves the line from now on.
    pub(super) fn join(&self) {
        self.line.lock().threads += 1;
    }

    /// How many threads serve the line.
    pub(super) fn threads(&self) -> usize {
        self.line.lock().threads
    }

    /// So many threads are needed from now on.
    pub(super) fn want(&self, threads: usize) {
        let mut line = self.line.lock();
        line.wanted = threads;
        if line.threads < threads {
            self.demand.notify_one();
        }
    }

    /// Waits until another thread is needed; it counts as serving the line from here on. `false` once closed.
    pub(super) fn wanted(&self) -> bool {
        let mut line = self.line.lock();
        loop {
            if line.closed {
                return false;
            }
            if line.threads < line.wanted {
                line.threads += 1;
                return true;
            }
            self.demand.wait(&mut line);
        }
    }

    /// The thread that was wanted does not come: no other is asked for until more are needed.
    pub(super) fn forgo(&self) {
        let mut line = self.line.lock();
        line.threads -= 1;
        line.wanted = line.threads;
    }

    /// The next job; waits for one. `None` once closed and empty. A thread that waits for a while gives back the memory that
    /// its last jobs left free.
    pub(super) fn pop(&self) -> Option<Box<Job>> {
        let mut line = self.line.lock();
        let mut given_back = false;
        loop {
            if let Some(job) = line.jobs.pop_front() {
                return Some(job);
            }
            if line.closed {
                return None;
            }
            if given_back {
                self.changed.wait(&mut line);
            } else if self.changed.wait_for(&mut line, KEPT_FOR).timed_out() {
                given_back = true;
                MutexGuard::unlocked(&mut line, memory::give_back);
            }
        }
    }

    /// As [`Jobs::pop`], for a thread that was lent on demand: `None`, and it serves no more, once it was spare for a
    /// while.
    pub(super) fn pop_or_leave(&self) -> Option<Box<Job>> {
        let mut line = self.line.lock();
        loop {
            if let Some(job) = line.jobs.pop_front() {
                return Some(job);
            }
            if line.closed || self.changed.wait_for(&mut line, SPARE_FOR).timed_out() && line.jobs.is_empty()
            {
                line.threads -= 1;
                return None;
            }
        }
    }

    /// The next job if there is one now.
    pub(super) fn try_pop(&self) -> Option<Box<Job>> {
        self.line.lock().jobs.pop_front()
    }

    pub(super) fn close(&self) {
        self.line.lock().closed = true;
        self.changed.notify_all();
        self.demand.notify_all();
    }
}
