//! `…/executions/{id}/trace`: the causal tree, over triggers, queues, retries, dead letters and redrives, both ways.
//!
//! Owns: how the executions of a tree hang together. Never does: fold anything.
//!
//! The tree is answered flat, depth first, each with its parent and its level: a chain of a thousand redrives would be
//! too deep for many a JSON reader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use relive_engine::node::Node;
use relive_log::events::{Event, KvEvent, Writer};
use relive_log::{ExecutionId, Lsn};
use relive_projections::{App, ExecutionRow};
use serde_json::{Map, Value, json};

use super::error::{ApiError, ApiResult};
use super::executions::expired;
use super::query::Query;
use super::shared::{blocking, log_error, view_error};
use super::{Ctx, executions};

/// Executions of one tree that are shown.
const TREE_MAX: usize = 1000;

/// A causal tree.
pub(crate) struct Tree {
    rows: BTreeMap<ExecutionId, ExecutionRow>,
    parents: BTreeMap<ExecutionId, ExecutionId>,
    children: BTreeMap<ExecutionId, Vec<ExecutionId>>,
    truncated: bool,
}

impl Tree {
    /// The tree that an execution belongs to.
    pub(crate) fn of(node: &Node, app: &App, row: &ExecutionRow) -> ApiResult<Tree> {
        let get = |id| node.views().executions().get(app.id, id).map_err(|e| view_error(&e));
        let ids = node.views().index().tree(app.id, row.root, TREE_MAX + 1).map_err(|e| view_error(&e))?;
        let truncated = ids.len() > TREE_MAX;
        let ids: BTreeSet<ExecutionId> =
            [row.root, row.execution].into_iter().chain(ids.into_iter().take(TREE_MAX)).collect();
        let mut rows = BTreeMap::new();
        for id in ids {
            rows.extend(get(id)?.map(|row| (id, row)));
        }
        let mut tree = Tree { rows, parents: BTreeMap::new(), children: BTreeMap::new(), truncated };
        for (id, row) in &tree.rows {
            if let Some(parent) = parent(node, app, row).filter(|parent| parent != id) {
                tree.parents.insert(*id, parent);
                tree.children.entry(parent).or_default().push(*id);
            }
        }
        for children in tree.children.values_mut() {
            children.sort_by_key(|id| tree.rows.get(id).map(|row| row.enqueued.lsn));
        }
        Ok(tree)
    }

    /// What an execution caused itself, in log order.
    pub(crate) fn caused(&self, id: ExecutionId) -> &[ExecutionId] {
        self.children.get(&id).map_or(&[], Vec::as_slice)
    }

    /// From the root to the parent.
    fn causes(&self, id: ExecutionId) -> Vec<ExecutionId> {
        let mut causes = Vec::new();
        let mut at = id;
        while let Some(parent) = self.parents.get(&at).filter(|parent| !causes.contains(*parent)) {
            causes.push(*parent);
            at = *parent;
        }
        causes.reverse();
        causes
    }

    /// Depth first, with levels; what has no parent in the tree is at the top.
    fn depth_first(&self) -> Vec<(ExecutionId, usize)> {
        let is_top =
            |id: &ExecutionId| self.parents.get(id).is_none_or(|parent| !self.rows.contains_key(parent));
        let mut tops: Vec<&ExecutionRow> = self.rows.values().filter(|row| is_top(&row.execution)).collect();
        tops.sort_by_key(|row| row.enqueued.lsn);
        let mut stack: Vec<(ExecutionId, usize)> = tops.iter().rev().map(|row| (row.execution, 0)).collect();
        let mut order = Vec::new();
        while let Some((id, level)) = stack.pop() {
            order.push((id, level));
            stack.extend(self.caused(id).iter().rev().map(|child| (*child, level + 1)));
        }
        order
    }
}

