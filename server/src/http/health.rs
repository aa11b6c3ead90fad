//! `/healthz` and `/readyz`: open without a token.
//!
//! Owns: what they say. Never does: wait.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use serde_json::json;

use super::Ctx;

/// The durability mode, as `/readyz` and `/instance` name it.
pub(crate) const DURABILITY: &str = "sync";

/// The process lives.
pub(crate) async fn healthz() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

/// The views are complete and calls are answered; 503 with the progress until then.
pub(crate) async fn readyz(State(shared): Ctx) -> Response {
    let (folded, target) = shared.progressed();
    match shared.running() {
        Some(node) => {
            Json(json!({"status": "ready", "durability": DURABILITY, "durable_lsn": node.durable()}))
                .into_response()
        }
        None => {
            let body = json!({
                "status": "rebuilding",
                "durability": DURABILITY,
                "folded_lsn": folded,
                "target_lsn": target,
            });
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], Json(body)).into_response()
        }
    }
}
