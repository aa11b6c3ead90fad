//! Errors of scripts: how host functions raise them, and the record that the outside sees.
//!
//! Owns: the classification of every interpreter error. Never does: decide about retries.
//! An error that a host function raises is a map `#{message, kind}` with a private tag, so that a script can
//! catch it, look at it, and throw it on without losing its kind.
//! Invariants: E41, E45.

use relive_log::events::{ErrorKind, ErrorRecord};
use rhai::{Dynamic, EvalAltResult, Map, Position};

use super::convert;

/// What every host function answers.
pub(super) type Answer<T> = Result<T, Box<EvalAltResult>>;

const RUNTIME_TAG: i32 = 0x5e11;
const PERMISSION_TAG: i32 = 0x5e12;

/// Longest message that is kept, bytes.
const MESSAGE_BYTES_MAX: usize = 4096;

/// A run-time error that scripts can catch; the position is filled in by the interpreter.
pub(super) fn runtime(message: impl Into<String>) -> Box<EvalAltResult> {
    tagged(message.into(), ErrorKind::Runtime, RUNTIME_TAG)
}

/// A refusal for lack of a scope; scripts can catch it.
pub(super) fn permission(message: impl Into<String>) -> Box<EvalAltResult> {
    tagged(message.into(), ErrorKind::Permission, PERMISSION_TAG)
}

fn tagged(message: String, kind: ErrorKind, tag: i32) -> Box<EvalAltResult> {
    let mut map = Map::new();
    map.insert("message".into(), message.into());
    map.insert("kind".into(), kind.name().into());
    let mut value = Dynamic::from_map(map);
    value.set_tag(tag);
    Box::new(EvalAltResult::ErrorRuntime(value, Position::NONE))
}

/// Ends the run; what it ends with is kept by the host, not in the error.
pub(super) fn terminated() -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorTerminated(Dynamic::UNIT, Position::NONE))
}

/// Line and column as they are recorded, 0 when unknown.
pub(super) fn place(position: Position) -> (u32, u32) {
    let number = |found: Option<usize>| found.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    (number(position.line()), number(position.position()))
}

/// A record at a position.
pub(super) fn record(kind: ErrorKind, message: impl Into<String>, position: Position) -> ErrorRecord {
    let (line, column) = place(position);
    ErrorRecord { kind, message: shortened(message.into()), line, column }
}

fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push('…');
    }
    message
}

/// A record at a position of the script, or inside an import: its place is then in the text, and the place in the
/// script (where the import was called) is filled in by whoever knows it.
pub(super) fn record_at(
    kind: ErrorKind,
    message: impl Into<String>,
    position: Position,
    import: Option<&str>,
) -> ErrorRecord {
    match import {
        None => record(kind, message, position),
        Some(import) => record(kind, inside(message.into(), import, position), Position::NONE),
    }
}

fn inside(message: String, import: &str, position: Position) -> String {
    match place(position) {
        (0, _) => format!("{message} (in `{import}`)"),
        (line, column) => format!("{message} (in `{import}`, line {line}, column {column})"),
    }
}

/// The error below all "in call to function", and where it is.
struct Innermost<'e> {
    error: &'e EvalAltResult,
    /// The innermost place that is known, and the import in which it is.
    position: Position,
    import: Option<&'e str>,
    /// The innermost place in the script itself.
    own: Position,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only two variants of Rhai's open enum wrap another")]
fn innermost<'e>(mut error: &'e EvalAltResult, script: &str) -> Innermost<'e> {
    let mut found = Innermost { error, position: error.position(), import: None, own: error.position() };
    loop {
        let source;
        (source, error) = match error {
            EvalAltResult::ErrorInFunctionCall(_, source, inner, _)
            | EvalAltResult::ErrorInModule(source, inner, _) => (source.as_str(), &**inner),
            _ => return found,
        };
        found.error = error;
        let import = Some(source).filter(|source| !source.is_empty() && *source != script);
        let position = error.position();
        if !position.is_none() {
            found.position = position;
            found.import = import;
            if import.is_none() {
                found.own = position;
            }
        }
    }
}

