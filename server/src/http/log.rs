//! `/apps/{app}/log`: the app's events, oldest first.
//!
//! Owns: filters and paging over the log. Never does: show another app's event (S6) or one that is not durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, RawQuery, State};
use relive_engine::node::Node;
use relive_log::events::{decode_record, registry};
use relive_log::{AppId, ExecutionId, Lsn, ReadError};
use serde_json::Value;

use super::error::{ApiError, ApiResult, ErrorCode};
use super::page::Page;
use super::query::Query;
use super::shared::{blocking, log_error};
use super::{Ctx, event_dto};

/// A page ends early, with a cursor, when looking for its items took so long.
const PAGE_TIME_MAX: Duration = Duration::from_secs(2);

/// What a page looks for.
struct Search {
    app: AppId,
    from: Lsn,
    to: Lsn,
    kind: Option<String>,
    execution: Option<ExecutionId>,
    limit: usize,
}

/// `GET /apps/{app}/log`
pub(crate) async fn list(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &["from", "to", "kind", "execution", "limit", "cursor"])?;
    let (app, now) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, "log", Some(app.id))?;
    let node = Arc::clone(shared.node().await?);
    let pinned = page.pinned(now);
    let asked = query.parsed::<u64>("from", "an LSN")?.map(Lsn);
    let first = node.reader().first_lsn();
    if let Some(asked) = asked.filter(|asked| *asked < first && *asked > Lsn::FIRST) {
        return Err(super::shared::below_horizon(first).with("from", asked.0));
    }
    let from = page.position_as::<u64>().map(|after| Lsn(after).next()).or(asked).unwrap_or(first).max(first);
    let to = query.parsed::<u64>("to", "an LSN")?.map_or(Lsn::MAX, Lsn).min(pinned);
    let kind = kind(&query)?;
    let execution = query.parsed("execution", "an execution id")?;
    let search = Search { app: app.id, from, to, kind, execution, limit: page.limit };
    let (items, next) = blocking(move || find(&node, &search)).await?;
    Ok(page.answer(&shared, items, next.map(|lsn| lsn.to_string()), pinned))
}

fn kind(query: &Query) -> ApiResult<Option<String>> {
    let Some(name) = query.get("kind") else { return Ok(None) };
    match registry::by_name(name) {
        Some(kind) => Ok(Some(kind.name.to_owned())),
        None => Err(ApiError::invalid("kind", format!("there is no kind of event `{name}`"))),
    }
}

/// Items, and the LSN to go on after.
fn find(node: &Node, search: &Search) -> ApiResult<(Vec<Value>, Option<Lsn>)> {
    let mut items = Vec::new();
    let mut last = search.from.prev();
    if search.from > search.to {
        return Ok((items, None));
    }
    let started = Instant::now();
    let mut scan = node.reader().scan(search.from).map_err(|e| log_error(&e))?;
    while let Some(frame) = scan.next() {
        if let Err(ReadError::Gap { gap }) = frame {
            if gap.from > search.to {
                return Ok((items, None));
            }
            if items.len() == search.limit {
                return Ok((items, Some(last)));
            }
            scan.pass_gap(gap);
            last = gap.to;
            // Whose events they were is not known: everyone is told.
            if search.kind.is_none() && search.execution.is_none() {
                items.push(event_dto::gap(gap));
            }
            continue;
        }
        let frame = frame.map_err(|e| log_error(&e))?;
        for raw in frame.records().filter(|raw| raw.lsn >= search.from) {
            if raw.lsn > search.to {
                return Ok((items, None));
            }
            if items.len() == search.limit {
                return Ok((items, Some(last)));
            }
            let event = decode_record(raw.type_, raw.type_version, raw.body)
                .map_err(|e| ApiError::new(ErrorCode::ReadFailed, format!("event {}: {e}", raw.lsn)))?;
            last = raw.lsn;
            let wanted = event.app() == search.app
                && search.kind.as_ref().is_none_or(|kind| event.kind().name == kind)
                && search.execution.is_none_or(|execution| event.execution() == Some(execution));
            if wanted {
                items.push(event_dto::event(raw.lsn, frame.commit_time, &event));
            }
        }
        if started.elapsed() > PAGE_TIME_MAX {
            return Ok((items, Some(last)));
        }
    }
    Ok((items, None))
}
