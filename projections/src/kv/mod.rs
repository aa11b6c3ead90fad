//! The `kv` view: current value, value as of an LSN, listings, history.
//!
//! Owns: the fold of the family `kv`. A written layer says where a value stands in the log, never the value (a
//! superseded value stands in the log only). Never does: judge who may read what, or whether an LSN is durable.

mod diff;
pub(crate) mod key;
mod line;
mod read;
mod table;
mod types;
mod values;
mod written;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use relive_log::AppId;
use relive_log::events::{Fork, KvDeleted, KvEvent, KvExpired, KvPut};

pub use diff::{DiffPage, DiffRange, KvChange, KvState};
pub(crate) use table::Table;
pub use types::{AsOf, KvBounds, KvItem, KvPage, KvRange, KvSlot, KvVersion};
pub(crate) use written::{is_deleted, write_run};

use crate::horizon::Horizon;
use crate::layers::LayerSet;
use crate::run::Run;
use crate::source::{At, ValueSource};
use line::Lines;
use table::Write;
use values::Values;

/// See the module.
pub struct KvView {
    pub(crate) layers: LayerSet<Table>,
    source: Arc<dyn ValueSource>,
    horizon: Horizon,
    lines: Lines,
    values: Values,
    /// Reused by the fold.
    scratch: Mutex<Vec<u8>>,
}

impl std::fmt::Debug for KvView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KvView").finish_non_exhaustive()
    }
}

impl KvView {
    pub(crate) fn new(source: Arc<dyn ValueSource>, runs: Vec<Arc<Run>>, horizon: Horizon) -> KvView {
        let (layers, lines) = (LayerSet::new(runs), Lines::default());
        let (values, scratch) = (Values::default(), Mutex::new(Vec::new()));
        KvView { layers, source, horizon, lines, values, scratch }
    }

    /// Which apps are forks of which, as the registry has it.
    pub(crate) fn set_lines(&self, lines: BTreeMap<AppId, Arc<[Fork]>>) {
        self.lines.set(lines);
    }

    /// The log.
    pub(crate) fn source(&self) -> &dyn ValueSource {
        &*self.source
    }

    /// Folds one event.
    pub(crate) fn fold(&self, event: &KvEvent, at: At) {
        let (app, collection, key, value, expires_at) = match event {
            KvEvent::Put(KvPut { app, collection, key, value, expires_at, previous: _, writer: _ }) => {
                (*app, collection, key, Some(Arc::clone(value)), *expires_at)
            }
            KvEvent::Deleted(KvDeleted { app, collection, key, previous: _, writer: _ })
            | KvEvent::Expired(KvExpired { app, collection, key, version: _ }) => {
                (*app, collection, key, None, None)
            }
        };
        let mut scratch = self.scratch.lock();
        key::encode_into(&mut scratch, app, collection, key);
        self.layers.now().active.put(&scratch, Write { lsn: at.lsn, pos: at.pos, value, expires_at });
    }
}

#[cfg(test)]
mod tests;
