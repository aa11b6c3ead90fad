//! Events as the log shows them: `{lsn, at, kind, execution_id, data}`.
//!
//! Owns: the shape of `data` of every kind. Never shows: sealed bytes, withheld headers (placeholders stand
//! for both), seeds of attempts (T1).

use relive_log::events::{
    AfterFailure, AppEvent, AppPaused, AppResumed, AttemptRecord, CallOutcome, CallRecord, CronEvent,
    DeadLetterEvent, Event, ExecutionEvent, HeaderRecord, ImportedVersion, Input, JobEvent, JobKind, KvEvent,
    OutputRecord, Principal, ReadRecord, RequestRecord, RetentionEvent, RouteEvent, ScriptEvent, SecretEvent,
    TokenEvent, TriggerEvent, Writer,
};
use relive_log::{Gap, Lsn, UnixMicros};
use serde_json::{Map, Value, json};

use super::dto;

/// One event of the log.
pub(crate) fn event(lsn: Lsn, at: UnixMicros, event: &Event) -> Value {
    json!({
        "lsn": lsn,
        "at": dto::rfc3339(at),
        "kind": event.kind().name,
        "execution_id": event.execution(),
        "data": data(event),
    })
}

/// Events that the log lost, in the place of the first of them.
pub(crate) fn gap(gap: Gap) -> Value {
    json!({
        "lsn": gap.from,
        "at": null,
        "kind": "gap",
        "execution_id": null,
        "data": {"from": gap.from, "to": gap.to, "reason": "damaged or missing; left out by a salvage"},
    })
}

fn data(event: &Event) -> Value {
    match event {
        Event::App(event) => app(event),
        Event::Script(event) => script(event),
        Event::Route(event) => route(event),
        Event::Trigger(event) => trigger(event),
        Event::Token(event) => token(event),
        Event::Secret(event) => secret(event),
        Event::Kv(event) => kv(event),
        Event::Execution(event) => execution(event),
        Event::DeadLetter(event) => dead_letter(event),
        Event::Job(event) => job(event),
        Event::Retention(event) => retention(event),
        Event::Cron(CronEvent::Ticked(e)) => json!({
            "trigger_id": e.trigger,
            "scheduled_at": dto::rfc3339(e.scheduled_at),
            "ticks": e.ticks,
            "skipped": e.execution.is_none(),
        }),
    }
}

fn by(principal: &Principal) -> Value {
    dto::principal(principal)
}

fn app(event: &AppEvent) -> Value {
    match event {
        AppEvent::Created(e) => json!({"slug": e.slug, "name": e.name, "by": by(&e.by)}),
        AppEvent::Changed(e) => json!({
            "name": e.name,
            "outgoing_calls": dto::outgoing_calls(e.outgoing_calls),
            "by": by(&e.by),
        }),
        AppEvent::Forked(e) => json!({
            "slug": e.slug,
            "name": e.name,
            "forked_from": dto::fork_base(&e.base),
            "by": by(&e.by),
        }),
        AppEvent::Paused(AppPaused { app: _, reason, by: who }) => {
            let mut shown = dto::app_pause_reason(reason);
            dto::put(&mut shown, "by", by(who));
            shown
        }
        AppEvent::Resumed(AppResumed { app: _, by: who }) => json!({"by": by(who)}),
        AppEvent::Deleted(e) => json!({"by": by(&e.by)}),
    }
}

fn script(event: &ScriptEvent) -> Value {
    match event {
        ScriptEvent::Deployed(e) => json!({
            "name": e.name,
            "version": e.version,
            "sha256": hex::encode(e.sha256),
            "bytes": e.source.len(),
            "source": e.source,
            "imports": e.imports,
            "by": by(&e.by),
        }),
        ScriptEvent::Deleted(e) => json!({"name": e.name, "by": by(&e.by)}),
    }
}

fn route(event: &RouteEvent) -> Value {
    match event {
        RouteEvent::Created(e) => {
            json!({"id": e.route, "route": dto::route_spec(&e.spec), "by": by(&e.by)})
        }
        RouteEvent::Deleted(e) => json!({"id": e.route, "by": by(&e.by)}),
    }
}

