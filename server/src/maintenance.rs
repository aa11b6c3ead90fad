//! The thread that writes the views behind the log.
//!
//! Owns: when a step of maintenance happens: after something became durable, ten times a second at most. Never
//! does: hold up the commit path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use relive_engine::script::memory;
use relive_log::Durability;
use relive_projections::{Views, ViewsError};

use crate::start_error::StartError;
use crate::threads;

/// Pause between steps that found nothing more to do.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause after a step that failed.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// The running thread.
pub(crate) struct Maintenance {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Maintenance {
    /// Tells it to end.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread
    }
}

/// Starts maintaining.
pub(crate) fn start(views: Arc<Views>, durability: &Durability) -> Result<Maintenance, StartError> {
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, durable) = (Arc::clone(&stop), durability.clone());
    let thread = threads::spawn("views", move || maintain(&views, &durable, &stopped))?;
    let wake = thread.thread().clone();
    durability.on_change(Box::new(move |_| wake.unpark()));
    Ok(Maintenance { thread, stop })
}

fn maintain(views: &Views, durability: &Durability, stop: &AtomicBool) {
    let mut wrote = false;
    while !stop.load(Ordering::Acquire) {
        match views.maintain(durability.durable()) {
            Ok(step) if step.more => wrote = true,
            Ok(_) => {
                // What was frozen, and the buffers of merges, are free now.
                if std::mem::take(&mut wrote) {
                    memory::give_back();
                }
                std::thread::park();
                std::thread::sleep(PAUSE);
            }
            Err(error @ ViewsError::Broken(_)) => {
                tracing::error!(%error, "views go on in memory only");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "views could not be written; trying again");
                std::thread::sleep(FAILED_PAUSE);
            }
        }
    }
}
