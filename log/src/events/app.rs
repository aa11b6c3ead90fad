//! Family `app`: tenants come and go.

use bincode::{Decode, Encode};

use super::common::Principal;
use crate::ids::AppId;
use crate::types::{Lsn, UnixMicros};

/// Whether the scripts of an app reach the outside with `http::`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum OutgoingCalls {
    /// They do.
    #[default]
    On,
    /// Every call fails, with an error that says so.
    Off,
}

/// An app's keys as of a moment: what a fork begins with.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ForkBase {
    /// The app.
    pub app: AppId,
    /// Its slug then, for people: another app may have it by now.
    pub slug: String,
    /// Everything up to here was written: the last event of a batch.
    pub lsn: Lsn,
    /// Times to live as of then (K1).
    pub at: UnixMicros,
}

/// One fork in the line that an app comes from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Fork {
    /// What it began with.
    pub base: ForkBase,
    /// The `app_forked` event.
    pub lsn: Lsn,
    /// Its commit time.
    pub at: UnixMicros,
}

/// `app_created`
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AppCreated {
    /// The new id; a slug that is used again gets another.
    pub app: AppId,
    /// The slug, `[a-z][a-z0-9-]{0,62}`.
    pub slug: String,
    /// A name for people.
    pub name: Option<String>,
    /// Who did it.
    pub by: Principal,
}

/// `app_changed`
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AppChanged {
    /// The app.
    pub app: AppId,
    /// The new name for people.
    pub name: Option<String>,
    /// Whether its scripts reach the outside from here on.
    pub outgoing_calls: OutgoingCalls,
    /// Who did it.
    pub by: Principal,
}

/// `app_forked`: an app that begins with another one's keys as of a moment, paused and with outgoing calls off. Scripts,
/// routes and triggers are events of the same batch; keys are not copied: what the fork has not written reads as it was.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AppForked {
    /// The new id.
    pub app: AppId,
    /// The slug.
    pub slug: String,
    /// A name for people.
    pub name: Option<String>,
    /// What it begins with.
    pub base: ForkBase,
    /// The forks that the base comes from, nearest first: reads go down this line, whatever is deleted meanwhile.
    pub ancestors: Vec<Fork>,
    /// Who did it.
    pub by: Principal,
}

/// `app_paused`: sync routes refuse, its background work waits, its cron enqueues nothing (D15).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AppPaused {
    /// The app.
    pub app: AppId,
    /// Why.
    pub reason: AppPauseReason,
    /// Who did it.
    pub by: Principal,
}

/// Why an app is paused.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum AppPauseReason {
    /// Somebody asked for it.
    Asked,
    /// It came with a fork: it waits until somebody resumes it.
    Forked,
    /// Its scripts leave memory behind that nothing frees.
    Leaks(Leak),
}

impl AppPauseReason {
    /// The name on the outside.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            AppPauseReason::Asked => "asked",
            AppPauseReason::Forked => "forked",
            AppPauseReason::Leaks(_) => "leaks",
        }
    }

    /// What was leaked, if that is why.
    #[must_use]
    pub const fn leak(&self) -> Option<&Leak> {
        match self {
            AppPauseReason::Leaks(leak) => Some(leak),
            AppPauseReason::Asked | AppPauseReason::Forked => None,
        }
    }
}

/// Memory that executions of an app left allocated, since the process began or the app was resumed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Leak {
    /// The script that left most of it.
    pub script: String,
    /// Its version.
    pub version: u32,
    /// Bytes that all scripts of the app left.
    pub bytes: u64,
    /// How many they may leave (`RELIVE_MAX_LEAKED_MEMORY`).
    pub limit: u64,
}

/// `app_resumed`
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AppResumed {
    /// The app.
    pub app: AppId,
    /// Who did it.
    pub by: Principal,
}

/// `app_deleted`: its scripts, routes, triggers, secrets and keys are gone; its open work is dropped (the batch
/// carries a `dropped` for each).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AppDeleted {
    /// The app.
    pub app: AppId,
    /// Who did it.
    pub by: Principal,
}

/// Events of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppEvent {
    /// `app_created`
    Created(AppCreated),
    /// `app_changed`
    Changed(AppChanged),
    /// `app_paused`
    Paused(AppPaused),
    /// `app_resumed`
    Resumed(AppResumed),
    /// `app_deleted`
    Deleted(AppDeleted),
    /// `app_forked`
    Forked(Box<AppForked>),
}