fn trigger(event: &TriggerEvent) -> Value {
    match event {
        TriggerEvent::Created(e) => {
            json!({"id": e.trigger, "trigger": dto::trigger_spec(&e.spec), "by": by(&e.by)})
        }
        TriggerEvent::Changed(e) => {
            json!({"id": e.trigger, "trigger": dto::trigger_spec(&e.spec), "by": by(&e.by)})
        }
        TriggerEvent::Paused(e) => {
            json!({"id": e.trigger, "reason": e.reason.name(), "by": by(&e.by)})
        }
        TriggerEvent::Resumed(e) => json!({"id": e.trigger, "by": by(&e.by)}),
        TriggerEvent::Deleted(e) => json!({"id": e.trigger, "by": by(&e.by)}),
    }
}

fn token(event: &TokenEvent) -> Value {
    match event {
        TokenEvent::Created(e) => json!({
            "id": e.token,
            "name": e.name,
            "scopes": e.scopes.names().collect::<Vec<_>>(),
            "expires_at": dto::maybe_time(e.expires_at),
            "by": by(&e.by),
        }),
        TokenEvent::Deleted(e) => json!({"id": e.token, "by": by(&e.by)}),
    }
}

fn secret(event: &SecretEvent) -> Value {
    match event {
        SecretEvent::Set(e) => json!({
            "name": e.name,
            "version": e.version,
            "value": format!("‹secret:{}›", e.name),
            "by": by(&e.by),
        }),
        SecretEvent::Deleted(e) => json!({"name": e.name, "by": by(&e.by)}),
    }
}

fn writer(writer: &Writer) -> Value {
    match writer {
        Writer::Execution { id, line } => json!({"execution_id": id, "line": line}),
        Writer::Principal { id, name } => json!({"principal": {"id": id, "name": name}}),
        Writer::Undo { id, name, of } => json!({"principal": {"id": id, "name": name}, "undo_of": of}),
    }
}

fn kv(event: &KvEvent) -> Value {
    match event {
        KvEvent::Put(e) => json!({
            "op": if e.previous.is_some() { "update" } else { "insert" },
            "collection": e.collection,
            "key": e.key,
            "value": dto::json_text(&e.value),
            "previous": e.previous,
            "expires_at": dto::maybe_time(e.expires_at),
            "by": writer(&e.writer),
        }),
        KvEvent::Expired(e) => json!({
            "op": "expire",
            "collection": e.collection,
            "key": e.key,
            "previous": e.version,
        }),
        KvEvent::Deleted(e) => json!({
            "op": "delete",
            "collection": e.collection,
            "key": e.key,
            "previous": e.previous,
            "by": writer(&e.writer),
        }),
    }
}

fn input(input: &Input) -> Value {
    match input {
        Input::Mutation(lsn) => json!({"mutation_lsn": lsn}),
        Input::Letter(lsn) => json!({"dead_letter_lsn": lsn}),
        Input::SameAs(lsn) => json!({"same_as_lsn": lsn}),
        Input::Request(found) => json!({"request": request(found)}),
        Input::Payload(payload) => json!({"payload": payload.as_deref().map(dto::json_text)}),
        Input::NotRecorded => json!({"recorded": "none"}),
        Input::Tick { scheduled_at, missed } => {
            json!({"scheduled_at": dto::rfc3339(*scheduled_at), "missed": missed})
        }
        Input::Message { queue, message } => json!({"queue": queue, "message": dto::json_text(message)}),
    }
}

fn request(request: &RequestRecord) -> Value {
    let pairs = |pairs: &[(String, String)]| -> Value {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
            .collect::<Map<_, _>>()
            .into()
    };
    let headers: Map<String, Value> = request
        .headers
        .iter()
        .map(|(name, value)| {
            let shown = match value {
                HeaderRecord::Clear(value) => value.clone(),
                HeaderRecord::Digest(_) | HeaderRecord::Sealed(_) => format!("‹header:{name}›"),
            };
            (name.clone(), shown.into())
        })
        .collect();
    json!({
        "method": request.method,
        "path": request.path,
        "params": pairs(&request.params),
        "query": pairs(&request.query),
        "headers": headers,
        "body": dto::bytes(&request.body),
    })
}

