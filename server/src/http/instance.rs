//! `/instance`: version, positions, sizes, durability.
//!
//! Owns: its JSON.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::IntoResponse;
use relive_engine::script::SDK_VERSION;
use serde_json::json;

use super::error::ApiResult;
use super::health::DURABILITY;
use super::query::Query;
use super::{Ctx, dto};

/// `GET /instance`
pub(crate) async fn show(State(shared): Ctx, RawQuery(query): RawQuery) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let node = shared.node().await?;
    let reader = node.reader();
    let (durable, applied) = (node.durable(), node.applied());
    let segments = reader.segments();
    let answer = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "sdk": SDK_VERSION,
        "started_at": dto::rfc3339(shared.parts.started_at),
        "data": shared.parts.data.display().to_string(),
        "durability": DURABILITY,
        "lsn": {
            "last": applied,
            "durable": durable,
            "snapshot": 0,
            "horizon": reader.first_lsn(),
        },
        "log": {"bytes": reader.bytes(), "segments": segments.len()},
        "views": {"lag_bytes": node.views().lag_bytes()},
        "apps": node.views().registry().apps.len(),
        "open_executions": node.views().executions().open_count(),
    });
    Ok(Json(answer).into_response())
}