/// The record of an error that ended a run by itself (not a budget that the host noticed first).
pub(super) fn classify(error: &EvalAltResult, script: &str) -> ErrorRecord {
    let Innermost { error, position, import, own } = innermost(error, script);
    let record = classified(error, position);
    match import {
        None => record,
        Some(import) => self::record(record.kind, inside(record.message, import, position), own),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "Rhai's enum is open: what is not named is `runtime`")]
fn classified(error: &EvalAltResult, position: Position) -> ErrorRecord {
    match error {
        EvalAltResult::ErrorRuntime(value, _) => thrown(value, position),
        EvalAltResult::ErrorParsing(why, _) => record(ErrorKind::Parse, why.to_string(), position),
        EvalAltResult::ErrorTooManyOperations(_) => {
            record(ErrorKind::Operations, "too many operations (RELIVE_MAX_OPERATIONS)", position)
        }
        EvalAltResult::ErrorStackOverflow(_) => record(
            ErrorKind::CallDepth,
            "functions call each other too deeply (RELIVE_MAX_CALL_LEVELS)",
            position,
        ),
        EvalAltResult::ErrorDataTooLarge(what, _) => record(ErrorKind::Size, too_large(what), position),
        EvalAltResult::ErrorTooManyVariables(_) => {
            record(ErrorKind::Size, "too many variables in scope", position)
        }
        EvalAltResult::ErrorModuleNotFound(name, _) => {
            let why = format!(
                "`{name}` is not among the scripts that this one imports: an import is written as \
                 `import \"name\" as m`"
            );
            record(ErrorKind::Runtime, why, position)
        }
        EvalAltResult::ErrorTooManyModules(_) => record(ErrorKind::Size, "too many modules", position),
        _ => record(ErrorKind::Runtime, plain_message(error), position),
    }
}

/// What is too large, and the setting that says so.
fn too_large(what: &str) -> String {
    let what = lower_first(what);
    let setting = [
        ("string", "RELIVE_MAX_STRING"),
        ("array", "RELIVE_MAX_ARRAY"),
        ("blob", "RELIVE_MAX_ARRAY"),
        ("map", "RELIVE_MAX_MAP"),
    ];
    let lower = what.to_ascii_lowercase();
    match setting.iter().find(|(part, _)| lower.contains(part)) {
        Some((_, setting)) => format!("{what} is over its limit ({setting})"),
        None => format!("{what} is over its limit"),
    }
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// The interpreter's text without the "(line …)" that the record carries apart.
fn plain_message(error: &EvalAltResult) -> String {
    let text = error.to_string();
    let (line, column) = place(error.position());
    let suffix = format!(" (line {line}, position {column})");
    text.strip_suffix(&suffix).unwrap_or(&text).replace("relive_engine::", "")
}

fn thrown(value: &Dynamic, position: Position) -> ErrorRecord {
    let kind = match value.tag() {
        RUNTIME_TAG => Some(ErrorKind::Runtime),
        PERMISSION_TAG => Some(ErrorKind::Permission),
        _ => None,
    };
    if let Some(kind) = kind
        && let Ok(map) = value.as_map_ref()
        && let Some(message) = map.get("message")
    {
        return record(kind, message.to_string(), position);
    }
    record(ErrorKind::Throw, display(value), position)
}

/// A value for people: text as it is, everything else as JSON where it has any.
pub(super) fn display(value: &Dynamic) -> String {
    if let Ok(text) = value.as_immutable_string_ref() {
        return text.to_string();
    }
    match convert::to_json(value, MESSAGE_BYTES_MAX) {
        Ok(json) => String::from_utf8_lossy(&json).into_owned(),
        Err(convert::Refused::Length(max)) => format!("(a value longer than {max} bytes)"),
        Err(_) => format!("({})", value.type_name().rsplit("::").next().unwrap_or("value")),
    }
}
