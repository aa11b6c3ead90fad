//! The configuration of every app: scripts, routes, triggers, secrets; and the tokens.
//!
//! Owns: [`Registry`] and what it holds. A registry is an immutable snapshot; a change makes a new one in which
//! only the app that changed is new. Never does: match routes, judge names.

use std::collections::BTreeMap;
use std::sync::Arc;

use bincode::{Decode, Encode};
use relive_log::events::{
    AppPauseReason, Fork, OutgoingCalls, PauseReason, Principal, RouteSpec, Scopes, SealedBytes, Source,
    TriggerSpec,
};
use relive_log::{AppId, FramePos, Lsn, PrincipalId, RouteId, TriggerId, UnixMicros};

/// All apps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// By id.
    pub apps: BTreeMap<AppId, Arc<App>>,
    /// By slug.
    pub by_slug: BTreeMap<String, AppId>,
    /// Tokens by id, expired ones included.
    pub tokens: BTreeMap<PrincipalId, Arc<Token>>,
    /// Their ids by digest.
    pub(super) by_digest: BTreeMap<[u8; 32], PrincipalId>,
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

    /// The token whose text has this SHA-256, if it is live at `now`. Whoever finds it by timing the look-up has
    /// learnt about digests, which lead to no text.
    #[must_use]
    pub fn live_token(&self, digest: &[u8; 32], now: UnixMicros) -> Option<&Arc<Token>> {
        let token = self.by_digest.get(digest).and_then(|id| self.tokens.get(id))?;
        token.is_live(now).then_some(token)
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
    /// Paused (D15): since when, by whom.
    pub paused: Option<Pause<AppPauseReason>>,
    /// Whether its scripts reach the outside.
    pub outgoing_calls: OutgoingCalls,
    /// The forks that it comes from, its own first; empty: it began with nothing.
    pub line: Vec<Fork>,
    /// Where its scripts, routes and triggers were changed, by LSN: what it was at any moment is folded from these.
    pub changes: Vec<(Lsn, FramePos)>,
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

    /// The wall-clock limit that the route of this work sets, milliseconds; `None`: that of the instance counts.
    #[must_use]
    pub fn timeout_ms(&self, source: &Source) -> Option<u64> {
        match source {
            Source::Route { route, .. } => self.routes.get(route).and_then(|route| route.spec.timeout_ms),
            Source::Kv { .. }
            | Source::DeadLetter { .. }
            | Source::Cron { .. }
            | Source::Queue { .. }
            | Source::Direct => None,
        }
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

/// Why something is paused (D15).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pause<R> {
    /// Why.
    pub reason: R,
    /// By whom.
    pub by: Principal,
    /// Since when.
    pub at: UnixMicros,
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
    /// Paused: its work waits.
    pub paused: Option<Pause<PauseReason>>,
    /// The last event that changed it.
    pub lsn: Lsn,
}

/// One token. Its text stands nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Token {
    /// Its id, and that of the principal that acts with it.
    pub id: PrincipalId,
    /// The app that it is bound to; `None`: it is good for every app.
    pub app: Option<AppId>,
    /// A name for people.
    pub name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// SHA-256 of its text.
    pub digest: [u8; 32],
    /// From then on it is no longer live.
    pub expires_at: Option<UnixMicros>,
    /// When it was made.
    pub created_at: UnixMicros,
    /// By whom.
    pub by: Principal,
    /// Its `token_created` event.
    pub lsn: Lsn,
}

impl Token {
    /// Whether it opens anything at `now`.
    #[must_use]
    pub fn is_live(&self, now: UnixMicros) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    /// Who acts with it.
    #[must_use]
    pub fn principal(&self) -> Principal {
        Principal { id: self.id, name: self.name.clone(), scopes: self.scopes }
    }
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
