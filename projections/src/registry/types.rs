//! The configuration of every app: scripts, routes, triggers, secrets.
//!
//! Owns: [`Registry`] and what it holds. A registry is an immutable snapshot; a change makes a new one in which
//! only the app that changed is new. Never does: match routes, judge names.

use std::collections::BTreeMap;
use std::sync::Arc;

use bincode::{Decode, Encode};
use relive_log::events::{Principal, RouteSpec, SealedBytes, TriggerSpec};
use relive_log::{AppId, FramePos, Lsn, RouteId, TriggerId, UnixMicros};

/// All apps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// By id.
    pub apps: BTreeMap<AppId, Arc<App>>,
    /// By slug.
    pub by_slug: BTreeMap<String, AppId>,
}

impl Registry {
    /// The app with this id.
    #[must_use]
    pub fn app(&self, app: AppId) -> Option<&Arc<App>> {
        self.apps.get(&app)
    }

    /// The app with this slug.
    #[must_use]
    pub fn app_by_slug(&self, slug: &str) -> Option<&Arc<App>> {
        self.by_slug.get(slug).and_then(|app| self.apps.get(app))
    }
}

/// One app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// Its slug.
    pub slug: String,
    /// A name for people.
    pub name: Option<String>,
    /// When it was made.
    pub created_at: UnixMicros,
    /// The last event that changed anything in here.
    pub changed_lsn: Lsn,
    /// Scripts by name, deleted ones included ([`Script::current`] is 0 then).
    pub scripts: BTreeMap<String, Script>,
    /// Routes by id.
    pub routes: BTreeMap<RouteId, Route>,
    /// Triggers by id.
    pub triggers: BTreeMap<TriggerId, Trigger>,
    /// Live secrets by name.
    pub secrets: BTreeMap<String, Secret>,
    /// The highest version that every secret ever had, deleted ones included: the next one is higher.
    pub secret_versions: BTreeMap<String, u32>,
}

impl App {
    /// The script with this name, if it is not deleted.
    #[must_use]
    pub fn live_script(&self, name: &str) -> Option<&Script> {
        self.scripts.get(name).filter(|script| script.current != 0)
    }

    /// The version that the next deploy of this script gets.
    #[must_use]
    pub fn next_script_version(&self, name: &str) -> u32 {
        let highest =
            self.scripts.get(name).and_then(|script| script.versions.last()).map_or(0, |v| v.version);
        highest.saturating_add(1)
    }

    /// The version that the next value of this secret gets.
    #[must_use]
    pub fn next_secret_version(&self, name: &str) -> u32 {
        self.secret_versions.get(name).map_or(1, |highest| highest.saturating_add(1))
    }
}

/// One script with all of its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its name.
    pub name: String,
    /// The current version; 0: deleted.
    pub current: u32,
    /// All versions, ascending.
    pub versions: Vec<ScriptVersion>,
    /// Source of the current version, empty if deleted; older ones are read from the log.
    pub source: Arc<str>,
}

impl Script {
    /// One version of it.
    #[must_use]
    pub fn version(&self, version: u32) -> Option<&ScriptVersion> {
        self.versions.iter().rev().find(|v| v.version == version)
    }

    /// The current version, unless deleted.
    #[must_use]
    pub fn current_version(&self) -> Option<&ScriptVersion> {
        self.version(self.current)
    }
}

/// One immutable version of a script.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ScriptVersion {
    /// 1, 2, 3…
    pub version: u32,
    /// Its `script_deployed` event: the source is read there.
    pub lsn: Lsn,
    /// Where that stands.
    pub pos: FramePos,
    /// SHA-256 of the source.
    pub sha256: [u8; 32],
    /// When it was deployed.
    pub at: UnixMicros,
    /// By whom.
    pub by: Principal,
    /// Length of the source.
    pub bytes: u64,
    /// Names of the scripts that it imports itself, sorted.
    pub imports: Vec<String>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Route {
    /// Its id.
    pub id: RouteId,
    /// What it is.
    pub spec: RouteSpec,
    /// Who made it.
    pub by: Principal,
    /// When.
    pub created_at: UnixMicros,
    /// Its event.
    pub lsn: Lsn,
}

/// One trigger.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Trigger {
    /// Its id.
    pub id: TriggerId,
    /// What it is.
    pub spec: TriggerSpec,
    /// The registrant: whom its executions run as (D9).
    pub by: Principal,
    /// When it was made.
    pub created_at: UnixMicros,
    /// The last event that changed it.
    pub lsn: Lsn,
}

/// One live secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Its `secret_set` event.
    pub lsn: Lsn,
    /// Where that stands.
    pub pos: FramePos,
    /// The value, sealed.
    pub sealed: Arc<SealedBytes>,
    /// When it was set.
    pub set_at: UnixMicros,
    /// By whom.
    pub by: Principal,
}
