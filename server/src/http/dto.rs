//! Shapes of JSON that several resources share: times, principals, errors, routes, triggers, inputs.
//!
//! Owns: names and formats on the outside. Never does: look anything up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use relive_engine::script::{ContextInput, DeadLetter, KvEvent, Request};
use relive_log::UnixMicros;
use relive_log::events::{
    AppPauseReason, Backoff, DispatchMode, ErrorRecord, ForkBase, Leak, LogLine, OutgoingCalls, Pattern,
    PauseReason, Principal, Record, RedriveProof, RetryPolicy, RouteSpec, Source, TriggerSpec,
};
use relive_projections::{App, Pause, Route, Trigger};
use serde_json::{Map, Value, json};

/// RFC 3339, UTC, milliseconds.
pub(crate) fn rfc3339(time: UnixMicros) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}

/// A time or nothing.
pub(crate) fn maybe_time(time: Option<UnixMicros>) -> Value {
    time.map_or(Value::Null, |time| rfc3339(time).into())
}

/// JSON text as a value; text that is none shows as a string.
pub(crate) fn json_text(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_else(|_| String::from_utf8_lossy(text).into_owned().into())
}

/// Raw bytes: a text, or `{"base64": …}` when they are not UTF-8.
pub(crate) fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({"base64": STANDARD.encode(bytes)}),
    }
}

/// Who acted.
pub(crate) fn principal(principal: &Principal) -> Value {
    json!({
        "id": principal.id,
        "name": principal.name,
        "scopes": principal.scopes.names().collect::<Vec<_>>(),
    })
}

/// Who acted, or nobody.
pub(crate) fn maybe_principal(found: Option<&Principal>) -> Value {
    found.map_or(Value::Null, principal)
}

/// An error: `{kind, message, line, column}`.
pub(crate) fn error(error: &ErrorRecord) -> Value {
    let place = |n: u32| if n == 0 { Value::Null } else { n.into() };
    json!({
        "kind": error.kind.name(),
        "message": error.message,
        "line": place(error.line),
        "column": place(error.column),
    })
}

/// Lines that a script logged.
pub(crate) fn logs(lines: &[LogLine]) -> Value {
    lines
        .iter()
        .map(|line| json!({"level": line.level.name(), "message": line.message, "line": line.line}))
        .collect()
}

/// The name of a backoff.
pub(crate) const fn backoff(backoff: Backoff) -> &'static str {
    match backoff {
        Backoff::None => "none",
        Backoff::Fixed => "fixed",
        Backoff::Linear => "linear",
        Backoff::Exponential => "exponential",
    }
}

/// Retry settings, as in the manifest.
pub(crate) fn retry(retry: &RetryPolicy) -> Value {
    json!({
        "max_attempts": retry.max_attempts,
        "backoff": backoff(retry.backoff),
        "base_ms": retry.base_ms,
        "max_ms": retry.max_ms,
        "jitter_pct": retry.jitter_pct,
    })
}

