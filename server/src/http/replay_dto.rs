//! Replays and their steps as JSON: the same from the API, from a data directory and from a capsule.
//!
//! Owns: those shapes. Never does: unmask anything; what it gets is masked.

use relive_engine::replay::{Difference, Recording, Replayed, Stepped};
use relive_engine::script::{Response, Step, WriteEffect};
use serde_json::{Map, Value, json};

use super::{dto, event_dto};

/// A replay.
pub(crate) fn replayed(recording: &Recording, replayed: &Replayed) -> Value {
    let mut shown = head(recording, replayed);
    let mut put = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    let writes = |kept: bool| -> Value {
        if kept {
            replayed.writes.iter().map(|(key, effect)| write(key, effect)).collect()
        } else {
            json!([])
        }
    };
    put("writes", writes(replayed.result.is_ok()));
    put("discarded_writes", writes(replayed.result.is_err()));
    put("reads", event_dto::reads(&replayed.record.reads));
    put("logs", dto::logs(&replayed.record.logs));
    put("http", event_dto::calls(&replayed.record.calls));
    put("differences", replayed.differences.iter().map(difference).collect());
    shown.into()
}

/// What replays and steps share: who, how it ended, whether it is what was.
fn head(recording: &Recording, replayed: &Replayed) -> Map<String, Value> {
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    put("execution_id", json!(recording.context.execution));
    put("attempt", recording.context.attempt.into());
    put("script", recording.context.script.as_str().into());
    put("version", json!(recording.version));
    put("recorded_version", recording.recorded_version.into());
    put("recorded", if recording.recorded.is_some() { "full" } else { "none" }.into());
    put("snapshot_lsn", json!(recording.context.lsn));
    put("operations", replayed.record.operations.into());
    put("faithful", json!(replayed.faithful));
    put("reason", replayed.reason.map_or(Value::Null, |reason| reason.name().into()));
    put("diverged_at", replayed.differences.first().map_or(Value::Null, difference));
    match &replayed.result {
        Ok(ended) => {
            put("result", dto::json_text(&ended.value));
            put("response", ended.response.as_ref().map_or(Value::Null, response));
            put("error", Value::Null);
        }
        Err(error) => {
            put("result", Value::Null);
            put("error", dto::error(error));
        }
    }
    shown
}

fn response(response: &Response) -> Value {
    let headers: Map<String, Value> =
        response.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    json!({
        "status": response.status,
        "headers": headers,
        "content_type": response.content_type,
        "body": dto::bytes(&response.body),
    })
}

/// One difference.
pub(crate) fn difference(difference: &Difference) -> Value {
    json!({
        "what": difference.what,
        "index": difference.index,
        "line": difference.line,
        "collection": difference.key.as_ref().map(|(collection, _)| collection),
        "key": difference.key.as_ref().map(|(_, key)| key),
        "recorded": difference.recorded,
        "replayed": difference.replayed,
    })
}

/// One write.
pub(crate) fn write((collection, key): &(String, String), effect: &WriteEffect) -> Value {
    json!({
        "collection": collection,
        "key": key,
        "op": if effect.value.is_some() { "put" } else { "delete" },
        "value": effect.value.as_deref().map(dto::json_text),
        "line": effect.line,
    })
}

/// A window of steps.
pub(crate) fn stepped(recording: &Recording, stepped: &Stepped) -> Value {
    let mut shown = head(recording, &stepped.replayed);
    let next = stepped.steps.last().map(|last| last.step + 1).filter(|next| *next <= stepped.total);
    let mut put = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    put("items", stepped.steps.iter().map(step).collect());
    put("total", stepped.total.into());
    put("next", json!(next));
    put("cursor", json!(next.map(|next| next.to_string())));
    shown.into()
}

fn step(step: &Step) -> Value {
    let stack: Value =
        step.stack.iter().map(|(function, line)| json!({"function": function, "line": line})).collect();
    json!({
        "step": step.step,
        "line": step.line,
        "column": step.column,
        "depth": step.depth,
        "script": step.script,
        "stack": stack,
        "variables": step.variables,
        "reads": event_dto::reads(&step.reads),
        "reads_total": step.reads_total,
        "writes": step.writes.iter().map(|(key, effect)| write(key, effect)).collect::<Vec<_>>(),
        "writes_total": step.writes_total,
        "logs_total": step.logs_total,
    })
}
