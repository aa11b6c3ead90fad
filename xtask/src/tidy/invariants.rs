//! Every numbered invariant (L1, P1, E1, S1 …) that the documents state is quoted by at least one test.
//!
//! Stated: a line of the documents that begins with the number (in a table, a list or a heading). Quoted: part of the
//! name of a function in test code (`l3_…`), or written as `L3` in a comment there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::Source;
use crate::Failure;

/// Where invariants are stated.
const DOCUMENTS: [&str; 3] = ["ARCHITECTURE.md", "docs/format.md", "docs/views.md"];
/// Log, projections, engine, server.
const LETTERS: [char; 4] = ['L', 'P', 'E', 'S'];

pub(crate) fn problems(root: &Path, files: &[Source]) -> Result<Vec<String>, Failure> {
    let mut stated = BTreeMap::new();
    for document in DOCUMENTS {
        let text =
            std::fs::read_to_string(root.join(document)).map_err(|error| format!("{document}: {error}"))?;
        for number in text.lines().filter_map(stated_by) {
            stated.entry(number).or_insert(document);
        }
    }
    if stated.is_empty() {
        return Ok(vec![format!("no invariant is stated in {}", DOCUMENTS.join(", "))]);
    }
    let quoted: BTreeSet<String> = files.iter().flat_map(|file| quoted_in(file.test_code())).collect();
    let unquoted = stated.into_iter().filter(|(number, _)| !quoted.contains(number));
    Ok(unquoted.map(|(number, document)| format!("{number} ({document}) is quoted by no test")).collect())
}

/// `| **L3** | …`, `- L3: …`, `### L3 …`.
fn stated_by(line: &str) -> Option<String> {
    let line = line.trim_start_matches(['|', '-', '*', '#', '`', ' ']);
    let end = line.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(line.len());
    line.get(..end).filter(|word| is_number(word)).map(str::to_owned)
}

fn is_number(word: &str) -> bool {
    let mut letters = word.chars();
    let known = letters.next().is_some_and(|first| LETTERS.contains(&first));
    let digits = letters.as_str();
    known && !digits.is_empty() && digits.len() <= 2 && digits.chars().all(|digit| digit.is_ascii_digit())
}

fn quoted_in(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in code.lines() {
        if let Some((_, name)) = line.split_once("fn ") {
            let name = name.split(['(', '<']).next().unwrap_or("");
            found.extend(name.split('_').map(str::to_uppercase).filter(|word| is_number(word)));
        }
        if let Some((_, comment)) = line.split_once("//") {
            let words = comment.split(|letter: char| !letter.is_ascii_alphanumeric());
            found.extend(words.filter(|word| is_number(word)).map(str::to_owned));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{quoted_in, stated_by};

    #[test]
    fn statements_are_recognised() {
        let check =
            |line: &str, expected: Option<&str>| assert_eq!(stated_by(line).as_deref(), expected, "{line}");
        check("| L3 | a group is written once |", Some("L3"));
        check("| **P12** | digests agree |", Some("P12"));
        check("- **E1**: claims first", Some("E1"));
        check("### L7 The log ends here", Some("L7"));
        check("LSN 3 is a position", None);
        check("| R3 | a row of the recovery table |", None);
        check("as L3 says", None);
    }

    #[test]
    fn quotes_are_recognised() {
        assert_eq!(quoted_in("fn l3_one_write_per_group() {"), ["L3"]);
        assert_eq!(quoted_in("async fn digest_p4_and_p5() {"), ["P4", "P5"]);
        assert_eq!(quoted_in("    // upholds E2, see there"), ["E2"]);
        assert!(quoted_in("let l3 = e1 + p2;").is_empty());
    }
}
