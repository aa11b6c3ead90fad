//! `ctx`: what a script knows about its call.
//!
//! Owns: [`Context`] and its mapping to the script value. Never does: look anything up.
//! Invariants: E40, E166.

use std::sync::Arc;

use relive_log::events::{ErrorRecord, Principal, SharedBytes};
use relive_log::{ExecutionId, Lsn, UnixMicros};
use rhai::{Array, Dynamic, Map};

use super::modules::time::rfc3339;
use super::needs::{Field, Needs};
use super::{blob, convert};

/// Version of the script interface, `ctx.sdk`.
pub const SDK_VERSION: i64 = 1;

/// Everything in `ctx`.
#[derive(Clone, Debug)]
pub struct Context {
    /// Slug of the app.
    pub app: String,
    /// Name of the script.
    pub script: String,
    /// Version of the script.
    pub version: u32,
    /// This execution.
    pub execution: ExecutionId,
    /// The execution at the root of the causal tree.
    pub root: ExecutionId,
    /// Distance from the root.
    pub depth: u16,
    /// 1, 2, 3…
    pub attempt: u32,
    /// Who the script acts for; `None` is an anonymous call.
    pub principal: Option<Principal>,
    /// The snapshot that the attempt reads.
    pub lsn: Lsn,
    /// What it runs on.
    pub input: ContextInput,
}

/// What an attempt runs on.
#[derive(Clone, Debug)]
pub enum ContextInput {
    /// `ctx.request`; shared, because a run that meets a conflict is run again on it.
    Request(Arc<Request>),
    /// `ctx.event` of a KV trigger.
    Kv(KvEvent),
    /// `ctx.event` of a dead-letter trigger.
    DeadLetter(Box<DeadLetter>),
    /// `ctx.payload`, JSON text.
    Payload(Option<SharedBytes>),
    /// `ctx.event` of a cron trigger.
    Cron(CronTick),
    /// `ctx.event` of a queue's consumer.
    Queue(QueueMessage),
}

/// An HTTP request as a script sees it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Method, upper case.
    pub method: String,
    /// Path without the app.
    pub path: String,
    /// Values of the route's `{name}` segments.
    pub params: Vec<(String, String)>,
    /// Query pairs in order; scripts see the last value of a name.
    pub query: Vec<(String, String)>,
    /// Headers in order, lower-case names; scripts see repeated ones joined with `, `.
    pub headers: Vec<(String, String)>,
    /// The body, raw.
    pub body: Vec<u8>,
}

/// A mutation that fired a trigger.
#[derive(Clone, Debug)]
pub struct KvEvent {
    /// `insert`, `update`, `delete`, `expire`.
    pub op: &'static str,
    /// Collection.
    pub collection: String,
    /// Key.
    pub key: String,
    /// The value after it, JSON text.
    pub value: Option<SharedBytes>,
    /// The value before it, JSON text.
    pub old_value: Option<SharedBytes>,
    /// LSN of the mutation.
    pub lsn: Lsn,
}

/// A moment of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CronTick {
    /// The scheduled time.
    pub scheduled_at: UnixMicros,
    /// How many scheduled times before it had no run.
    pub missed: u64,
}

/// A message of a queue.
#[derive(Clone, Debug)]
pub struct QueueMessage {
    /// The queue.
    pub queue: String,
    /// JSON text.
    pub message: SharedBytes,
    /// When it was sent.
    pub enqueued_at: UnixMicros,
}

/// A dead letter that fired a trigger.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The letter.
    pub id: String,
    /// The execution that died.
    pub execution: ExecutionId,
    /// The root of its causal tree.
    pub root: ExecutionId,
    /// What it ran on.
    pub original: ContextInput,
    /// Its script.
    pub script: String,
    /// Name of its trigger, if a trigger started it.
    pub trigger: Option<String>,
    /// How many attempts it had.
    pub attempts: u32,
    /// The last of its errors.
    pub last_error: ErrorRecord,
    /// When its first attempt began.
    pub first_attempt_at: UnixMicros,
    /// When its last attempt began.
    pub last_attempt_at: UnixMicros,
}

