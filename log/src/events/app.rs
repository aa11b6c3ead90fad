//! Family `app`: tenants come and go.

use bincode::{Decode, Encode};

use super::common::Principal;
use crate::ids::AppId;

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
    /// Who did it.
    pub by: Principal,
}

/// `app_paused`: sync routes refuse, its background work waits, its cron enqueues nothing (D15).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AppPaused {
    /// The app.
    pub app: AppId,
    /// Who did it.
    pub by: Principal,
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
}
