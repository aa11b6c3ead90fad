//! What is known about each mutant, on disk line by line, so that an interruption loses one trial at most.
//!
//! Owns: the file, and the report. What a test noticed stays noticed as long as the function is what it was; a survivor
//! is asked again in every run, since tests come to be.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::list::Mutant;
use crate::trial::Outcome;

/// One line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) key: String,
    pub(crate) outcome: Outcome,
    /// The test that failed first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    pub(crate) seconds: f64,
}

/// The file's lines, the last one for each mutant.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, Line>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    // The last line may have been cut by an interruption: then that mutant is asked again.
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    Ok(lines.map(|line| (line.key.clone(), line)).collect())
}

pub(crate) fn append(path: &Path, line: &Line) -> Result<(), Failure> {
    let mut file = std::fs::File::options().create(true).append(true).open(path)?;
    writeln!(file, "{}", serde_json::to_string(line)?)?;
    Ok(())
}

#[derive(Default)]
struct Row {
    total: u32,
    caught: u32,
    endless: u32,
    survived: u32,
    known: u32,
    unviable: u32,
    left_out: u32,
    not_run: u32,
}

impl Row {
    fn count(&mut self, outcome: Option<Outcome>, known: bool) {
        self.total += 1;
        match outcome {
            Some(Outcome::Caught) => self.caught += 1,
            Some(Outcome::Endless) => self.endless += 1,
            Some(Outcome::Survived | Outcome::Doubtful) => {
                self.survived += 1;
                self.known += u32::from(known);
            }
            Some(Outcome::Unviable) => self.unviable += 1,
            Some(Outcome::LeftOut) => self.left_out += 1,
            None => self.not_run += 1,
        }
    }

    fn line(&self, file: &str) -> String {
        let noticed = self.caught + self.endless;
        let tried = noticed + self.survived;
        let score = (noticed * 100).checked_div(tried).map_or_else(String::new, |score| format!("{score} %"));
        format!(
            "| {file} | {} | {tried} | {noticed} | {} | {} | {} | {} | {} | {} | {score} |",
            self.total, self.endless, self.survived, self.known, self.unviable, self.left_out, self.not_run
        )
    }
}

/// Prints a table by file, and every survivor that is not known; whether there is none.
pub(crate) fn report(
    mutants: &[Mutant],
    lines: &BTreeMap<String, Line>,
    is_known: &dyn Fn(&Mutant) -> bool,
) -> bool {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    let mut sum = Row::default();
    let mut unknown = Vec::new();
    for mutant in mutants {
        let outcome = lines.get(&mutant.key).map(|line| line.outcome);
        let known = is_known(mutant);
        rows.entry(&mutant.file).or_default().count(outcome, known);
        sum.count(outcome, known);
        if matches!(outcome, Some(Outcome::Survived | Outcome::Doubtful)) && !known {
            unknown.push(mutant);
        }
    }
    println!(
        "| file | mutants | tried | noticed | by never ending | survived | for a known reason | do not compile | in constants | not run | score |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (file, row) in &rows {
        println!("{}", row.line(file));
    }
    println!("{}", sum.line("all"));
    for mutant in &unknown {
        println!("survived: {}", mutant.place);
    }
    unknown.is_empty()
}
