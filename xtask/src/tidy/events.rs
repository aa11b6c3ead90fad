//! `docs/events.md` holds the same table as `log/src/events/registry.rs`: written from it, checked against it.
//!
//! The registry is read as text, so that this package depends on no other: a list of `written(number, name, writer,
//! folds)` and `reserved(number, name)`.

use std::fmt::Write as _;
use std::path::Path;

use crate::Failure;

const REGISTRY: &str = "log/src/events/registry.rs";
const DOCUMENT: &str = "docs/events.md";
const BEGIN: &str = "<!-- table: written by `cargo xtask events` from log/src/events/registry.rs -->\n";
const END: &str = "<!-- end of table -->\n";

/// One kind of event as the registry states it.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    number: String,
    name: String,
    /// Who decides that it happened; none: the number is reserved.
    writer: Option<String>,
    folds: Vec<String>,
}

pub(crate) fn problems(root: &Path) -> Result<Vec<String>, Failure> {
    let expected = table(&kinds(&read(root, REGISTRY)?)?);
    let document = read(root, DOCUMENT)?;
    let (_, found, _) = split(&document)?;
    let mut problems: Vec<String> = Vec::new();
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    problems
        .extend(expected.iter().filter(|line| !found.contains(line)).map(|line| format!("missing: {line}")));
    problems
        .extend(found.iter().filter(|line| !expected.contains(line)).map(|line| format!("stale: {line}")));
    if problems.is_empty() && expected != found {
        problems.push("the order differs".to_owned());
    }
    if !problems.is_empty() {
        problems.push("run `cargo xtask events`".to_owned());
    }
    Ok(problems)
}

/// `cargo xtask events`.
pub(crate) fn write(root: &Path) -> Result<bool, Failure> {
    let table = table(&kinds(&read(root, REGISTRY)?)?);
    let document = read(root, DOCUMENT)?;
    let (before, _, after) = split(&document)?;
    std::fs::write(root.join(DOCUMENT), format!("{before}{BEGIN}{table}{END}{after}"))?;
    println!("{DOCUMENT} is up to date");
    Ok(true)
}

fn read(root: &Path, name: &str) -> Result<String, Failure> {
    Ok(std::fs::read_to_string(root.join(name)).map_err(|error| format!("{name}: {error}"))?)
}

fn split(document: &str) -> Result<(&str, &str, &str), Failure> {
    let (before, rest) = document.split_once(BEGIN).ok_or_else(|| format!("{DOCUMENT}: no line {BEGIN}"))?;
    let (table, after) = rest.split_once(END).ok_or_else(|| format!("{DOCUMENT}: no line {END}"))?;
    Ok((before, table, after))
}

fn table(kinds: &[Kind]) -> String {
    let mut text = String::from("| number | kind | written by | folded by |\n|---|---|---|---|\n");
    for kind in kinds {
        let writer = kind.writer.as_ref().map_or("(reserved)".to_owned(), |writer| format!("`{writer}`"));
        let folds = if kind.folds.is_empty() { "–".to_owned() } else { kind.folds.join(", ") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{}` | `{}` | {writer} | {folds} |", kind.number, kind.name);
    }
    text
}

/// The entries of `KINDS`, in their order.
fn kinds(registry: &str) -> Result<Vec<Kind>, Failure> {
    let (_, list) = registry.split_once("KINDS: &[Kind] = &[").ok_or("registry.rs: no KINDS")?;
    let (list, _) = list.split_once("\n];").ok_or("registry.rs: KINDS does not end")?;
    let mut found = Vec::new();
    let mut rest = list;
    while let Some(open) = rest.find('(') {
        let word = rest.get(..open).unwrap_or("").trim_matches([' ', ',', '\n']);
        let close = rest.find(')').ok_or("registry.rs: an entry does not end")?;
        let inside = rest.get(open + 1..close).unwrap_or("");
        found
            .push(entry(word, inside).ok_or_else(|| format!("registry.rs: cannot read `{word}({inside})`"))?);
        rest = rest.get(close + 1..).unwrap_or("");
    }
    Ok(found)
}

fn entry(word: &str, inside: &str) -> Option<Kind> {
    let number = inside.split(',').next()?.trim().to_owned();
    let mut texts = inside.split('"').skip(1).step_by(2).map(str::to_owned);
    let name = texts.next()?;
    match word {
        "written" => Some(Kind { number, name, writer: Some(texts.next()?), folds: texts.collect() }),
        "reserved" => Some(Kind { number, name, writer: None, folds: Vec::new() }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{kinds, table};

    const REGISTRY: &str = "pub const KINDS: &[Kind] = &[\n    written(0x0101, \"app_created\", \"decide/registry\", \
        &[\"registry\"]),\n    reserved(0x0103, \"app_paused\"),\n    written(\n        0x0701,\n        \"kv_put\",\n        \
        \"decide/commit\",\n        &[\"kv\", \"stats\"],\n    ),\n];\n";

    #[test]
    fn the_registry_is_read_however_it_is_formatted() {
        let table = table(&kinds(REGISTRY).unwrap());
        let lines: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| `0x0101` | `app_created` | `decide/registry` | registry |",
                "| `0x0103` | `app_paused` | (reserved) | – |",
                "| `0x0701` | `kv_put` | `decide/commit` | kv, stats |",
            ]
        );
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_an_error() {
        assert!(kinds("pub const KINDS: &[Kind] = &[\n    strange(1),\n];").is_err());
        assert!(kinds("nothing").is_err());
    }
}
