//! Claimed attempts on their way to a script thread.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use super::core::Job;

#[derive(Default)]
struct Line {
    jobs: VecDeque<Box<Job>>,
    closed: bool,
}

/// The line in front of the script threads. Bounded by the gate: only claimed attempts stand in it.
#[derive(Default)]
pub(super) struct Jobs {
    line: Mutex<Line>,
    changed: Condvar,
}

impl Jobs {
    pub(super) fn push(&self, job: Box<Job>) {
        self.line.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    /// The next job; waits for one. `None` once closed and empty.
    pub(super) fn pop(&self) -> Option<Box<Job>> {
        let mut line = self.line.lock();
        loop {
            if let Some(job) = line.jobs.pop_front() {
                return Some(job);
            }
            if line.closed {
                return None;
            }
            self.changed.wait(&mut line);
        }
    }

    /// The next job if there is one now.
    pub(super) fn try_pop(&self) -> Option<Box<Job>> {
        self.line.lock().jobs.pop_front()
    }

    pub(super) fn close(&self) {
        self.line.lock().closed = true;
        self.changed.notify_all();
    }
}
