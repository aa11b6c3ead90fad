//! `/apps/{app}/abandoned`: outcomes that nobody took (D5).
//!
//! Owns: their JSON.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use relive_projections::ExecutionRow;
use serde_json::{Value, json};

use super::error::ApiResult;
use super::page::{PAGING, Page};
use super::query::Query;
use super::shared::{blocking, view_error};
use super::{Ctx, dto};

fn shown(row: &ExecutionRow) -> Value {
    json!({
        "execution_id": row.execution,
        "at": dto::maybe_time(row.abandoned.map(|(_, at)| at)),
        "reason": row.abandoned.map(|(reason, _)| reason.name()),
        "script": row.script,
        "source": row.source.name(),
        "status": row.status.name(),
        "enqueued_at": dto::rfc3339(row.enqueued.time),
        "lsn": row.enqueued.lsn,
    })
}

/// `GET /apps/{app}/abandoned`: newest first.
pub(crate) async fn list(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &PAGING)?;
    let (app, _) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, "abandoned", Some(app.id))?;
    let node = Arc::clone(shared.node().await?);
    let (id, limit, from) = (app.id, page.limit + 1, page.position_as());
    let mut rows =
        blocking(move || node.views().executions().abandoned(id, limit, from).map_err(|e| view_error(&e)))
            .await?;
    let pinned = page.pinned(shared.seen().await?);
    let more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let next = rows.last().filter(|_| more).map(|row| row.execution.to_string());
    Ok(page.answer(&shared, rows.iter().map(shown).collect(), next, pinned))
}
