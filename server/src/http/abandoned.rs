//! `/apps/{app}/abandoned`: outcomes that nobody took (D5), until their records expire (D11).
//!
//! Owns: their JSON.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use relive_projections::{AbandonedRecord, ExecutionRow};
use serde_json::{Value, json};

use super::error::ApiResult;
use super::page::{PAGING, Page};
use super::query::Query;
use super::shared::{blocking, view_error};
use super::{Ctx, dto};

fn shown(record: &AbandonedRecord, row: Option<&ExecutionRow>) -> Value {
    json!({
        "execution_id": record.execution,
        "at": dto::rfc3339(record.at),
        "reason": record.reason.name(),
        "script": row.map(|row| &row.script),
        "source": row.map(|row| row.source.name()),
        "status": row.map(|row| row.status.name()),
        "enqueued_at": dto::maybe_time(row.map(|row| row.enqueued.time)),
        "lsn": row.map(|row| row.enqueued.lsn),
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
    let mut records = node.views().abandoned().list(app.id, page.position_as(), page.limit + 1);
    let pinned = page.pinned(shared.seen().await?);
    let more = records.len() > page.limit;
    records.truncate(page.limit);
    let next = records.last().filter(|_| more).map(|record| record.execution.to_string());
    let items: Vec<Value> = blocking(move || {
        let row = |record: &AbandonedRecord| node.views().executions().get(record.app, record.execution);
        let one = |record| Ok(shown(record, row(record).map_err(|e| view_error(&e))?.as_ref()));
        records.iter().map(one).collect::<ApiResult<_>>()
    })
    .await?;
    Ok(page.answer(&shared, items, next, pinned))
}