/// The execution that caused another: by a write, a send, a letter; or the dead one that it runs again.
fn parent(node: &Node, app: &App, row: &ExecutionRow) -> Option<ExecutionId> {
    row.caused_by.or_else(|| {
        let letter = node.views().dead_letters().get(app.id, row.redrive_of?)?;
        Some(letter.execution)
    })
}

/// `GET /apps/{app}/executions/{id}/trace`
pub(crate) async fn trace(
    State(shared): Ctx,
    Path((app, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult {
    Query::parse(query.as_deref(), &[])?;
    let missing = || ApiError::not_found("execution", &id);
    let execution: ExecutionId = id.parse().map_err(|_| missing())?;
    let (app, _) = shared.app(&app).await?;
    let as_of = shared.seen().await?;
    let node = Arc::clone(shared.node().await?);
    let shown = blocking(move || {
        let row = node.views().executions().get(app.id, execution).map_err(|e| view_error(&e))?;
        if row.is_none()
            && let Some(expired) = expired(&node, execution)
        {
            return Err(expired);
        }
        row.map(|row| show(&node, &app, &row, as_of)).transpose()
    });
    Ok(Json(shown.await?.ok_or_else(missing)?).into_response())
}

fn show(node: &Node, app: &App, row: &ExecutionRow, as_of: Lsn) -> ApiResult<Value> {
    let tree = Tree::of(node, app, row)?;
    let one = |id: ExecutionId, level: usize| -> ApiResult<Option<Value>> {
        let Some(row) = tree.rows.get(&id) else { return Ok(None) };
        let waiting = node.waiting_for(&[row]).pop().flatten();
        let mut shown: Map<String, Value> = executions::summary(app, row, waiting);
        shown.insert("level".into(), level.into());
        shown.insert("parent_execution_id".into(), json!(tree.parents.get(&id)));
        shown.insert("caused".into(), json!(tree.caused(id)));
        shown.insert("cause".into(), cause(node, row, as_of)?);
        Ok(Some(shown.into()))
    };
    let order = tree.depth_first();
    let mut all = Vec::with_capacity(order.len());
    for (id, level) in order {
        all.extend(one(id, level)?);
    }
    Ok(json!({
        "execution_id": row.execution,
        "root_execution_id": row.root,
        "as_of_lsn": as_of,
        "causes": tree.causes(row.execution),
        "caused": tree.caused(row.execution),
        "executions": all,
        "truncated": tree.truncated,
    }))
}

/// The event that caused an execution; null where there is none, or where it was cut off the log.
fn cause(node: &Node, row: &ExecutionRow, as_of: Lsn) -> ApiResult<Value> {
    let Some(lsn) = row.cause.filter(|lsn| *lsn <= as_of) else { return Ok(Value::Null) };
    let read = node.reader().frame_of(lsn).and_then(|frame| node.reader().read_event(frame.pos, lsn));
    let event = match read {
        Ok((event, _)) => event,
        Err(relive_log::ReadError::BelowStart { .. } | relive_log::ReadError::Cut { .. }) => {
            return Ok(json!({"lsn": lsn, "kind": null}));
        }
        Err(error) => return Err(log_error(&error)),
    };
    let mut shown = json!({"lsn": lsn, "kind": event.kind().name, "execution_id": event.execution()});
    if let (Value::Object(fields), Event::Kv(event)) = (&mut shown, &event) {
        let (collection, key, writer) = match event {
            KvEvent::Put(e) => (&e.collection, &e.key, Some(&e.writer)),
            KvEvent::Deleted(e) => (&e.collection, &e.key, Some(&e.writer)),
            KvEvent::Expired(e) => (&e.collection, &e.key, None),
        };
        fields.insert("collection".into(), collection.as_str().into());
        fields.insert("key".into(), key.as_str().into());
        let by = match writer {
            Some(Writer::Principal { id, name } | Writer::Undo { id, name, .. }) => {
                json!({"id": id, "name": name})
            }
            Some(Writer::Execution { .. }) | None => Value::Null,
        };
        fields.insert("principal".into(), by);
    }
    Ok(shown)
}
