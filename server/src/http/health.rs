//! `/healthz` and `/readyz`: open without a token.
//!
//! Owns: what they say. Never does: wait.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use relive_log::Room;
use serde_json::json;

use super::{Ctx, dto};

/// The durability mode, as `/readyz` and `/instance` name it.
pub(crate) const DURABILITY: &str = "sync";

/// Room on the disk, as `/readyz` and `/instance` name it. While it is low, new work is refused with `no_space` once the
/// prepared segments are used up; reads, and what was admitted, go on.
pub(crate) const fn space(room: Room) -> &'static str {
    match room {
        Room::Ample => "ample",
        Room::Low => "low",
    }
}

/// The process lives.
pub(crate) async fn healthz() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

/// The views are complete and calls are answered; 503 with the progress until then.
pub(crate) async fn readyz(State(shared): Ctx) -> Response {
    match shared.running() {
        Some(node) => {
            let body = json!({
                "status": "ready",
                "durability": DURABILITY,
                "durable_lsn": node.durable(),
                "space": space(node.supply().room()),
            });
            Json(body).into_response()
        }
        None => {
            let mut body = json!({"status": "rebuilding", "durability": DURABILITY});
            dto::add(&mut body, shared.progressed().to_json());
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], Json(body)).into_response()
        }
    }
}