impl Context {
    /// The script value `ctx`, as far as it is needed (E166).
    pub(super) fn to_dynamic(&self, needs: Needs) -> Dynamic {
        let mut made = Made { map: Map::new(), needs };
        made.put(Field::App, || text(&self.app));
        made.put(Field::Script, || {
            let mut script = Map::new();
            put(&mut script, "name", text(&self.script));
            put(&mut script, "version", i64::from(self.version).into());
            Dynamic::from_map(script)
        });
        made.put(Field::Sdk, || SDK_VERSION.into());
        made.put(Field::ExecutionId, || self.execution.to_string().into());
        made.put(Field::RootExecutionId, || self.root.to_string().into());
        made.put(Field::Depth, || i64::from(self.depth).into());
        made.put(Field::Attempt, || i64::from(self.attempt).into());
        made.put(Field::Principal, || self.principal.as_ref().map_or(Dynamic::UNIT, principal));
        made.put(Field::Lsn, || lsn(self.lsn));
        match &self.input {
            ContextInput::Request(found) => made.put(Field::Request, || request(found, needs)),
            ContextInput::Kv(found) => made.put(Field::Event, || kv_event(found)),
            ContextInput::DeadLetter(found) => made.put(Field::Event, || dead_letter(found)),
            ContextInput::Payload(found) => made.put(Field::Payload, || json(found.as_ref())),
            ContextInput::Cron(found) => made.put(Field::Event, || cron_tick(*found)),
            ContextInput::Queue(found) => made.put(Field::Event, || queue_message(found)),
        }
        Dynamic::from_map(made.map)
    }
}

/// A map in the making: only what is needed of it is made.
struct Made {
    map: Map,
    needs: Needs,
}

impl Made {
    fn put(&mut self, field: Field, value: impl FnOnce() -> Dynamic) {
        if self.needs.has(field) {
            put(&mut self.map, field.name(), value());
        }
    }
}

fn put(map: &mut Map, name: &str, value: Dynamic) {
    map.insert(name.into(), value);
}

fn text(text: &str) -> Dynamic {
    text.into()
}

fn lsn(lsn: Lsn) -> Dynamic {
    i64::try_from(lsn.0).unwrap_or(i64::MAX).into()
}

fn json(bytes: Option<&SharedBytes>) -> Dynamic {
    bytes.and_then(|bytes| convert::from_json(bytes).ok()).unwrap_or(Dynamic::UNIT)
}

fn principal(principal: &Principal) -> Dynamic {
    let mut map = Map::new();
    put(&mut map, "id", principal.id.to_string().into());
    put(&mut map, "name", text(&principal.name));
    let scopes: Array = principal.scopes.names().map(Dynamic::from).collect();
    put(&mut map, "scopes", Dynamic::from_array(scopes));
    Dynamic::from_map(map)
}

fn request(request: &Request, needs: Needs) -> Dynamic {
    let mut made = Made { map: Map::new(), needs };
    made.put(Field::Method, || text(&request.method));
    made.put(Field::Path, || text(&request.path));
    made.put(Field::Params, || last_wins(&request.params));
    made.put(Field::Query, || last_wins(&request.query));
    made.put(Field::Headers, || headers(&request.headers));
    made.put(Field::Body, || std::str::from_utf8(&request.body).map_or(Dynamic::UNIT, text));
    made.put(Field::Json, || {
        let parsed = if request.body.is_empty() { None } else { convert::from_json(&request.body).ok() };
        parsed.unwrap_or(Dynamic::UNIT)
    });
    made.put(Field::Bytes, || blob::to_dynamic(&request.body));
    Dynamic::from_map(made.map)
}

fn last_wins(pairs: &[(String, String)]) -> Dynamic {
    let mut map = Map::new();
    for (name, value) in pairs {
        put(&mut map, name, text(value));
    }
    Dynamic::from_map(map)
}