/// What an attempt returned.
pub(crate) fn output(output: &OutputRecord) -> Value {
    let json_body =
        output.content_type.starts_with("application/json") && output.head.len() as u64 == output.len;
    let body = if json_body { dto::json_text(&output.head) } else { dto::bytes(&output.head) };
    json!({
        "status": if output.status == 0 { Value::Null } else { output.status.into() },
        "content_type": output.content_type,
        "bytes": output.len,
        "sha256": hex::encode(output.sha256),
        "body": body,
        "truncated": (output.head.len() as u64) < output.len,
    })
}

/// What an attempt read, in order.
pub(crate) fn reads(reads: &[ReadRecord]) -> Value {
    let one = |read: &ReadRecord| match read {
        ReadRecord::Key { collection, key, version, present } => json!({
            "collection": collection,
            "key": key,
            "version": version,
            "present": present,
        }),
        ReadRecord::Letter { letter, open } => json!({"dead_letter_id": letter, "open": open}),
        ReadRecord::Range { collection, prefix, cursor, reverse, limit, items } => json!({
            "collection": collection,
            "prefix": prefix,
            "cursor": cursor,
            "reverse": reverse,
            "limit": limit,
            "items": items.iter().map(|(key, lsn)| json!({"key": key, "version": lsn})).collect::<Vec<_>>(),
        }),
        ReadRecord::KeyAt { collection, key, at, version, present } => json!({
            "collection": collection,
            "key": key,
            "at_lsn": at,
            "version": version,
            "present": present,
        }),
        ReadRecord::History { collection, key, limit, versions } => json!({
            "collection": collection,
            "key": key,
            "limit": limit,
            "history": versions,
        }),
    };
    reads.iter().map(one).collect()
}

/// The HTTP journal: what an attempt asked of the world, in order, and what came back.
pub(crate) fn calls(calls: &[CallRecord]) -> Value {
    calls.iter().map(call).collect()
}

fn call(call: &CallRecord) -> Value {
    let outcome = match &call.outcome {
        CallOutcome::Answered(answer) => json!({
            "status": answer.status,
            "headers": joined(&answer.headers),
            "bytes": answer.body.len(),
            "body": dto::bytes(answer.body.get(..CALL_BODY_SHOWN_MAX).unwrap_or(&answer.body)),
            "truncated": answer.body.len() > CALL_BODY_SHOWN_MAX,
            "masked": answer.masked,
        }),
        CallOutcome::Failed(message) => json!({"error": message}),
    };
    json!({
        "request": {
            "method": call.method,
            "url": call.url,
            "headers": joined(&call.headers),
            "bytes": call.body_len,
            "body": dto::bytes(&call.body_head),
            "truncated": (call.body_head.len() as u64) < call.body_len,
            "sha256": hex::encode(call.digest),
        },
        "response": outcome,
        "line": call.line,
        "took_ms": call.took_ms,
    })
}

/// How much of an answer's body is shown, bytes; the journal has all of it.
const CALL_BODY_SHOWN_MAX: usize = 64 << 10;

/// Headers by name; repeated ones joined with `, `, as scripts see them.
fn joined(pairs: &[(String, String)]) -> Value {
    let mut shown: Map<String, Value> = Map::new();
    for (name, value) in pairs {
        let value = match shown.get(name).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.clone(),
        };
        shown.insert(name.clone(), value.into());
    }
    shown.into()
}

/// What an attempt left in its journal.
pub(crate) fn record(record: &AttemptRecord) -> Value {
    json!({
        "reads": reads(&record.reads),
        "secrets": record.secrets.iter().map(|(name, version)| json!({"name": name, "version": version}))
            .collect::<Vec<_>>(),
        "http": calls(&record.calls),
        "logs": dto::logs(&record.logs),
        "operations": record.operations,
        "conflicts": record.conflicts,
        "snapshot_lsn": record.snapshot,
    })
}

