//! One execution, told to people: who and why, then each attempt with what it read, wrote, asked, said and set off.
//!
//! Owns: that text. Never does: ask for anything; what is left out here is in `--json`.

use serde_json::Value;

use super::replay::{error, text};

/// How much of a value a line shows, characters.
const VALUE_CHARS: usize = 200;
/// Reads, writes and the like of one attempt that are told; `--full` tells all.
const ITEMS_MAX: usize = 20;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The first of many, the beginning of what is long.
    Short,
    /// Everything.
    Full,
}

fn field<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    value.pointer(pointer).filter(|found| !found.is_null())
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn row(name: &str, what: &str) -> String {
    format!("{name:<10}{what}").trim_end().to_owned()
}

/// The whole execution.
pub(super) fn told(shown: &Value, extent: Extent) -> String {
    let mut lines = vec![
        row("execution", &text(shown.get("execution_id"))),
        row("script", &format!("{} version {}", text(shown.get("script")), text(shown.get("version")))),
        row("status", &status(shown)),
        row("by", &source(shown)),
        row("enqueued", &format!("{}, LSN {}", text(shown.get("enqueued_at")), text(shown.get("lsn")))),
    ];
    if let Some(by) = field(shown, "/caused_by") {
        lines.push(row(
            "caused by",
            &format!("{} (depth {}; `relive exec trace`)", text(Some(by)), text(shown.get("depth"))),
        ));
    }
    if let Some(letter) = field(shown, "/redrive_of") {
        lines.push(row("redrives", &text(Some(letter))));
    }
    if let Some(letter) = field(shown, "/dead_letter_id") {
        lines.push(row("letter", &format!("{} (`relive dl show`)", text(Some(letter)))));
    }
    if let Some(input) = field(shown, "/input") {
        lines.push(row("input", &value(input, extent)));
    }
    let attempts = items(shown, "attempts");
    attempts.iter().for_each(|one| attempt(one, extent, &mut lines));
    if let Some(outcome) = field(shown, "/outcome").filter(|outcome| outcome.get("error").is_none()) {
        lines.push(String::new());
        lines.push(row("outcome", &value(outcome, extent)));
    }
    lines.join("\n")
}

fn status(shown: &Value) -> String {
    let mut status = text(shown.get("status"));
    for (name, says) in
        [("waiting_for", "waits for"), ("delivery", ""), ("drop_reason", ""), ("abandoned_reason", "")]
    {
        if let Some(why) = field(shown, &format!("/{name}")) {
            status += &format!(", {says}{}{}", if says.is_empty() { "" } else { " " }, text(Some(why)));
        }
    }
    if shown.get("recorded").and_then(Value::as_str) == Some("off") {
        status += ", not recorded (record = \"off\")";
    }
    status
}

/// What set it off: the kind of source with its trigger, and for whom it runs.
fn source(shown: &Value) -> String {
    let mut source = text(shown.get("source"));
    if let Some(trigger) = field(shown, "/trigger") {
        source += &format!(" trigger {}", text(Some(trigger)));
    }
    if let Some(lsn) = field(shown, "/cause_lsn") {
        source += &format!(", event {}", text(Some(lsn)));
    }
    match field(shown, "/principal/name") {
        Some(name) => source + &format!(", as {}", text(Some(name))),
        None => source,
    }
}

