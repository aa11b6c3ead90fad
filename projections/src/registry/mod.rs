//! The `registry` view: the configuration as it is now, as immutable snapshots.
//!
//! Owns: the snapshot in force and its replacement. Readers hold the lock only to clone an `Arc`; a change copies
//! the one app that it changes, and only if somebody holds the snapshot.

mod fold;
mod past;
mod persist;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use relive_log::events::Fork;
use relive_log::{AppId, Lsn, PrincipalId, RouteId, TriggerId};

pub(crate) use past::app_as_of;
pub use types::{App, Pause, Registry, Route, Script, ScriptVersion, Secret, Token, Trigger};

/// A row of the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RowKey {
    App(AppId),
    Change(AppId, Lsn),
    Script(AppId, String),
    Route(AppId, RouteId),
    Trigger(AppId, TriggerId),
    Secret(AppId, String),
    Token(PrincipalId),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct RegistryView {
    current: RwLock<Arc<Registry>>,
    /// Changed since the last cut.
    dirty: Mutex<BTreeSet<RowKey>>,
}

impl RegistryView {
    /// The forks that each app comes from, of those that come from any.
    pub(crate) fn lines(&self) -> BTreeMap<AppId, Arc<[Fork]>> {
        let registry = self.now();
        let forks = registry.apps.values().filter(|app| !app.line.is_empty());
        forks.map(|app| (app.id, app.line.clone().into())).collect()
    }

    /// The snapshot in force.
    pub(crate) fn now(&self) -> Arc<Registry> {
        Arc::clone(&self.current.read())
    }
}

#[cfg(test)]
mod tests;
