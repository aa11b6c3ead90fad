//! `POST /apps/{app}/queues/{queue}`: a message for a queue (D18).
//!
//! Owns: its request and answer. Never does: know what consumes a queue (the engine does).

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use hyper::StatusCode;
use relive_engine::command::{Answer, Command};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Caller;
use super::error::{ApiError, ApiResult, ErrorCode};
use super::query::Query;
use super::{Ctx, EXECUTION_HEADER, LSN_HEADER, body, dto};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    /// `null` is a message, an absent field is none.
    #[serde(default, deserialize_with = "present")]
    message: Option<Value>,
    #[serde(default)]
    delay_ms: u64,
    key: Option<String>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// `POST /apps/{app}/queues/{queue}`
pub(crate) async fn send(
    State(shared): Ctx,
    caller: Caller,
    Path((app, queue)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let max = shared.node().await?.settings().request_body_max;
    let Message { message, delay_ms, key } =
        body::fields(body::json(body, max, "RELIVE_MAX_REQUEST_BODY").await?)?;
    let missing = || ApiError::invalid("message", "is missing: any JSON value");
    let message = message.ok_or_else(missing)?.to_string().into_bytes().into();
    let done = shared.submit(&caller, Command::Send { app, queue, message, delay_ms, key }).await?;
    let Answer::Execution(execution) = done.answer else {
        return Err(ApiError::new(ErrorCode::Internal, "the message has no execution"));
    };
    let headers = [(EXECUTION_HEADER, execution.to_string()), (LSN_HEADER, done.lsn.to_string())];
    let accepted = json!({"accepted_at": dto::rfc3339(done.at), "execution_id": execution});
    Ok((StatusCode::ACCEPTED, headers, Json(accepted)).into_response())
}