/// Adds the fields of one object to another.
pub(crate) fn add(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

pub(crate) fn put(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Value::Object(fields) = object {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Fields of a route, as in the manifest.
pub(crate) fn route_spec(spec: &RouteSpec) -> Value {
    let mode = match spec.mode {
        DispatchMode::Sync => "sync",
        DispatchMode::Async => "async",
    };
    let record = match spec.record {
        Record::Full => "full",
        Record::Off => "off",
    };
    json!({
        "method": spec.method,
        "path": spec.path,
        "script": spec.script,
        "dispatch_mode": mode,
        "timeout_ms": spec.timeout_ms,
        "record": record,
        "retry": spec.retry.as_ref().map(retry),
    })
}

/// A route.
pub(crate) fn route(route: &Route) -> Value {
    let mut shown = route_spec(&route.spec);
    put(&mut shown, "id", route.id.to_string());
    put(&mut shown, "created_at", rfc3339(route.created_at));
    put(&mut shown, "created_by", principal(&route.by));
    put(&mut shown, "lsn", route.lsn.0);
    shown
}

/// Fields of a trigger, as in the manifest.
pub(crate) fn trigger_spec(spec: &TriggerSpec) -> Value {
    let mut shown = json!({
        "name": spec.name,
        "script": spec.script,
        "retry": spec.retry.as_ref().map(retry),
    });
    match &spec.pattern {
        Pattern::Kv { collection, ops, key_prefix } => {
            put(&mut shown, "kind", "kv");
            put(&mut shown, "collection", collection.as_str());
            put(&mut shown, "ops", ops.names().collect::<Vec<_>>());
            put(&mut shown, "key_prefix", key_prefix.as_str());
            put(&mut shown, "ordering", spec.ordering.name());
        }
        Pattern::DeadLetter { from_script, from_trigger } => {
            put(&mut shown, "kind", "dead_letter");
            put(&mut shown, "from_script", from_script.clone());
            put(&mut shown, "from_trigger", from_trigger.clone());
        }
        Pattern::Cron { schedule, timezone } => {
            put(&mut shown, "kind", "cron");
            put(&mut shown, "schedule", schedule.as_str());
            put(&mut shown, "timezone", timezone.as_deref().unwrap_or("UTC"));
        }
        Pattern::Queue { queue } => {
            put(&mut shown, "kind", "queue");
            put(&mut shown, "queue", queue.as_str());
            put(&mut shown, "ordering", spec.ordering.name());
        }
    }
    shown
}

/// A trigger.
pub(crate) fn trigger(trigger: &Trigger) -> Value {
    let mut shown = trigger_spec(&trigger.spec);
    put(&mut shown, "id", trigger.id.to_string());
    put(&mut shown, "created_at", rfc3339(trigger.created_at));
    put(&mut shown, "registrant", principal(&trigger.by));
    put(&mut shown, "paused", trigger.paused.is_some());
    put(&mut shown, "pause", trigger.paused.as_ref().map_or(Value::Null, trigger_pause));
    put(&mut shown, "lsn", trigger.lsn.0);
    shown
}

/// Why a trigger is paused: `{reason, by, at}`.
fn trigger_pause(pause: &Pause<PauseReason>) -> Value {
    json!({"reason": pause.reason.name(), "by": principal(&pause.by), "at": rfc3339(pause.at)})
}

/// Why an app is paused: `{reason, by, at}`, and `leak` and a `message` where its scripts leak.
pub(crate) fn app_pause(pause: &Pause<AppPauseReason>) -> Value {
    let mut shown = app_pause_reason(&pause.reason);
    put(&mut shown, "by", principal(&pause.by));
    put(&mut shown, "at", rfc3339(pause.at));
    if let Some(Leak { script, version, bytes, limit }) = pause.reason.leak() {
        let message = format!(
            "its scripts left {bytes} bytes of memory that nothing frees, most of it `{script}` (version {version}); the \
             limit is {limit} (RELIVE_MAX_LEAKED_MEMORY). As a rule that is a closure in a function that is kept in what \
             it captured: deploy a version without it, then resume the app"
        );
        put(&mut shown, "message", message);
    }
    shown
}

/// `{reason}`, and `leak: {script, version, bytes, limit}` where that is why.
pub(crate) fn app_pause_reason(reason: &AppPauseReason) -> Value {
    let mut shown = json!({"reason": reason.name()});
    if let Some(Leak { script, version, bytes, limit }) = reason.leak() {
        let leak = json!({"script": script, "version": version, "bytes": bytes, "limit": limit});
        put(&mut shown, "leak", leak);
    }
    shown
}

/// The name of the trigger that a source names; its id if it is deleted.
pub(crate) fn trigger_name(app: &App, source: &Source) -> Value {
    match source.trigger() {
        None => Value::Null,
        Some(id) => app.triggers.get(&id).map_or_else(|| id.to_string(), |t| t.spec.name.clone()).into(),
    }
}

/// Ids in a source.
pub(crate) fn source_ids(source: &Source) -> Map<String, Value> {
    let mut ids = Map::new();
    ids.insert("source".into(), source.name().into());
    match source {
        Source::Route { route, sync } => {
            ids.insert("route_id".into(), route.to_string().into());
            ids.insert("dispatch_mode".into(), if *sync { "sync" } else { "async" }.into());
        }
        Source::Kv { trigger } | Source::Cron { trigger } | Source::Queue { trigger } => {
            ids.insert("trigger_id".into(), trigger.to_string().into());
        }
        Source::DeadLetter { trigger, letter } => {
            ids.insert("trigger_id".into(), trigger.to_string().into());
            ids.insert("dead_letter_id".into(), letter.to_string().into());
        }
        Source::Direct => {}
    }
    ids
}

/// What an execution ran on, as its script saw it.
pub(crate) fn input(input: &ContextInput) -> Value {
    match input {
        ContextInput::Request(found) => json!({"request": request(found)}),
        ContextInput::Kv(event) => json!({"event": kv_event(event)}),
        ContextInput::DeadLetter(letter) => json!({"event": dead_letter(letter)}),
        ContextInput::Payload(payload) => json!({"payload": payload.as_deref().map(json_text)}),
        ContextInput::Cron(tick) => json!({"event": {
            "source": "cron",
            "scheduled_at": rfc3339(tick.scheduled_at),
            "missed": tick.missed,
        }}),
        ContextInput::Queue(found) => json!({"event": {
            "source": "queue",
            "queue": found.queue,
            "message": json_text(&found.message),
            "enqueued_at": rfc3339(found.enqueued_at),
        }}),
    }
}

fn request(request: &Request) -> Value {
    let map = |pairs: &[(String, String)]| -> Value {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
            .collect::<Map<_, _>>()
            .into()
    };
    let mut headers: Map<String, Value> = Map::new();
    for (name, value) in &request.headers {
        let joined = match headers.get(name).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.clone(),
        };
        headers.insert(name.clone(), joined.into());
    }
    json!({
        "method": request.method,
        "path": request.path,
        "params": map(&request.params),
        "query": map(&request.query),
        "headers": headers,
        "body": bytes(&request.body),
        "json": serde_json::from_slice::<Value>(&request.body).ok(),
    })
}

fn kv_event(event: &KvEvent) -> Value {
    json!({
        "source": "kv",
        "op": event.op,
        "collection": event.collection,
        "key": event.key,
        "value": event.value.as_deref().map(json_text),
        "old_value": event.old_value.as_deref().map(json_text),
        "lsn": event.lsn,
    })
}

fn dead_letter(letter: &DeadLetter) -> Value {
    json!({
        "source": "dead_letter",
        "id": letter.id,
        "execution_id": letter.execution,
        "root_execution_id": letter.root,
        "original": input(&letter.original),
        "script": letter.script,
        "trigger": letter.trigger,
        "attempts": letter.attempts,
        "last_error": error(&letter.last_error),
        "first_attempt_at": rfc3339(letter.first_attempt_at),
        "last_attempt_at": rfc3339(letter.last_attempt_at),
    })
}

/// What proved that a redrive would succeed.
pub(crate) fn proof(proof: &RedriveProof) -> Value {
    json!({
        "backtest_id": proof.backtest,
        "attempt": proof.attempt,
        "version": proof.version,
        "sha256": hex::encode(proof.sha256),
        "verdict": proof.verdict.name(),
        "lsn": proof.lsn,
    })
}

/// Whether an app's scripts reach the outside.
pub(crate) const fn outgoing_calls(calls: OutgoingCalls) -> bool {
    match calls {
        OutgoingCalls::On => true,
        OutgoingCalls::Off => false,
    }
}

/// What a fork began with.
pub(crate) fn fork_base(base: &ForkBase) -> Value {
    json!({"app_id": base.app, "slug": base.slug, "lsn": base.lsn, "at": rfc3339(base.at)})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_a_z() {
        for (micros, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_700_000_000_123_999, "2023-11-14T22:13:20.123Z"),
            (1_700_000_000_000_000, "2023-11-14T22:13:20.000Z"),
        ] {
            assert_eq!(rfc3339(UnixMicros(micros)), want);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        assert_eq!(bytes(b"hi"), json!("hi"));
        assert_eq!(bytes(&[0xff, 0]), json!({"base64": "/wA="}));
    }

    #[test]
    fn repeated_headers_are_joined() {
        let input = ContextInput::Request(std::sync::Arc::new(Request {
            headers: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
            body: br#"{"x":1}"#.to_vec(),
            ..Request::default()
        }));
        let shown = super::input(&input);
        assert_eq!(shown["request"]["headers"]["a"], json!("1, 2"));
        assert_eq!(shown["request"]["json"], json!({"x": 1}));
    }
}
