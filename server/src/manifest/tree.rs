//! A manifest before it is understood: one tree for TOML (with positions) and for JSON (without).
//!
//! Owns: [`Tree`], reading it from both, and [`ManifestError`]. Never does: know which names mean something.

use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// A value with where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// Bytes in the TOML text; `None` for JSON.
    pub(crate) span: Option<Range<usize>>,
    /// Path of names from the top: `route[0].method`.
    pub(crate) path: String,
    /// The value.
    pub(crate) value: Value,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`: no field of a manifest is one.
    Bool,
    /// A list.
    List(Vec<Tree>),
    /// Names and values, sorted by name; the span of a field's tree is its value's, of the name the second.
    Table(Vec<(String, Option<Range<usize>>, Tree)>),
    /// Something that no field of a manifest is.
    Other(&'static str),
}

impl Value {
    /// The text, if it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    /// What it is, for messages.
    pub(crate) const fn type_name(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a whole number",
            Value::Bool => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(name) => name,
        }
    }
}

/// Why a manifest was not understood, with the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct ManifestError {
    /// Line and column from 1; `None` for JSON.
    pub(crate) at: Option<(usize, usize)>,
    /// The field.
    pub(crate) field: String,
    /// What is wrong and what is allowed.
    pub(crate) message: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.at {
            write!(f, "relive.toml:{line}:{column}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// An error before its position was turned into line and column.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) span: Option<Range<usize>>,
    pub(crate) field: String,
    pub(crate) message: String,
}

impl Problem {
    /// A problem of a value.
    pub(crate) fn at(tree: &Tree, message: impl Into<String>) -> Problem {
        Problem { span: tree.span.clone(), field: tree.path.clone(), message: message.into() }
    }

    /// With the line and column in `text`.
    pub(crate) fn placed(self, text: Option<&str>) -> ManifestError {
        let at = text.zip(self.span).map(|(text, span)| line_and_column(text, span.start));
        ManifestError { at, field: self.field, message: self.message }
    }
}

/// Line and column, from 1, of a byte offset.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// Reads TOML text.
pub(crate) fn from_toml(text: &str) -> Result<Tree, Problem> {
    let table = DeTable::parse(text).map_err(|e| Problem {
        span: e.span(),
        field: String::new(),
        message: e.message().to_owned(),
    })?;
    let span = table.span();
    Ok(Tree { span: Some(span), path: String::new(), value: toml_table(table.get_ref(), "") })
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn toml_table(table: &DeTable<'_>, path: &str) -> Value {
    let fields = table.iter().map(|(name, value)| {
        let path = join(path, name.get_ref());
        let tree = Tree { span: Some(value.span()), value: toml_value(value.get_ref(), &path), path };
        (name.get_ref().to_string(), Some(name.span()), tree)
    });
    Value::Table(fields.collect())
}

fn toml_value(value: &DeValue<'_>, path: &str) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("a number that is too large"), Value::Integer),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(_) => Value::Bool,
        DeValue::Datetime(_) => Value::Other("a time"),
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .enumerate()
                .map(|(at, item)| {
                    let path = format!("{path}[{at}]");
                    Tree { span: Some(item.span()), value: toml_value(item.get_ref(), &path), path }
                })
                .collect(),
        ),
        DeValue::Table(table) => toml_table(table, path),
    }
}

/// Reads a JSON value.
pub(crate) fn from_json(value: &serde_json::Value, path: &str) -> Tree {
    use serde_json::Value as Json;
    let read = match value {
        Json::Null => Value::Other("null"),
        Json::Bool(_) => Value::Bool,
        Json::Number(number) => number.as_i64().map_or(Value::Other("a fraction"), Value::Integer),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(
            items.iter().enumerate().map(|(at, item)| from_json(item, &format!("{path}[{at}]"))).collect(),
        ),
        Json::Object(fields) => Value::Table(
            fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.clone(), None, from_json(value, &join(path, name))))
                .collect(),
        ),
    };
    Tree { span: None, path: path.to_owned(), value: read }
}
