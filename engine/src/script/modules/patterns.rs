//! `regex`: matching in time that grows with the text, whatever the pattern.
//!
//! Owns: the five functions, the bounds of patterns and texts, the patterns that a run has compiled. Never does:
//! backtrace; look-around and back-references do not exist. The pattern comes first, then the text.
//! Between two matches the run's budgets are looked at: some patterns scan the rest of the text once per match.
//! Invariants: E42, E43.

use std::sync::Arc;

use regex::{Captures, Regex, RegexBuilder};
use relive_log::events::ErrorKind;
use rhai::{Array, Dynamic, ImmutableString, NativeCallContext as Call};

use super::super::errors::{Answer, runtime, terminated};
use super::super::host::Host;
use super::Family;

/// Bytes of a compiled pattern.
const PROGRAM_BYTES_MAX: usize = 256 << 10;
/// Bytes of the tables made while matching.
const TABLE_BYTES_MAX: usize = 1 << 20;
/// Nesting of groups and repetitions in a pattern.
const NESTING_MAX: u32 = 50;
/// Bytes of one text: one step of matching is not interrupted.
const TEXT_BYTES_MAX: usize = 256 << 10;
/// Compiled patterns that a run keeps.
const KEPT_MAX: usize = 64;

type Text = ImmutableString;

pub(super) fn module() -> Family {
    let mut module = Family::new("regex");
    module.add2("is_match", is_match);
    module.add2("find", find);
    module.add2("captures", captures);
    module.add3("replace", replace);
    module.add2("split", split);
    module
}

fn pattern(host: &Host, function: &str, pattern: &Text, text: &Text) -> Answer<Arc<Regex>> {
    if text.len() > TEXT_BYTES_MAX {
        let len = text.len();
        return Err(runtime(format!("{function}: the text has {len} bytes, the limit is {TEXT_BYTES_MAX}")));
    }
    if let Some(found) = host.patterns.lock().get(pattern.as_str()) {
        return Ok(Arc::clone(found));
    }
    let compiled = RegexBuilder::new(pattern)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(TABLE_BYTES_MAX)
        .nest_limit(NESTING_MAX)
        .build()
        .map_err(|why| runtime(format!("{function}: {}", one_line(&why))))?;
    let compiled = Arc::new(compiled);
    let mut kept = host.patterns.lock();
    if kept.len() >= KEPT_MAX {
        kept.clear();
    }
    kept.insert(pattern.to_string(), Arc::clone(&compiled));
    Ok(compiled)
}

/// What is wrong, without the drawing of the pattern around it.
fn one_line(why: &regex::Error) -> String {
    let text = why.to_string();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

fn is_match(call: &Call<'_>, regex: Text, text: Text) -> Answer<bool> {
    let host = Host::of(call)?;
    Ok(pattern(&host, "regex::is_match", &regex, &text)?.is_match(&text))
}

/// The first match, `()` if there is none.
fn find(call: &Call<'_>, regex: Text, text: Text) -> Answer<Dynamic> {
    let host = Host::of(call)?;
    let found =
        pattern(&host, "regex::find", &regex, &text)?.find(&text).map(|found| found.as_str().to_owned());
    Ok(found.map_or(Dynamic::UNIT, Dynamic::from))
}

/// The groups of the first match, the whole match first, `()` for a group that took no part; `()` if nothing matches.
fn captures(call: &Call<'_>, regex: Text, text: Text) -> Answer<Dynamic> {
    let host = Host::of(call)?;
    let Some(found) = pattern(&host, "regex::captures", &regex, &text)?.captures(&text) else {
        return Ok(Dynamic::UNIT);
    };
    let group = |group: Option<regex::Match<'_>>| {
        group.map_or(Dynamic::UNIT, |found| Dynamic::from(found.as_str().to_owned()))
    };
    Ok(Dynamic::from_array(found.iter().map(group).collect()))
}

/// The text with every match replaced; `$1`, `${name}` in the replacement stand for groups, `$$` for a dollar.
fn replace(call: &Call<'_>, regex: Text, text: Text, with: Text) -> Answer<String> {
    let host = Host::of(call)?;
    let regex = pattern(&host, "regex::replace", &regex, &text)?;
    let mut out = String::new();
    let mut from = 0;
    for found in regex.captures_iter(&text) {
        alive(&host)?;
        let Some(whole) = found.get(0) else { continue };
        out.push_str(text.get(from..whole.start()).unwrap_or_default());
        expand(&host, call, &found, &with, &mut out)?;
        from = whole.end();
    }
    out.push_str(text.get(from..).unwrap_or_default());
    bounded(&host, call, &out)?;
    Ok(out)
}

fn expand(host: &Host, call: &Call<'_>, found: &Captures<'_>, with: &str, out: &mut String) -> Answer<()> {
    // A replacement that names a group many times multiplies it: looked at before the next match adds to it.
    found.expand(with, out);
    bounded(host, call, out)
}

fn bounded(host: &Host, call: &Call<'_>, out: &str) -> Answer<()> {
    let limit = host.limits.string_bytes;
    if out.len() <= limit {
        return Ok(());
    }
    Err(host.end(call, ErrorKind::Size, format!("regex::replace: the text grows past {limit} bytes")))
}

/// The parts between matches.
fn split(call: &Call<'_>, regex: Text, text: Text) -> Answer<Array> {
    let host = Host::of(call)?;
    let regex = pattern(&host, "regex::split", &regex, &text)?;
    let mut parts = Array::new();
    for part in regex.split(&text) {
        alive(&host)?;
        parts.push(part.to_owned().into());
    }
    Ok(parts)
}

/// Counts a match as an operation.
fn alive(host: &Host) -> Answer<()> {
    host.progress().map_or(Ok(()), |_| Err(terminated()))
}
