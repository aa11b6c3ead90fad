//! `/apps/{app}/outbox`: pending and running work by due time.
//!
//! Owns: its paging; a page is as of one LSN. Never does: decide what runs next.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use relive_log::{Lsn, UnixMicros};
use relive_projections::ExecutionRow;

use super::error::ApiResult;
use super::page::{PAGING, Page};
use super::query::Query;
use super::shared::{blocking, view_error};
use super::{Ctx, executions};

/// Sorts like (due time, LSN).
fn position(row: &ExecutionRow) -> String {
    format!("{:020}.{:020}", row.due_at.0, row.enqueued.lsn.0)
}

fn place(position: &str) -> Option<(UnixMicros, Lsn)> {
    let (due_at, lsn) = position.split_once('.')?;
    Some((UnixMicros(due_at.parse().ok()?), Lsn(lsn.parse().ok()?)))
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
    let node = shared.node().await?;
    let (reader, id, limit) = (Arc::clone(node), app.id, page.limit + 1);
    let (after, up_to) = (page.position().and_then(place), page.from.as_ref().map(|cursor| cursor.lsn));
    let (at, rows) = blocking(move || {
        reader.views().outbox_page(Some(id), after, up_to, limit).map_err(|e| view_error(&e))
    })
    .await?;
    // What the page may have seen is durable before anybody is told.
    shared.durable(at).await?;
    let pinned = page.pinned(at);
    Ok(page.answer_sorted(
        &shared,
        rows.iter(),
        |row| position(row),
        |row| executions::summary(&app, row, node.waiting_for(&[row]).pop().flatten()).into(),
        pinned,
    ))
}