fn attempt(one: &Value, extent: Extent, lines: &mut Vec<String>) {
    lines.push(String::new());
    let mut head = format!(
        "attempt {}: version {}, claimed {}, reads as of LSN {}",
        text(one.get("attempt")),
        text(one.get("version")),
        text(one.get("claimed_at")),
        text(one.get("snapshot_lsn")),
    );
    if let Some(operations) = field(one, "/operations") {
        head += &format!(", {} operations", text(Some(operations)));
    }
    if let Some(conflicts) = one.get("conflicts").and_then(Value::as_u64).filter(|conflicts| *conflicts > 0) {
        head += &format!(", run again after {conflicts} conflicts");
    }
    lines.push(head);
    let names = ["imports", "reads", "secrets", "http", "logs", "writes", "fired"];
    let says = ["imports", "read", "secret", "called", "logged", "wrote", "set off"];
    for (name, says) in names.into_iter().zip(says) {
        let all = items(one, name);
        let max = if extent == Extent::Full { usize::MAX } else { ITEMS_MAX };
        lines.extend(all.iter().take(max).map(|item| format!("  {says:<8}{}", part(name, item, extent))));
        if all.len() > max {
            lines.push(format!("  {says:<8}… {} more: --full", all.len() - max));
        }
    }
    let ended = text(one.get("ended_at"));
    lines.push(match (field(one, "/error"), field(one, "/ended_at")) {
        (Some(found), _) => format!("  failed  {ended}, {}", error(found)),
        (None, Some(_)) => format!("  ended   {ended}, LSN {}", text(one.get("ended_lsn"))),
        (None, None) => "  (still running)".to_owned(),
    });
}

/// One read, write, call, … in a line.
fn part(name: &str, item: &Value, extent: Extent) -> String {
    let say = |name: &str| text(item.get(name));
    let at_line = match field(item, "/line").and_then(Value::as_u64).filter(|line| *line > 0) {
        Some(line) => format!(" (line {line})"),
        None => String::new(),
    };
    match name {
        "reads" => read(item),
        "writes" => {
            let wrote = match say("op").as_str() {
                "delete" => "(deleted)".to_owned(),
                _ => value(item.get("value").unwrap_or(&Value::Null), extent),
            };
            format!("{}/{} = {wrote}, LSN {}{at_line}", say("collection"), say("key"), say("lsn"))
        }
        "http" => {
            let asked = |pointer: &str| text(field(item, pointer));
            let came = match field(item, "/response/status") {
                Some(status) => text(Some(status)),
                None => text(field(item, "/error")),
            };
            format!("{} {}: {came}{at_line}", asked("/request/method"), asked("/request/url"))
        }
        "logs" => format!("{}: {}{at_line}", say("level"), say("message")),
        "secrets" | "imports" => {
            let of = field(item, "/name").or_else(|| field(item, "/script"));
            format!("{} version {}", text(of), say("version"))
        }
        _ => format!("{} {}", say("script"), say("execution_id")),
    }
}

fn read(item: &Value) -> String {
    let say = |name: &str| text(item.get(name));
    let key = || format!("{}/{}", say("collection"), say("key"));
    let version = || match item.get("version").and_then(Value::as_u64) {
        Some(0) | None => "absent".to_owned(),
        Some(version) if item.get("present") == Some(&Value::Bool(false)) => {
            format!("absent since LSN {version}")
        }
        Some(version) => format!("version {version}"),
    };
    if field(item, "/dead_letter_id").is_some() {
        return format!("dead letter {}: open {}", say("dead_letter_id"), say("open"));
    }
    if let Some(versions) = item.get("history").or_else(|| item.get("versions")).and_then(Value::as_array) {
        return format!("{}: history, {} versions", key(), versions.len());
    }
    if let Some(listed) = item.get("items").and_then(Value::as_array) {
        return format!("{}/{}*: a page of {} keys", say("collection"), say("prefix"), listed.len());
    }
    match field(item, "/at_lsn") {
        Some(at) => format!("{} as of LSN {}: {}", key(), text(Some(at)), version()),
        None => format!("{}: {}", key(), version()),
    }
}

fn value(value: &Value, extent: Extent) -> String {
    let shown = value.to_string();
    if extent == Extent::Full || shown.chars().count() <= VALUE_CHARS {
        return shown;
    }
    let head: String = shown.chars().take(VALUE_CHARS).collect();
    format!("{head}… ({} bytes: --full)", shown.len())
}
