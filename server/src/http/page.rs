//! Lists: pages with cursors that are bound to app and query and pinned to an LSN.
//!
//! Owns: [`Page`]. Never does: know what is listed.

use axum::Json;
use axum::response::{IntoResponse, Response};
use relive_log::{AppId, Lsn};
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
        Ok(Page { scope, limit: query.limit()?, from })
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
        let cursor = next.map(|position| shared.cursors.seal(&self.scope, &Cursor { lsn: as_of, position }));
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
        let after = self.position().map(str::to_owned);
        let mut rows = rows.filter(|row| after.as_ref().is_none_or(|after| position(row) > *after));
        let page: Vec<T> = rows.by_ref().take(self.limit).collect();
        let next = rows.next().and(page.last()).map(&position);
        self.answer(shared, page.iter().map(show).collect(), next, as_of)
    }
}
