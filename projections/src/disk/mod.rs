//! What stands under `views/`, and how it gets there.
//!
//! Owns: generations, the `!meta` row, checkpoints, merges. Never does: fold, or serve a read.

mod checkpoint;
pub(crate) mod generation;
mod merging;
mod meta;
mod open;

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use relive_log::Lsn;
use relive_log::disk::Disk;

pub(crate) use checkpoint::{Sealed, SealedQueue};
pub(crate) use meta::Meta;
pub(crate) use open::{Opened, Runs, open};

/// Whether a row of the store is `!meta`.
pub(crate) fn is_meta(key: &[u8]) -> bool {
    key == meta::META_KEY
}

use crate::error::ViewsError;
use crate::options::Limits;
use crate::run::{Common, RunId, RunKind};
use crate::store::{ProjectionStore, Rows};

/// One generation, open for writing.
pub(crate) struct DiskLayer {
    disk: Arc<dyn Disk>,
    /// `views/`.
    views: PathBuf,
    /// `views/<n>/`.
    dir: PathBuf,
    number: u64,
    store: Box<dyn ProjectionStore>,
    pub(crate) limits: Limits,
    common: Arc<Common>,
    /// Held by whoever maintains: one at a time.
    pub(crate) state: Mutex<State>,
}

/// What only maintenance changes.
pub(crate) struct State {
    /// As it stands in the store.
    pub(crate) meta: Meta,
    /// Number of the next run; those of runs that were not finished are not used again.
    next_number: u64,
    /// `CURRENT` names this generation once it reaches this LSN.
    pending: Option<Lsn>,
    broken: Option<Arc<str>>,
    /// What was applied when the last step found nothing to do.
    pub(crate) quiet_at: Lsn,
}

impl State {
    /// Whether `CURRENT` names this generation.
    pub(crate) fn is_in_force(&self) -> bool {
        self.pending.is_none()
    }
}

impl DiskLayer {
    fn run_id(&self, meta: &Meta, kind: RunKind, number: u64) -> RunId {
        RunId { log_id: meta.log_id, timeline: meta.timeline, kind, number }
    }

    /// Ends the writing: the views go on in memory, the next start rebuilds them.
    fn break_off(&self, state: &mut State, error: ViewsError) -> ViewsError {
        let why: Arc<str> = error.to_string().into();
        generation::mark_broken(&*self.disk, &self.dir, &why);
        state.broken = Some(why);
        error
    }

    /// Whether these views may still be written.
    pub(crate) fn check(&self, state: &mut State) -> Result<(), ViewsError> {
        if state.broken.is_none() && self.common.is_damaged() {
            let why: Arc<str> = "a read found a damaged run".into();
            generation::mark_broken(&*self.disk, &self.dir, &why);
            state.broken = Some(why);
        }
        match &state.broken {
            Some(why) => Err(ViewsError::Broken(Arc::clone(why))),
            None => Ok(()),
        }
    }

    /// What was found damaged, or could not be written. Does not wait for whoever writes.
    pub(crate) fn damage(&self) -> Option<String> {
        match self.state.try_lock() {
            Some(mut state) => self.check(&mut state).err().map(|error| error.to_string()),
            None => self.common.is_damaged().then(|| "a read found a damaged run".to_owned()),
        }
    }

    /// Every row of the store.
    pub(crate) fn rows(&self) -> Result<Rows, ViewsError> {
        Ok(self.store.scan()?)
    }

    /// Hands everything to the system at a tidy stop.
    pub(crate) fn flush(&self) -> Result<(), ViewsError> {
        Ok(self.store.flush()?)
    }

    /// Bytes free, if there are too few to write (V12).
    pub(crate) fn short_of_space(&self) -> Option<u64> {
        self.disk.free_space(&self.dir).ok().filter(|&free| free < self.limits.free_bytes_min)
    }
}
