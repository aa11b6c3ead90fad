//! What is changed: the list of cargo-mutants, and how one of them is recognised in another run.
//!
//! Owns: reading `cargo mutants --list --json`. A mutant's key holds what is changed, in which function, and a checksum
//! of that function's text: it is found again after edits elsewhere, and counts as another one after edits of its own.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use crate::Failure;

/// Line and column, both counted from 1; columns are characters.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Span {
    pub(crate) start: Place,
    pub(crate) end: Place,
}

/// What kind of change.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

#[derive(Debug, Deserialize)]
struct Function {
    span: Span,
}

#[derive(Debug, Deserialize)]
struct Listed {
    file: String,
    name: String,
    genre: Genre,
    replacement: String,
    span: Span,
    function: Option<Function>,
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    /// By which the built tests choose it; never 0.
    pub(crate) id: u32,
    pub(crate) file: String,
    /// `file: what`, without line and column.
    pub(crate) name: String,
    /// `file:line:column: what`, for people.
    pub(crate) place: String,
    pub(crate) key: String,
    pub(crate) genre: Genre,
    pub(crate) replacement: String,
    /// The bytes of the file that cargo-mutants replaces.
    pub(crate) span: Range<usize>,
}

/// The mutants of the files that `globs` name.
pub(crate) fn read(root: &Path, json: &str) -> Result<Vec<Mutant>, Failure> {
    let listed: Vec<Listed> = serde_json::from_str(json)?;
    let mut sources: BTreeMap<String, String> = BTreeMap::new();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut mutants = Vec::new();
    for (n, listed) in listed.into_iter().enumerate() {
        if !sources.contains_key(&listed.file) {
            sources.insert(listed.file.clone(), std::fs::read_to_string(root.join(&listed.file))?);
        }
        let source = sources.get(&listed.file).map(String::as_str).unwrap_or_default();
        let name = without_place(&listed.name);
        let mut hasher = DefaultHasher::new();
        let function = listed.function.map_or(listed.span, |function| function.span);
        source.get(bytes(source, function)).hash(&mut hasher);
        let checked = format!("{name} [{:016x}]", hasher.finish());
        let nth = seen.entry(checked.clone()).or_default();
        *nth += 1;
        mutants.push(Mutant {
            id: u32::try_from(n + 1)?,
            key: format!("{checked} {nth}"),
            name,
            place: listed.name,
            genre: listed.genre,
            replacement: listed.replacement,
            span: bytes(source, listed.span),
            file: listed.file,
        });
    }
    Ok(mutants)
}

/// Where a span stands among the bytes of the text.
fn bytes(source: &str, span: Span) -> Range<usize> {
    offset(source, span.start)..offset(source, span.end)
}

/// The byte at a place; the text's end when there is none.
pub(crate) fn offset(source: &str, place: Place) -> usize {
    let mut begins = 0;
    for (n, line) in source.split_inclusive('\n').enumerate() {
        if n + 1 == place.line {
            let within = line.char_indices().nth(place.column - 1).map_or(line.len(), |(at, _)| at);
            return begins + within;
        }
        begins += line.len();
    }
    source.len()
}

/// `file:line:column: what` without line and column, which change with every edit.
pub(crate) fn without_place(line: &str) -> String {
    let mut parts = line.splitn(4, ':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(file), Some(_), Some(_), Some(what)) => format!("{file}:{what}"),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, offset, without_place};

    #[test]
    fn names_without_lines() {
        let line = "log/src/a.rs:12:9: replace x::y -> u64 with 0";
        assert_eq!(without_place(line), "log/src/a.rs: replace x::y -> u64 with 0");
    }

    #[test]
    fn columns_are_characters() {
        let source = "a\n–bc\n";
        assert_eq!(&source[offset(source, Place { line: 2, column: 2 })..], "bc\n");
        assert_eq!(offset(source, Place { line: 9, column: 1 }), source.len());
    }
}
