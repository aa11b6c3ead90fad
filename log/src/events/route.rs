//! Family `route`: method and path pattern to script.

use bincode::{Decode, Encode};

use super::common::{Principal, RetryPolicy};
use crate::ids::{AppId, RouteId};

/// How a route's calls are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum DispatchMode {
    /// The caller waits for the outcome.
    Sync,
    /// 202 once the enqueue is durable.
    Async,
}

/// Whether a route's attempts keep what a replay needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Record {
    /// Input, reads and journal are kept.
    Full,
    /// Nothing is kept to replay (sync routes only).
    Off,
}

/// What a route is, apart from its identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct RouteSpec {
    /// Method, upper case.
    pub method: String,
    /// Pattern: `/orders/{id}`, `/files/{*rest}`.
    pub path: String,
    /// Name of the script.
    pub script: String,
    /// How calls are answered.
    pub mode: DispatchMode,
    /// Wall-clock limit of one attempt, milliseconds; the instance's default if absent.
    pub timeout_ms: Option<u64>,
    /// What is recorded.
    pub record: Record,
    /// Retries of async calls; the instance's default if absent.
    pub retry: Option<RetryPolicy>,
}

/// `route_created`
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RouteCreated {
    /// The app.
    pub app: AppId,
    /// The new id.
    pub route: RouteId,
    /// What it is.
    pub spec: RouteSpec,
    /// Who did it.
    pub by: Principal,
}

/// `route_deleted`: its unclaimed work is dropped (D17).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RouteDeleted {
    /// The app.
    pub app: AppId,
    /// The route.
    pub route: RouteId,
    /// Who did it.
    pub by: Principal,
}

/// Events of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteEvent {
    /// `route_created`
    Created(RouteCreated),
    /// `route_deleted`
    Deleted(RouteDeleted),
}
