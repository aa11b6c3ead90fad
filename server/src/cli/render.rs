//! How answers are printed: tables for people, JSON for programs.
//!
//! Owns: both. Never does: ask for anything.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::remote::Remote;
use crate::out;

/// Longest text of a cell in a list.
const CELL_CHARS_MAX: usize = 60;

/// A heading and where its value stands in an item (`/last_error/kind`).
pub(crate) type Column = (&'static str, &'static str);

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn shortened(text: String) -> String {
    if text.chars().count() <= CELL_CHARS_MAX {
        return text.replace('\n', " ");
    }
    let head: String = text.chars().take(CELL_CHARS_MAX - 1).collect();
    format!("{}…", head.replace('\n', " "))
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// A list: a table, or one object a line.
pub(crate) fn list(remote: &Remote, items: &[Value], columns: &[Column], more: bool) {
    if remote.json {
        items.iter().for_each(|item| out::say(&item.to_string()));
        return;
    }
    if items.is_empty() {
        out::complain("(none)");
        return;
    }
    let mut table = plain();
    table.set_header(columns.iter().map(|(heading, _)| *heading));
    for item in items {
        table.add_row(columns.iter().map(|(_, pointer)| shortened(cell(item.pointer(pointer)))));
    }
    out::say(&lines(&table));
    if more {
        out::complain("there are more: --limit N");
    }
}

/// One thing: names and values, or one object.
pub(crate) fn object(remote: &Remote, value: &Value) {
    let Value::Object(fields) = value else {
        out::say(&value.to_string());
        return;
    };
    if remote.json {
        out::say(&value.to_string());
        return;
    }
    out::say(&self::fields(fields));
}

/// Names and values, one a line.
pub(crate) fn fields<'a>(fields: impl IntoIterator<Item = (&'a String, &'a Value)>) -> String {
    let mut table = plain();
    for (name, value) in fields {
        let text = match value {
            Value::Array(_) | Value::Object(_) => serde_json::to_string_pretty(value).unwrap_or_default(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => cell(Some(value)),
        };
        table.add_row([name.clone(), text]);
    }
    lines(&table)
}

/// That something was done.
pub(crate) fn done(remote: &Remote, value: &Value, text: &str) {
    out::say(&if remote.json { value.to_string() } else { text.to_owned() });
}
