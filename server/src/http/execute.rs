//! `POST /apps/{app}/scripts/{name}/execute`: a direct run.
//!
//! Owns: its request and answer. Never does: retry (nobody does, D1).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use relive_engine::node::{Delivery, DirectRun, Outcome, Reply};
use relive_log::events::SharedBytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::auth::Caller;
use super::error::{ApiError, ApiResult, Internals, Plane};
use super::query::Query;
use super::shared::stopped;
use super::{Ctx, EXECUTION_HEADER, LSN_HEADER, body, dto};
use crate::http::data::CallerGuard;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Execute {
    #[serde(default, deserialize_with = "present")]
    payload: Option<Value>,
}

/// Tells `null` from absent.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// `POST /apps/{app}/scripts/{name}/execute`
pub(crate) async fn execute(
    State(shared): Ctx,
    caller: Caller,
    Path((app, script)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let node = Arc::clone(shared.node().await?);
    let max = node.settings().request_body_max;
    let asked: Execute = body::optional(body, max, "RELIVE_MAX_REQUEST_BODY").await?;
    let payload: Option<SharedBytes> = asked.payload.map(|payload| payload.to_string().into_bytes().into());
    let (send, receive) = oneshot::channel();
    let reply = Box::new(move |outcome: Outcome| match send.send(outcome) {
        Ok(()) => Delivery::Delivered,
        Err(_) => Delivery::Gone,
    });
    let run = DirectRun { app, script, payload, principal: caller.principal };
    let execution =
        node.run_direct(run, reply).map_err(|error| ApiError::of_submit(error, Plane::Control))?;
    let guard = CallerGuard::new(node, execution);
    let outcome = receive.await.map_err(|_| stopped())?;
    guard.answered();
    Ok(answer(outcome))
}

fn answer(outcome: Outcome) -> Response {
    let result = match outcome.result {
        Ok(Reply::Value(value)) => dto::json_text(&value),
        Ok(Reply::Response(response)) => dto::bytes(&response.body),
        Err(error) => {
            return ApiError::of_execution(&error, outcome.execution, outcome.lsn, Internals::Shown)
                .with("error", dto::error(&error))
                .with("logs", dto::logs(&outcome.logs))
                .into_response();
        }
    };
    let body = json!({
        "execution_id": outcome.execution,
        "result": result,
        "logs": dto::logs(&outcome.logs),
        "lsn": outcome.lsn,
    });
    let headers = [(EXECUTION_HEADER, outcome.execution.to_string()), (LSN_HEADER, outcome.lsn.to_string())];
    (headers, Json(body)).into_response()
}
