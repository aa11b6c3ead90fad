//! `/apps/{app}/log`: the app's events, oldest first.
//!
//! Owns: which events are asked for, and paging over the log. Never does: show another app's event (S6) or one that is not durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, RawQuery, State};
use relive_engine::node::Node;
use relive_log::events::{Event, decode_record, registry};
use relive_log::{AppId, ExecutionId, Lsn, ReadError};
use serde_json::Value;

use super::error::{ApiError, ApiResult, ErrorCode};
use super::page::Page;
use super::query::Query;
use super::shared::{blocking, log_error};
use super::{Ctx, event_dto};

/// A page ends early, with a cursor, when looking for its items took so long.
const PAGE_TIME_MAX: Duration = Duration::from_secs(2);

/// Which events are asked for.
pub(super) struct Filter {
    app: AppId,
    kind: Option<&'static str>,
    execution: Option<ExecutionId>,
}

impl Filter {
    /// By `kind` and `execution` of a query.
    pub(super) fn of(query: &Query, app: AppId) -> ApiResult<Filter> {
        Ok(Filter { app, kind: kind(query)?, execution: query.parsed("execution", "an execution id")? })
    }

    /// Whether this one is.
    pub(super) fn takes(&self, event: &Event) -> bool {
        event.app() == self.app
            && self.kind.is_none_or(|kind| event.kind().name == kind)
            && self.execution.is_none_or(|execution| event.execution() == Some(execution))
    }

    /// Whether lost events are shown: whose they were is not known, so everyone is told who asks for everything.
    pub(super) fn takes_gaps(&self) -> bool {
        self.kind.is_none() && self.execution.is_none()
    }
}

/// The first LSN that is asked for, if one is; below the horizon it is refused (410).
pub(super) fn asked_from(asked: Option<Lsn>, first: Lsn) -> ApiResult<Option<Lsn>> {
    match asked.filter(|asked| *asked < first && *asked > Lsn::FIRST) {
        Some(asked) => Err(super::shared::below_horizon(first).with("from", asked.0)),
        None => Ok(asked),
    }
}

/// What a page looks for.
struct Search {
    filter: Filter,
    from: Lsn,
    to: Lsn,
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
    let first = node.reader().first_lsn();
    let asked = asked_from(query.parsed::<u64>("from", "an LSN")?.map(Lsn), first)?;
    let from = page.position_as::<u64>().map(|after| Lsn(after).next()).or(asked).unwrap_or(first).max(first);
    let to = query.parsed::<u64>("to", "an LSN")?.map_or(Lsn::MAX, Lsn).min(pinned);
    let search = Search { filter: Filter::of(&query, app.id)?, from, to, limit: page.limit };
    let (items, next) = blocking(move || find(&node, &search)).await?;
    Ok(page.answer(&shared, items, next.map(|lsn| lsn.to_string()), pinned))
}

fn kind(query: &Query) -> ApiResult<Option<&'static str>> {
    let Some(name) = query.get("kind") else { return Ok(None) };
    match registry::by_name(name) {
        Some(kind) => Ok(Some(kind.name)),
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
            if search.filter.takes_gaps() {
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
            if search.filter.takes(&event) {
                items.push(event_dto::event(raw.lsn, frame.commit_time, &event));
            }
        }
        if started.elapsed() > PAGE_TIME_MAX {
            return Ok((items, Some(last)));
        }
    }
    Ok((items, None))
}