/// Versions of imported scripts.
pub(crate) fn imports(imports: &[ImportedVersion]) -> Value {
    imports.iter().map(|import| json!({"script": import.script, "version": import.version})).collect()
}

fn execution(event: &ExecutionEvent) -> Value {
    match event {
        ExecutionEvent::Enqueued(e) => {
            let mut data = dto::source_ids(&e.source);
            data.insert("script".into(), e.script.as_str().into());
            data.insert("root_execution_id".into(), json!(e.root));
            data.insert("depth".into(), e.depth.into());
            data.insert("cause_lsn".into(), json!(e.cause));
            data.insert("caused_by".into(), json!(e.caused_by));
            data.insert("input".into(), input(&e.input));
            data.insert("due_at".into(), dto::rfc3339(e.due_at).into());
            data.insert("principal".into(), dto::maybe_principal(e.principal.as_ref()));
            data.insert("redrive_of".into(), json!(e.redrive_of));
            data.insert("pinned_version".into(), json!(e.pinned_version));
            data.insert("idempotency_key".into(), json!(e.idempotency.as_ref().map(|keyed| &keyed.key)));
            data.into()
        }
        ExecutionEvent::Claimed(e) => json!({
            "attempt": e.attempt,
            "claimed_at": dto::rfc3339(e.at),
            "snapshot_lsn": e.snapshot,
            "version": e.version,
            "imports": imports(&e.imports),
            "alone_ms": e.alone_ms,
        }),
        ExecutionEvent::AloneEnded(e) => json!({"attempt": e.attempt}),
        ExecutionEvent::Released(e) => json!({"attempt": e.attempt}),
        ExecutionEvent::Completed(e) => {
            json!({"attempt": e.attempt, "output": output(&e.output), "record": record(&e.record)})
        }
        ExecutionEvent::AttemptFailed(e) => {
            let (then, due_at) = match e.then {
                AfterFailure::Retry { due_at } => ("retry", Some(due_at)),
                AfterFailure::DeadLetter => ("dead_letter", None),
                AfterFailure::End => ("end", None),
            };
            json!({
                "attempt": e.attempt,
                "counted": e.counted,
                "error": dto::error(&e.error),
                "record": e.record.as_ref().map(record),
                "then": then,
                "due_at": dto::maybe_time(due_at),
            })
        }
        ExecutionEvent::Abandoned(e) => json!({"reason": e.reason.name()}),
        ExecutionEvent::Dropped(e) => json!({"reason": e.reason}),
        ExecutionEvent::DepthExceeded(e) => {
            let mut data = dto::source_ids(&e.source);
            data.insert("script".into(), e.script.as_str().into());
            data.insert("root_execution_id".into(), json!(e.root));
            data.insert("depth".into(), e.depth.into());
            data.insert("cause_lsn".into(), json!(e.cause));
            data.insert("caused_by".into(), json!(e.caused_by));
            data.into()
        }
    }
}

fn dead_letter(event: &DeadLetterEvent) -> Value {
    match event {
        DeadLetterEvent::DeadLettered(e) => {
            let mut data = dto::source_ids(&e.source);
            data.insert("id".into(), json!(e.letter));
            data.insert("script".into(), e.script.as_str().into());
            data.insert("version".into(), e.version.into());
            data.insert("attempts".into(), e.attempts.into());
            data.insert("last_error".into(), dto::error(&e.error));
            data.insert("fingerprint".into(), format!("{:016x}", e.fingerprint).into());
            data.insert("first_attempt_at".into(), dto::rfc3339(e.first_attempt_at).into());
            data.insert("last_attempt_at".into(), dto::rfc3339(e.last_attempt_at).into());
            data.into()
        }
        DeadLetterEvent::HandlerFailed(e) => json!({"id": e.letter, "handler_execution_id": e.execution}),
        DeadLetterEvent::Redriven(e) => json!({
            "id": e.letter,
            "redriven_as": e.execution,
            "by": by(&e.by),
            "by_execution": e.by_execution,
            "job_id": e.job,
            "proof": e.proof.as_deref().map(dto::proof),
        }),
        DeadLetterEvent::Resolved(e) => json!({
            "id": e.letter,
            "resolution": e.resolution,
            "note": e.note,
            "by": by(&e.by),
            "by_execution": e.execution,
            "job_id": e.job,
        }),
        DeadLetterEvent::Expired(e) => json!({"id": e.letter}),
    }
}

