//! `/apps/{app}/outbox`: pending and running work by due time.
//!
//! Owns: its paging. Never does: decide what runs next.

use axum::extract::{Path, RawQuery, State};
use relive_projections::ExecutionRow;

use super::error::ApiResult;
use super::page::{PAGING, Page};
use super::query::Query;
use super::{Ctx, executions};

/// Sorts like (due time, LSN).
fn position(row: &ExecutionRow) -> String {
    format!("{:020}.{:020}", row.due_at.0, row.enqueued.lsn.0)
}

/// `GET /apps/{app}/outbox`
pub(crate) async fn list(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &PAGING)?;
    let (app, _) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, "outbox", Some(app.id))?;
    let mut rows = shared.node().await?.views().executions().open(Some(app.id));
    let pinned = page.pinned(shared.seen().await?);
    rows.retain(|row| row.enqueued.lsn <= pinned);
    rows.sort_by_key(|row| (row.due_at, row.enqueued.lsn));
    let node = shared.node().await?;
    Ok(page.answer_sorted(
        &shared,
        rows.iter(),
        |row| position(row),
        |row| executions::summary(&app, row, node.waiting_for(&[row]).pop().flatten()).into(),
        pinned,
    ))
}
