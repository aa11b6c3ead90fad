//! The `registry` view: the configuration as it is now, as immutable snapshots.
//!
//! Owns: the snapshot in force and its replacement. Readers hold the lock only to clone an `Arc`; a change copies
//! the one app that it changes, and only if somebody holds the snapshot.

mod fold;
mod persist;
mod types;

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use relive_log::{AppId, PrincipalId, RouteId, TriggerId};

pub use types::{App, Pause, Registry, Route, Script, ScriptVersion, Secret, Token, Trigger};

/// A row of the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RowKey {
    App(AppId),
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
    /// The snapshot in force.
    pub(crate) fn now(&self) -> Arc<Registry> {
        Arc::clone(&self.current.read())
    }
}

#[cfg(test)]
mod tests;
