//! Threads: spawned here and nowhere else, and joined within a time.
//!
//! Owns: the threads lent to the log and to the node. Never does: know what they do.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use relive_engine::node::Node;
use relive_engine::script::SCRIPT_STACK_BYTES;
use relive_log::snapshot::Scrubber;
use relive_log::{Appender, Durability, OpenedLog, Poisoned, Reader};

use crate::housekeeping::{House, Housekeeping};
use crate::maintenance::Maintenance;
use crate::start_error::StartError;

/// Of a thread that nobody waits for: a third of the weight of others, so that it still gets on when there is much to do.
const BEHIND_OTHERS: i32 = 5;

/// Starts a thread.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    start(Builder::new().name(name.to_owned()), work)
}

/// Lets the threads of the process that answer somebody go before this one where there are too few cores for all.
pub(crate) fn yield_to_others() {
    // On Linux this is of the calling thread alone.
    if let Err(error) = rustix::process::nice(BEHIND_OTHERS) {
        tracing::debug!(%error, "a thread could not be put behind the others");
    }
}

/// Starts a thread with a stack of its own size.
pub(crate) fn spawn_with_stack<T: Send + 'static>(
    name: &str,
    stack_bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    start(Builder::new().name(name.to_owned()).stack_size(stack_bytes), work)
}

fn start<T: Send + 'static>(
    builder: Builder,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    builder.spawn(work).map_err(|e| StartError::failed(format!("a thread could not be started: {e}")))
}

/// Runs work that runs scripts on a thread of its own, with the stack that they need.
pub(crate) fn scripted<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    start(Builder::new().name(name.to_owned()).stack_size(SCRIPT_STACK_BYTES), work)
}

/// Waits for a thread; `None` if it did not end in time.
fn join<T>(thread: JoinHandle<T>, until: Instant) -> Option<T> {
    while !thread.is_finished() {
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    thread.join().ok()
}

/// The log's own threads.
pub(crate) struct LogThreads {
    committer: JoinHandle<Result<(), Poisoned>>,
    preparer: JoinHandle<()>,
}

/// What is left of an opened log for the node.
pub(crate) struct LogRest {
    /// Appends.
    pub(crate) appender: Appender,
    /// Reads.
    pub(crate) reader: Reader,
    /// What is durable.
    pub(crate) durability: Durability,
    /// Reads what is sealed again.
    pub(crate) scrubber: Scrubber,
}

/// Starts the log's threads.
pub(crate) fn lend_to_log(log: OpenedLog) -> Result<(LogThreads, LogRest), StartError> {
    let OpenedLog { appender, reader, mut committer, mut preparer, durability, scrubber, .. } = log;
    let committer = spawn("committer", move || {
        committer.run();
        committer.close()
    })?;
    let preparer = spawn("preparer", move || preparer.run())?;
    Ok((LogThreads { committer, preparer }, LogRest { appender, reader, durability, scrubber }))
}

impl LogThreads {
    /// Waits until everything is durable and the log is closed: the appender was dropped with the node.
    pub(crate) fn close(self, at_most: Duration) -> Result<(), String> {
        let until = Instant::now() + at_most;
        match join(self.committer, until) {
            Some(Ok(())) => {}
            Some(Err(poisoned)) => return Err(poisoned.to_string()),
            None => return Err("the log did not close in time; the next start recovers it".to_owned()),
        }
        let _ended = join(self.preparer, until);
        Ok(())
    }
}

/// Threads lent to a node.
pub(crate) struct Lent {
    threads: Vec<JoinHandle<()>>,
    maintenance: Option<Maintenance>,
    housekeeping: Option<Housekeeping>,
}

impl Lent {
    /// None yet.
    pub(crate) const fn new() -> Lent {
        Lent { threads: Vec::new(), maintenance: None, housekeeping: None }
    }

    /// Lends one thread.
    pub(crate) fn one(
        &mut self,
        name: &str,
        node: &Arc<Node>,
        work: impl FnOnce(&Arc<Node>) + Send + 'static,
    ) -> Result<(), StartError> {
        let node = Arc::clone(node);
        self.threads.push(spawn(name, move || work(&node))?);
        Ok(())
    }

    /// Lends one thread with a stack of its own size.
    pub(crate) fn with_stack(
        &mut self,
        name: &str,
        stack_bytes: usize,
        node: &Arc<Node>,
        work: impl FnOnce(&Arc<Node>) + Send + 'static,
    ) -> Result<(), StartError> {
        let node = Arc::clone(node);
        let builder = Builder::new().name(name.to_owned()).stack_size(stack_bytes);
        self.threads.push(start(builder, move || work(&node))?);
        Ok(())
    }

    /// Takes over the thread that maintains the views.
    pub(crate) fn maintenance(&mut self, maintenance: Maintenance) {
        self.maintenance = Some(maintenance);
    }

    /// Takes over the thread that looks after what is stored.
    pub(crate) fn housekeeping(&mut self, housekeeping: Housekeeping) {
        self.housekeeping = Some(housekeeping);
    }

    /// Waits for all of them; the node was told to shut down. Gives back what housekeeping worked on.
    pub(crate) fn stop(self, at_most: Duration) -> Option<Arc<House>> {
        let until = Instant::now() + at_most;
        for thread in self.threads {
            if join(thread, until).is_none() {
                tracing::warn!("a thread of the node did not end in time");
            }
        }
        if let Some(maintenance) = self.maintenance
            && join(maintenance.stop(), until).is_none()
        {
            tracing::warn!("the maintenance of the views did not end in time");
        }
        let (thread, house) = self.housekeeping?.stop();
        if join(thread, until).is_none() {
            tracing::warn!("housekeeping did not end in time");
            return None;
        }
        Some(house)
    }
}