/// Repeated headers are one list (RFC 9110, 5.2), except `cookie`, which joins with `; ` (RFC 9113, 8.2.3).
fn headers(pairs: &[(String, String)]) -> Dynamic {
    let mut joined: std::collections::BTreeMap<&str, String> = std::collections::BTreeMap::new();
    for (name, value) in pairs {
        match joined.get_mut(name.as_str()) {
            None => {
                joined.insert(name, value.clone());
            }
            Some(before) => {
                before.push_str(if name == "cookie" { "; " } else { ", " });
                before.push_str(value);
            }
        }
    }
    let map: Map = joined.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    Dynamic::from_map(map)
}

fn kv_event(event: &KvEvent) -> Dynamic {
    let mut map = Map::new();
    put(&mut map, "source", text("kv"));
    put(&mut map, "op", text(event.op));
    put(&mut map, "collection", text(&event.collection));
    put(&mut map, "key", text(&event.key));
    put(&mut map, "value", json(event.value.as_ref()));
    put(&mut map, "old_value", json(event.old_value.as_ref()));
    put(&mut map, "lsn", lsn(event.lsn));
    Dynamic::from_map(map)
}

fn cron_tick(tick: CronTick) -> Dynamic {
    let mut map = Map::new();
    put(&mut map, "source", text("cron"));
    put(&mut map, "scheduled_at", time_text(tick.scheduled_at));
    put(&mut map, "missed", i64::try_from(tick.missed).unwrap_or(i64::MAX).into());
    Dynamic::from_map(map)
}

fn queue_message(found: &QueueMessage) -> Dynamic {
    let mut map = Map::new();
    put(&mut map, "source", text("queue"));
    put(&mut map, "queue", text(&found.queue));
    put(&mut map, "message", json(Some(&found.message)));
    put(&mut map, "enqueued_at", time_text(found.enqueued_at));
    Dynamic::from_map(map)
}

fn dead_letter(letter: &DeadLetter) -> Dynamic {
    let mut map = Map::new();
    put(&mut map, "source", text("dead_letter"));
    put(&mut map, "id", text(&letter.id));
    put(&mut map, "execution_id", letter.execution.to_string().into());
    put(&mut map, "root_execution_id", letter.root.to_string().into());
    put(&mut map, "original", original(&letter.original));
    put(&mut map, "script", text(&letter.script));
    put(&mut map, "trigger", letter.trigger.as_deref().map_or(Dynamic::UNIT, text));
    put(&mut map, "attempts", i64::from(letter.attempts).into());
    put(&mut map, "last_error", error(&letter.last_error));
    put(&mut map, "first_attempt_at", time_text(letter.first_attempt_at));
    put(&mut map, "last_attempt_at", time_text(letter.last_attempt_at));
    Dynamic::from_map(map)
}

/// The source event or request of the work that died; handlers do not nest, so this never goes deeper.
fn original(input: &ContextInput) -> Dynamic {
    match input {
        ContextInput::Request(found) => request(found, Needs::ALL),
        ContextInput::Kv(found) => kv_event(found),
        ContextInput::Payload(found) => json(found.as_ref()),
        ContextInput::DeadLetter(found) => text(&found.id),
        ContextInput::Cron(found) => cron_tick(*found),
        ContextInput::Queue(found) => queue_message(found),
    }
}

fn error(error: &ErrorRecord) -> Dynamic {
    let mut map = Map::new();
    put(&mut map, "kind", text(error.kind.name()));
    put(&mut map, "message", text(&error.message));
    put(&mut map, "line", i64::from(error.line).into());
    put(&mut map, "column", i64::from(error.column).into());
    Dynamic::from_map(map)
}

fn time_text(at: UnixMicros) -> Dynamic {
    let ms = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    rfc3339(ms).map_or(Dynamic::UNIT, Dynamic::from)
}
