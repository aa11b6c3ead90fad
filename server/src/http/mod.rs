//! HTTP: the data plane and the control plane, one file per resource.
//!
//! Owns: the state that handlers share, the router of the control plane. Never does: decide anything about
//! apps, keys or executions; handlers translate between HTTP and the node.

mod abandoned;
mod apps;
mod auth;
pub(crate) mod backtest;
mod body;
mod bulk;
mod cursor;
mod data;
mod dead_letters;
mod deploy;
pub(crate) mod dto;
mod error;
pub(crate) mod event_dto;
mod execute;
mod executions;
mod fork;
mod head_timer;
mod health;
mod holds;
mod instance;
mod kv;
mod kv_diff;
mod kv_readers;
mod kv_reads;
mod kv_transfer;
mod kv_writes;
mod log;
mod log_stream;
mod outbox;
mod pace;
mod page;
mod progress;
mod query;
mod queues;
pub(crate) mod replay;
pub(crate) mod replay_dto;
mod routes;
mod scopes;
mod scripts;
mod secrets;
mod serve;
mod shared;
mod tokens;
mod trace;
mod triggers;
mod undo;

use std::sync::Arc;

use axum::Router;
use axum::extract::{OriginalUri, State};
use axum::http::Method;
use axum::middleware;
use axum::routing::{delete, get, post, put};
use hyper::header::HeaderName;

pub(crate) use auth::Token;
pub(crate) use data::DataPlane;
pub(crate) use dto::rfc3339;
pub(crate) use error::{ApiError, Internals};
pub(crate) use instance::counted;
pub(crate) use query::{Instant, PageLimits, parse_instant};
pub(crate) use serve::{Listener, Stop, serve};
pub(crate) use shared::{Shared, SharedParts};

use error::ErrorCode;

/// Names the execution that answered.
pub(crate) const EXECUTION_HEADER: HeaderName = HeaderName::from_static("relive-execution-id");
/// Names the LSN as of which the answer is.
pub(crate) const LSN_HEADER: HeaderName = HeaderName::from_static("relive-lsn");

/// The state of handlers.
type Ctx = State<Arc<Shared>>;

/// Everything that the control plane serves.
pub(crate) fn control_plane(shared: Arc<Shared>) -> Router {
    let api = Router::new()
        .merge(app_routes())
        .merge(kv_routes())
        .merge(work_routes())
        .route("/instance", get(instance::show))
        .route("/instance/log", get(instance::log))
        .route("/holds", get(holds::list).post(holds::set))
        .route("/holds/{name}", delete(holds::release))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{id}", delete(tokens::delete))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), scopes::gate));
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .nest("/api/v1", api)
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(shared)
}

fn app_routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/apps", get(apps::list).post(apps::create))
        .route("/apps/{app}", get(apps::show).patch(apps::change).delete(apps::delete))
        .route("/apps/{app}/deploy", post(deploy::deploy))
        .route("/apps/{app}/fork", post(fork::fork))
        .route("/apps/{app}/scripts", get(scripts::list))
        .route("/apps/{app}/scripts/{name}", get(scripts::show).put(scripts::put).delete(scripts::delete))
        .route("/apps/{app}/scripts/{name}/versions", get(scripts::versions))
        .route("/apps/{app}/scripts/{name}/execute", post(execute::execute))
        .route("/apps/{app}/routes", get(routes::list).post(routes::create))
        .route("/apps/{app}/routes/{id}", get(routes::show).delete(routes::delete))
        .route("/apps/{app}/triggers", get(triggers::list).post(triggers::create))
        .route(
            "/apps/{app}/triggers/{id}",
            get(triggers::show).patch(triggers::change).delete(triggers::delete),
        )
        .route("/apps/{app}/secrets", get(secrets::list))
        .route("/apps/{app}/secrets/{name}", put(secrets::put).delete(secrets::delete))
}

fn kv_routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/apps/{app}/kv", get(kv::collections))
        .route("/apps/{app}/kv/{collection}", get(kv::list))
        .route(
            "/apps/{app}/kv/{collection}/{key}",
            get(kv_reads::show).put(kv_writes::put).delete(kv_writes::delete),
        )
        .route("/apps/{app}/kv/{collection}/{key}/history", get(kv_reads::history))
        .route("/apps/{app}/kv/{collection}/{key}/readers", get(kv_readers::readers))
        .route("/apps/{app}/kv-diff", get(kv_diff::diff))
        .route("/apps/{app}/kv-export", get(kv_transfer::export))
        .route("/apps/{app}/kv-import", post(kv_transfer::import))
}

fn work_routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/apps/{app}/executions", get(executions::list))
        .route("/apps/{app}/executions/{id}", get(executions::show))
        .route("/apps/{app}/executions/{id}/trace", get(trace::trace))
        .route("/apps/{app}/executions/{id}/undo", post(undo::undo))
        .route("/apps/{app}/executions/{id}/replay", post(replay::replay))
        .route("/apps/{app}/executions/{id}/steps", post(replay::steps))
        .route("/apps/{app}/executions/{id}/bisect", post(backtest::bisect))
        .route("/apps/{app}/executions/{id}/capsule", get(backtest::capsule))
        .route("/apps/{app}/scripts/{name}/backtest", post(backtest::backtest))
        .route("/apps/{app}/outbox", get(outbox::list))
        .route("/apps/{app}/abandoned", get(abandoned::list))
        .route("/apps/{app}/dead-letters", get(dead_letters::list))
        .route("/apps/{app}/dead-letters/groups", get(dead_letters::groups))
        .route("/apps/{app}/dead-letters/redrive", post(bulk::redrive))
        .route("/apps/{app}/dead-letters/resolve", post(bulk::resolve))
        .route("/apps/{app}/dead-letters/{id}", get(dead_letters::show))
        .route("/apps/{app}/dead-letters/{id}/resolve", post(dead_letters::resolve))
        .route("/apps/{app}/jobs", get(bulk::list))
        .route("/apps/{app}/jobs/{id}", get(bulk::show).delete(bulk::cancel))
        .route("/apps/{app}/dead-letters/{id}/redrive", post(dead_letters::redrive))
        .route("/apps/{app}/queues/{queue}", post(queues::send))
        .route("/apps/{app}/log", get(log::list))
        .route("/apps/{app}/log/stream", get(log_stream::stream))
}

async fn not_found(OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("there is nothing at {}", uri.path()))
}

async fn wrong_method(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    ApiError::new(ErrorCode::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
}
