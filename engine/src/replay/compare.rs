//! What was recorded beside what a replay came to: the differences, first things first.
//!
//! Owns: [`Difference`] and its order: reads, secrets and calls as they were asked for, log lines, the error with its
//! line, writes, messages, dead letters closed, the output, the operations. Never does: judge whether a difference is welcome.

use std::collections::BTreeMap;

use relive_log::events::{CallRecord, ErrorRecord, LogLine, OutputRecord, ReadRecord};
use serde_json::{Value, json};

use super::recording::Recorded;
use super::run::{Ended, Got, ended_from_outside};
use crate::script::{LetterEffect, LetterVerb, SendEffect, WriteEffect};
use crate::secrets::Masker;

/// One thing that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// `read`, `secret`, `call`, `log`, `error`, `write`, `send`, `letter`, `output`, `operations`.
    pub what: &'static str,
    /// Which of them, from 0.
    pub index: Option<usize>,
    /// Line in the script, where one is known.
    pub line: Option<u32>,
    /// The key, where it is about one.
    pub key: Option<(String, String)>,
    /// What was recorded; null: nothing.
    pub recorded: Value,
    /// What the replay did; null: nothing.
    pub replayed: Value,
}

impl Difference {
    fn new(what: &'static str, recorded: Value, replayed: Value) -> Difference {
        Difference { what, index: None, line: None, key: None, recorded, replayed }
    }

    fn at(mut self, index: usize) -> Difference {
        self.index = Some(index);
        self
    }

    fn on(mut self, line: u32) -> Difference {
        self.line = Some(line).filter(|line| *line != 0);
        self
    }

    pub(super) fn mask(&mut self, masker: &Masker) {
        mask(&mut self.recorded, masker);
        mask(&mut self.replayed, masker);
    }
}

