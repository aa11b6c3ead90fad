//! `/apps/{app}/kv` and `/apps/{app}/kv/{collection}`: listings, now or as of an instant.
//!
//! Owns: resolving an instant to an LSN (K3), pages of keys. Never does: write.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use relive_engine::node::Node;
use relive_log::{FramePos, Lsn, ReadError, Reader, UnixMicros};
use relive_projections::{AsOf, KvRange};
use serde_json::{Value, json};

use super::error::{ApiError, ApiResult};
use super::page::Page;
use super::query::{Instant, Query};
use super::shared::{Shared, below_horizon, blocking, in_the_future, log_error, view_error};
use super::{Ctx, dto};

/// As of what a read goes: what is durable and now; or the last LSN of the batch that the instant names, with times
/// to live as of its commit, or as of the time that was asked for (K1, K3).
pub(crate) async fn as_of(shared: &Shared, at: Option<Instant>) -> ApiResult<AsOf> {
    let node = shared.node().await?;
    let Some(at) = at else { return Ok(node.now()) };
    if let Instant::Time(time) = at
        && time > node.now().time
    {
        return Err(in_the_future(format!("{} is in the future", dto::rfc3339(time))));
    }
    let applied = node.applied();
    if let Instant::Lsn(lsn) = at
        && lsn > applied
    {
        return Err(in_the_future(format!("LSN {lsn} is in the future; the last one is {applied}")));
    }
    shared.durable(applied).await?;
    let node = Arc::clone(node);
    blocking(move || resolve(node.reader(), at)).await
}

fn resolve(reader: &Reader, at: Instant) -> ApiResult<AsOf> {
    let first = reader.first_lsn();
    let start = |asked_start: bool| {
        // Before the first event there was nothing; after a cut, what was there is gone.
        let nothing = AsOf { lsn: Lsn::ZERO, time: UnixMicros(0) };
        if asked_start && first <= Lsn::FIRST { Ok(nothing) } else { Err(below_horizon(first)) }
    };
    match at {
        Instant::Lsn(Lsn::ZERO) => start(true),
        Instant::Lsn(lsn) if lsn < first => start(false),
        Instant::Lsn(lsn) => {
            let frame = reader.frame_of(lsn).map_err(|e| log_error(&e))?;
            Ok(AsOf { lsn: frame.last_lsn, time: frame.commit_time })
        }
        Instant::Time(time) => match reader.frame_at_time(time).map_err(|e| log_error(&e))? {
            Some(frame) => Ok(AsOf { lsn: frame.last_lsn, time }),
            None => start(true),
        },
    }
}

/// When the batch of an LSN was committed; remembers the last one asked for.
pub(crate) struct CommitTimes<'a> {
    reader: &'a Reader,
    last: Option<relive_log::FrameInfo>,
}

impl<'a> CommitTimes<'a> {
    /// Of a log.
    pub(crate) const fn new(reader: &'a Reader) -> CommitTimes<'a> {
        CommitTimes { reader, last: None }
    }

    /// The commit time of the batch with this event.
    pub(crate) fn of(&mut self, lsn: Lsn) -> ApiResult<(UnixMicros, FramePos)> {
        if let Some(frame) =
            self.last.as_ref().filter(|frame| frame.first_lsn <= lsn && lsn <= frame.last_lsn)
        {
            return Ok((frame.commit_time, frame.pos));
        }
        let frame = match self.reader.frame_of(lsn) {
            Ok(frame) => frame,
            // What was current when the log was cut, perhaps just now: its value was kept, and so was its time.
            Err(ReadError::BelowStart { .. } | ReadError::Cut { .. }) => {
                return self.reader.place_of(lsn).map(|(pos, time)| (time, pos)).map_err(|e| log_error(&e));
            }
            Err(error) => return Err(log_error(&error)),
        };
        let found = (frame.commit_time, frame.pos);
        self.last = Some(frame);
        Ok(found)
    }
}

/// The instant that a page is pinned to.
pub(crate) async fn pin(shared: &Shared, page: &Page, query: &Query) -> ApiResult<AsOf> {
    match &page.from {
        Some(cursor) => Ok(AsOf { lsn: cursor.lsn, time: cursor.time }),
        None => as_of(shared, query.instant("at")?).await,
    }
}

/// `GET /apps/{app}/kv`: collections with counts.
pub(crate) async fn collections(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &["at", "limit", "cursor"])?;
    let (app, _) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, "kv", Some(app.id))?;
    let at = pin(&shared, &page, &query).await?;
    let node = Arc::clone(shared.node().await?);
    let id = app.id;
    let rows = blocking(move || node.views().kv().collections(id, at).map_err(|e| view_error(&e))).await?;
    let show = |(name, count): &(String, u64)| json!({"collection": name, "keys": count});
    Ok(page.answer_sorted_at(&shared, rows.into_iter(), |(name, _)| name.clone(), show, at))
}

/// `GET /apps/{app}/kv/{collection}`
pub(crate) async fn list(
    State(shared): Ctx,
    Path((app, collection)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &["prefix", "at", "limit", "cursor"])?;
    let (app, _) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, &format!("kv {collection}"), Some(app.id))?;
    let at = pin(&shared, &page, &query).await?;
    let range = KvRange {
        prefix: query.get("prefix").unwrap_or_default().to_owned(),
        cursor: page.position().map(str::to_owned),
        reverse: false,
        limit: page.limit,
        bytes_max: shared.pages().bytes_max,
    };
    let node = Arc::clone(shared.node().await?);
    let id = app.id;
    let (items, next) = blocking(move || read_page(&node, id, &collection, &range, at)).await?;
    Ok(page.answer_at(&shared, items, next, at))
}

fn read_page(
    node: &Node,
    app: relive_log::AppId,
    collection: &str,
    range: &KvRange,
    at: AsOf,
) -> Result<(Vec<Value>, Option<String>), ApiError> {
    let page = node.views().kv().list(app, collection, range, at).map_err(|e| view_error(&e))?;
    let mut times = CommitTimes::new(node.reader());
    let next = page.items.last().filter(|_| page.more).map(|item| item.key.clone());
    let items: ApiResult<Vec<Value>> = page
        .items
        .iter()
        .map(|item| {
            Ok(json!({
                "key": item.key,
                "value": dto::json_text(&item.value),
                "lsn": item.version,
                "updated_at": dto::rfc3339(times.of(item.version)?.0),
                "expires_at": dto::maybe_time(item.expires_at),
            }))
        })
        .collect();
    Ok((items?, next))
}
