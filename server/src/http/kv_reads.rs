//! One key: its value and its history.
//!
//! Owns: `ETag`, as-of reads, who wrote which version. Never does: write.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use hyper::header::{CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH};
use hyper::{HeaderMap, StatusCode};
use relive_engine::node::Node;
use relive_log::events::{Event, KvEvent, Writer};
use relive_log::{ExecutionId, Lsn};
use relive_projections::{App, ExecutionRow, KvVersion};
use serde_json::{Value, json};

use super::error::{ApiError, ApiResult, ErrorCode};
use super::kv::{as_of, pin};
use super::page::Page;
use super::query::Query;
use super::shared::{blocking, log_error, view_error};
use super::{Ctx, LSN_HEADER, dto};

/// When the value of a key expires.
const EXPIRES_HEADER: HeaderName = HeaderName::from_static("relive-expires-at");

/// The `ETag` of a version.
pub(crate) fn etag(version: Lsn) -> String {
    format!("\"{version}\"")
}

/// `GET /apps/{app}/kv/{collection}/{key}`
pub(crate) async fn show(
    State(shared): Ctx,
    Path((app, collection, key)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &["at"])?;
    let (app, _) = shared.app(&app).await?;
    let at = as_of(&shared, query.instant("at")?).await?;
    let node = Arc::clone(shared.node().await?);
    let name = format!("{collection}/{key}");
    let slot =
        blocking(move || node.views().kv().get(app.id, &collection, &key, at).map_err(|e| view_error(&e)))
            .await?;
    let lsn = [(LSN_HEADER, at.lsn.to_string())];
    let Some(value) = slot.value else {
        return Err(ApiError::not_found("key", name)
            .with("as_of_lsn", at.lsn.0)
            .header(LSN_HEADER, &at.lsn.to_string()));
    };
    let tag = etag(slot.version);
    let unchanged = headers.get(IF_NONE_MATCH).is_some_and(|asked| {
        asked.to_str().is_ok_and(|asked| asked.split(',').any(|one| one.trim() == tag || one.trim() == "*"))
    });
    if unchanged {
        return Ok((StatusCode::NOT_MODIFIED, lsn, [(ETAG, tag)]).into_response());
    }
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), (ETAG, tag)];
    let expires = slot.expires_at.map(|end| [(EXPIRES_HEADER, dto::rfc3339(end))]);
    let mut answer = (lsn, headers, value.to_vec()).into_response();
    if let Some([(name, end)]) = expires
        && let Ok(end) = end.parse()
    {
        answer.headers_mut().insert(name, end);
    }
    Ok(answer)
}

/// `GET /apps/{app}/kv/{collection}/{key}/history`: newest first.
pub(crate) async fn history(
    State(shared): Ctx,
    Path((app, collection, key)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    let query = Query::parse(query.as_deref(), &["at", "limit", "cursor"])?;
    let (app, _) = shared.app(&app).await?;
    let page = Page::of(&shared, &query, &format!("history {collection}/{key}"), Some(app.id))?;
    let at = pin(&shared, &page, &query).await?;
    let from = page.position_as::<u64>().map_or(at.lsn, |lsn| Lsn(lsn).prev());
    let limit = page.limit;
    let node = Arc::clone(shared.node().await?);
    let (items, next) = blocking(move || {
        let kv = node.views().kv();
        let mut versions =
            kv.history(app.id, &collection, &key, from, limit + 1).map_err(|e| view_error(&e))?;
        let more = versions.len() > limit;
        versions.truncate(limit);
        let next = versions.last().filter(|_| more).map(|version| version.lsn.to_string());
        let mut writers = Writers { node: &node, app: &app, rows: HashMap::new() };
        let items: ApiResult<Vec<Value>> = versions.iter().map(|version| writers.show(version)).collect();
        Ok((items?, next))
    })
    .await?;
    Ok(page.answer_at(&shared, items, next, at))
}

/// Looks up who wrote a version.
struct Writers<'a> {
    node: &'a Node,
    app: &'a App,
    rows: HashMap<ExecutionId, Option<ExecutionRow>>,
}

impl Writers<'_> {
    fn show(&mut self, version: &KvVersion) -> ApiResult<Value> {
        let (event, at) =
            self.node.reader().read_event(version.pos, version.lsn).map_err(|e| log_error(&e))?;
        let (op, value, writer) = match event {
            Event::Kv(KvEvent::Put(put)) => {
                let op = if put.previous.is_some() { "update" } else { "insert" };
                (op, dto::json_text(&put.value), Some(put.writer))
            }
            Event::Kv(KvEvent::Deleted(deleted)) => ("delete", Value::Null, Some(deleted.writer)),
            // Time ended it: nobody wrote this.
            Event::Kv(KvEvent::Expired(_)) => ("expire", Value::Null, None),
            Event::App(_)
            | Event::Script(_)
            | Event::Route(_)
            | Event::Trigger(_)
            | Event::Token(_)
            | Event::Secret(_)
            | Event::Execution(_)
            | Event::DeadLetter(_)
            | Event::Job(_)
            | Event::Retention(_)
            | Event::Cron(_) => {
                let text = format!("event {} is no mutation of a key", version.lsn);
                return Err(ApiError::new(ErrorCode::ReadFailed, text));
            }
        };
        let mut item = json!({
            "lsn": version.lsn,
            "at": dto::rfc3339(at),
            "op": op,
            "value": value,
            "execution_id": null,
            "principal": null,
            "script": null,
            "version": null,
            "line": null,
            "expires_at": dto::maybe_time(version.expires_at),
            "undo_of": null,
        });
        if let (Value::Object(fields), Some(writer)) = (&mut item, &writer) {
            fields.extend(self.writer(writer)?);
        }
        Ok(item)
    }

    fn writer(&mut self, writer: &Writer) -> ApiResult<Vec<(String, Value)>> {
        let field = |name: &str, value: Value| (name.to_owned(), value);
        match writer {
            Writer::Principal { id, name } => Ok(vec![field("principal", json!({"id": id, "name": name}))]),
            Writer::Undo { id, name, of } => {
                Ok(vec![field("principal", json!({"id": id, "name": name})), field("undo_of", json!(of))])
            }
            Writer::Execution { id, line } => {
                let mut fields = vec![field("execution_id", json!(id))];
                if *line != 0 {
                    fields.push(field("line", (*line).into()));
                }
                if let Some(row) = self.row(*id)? {
                    fields.push(field("script", row.script.as_str().into()));
                    fields.push(field("version", json!(row.last_attempt().map(|attempt| attempt.version))));
                    fields.push(field("principal", dto::maybe_principal(row.principal.as_ref())));
                }
                Ok(fields)
            }
        }
    }

    fn row(&mut self, id: ExecutionId) -> ApiResult<Option<&ExecutionRow>> {
        let row = match self.rows.entry(id) {
            std::collections::hash_map::Entry::Occupied(found) => found.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let row = self.node.views().executions().get(self.app.id, id).map_err(|e| view_error(&e))?;
                place.insert(row)
            }
        };
        Ok(row.as_ref())
    }
}