fn retention(event: &RetentionEvent) -> Value {
    match event {
        RetentionEvent::AbandonedExpired(_) => json!({}),
        RetentionEvent::HoldSet(e) => {
            json!({"name": e.name, "from_lsn": e.from, "reason": e.reason, "by": by(&e.by)})
        }
        RetentionEvent::HoldReleased(e) => json!({"name": e.name, "by": by(&e.by)}),
    }
}

fn job(event: &JobEvent) -> Value {
    match event {
        JobEvent::Created(e) => {
            let kind = match &e.kind {
                JobKind::Redrive { .. } => "redrive",
                JobKind::Resolve { .. } => "resolve",
            };
            json!({"id": e.job, "job": kind, "total": e.total, "by": by(&e.by)})
        }
        JobEvent::Progressed(e) => json!({"id": e.job, "done": e.done, "skipped": e.skipped}),
        JobEvent::Ended(e) => {
            json!({"id": e.job, "outcome": e.outcome.name(), "by": dto::maybe_principal(e.by.as_ref())})
        }
        JobEvent::Expired(e) => json!({"id": e.job}),
    }
}

#[cfg(test)]
mod tests {
    use relive_log::events::{Claimed, Enqueued, SealedBytes, SecretSet, Source};
    use relive_log::{AppId, ExecutionId, RouteId};

    use super::*;

    fn sealed() -> SealedBytes {
        SealedBytes { key_id: [1; 8], nonce: [2; 24], ciphertext: b"hunter2".to_vec() }
    }

    fn shown(of: &Event) -> Value {
        event(Lsn(5), UnixMicros(0), of)
    }

    #[test]
    fn secrets_seeds_and_withheld_headers_are_never_shown() {
        let secret = Event::Secret(SecretEvent::Set(SecretSet {
            app: AppId::default(),
            name: "api_key".into(),
            version: 1,
            sealed: sealed(),
            by: Principal::instance(),
        }));
        let got = shown(&secret);
        assert_eq!((&got["kind"], &got["data"]["value"]), (&json!("secret_set"), &json!("‹secret:api_key›")));
        assert!(got["data"].get("sealed").is_none());

        let claimed = Event::Execution(ExecutionEvent::Claimed(Claimed {
            app: AppId::default(),
            execution: ExecutionId::default(),
            attempt: 1,
            at: UnixMicros(0),
            seed: [0xab; 16],
            snapshot: Lsn(4),
            version: 1,
            imports: Vec::new(),
            alone_ms: 0,
        }));
        assert!(shown(&claimed)["data"].get("seed").is_none());

        let request = RequestRecord {
            headers: vec![
                ("cookie".into(), HeaderRecord::Sealed(sealed())),
                ("authorization".into(), HeaderRecord::Digest([7; 32])),
                ("accept".into(), HeaderRecord::Clear("*/*".into())),
            ],
            ..RequestRecord::default()
        };
        let enqueued = Event::Execution(ExecutionEvent::Enqueued(Box::new(Enqueued {
            app: AppId::default(),
            execution: ExecutionId::default(),
            root: ExecutionId::default(),
            depth: 0,
            cause: None,
            caused_by: None,
            script: "s".into(),
            source: Source::Route { route: RouteId::default(), sync: true },
            input: Input::Request(Box::new(request)),
            due_at: UnixMicros(0),
            principal: None,
            redrive_of: None,
            ordering_key: None,
            pinned_version: None,
            idempotency: None,
        })));
        let headers = shown(&enqueued)["data"]["input"]["request"]["headers"].clone();
        let want =
            json!({"cookie": "‹header:cookie›", "authorization": "‹header:authorization›", "accept": "*/*"});
        assert_eq!(headers, want);
    }
}
