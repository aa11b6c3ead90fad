//! Lists: pages with cursors that are bound to app and query and pinned to an LSN.
//!
//! Owns: [`Page`]. Never does: know what is listed.

use axum::Json;
use axum::response::{IntoResponse, Response};
use relive_log::{AppId, Lsn, UnixMicros};
use relive_projections::AsOf;
use serde_json::{Value, json};

use super::LSN_HEADER;
use super::cursor::Cursor;
use super::error::{ApiError, ApiResult, ErrorCode};
use super::query::Query;
use super::shared::Shared;

/// Names of the parameters that every list takes.
pub(crate) const PAGING: [&str; 2] = ["limit", "cursor"];

/// One request for a page.
pub(crate) struct Page {
    scope: String,
    /// Most items.
    pub(crate) limit: usize,
    /// Where to go on.
    pub(crate) from: Option<Cursor>,
}

impl Page {
    /// Reads paging parameters; `what` names the list, `app` whose it is.
    pub(crate) fn of(shared: &Shared, query: &Query, what: &str, app: Option<AppId>) -> ApiResult<Page> {
        let app = app.map_or_else(String::new, |app| app.to_string());
        let scope = format!("{app} {what}{}", query.scope());
        let from = match query.get("cursor") {
            None => None,
            Some(text) => Some(shared.cursors.open(&scope, text).ok_or_else(|| {
                ApiError::new(
                    ErrorCode::BadCursor,
                    "the cursor is not one of this list and query: start without one",
                )
                .with("field", "cursor")
            })?),
        };
        Ok(Page { scope, limit: query.limit(shared.pages())?, from })
    }

    /// As of which LSN the list is: the cursor's, or `now`.
    pub(crate) fn pinned(&self, now: Lsn) -> Lsn {
        self.from.as_ref().map_or(now, |cursor| cursor.lsn)
    }

    /// The position of the cursor.
    pub(crate) fn position(&self) -> Option<&str> {
        self.from.as_ref().map(|cursor| cursor.position.as_str())
    }

    /// The position of the cursor as something that was made by this process's code.
    pub(crate) fn position_as<T: std::str::FromStr>(&self) -> Option<T> {
        self.position().and_then(|text| text.parse().ok())
    }

    /// The answer; `next` is the position to go on from.
    pub(crate) fn answer(
        &self,
        shared: &Shared,
        items: Vec<Value>,
        next: Option<String>,
        as_of: Lsn,
    ) -> Response {
        self.answer_at(shared, items, next, AsOf { lsn: as_of, time: UnixMicros(0) })
    }

    /// The answer of a list of keys, which is as of an instant.
    pub(crate) fn answer_at(
        &self,
        shared: &Shared,
        items: Vec<Value>,
        next: Option<String>,
        at: AsOf,
    ) -> Response {
        let AsOf { lsn: as_of, time } = at;
        let cursor = next.map(|position| {
            let cursor = Cursor { lsn: as_of, time, position };
            shared.cursors.seal(&self.scope, &cursor)
        });
        let body = json!({"items": items, "cursor": cursor, "as_of_lsn": as_of});
        ([(LSN_HEADER, as_of.to_string())], Json(body)).into_response()
    }

    /// The answer of a list whose rows stand sorted in memory: rows after the cursor's position, up to the limit.
    pub(crate) fn answer_sorted<T>(
        &self,
        shared: &Shared,
        rows: impl Iterator<Item = T>,
        position: impl Fn(&T) -> String,
        show: impl Fn(&T) -> Value,
        as_of: Lsn,
    ) -> Response {
        let at = AsOf { lsn: as_of, time: UnixMicros(0) };
        self.answer_sorted_at(shared, rows, position, show, at)
    }

    /// The same, as of an instant.
    pub(crate) fn answer_sorted_at<T>(
        &self,
        shared: &Shared,
        rows: impl Iterator<Item = T>,
        position: impl Fn(&T) -> String,
        show: impl Fn(&T) -> Value,
        at: AsOf,
    ) -> Response {
        let after = self.position().map(str::to_owned);
        let mut rows = rows.filter(|row| after.as_ref().is_none_or(|after| position(row) > *after));
        let page: Vec<T> = rows.by_ref().take(self.limit).collect();
        let next = rows.next().and(page.last()).map(&position);
        self.answer_at(shared, page.iter().map(show).collect(), next, at)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;
    use crate::http::error::Internals;
    use crate::http::shared::SharedParts;

    fn shared() -> std::sync::Arc<Shared> {
        Shared::new(SharedParts {
            stop: crate::http::Stop::new(),
            token: crate::http::Token::new("0123456789"),
            cursor_secret: [7; 16],
            internals: Internals::Hidden,
            data: std::path::PathBuf::new(),
            base_lag_bytes: 64 << 20,
            pages: crate::http::query::PageLimits { items: 100, items_max: 1000, bytes_max: 4 << 20 },
            started_at: relive_log::UnixMicros(0),
        })
    }

    async fn page(shared: &Shared, query: &str) -> (Vec<u64>, Option<String>, u64) {
        let query = Query::parse(Some(query), &["limit", "cursor", "x"]).unwrap();
        let page = Page::of(shared, &query, "numbers", None).unwrap();
        let rows = [10_u64, 11, 12, 13, 14];
        let response =
            page.answer_sorted(shared, rows.iter(), |n| n.to_string(), |n| json!(n), page.pinned(Lsn(9)));
        let body: Value =
            serde_json::from_slice(&to_bytes(response.into_body(), 10_000).await.unwrap()).unwrap();
        let items = body["items"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        (items, body["cursor"].as_str().map(str::to_owned), body["as_of_lsn"].as_u64().unwrap())
    }

    #[tokio::test]
    async fn pages_follow_each_other_pinned_to_the_first() {
        let shared = shared();
        let (items, cursor, _) = page(&shared, "limit=2").await;
        assert_eq!(items, [10, 11]);
        let (items, cursor, _) = page(&shared, &format!("limit=2&cursor={}", cursor.unwrap())).await;
        assert_eq!(items, [12, 13]);
        let (items, cursor, as_of) = page(&shared, &format!("limit=2&cursor={}", cursor.unwrap())).await;
        assert_eq!((items, cursor, as_of), (vec![14], None, 9));
    }

    #[tokio::test]
    async fn a_cursor_of_another_query_is_refused() {
        let shared = shared();
        let (_, cursor, _) = page(&shared, "limit=2&x=1").await;
        let text = format!("limit=2&x=2&cursor={}", cursor.unwrap());
        let query = Query::parse(Some(&text), &["limit", "cursor", "x"]).unwrap();
        assert!(Page::of(&shared, &query, "numbers", None).is_err());
    }
}
