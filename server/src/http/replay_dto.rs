//! Replays and their steps as JSON: the same from the API, from a data directory and from a capsule.
//!
//! Owns: those shapes. Never does: unmask anything; what it gets is masked.

use relive_engine::replay::{Bisected, Difference, Recording, Replayed, Report, Stepped, Tested, Verdict};
use relive_engine::script::{LetterEffect, LetterVerb, Response, Step, WriteEffect};
use relive_log::events::{ErrorRecord, OutputRecord};
use relive_projections::ExecutionRow;
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
    let sends = replayed.sends.iter().map(|send| {
        json!({
            "queue": send.queue, "message": dto::json_text(&send.message), "key": send.key,
            "delay_ms": send.delay_ms, "line": send.line,
        })
    });
    put("sends", sends.collect());
    put("dead_letters", replayed.letters.iter().map(letter).collect());
    put("reads", event_dto::reads(&replayed.record.reads));
    put("logs", dto::logs(&replayed.record.logs));
    put("http", event_dto::calls(&replayed.record.calls));
    put("differences", replayed.differences.iter().map(difference).collect());
    shown.into()
}

/// A dead letter that the run would close.
fn letter(effect: &LetterEffect) -> Value {
    let (redriven_as, note) = match &effect.verb {
        LetterVerb::Redrive(execution) => (Some(execution), None),
        LetterVerb::Resolve(note) => (None, Some(note)),
    };
    json!({"dead_letter_id": effect.letter, "redriven_as": redriven_as, "note": note})
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

/// Whether the text of the script goes with its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithSource {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// A window of steps.
pub(crate) fn stepped(recording: &Recording, stepped: &Stepped, with: WithSource) -> Value {
    let mut shown = head(recording, &stepped.replayed);
    let next = stepped.steps.last().map(|last| last.step + 1).filter(|next| *next <= stepped.total);
    let mut put = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    put("items", stepped.steps.iter().map(step).collect());
    put("total", stepped.total.into());
    put("next", json!(next));
    put("cursor", json!(next.map(|next| next.to_string())));
    if with == WithSource::Yes {
        put("source", json!(recording.source_text()));
        let texts = recording.imported_texts().iter();
        let imported: Map<String, Value> =
            texts.map(|(name, text)| (name.clone(), (**text).into())).collect();
        put("imported", imported.into());
    }
    shown.into()
}

fn step(step: &Step) -> Value {
    let stack: Value = step
        .stack
        .iter()
        .map(|frame| json!({"function": frame.function, "script": frame.script, "line": frame.line}))
        .collect();
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

/// What a backtest found.
pub(crate) fn report(report: &Report) -> Value {
    let mut summary = Map::new();
    summary.insert("executions".into(), report.tested.len().into());
    for (verdict, name) in Verdict::NAMES {
        summary.insert(name.to_owned(), report.count(verdict).into());
    }
    summary.insert("skipped".into(), report.skipped.len().into());
    let skipped: Vec<Value> = report
        .skipped
        .iter()
        .map(|(execution, reason)| json!({"execution_id": execution, "reason": reason}))
        .collect();
    json!({
        "backtest_id": report.id,
        "summary": summary,
        "items": report.tested.iter().map(tested).collect::<Vec<_>>(),
        "skipped": skipped,
        "cursor": report.cursor.map(|cursor| cursor.to_string()),
    })
}

fn tested(tested: &Tested) -> Value {
    let mut shown = Map::new();
    shown.insert("execution_id".into(), json!(tested.execution));
    shown.insert("attempt".into(), tested.attempt.into());
    shown.insert("verdict".into(), tested.verdict.name().into());
    shown.insert("dead_letter_id".into(), json!(tested.letter));
    if let Some(reason) = tested.reason {
        shown.insert("reason".into(), reason.name().into());
    }
    if tested.verdict == Verdict::Same {
        return shown.into();
    }
    let pair = |before: Value, after: Value| json!({"before": before, "after": after});
    let status = |ended: &Result<OutputRecord, ErrorRecord>| match ended {
        Ok(output) if output.status != 0 => output.status.into(),
        Ok(_) => "completed".into(),
        Err(_) => "failed".into(),
    };
    let error =
        |ended: &Result<OutputRecord, ErrorRecord>| ended.as_ref().err().map_or(Value::Null, dto::error);
    let response =
        |ended: &Result<OutputRecord, ErrorRecord>| ended.as_ref().map_or(Value::Null, event_dto::output);
    shown.insert("status".into(), pair(status(&tested.before), status(&tested.after)));
    shown.insert("error".into(), pair(error(&tested.before), error(&tested.after)));
    shown.insert("response".into(), pair(response(&tested.before), response(&tested.after)));
    let writes = tested.differences.iter().filter(|difference| difference.what == "write").map(difference);
    shown.insert("writes".into(), writes.collect());
    let others = tested.differences.iter().filter(|other| matches!(other.what, "send" | "letter"));
    shown.insert("differences".into(), others.map(difference).collect());
    shown.into()
}

/// What a bisection found.
pub(crate) fn bisected(row: &ExecutionRow, found: &Bisected) -> Value {
    let versions: Vec<Value> = found
        .versions
        .iter()
        .map(|tried| {
            json!({
                "version": tried.version,
                "verdict": if tried.error.is_some() { "bad" } else { "good" },
                "error": tried.error.as_ref().map(dto::error),
            })
        })
        .collect();
    json!({
        "execution_id": row.execution,
        "script": row.script,
        "recorded_version": found.recorded_version,
        "first_bad_version": found.first_bad,
        "last_good_version": found.last_good,
        "versions": versions,
    })
}
