//! `/apps/{app}/kv-diff`: what differs between two instants.
//!
//! Owns: its paging, pinned to both instants. Never does: compare values (versions say whether a key differs).

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use relive_log::{Lsn, UnixMicros};
use relive_projections::{AsOf, DiffRange, KvChange, KvState};
use serde_json::{Value, json};

use super::error::{ApiError, ApiResult};
use super::kv::as_of;
use super::page::Page;
use super::query::Query;
use super::shared::{blocking, view_error};
use super::{Ctx, dto};

/// Where a page goes on: the first instant (the second is the cursor's own), then collection and key.
struct Place {
    from: AsOf,
    collection: String,
    key: String,
}

impl Place {
    fn text(&self) -> String {
        json!([self.from.lsn, self.from.time.0, self.collection, self.key]).to_string()
    }

    fn parse(text: &str) -> Option<Place> {
        let (lsn, time, collection, key): (u64, u64, String, String) = serde_json::from_str(text).ok()?;
        Some(Place { from: AsOf { lsn: Lsn(lsn), time: UnixMicros(time) }, collection, key })
    }
}

/// `GET /apps/{app}/kv-diff?from=&to=&collection=`
pub(crate) async fn diff(
    State(shared): Ctx,
    Path(app): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &["from", "to", "collection", "limit", "cursor"])?;
    let (app, _) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, "kv-diff", Some(app.id))?;
    let (from, to, after) = match page.from.as_ref().zip(page.position().and_then(Place::parse)) {
        Some((cursor, place)) => {
            let to = AsOf { lsn: cursor.lsn, time: cursor.time };
            (place.from, to, Some((place.collection, place.key)))
        }
        None => {
            let from = query.instant("from")?.ok_or_else(|| {
                ApiError::invalid("from", "is missing: an LSN or an RFC 3339 time to compare with `to`")
            })?;
            (as_of(&shared, Some(from)).await?, as_of(&shared, query.instant("to")?).await?, None)
        }
    };
    let collection = query.get("collection").map(str::to_owned);
    let range = DiffRange { collection, after, limit: page.limit, bytes_max: shared.pages().bytes_max };
    let node = Arc::clone(shared.node().await?);
    let id = app.id;
    let found =
        blocking(move || node.views().kv().diff(id, &range, from, to).map_err(|e| view_error(&e))).await?;
    let place = |item: &KvChange| {
        let (collection, key) = (item.collection.clone(), item.key.clone());
        Place { from, collection, key }.text()
    };
    let next = found.items.last().filter(|_| found.more).map(place);
    Ok(page.answer_at(&shared, found.items.iter().map(show).collect(), next, to))
}

fn show(change: &KvChange) -> Value {
    let op = match (&change.before, &change.after) {
        (None, _) => "insert",
        (Some(_), Some(_)) => "update",
        (Some(_), None) => "delete",
    };
    let value = |state: &Option<KvState>| state.as_ref().map_or(Value::Null, |s| dto::json_text(&s.value));
    let lsn = |state: &Option<KvState>| state.as_ref().map(|state| state.version);
    json!({
        "collection": change.collection,
        "key": change.key,
        "op": op,
        "before": value(&change.before),
        "after": value(&change.after),
        "before_lsn": lsn(&change.before),
        "after_lsn": lsn(&change.after),
    })
}