fn mask(value: &mut Value, masker: &Masker) {
    match value {
        Value::String(text) => drop(masker.mask_text(text)),
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, masker)),
        Value::Object(fields) => fields.values_mut().for_each(|field| mask(field, masker)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What calls asked for: the digest covers everything, what a record shows of it is masked in more than one way.
fn asked(calls: &[CallRecord]) -> Vec<([u8; 32], &str, &str, u32)> {
    calls.iter().map(|call| (call.digest, call.method.as_str(), call.url.as_str(), call.line)).collect()
}

/// All differences; with another script only what the outside can see (log lines included).
pub(super) fn differences(recorded: &Recorded, got: &Got, same_script: bool) -> Vec<Difference> {
    let mut found = Vec::new();
    // A commit that failed kept nothing of the script's own end before records had it.
    let kept = recorded.before_the_run().is_none();
    if let Some(record) = recorded.record.as_ref().filter(|_| kept) {
        if same_script {
            found.extend(reads(&record.reads, got));
            let secret = |(name, version): &(String, u32)| json!({"name": name, "version": version});
            found.extend(first(&record.secrets, &got.record.secrets, "secret", secret));
            found.extend(first(
                &asked(&record.calls),
                &asked(&got.record.calls),
                "call",
                |(_, method, url, line)| json!({"method": method, "url": url, "line": line}),
            ));
        }
        found.extend(first(&record.logs, &got.record.logs, "log", |line| log(line, same_script)));
    }
    found.extend(ends(&recorded.result, &got.result, same_script));
    if got.result.is_ok() && recorded.result.is_ok() {
        writes(&recorded.writes, &got.writes, same_script, &mut found);
        found.extend(sends(recorded, &got.sends));
        found.extend(first(&recorded.letters, &got.letters, "letter", letter));
        if let (Ok(before), Ok(now)) = (&recorded.result, &got.result) {
            found.extend(output(before, now));
        }
    }
    if let Some(record) = recorded.record.as_ref().filter(|_| kept && same_script)
        && record.operations != got.record.operations
    {
        found.push(Difference::new("operations", record.operations.into(), got.record.operations.into()));
    }
    found
}

/// The first of two lists that differs.
fn first<T: PartialEq>(
    recorded: &[T],
    replayed: &[T],
    what: &'static str,
    show: impl Fn(&T) -> Value,
) -> Option<Difference> {
    let show = |one: Option<&T>| one.map_or(Value::Null, &show);
    (0..recorded.len().max(replayed.len()))
        .map(|at| (at, recorded.get(at), replayed.get(at)))
        .find(|(_, before, now)| before != now && show(*before) != show(*now))
        .map(|(at, before, now)| {
            let difference = Difference::new(what, show(before), show(now)).at(at);
            let line = [&difference.replayed, &difference.recorded]
                .into_iter()
                .find_map(|shown| shown.get("line").and_then(Value::as_u64))
                .and_then(|line| u32::try_from(line).ok());
            difference.on(line.unwrap_or(0))
        })
}

/// The first read that differs. Records keep no lines of reads: the replay knows where it asks.
fn reads(recorded: &[ReadRecord], got: &Got) -> Option<Difference> {
    let difference = first(recorded, &got.record.reads, "read", read)?;
    let line = difference.index.and_then(|at| got.read_lines.get(at)).copied();
    Some(difference.on(line.unwrap_or(0)))
}

fn letter(effect: &LetterEffect) -> Value {
    match &effect.verb {
        LetterVerb::Redrive(execution) => {
            json!({"dead_letter_id": effect.letter, "redriven_as": execution})
        }
        LetterVerb::Resolve(note) => json!({"dead_letter_id": effect.letter, "note": note}),
    }
}

fn read(read: &ReadRecord) -> Value {
    match read {
        ReadRecord::Key { collection, key, version, present } => {
            json!({"collection": collection, "key": key, "version": version, "present": present})
        }
        ReadRecord::Range { collection, prefix, cursor, reverse, limit, items } => json!({
            "collection": collection, "prefix": prefix, "cursor": cursor, "reverse": reverse, "limit": limit,
            "items": items,
        }),
        ReadRecord::Letter { letter, open } => json!({"dead_letter_id": letter, "open": open}),
        ReadRecord::KeyAt { collection, key, at, version, present } => json!({
            "collection": collection, "key": key, "at_lsn": at, "version": version, "present": present,
        }),
        ReadRecord::History { collection, key, limit, versions } => {
            json!({"collection": collection, "key": key, "limit": limit, "history": versions})
        }
    }
}

fn log(line: &LogLine, with_line: bool) -> Value {
    let mut shown = json!({"level": line.level.name(), "message": line.message});
    if with_line && let Some(fields) = shown.as_object_mut() {
        fields.insert("line".into(), line.line.into());
    }
    shown
}

fn error(error: &ErrorRecord, with_line: bool) -> Value {
    let mut shown = json!({"kind": error.kind.name(), "message": error.message});
    if with_line && let Some(fields) = shown.as_object_mut() {
        fields.insert("line".into(), error.line.into());
        fields.insert("column".into(), error.column.into());
    }
    shown
}

/// Success against failure, or one failure against another. Lines of another script say nothing; and what ended a
/// run from outside noticed the line by chance.
fn ends(
    recorded: &Result<OutputRecord, ErrorRecord>,
    replayed: &Result<Ended, ErrorRecord>,
    same_script: bool,
) -> Option<Difference> {
    let before = recorded.as_ref().err();
    let now = replayed.as_ref().err();
    let with_line = same_script && !before.is_some_and(|before| ended_from_outside(before.kind));
    let show = |one: Option<&ErrorRecord>| one.map_or(Value::Null, |one| error(one, with_line));
    let (shown_before, shown_now) = (show(before), show(now));
    let line = now.or(before).map_or(0, |error| error.line);
    (shown_before != shown_now).then(|| Difference::new("error", shown_before, shown_now).on(line))
}

type Writes = BTreeMap<(String, String), WriteEffect>;

fn writes(recorded: &Writes, replayed: &Writes, same_script: bool, found: &mut Vec<Difference>) {
    let keys: std::collections::BTreeSet<&(String, String)> =
        recorded.keys().chain(replayed.keys()).collect();
    for (index, key) in keys.into_iter().enumerate() {
        let (before, now) = (recorded.get(key), replayed.get(key));
        let same = match (before, now) {
            (Some(before), Some(now)) => {
                (&before.value, before.expires_at) == (&now.value, now.expires_at)
                    && (!same_script || before.line == now.line)
            }
            // A key that expired between claim and commit was there to be deleted, and then was not.
            (None, Some(now)) => same_script && now.value.is_none(),
            (None, None) => true,
            (Some(_), None) => false,
        };
        if !same {
            let line = now.or(before).map_or(0, |effect| effect.line);
            let mut difference = Difference::new("write", write(before), write(now)).at(index).on(line);
            difference.key = Some(key.clone());
            found.push(difference);
        }
    }
}

/// The first message that differs; ids follow from their order, delays are not kept, and the key only where the
/// consumer is ordered by it. All messages of an attempt are equally deep: of those that went too deep their number is
/// known.
fn sends(recorded: &Recorded, replayed: &[SendEffect]) -> Option<Difference> {
    if recorded.too_deep > 0 {
        let (before, now) = (recorded.too_deep, replayed.len());
        return (before != now)
            .then(|| Difference::new("send", json!({"dropped": before}), json!({"dropped": now})));
    }
    let show = |send: &SendEffect, key: Option<&String>| json!({"queue": send.queue, "message": json_of(&send.message), "key": key});
    let before: Vec<Value> = recorded.sends.iter().map(|send| show(send, send.key.as_ref())).collect();
    let now = replayed.iter().enumerate().map(|(at, send)| {
        let keyed = recorded.sends.get(at).is_none_or(|send| send.key.is_some());
        show(send, send.key.as_ref().filter(|_| keyed))
    });
    first(&before, &now.collect::<Vec<_>>(), "send", Value::clone)
}

fn write(effect: Option<&WriteEffect>) -> Value {
    effect.map_or(Value::Null, |effect| match &effect.value {
        None => json!({"op": "delete", "line": effect.line}),
        Some(value) => json!({
            "op": "put", "value": json_of(value), "line": effect.line, "expires_at_us": effect.expires_at,
        }),
    })
}

fn output(recorded: &OutputRecord, replayed: &Ended) -> Option<Difference> {
    let now = &replayed.output;
    let same = (recorded.status, &recorded.content_type, recorded.len, recorded.sha256)
        == (now.status, &now.content_type, now.len, now.sha256);
    let show = |output: &OutputRecord| {
        json!({
            "status": if output.status == 0 { Value::Null } else { output.status.into() },
            "content_type": output.content_type,
            "bytes": output.len,
            "body": json_of(&output.head),
        })
    };
    (!same).then(|| Difference::new("output", show(recorded), show(now)))
}

/// JSON text as a value; what is none as text.
fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into())
}
