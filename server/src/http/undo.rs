//! `POST …/executions/{id}/undo`: the inverse of an execution's writes as a new transaction.
//!
//! Owns: its JSON. Never does: decide whether it may be carried out (the sequencer does).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use relive_engine::command::{Command, UndoChange};
use relive_engine::refusal::UndoConflict;
use relive_log::ExecutionId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Caller;
use super::error::{ApiError, ApiResult, Plane};
use super::executions::expired;
use super::query::Query;
use super::shared::{below_horizon, blocking, view_error};
use super::{Ctx, LSN_HEADER, body, dto};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    #[serde(default)]
    dry_run: bool,
}

/// `POST /apps/{app}/executions/{id}/undo`
pub(crate) async fn undo(
    State(shared): Ctx,
    caller: Caller,
    Path((slug, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let ask: Ask = body::optional(body, body::SMALL_MAX, "the limit of this request").await?;
    let missing = || ApiError::not_found("execution", &id);
    let execution: ExecutionId = id.parse().map_err(|_| missing())?;
    let (app, _) = shared.app(&slug).await?;
    shared.seen().await?;
    let node = Arc::clone(shared.node().await?);
    let plan = blocking(move || {
        let row = node.views().executions().get(app.id, execution).map_err(|e| view_error(&e))?;
        if row.is_none()
            && let Some(expired) = expired(&node, execution)
        {
            return Err(expired);
        }
        let first = node.reader().first_lsn();
        if row.as_ref().and_then(|row| row.ended_at).is_some_and(|at| at.lsn < first) {
            return Err(below_horizon(first));
        }
        let plan = row.map(|row| node.undo_plan(&row)).transpose();
        plan.map_err(|error| ApiError::of_submit(error, Plane::Control))
    });
    let plan = plan.await?.ok_or_else(missing)?;
    let changes: Vec<Value> = plan.changes.iter().map(change).collect();
    if ask.dry_run {
        let conflicts: Vec<Value> = plan.conflicts.iter().map(conflict).collect();
        let shown =
            json!({"execution_id": execution, "dry_run": true, "changes": changes, "conflicts": conflicts});
        return Ok(Json(shown).into_response());
    }
    let command = Command::Undo { app: slug, execution, changes: plan.changes };
    let done = shared.submit(&caller, command).await?;
    let shown = json!({
        "execution_id": execution,
        "dry_run": false,
        "changes": changes,
        "conflicts": [],
        "lsn": done.lsn,
    });
    Ok(([(LSN_HEADER, done.lsn.to_string())], Json(shown)).into_response())
}

fn change(change: &UndoChange) -> Value {
    let op = match (&change.before, &change.after) {
        (None, _) => "insert",
        (Some(_), Some(_)) => "update",
        (Some(_), None) => "delete",
    };
    json!({
        "collection": change.collection,
        "key": change.key,
        "op": op,
        "wrote": change.wrote,
        "before": change.before.as_deref().map(dto::json_text),
        "after": change.after.as_ref().map(|(value, _)| dto::json_text(value)),
    })
}

/// A key that was written since.
pub(crate) fn conflict(conflict: &UndoConflict) -> Value {
    json!({
        "collection": conflict.collection,
        "key": conflict.key,
        "wrote": conflict.wrote,
        "current": conflict.current,
    })
}
