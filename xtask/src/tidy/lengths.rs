//! Lengths of files and functions: a report for the review, and an outer limit for files.

use super::Finding;
use super::source::Source;

/// A file above this had more than one job long ago.
const FILE_LINES_MAX: usize = 800;
/// One screen.
const FUNCTION_LINES_AIM: usize = 60;
/// How many of each are shown.
const SHOWN: usize = 12;

pub(crate) fn finding(files: &[Source]) -> Finding {
    let mut lengths: Vec<(usize, String)> =
        files.iter().map(|file| (file.text.lines().count(), file.path.display().to_string())).collect();
    lengths.sort_by(|a, b| b.cmp(a));
    let too_long = lengths.iter().filter(|(lines, _)| *lines > FILE_LINES_MAX);
    let problems =
        too_long.map(|(lines, path)| format!("{path}: {lines} lines, at most {FILE_LINES_MAX}")).collect();

    let mut functions: Vec<(usize, String)> = files.iter().flat_map(functions).collect();
    let all = functions.len();
    functions.sort_by(|a, b| b.cmp(a));
    let above = functions.iter().filter(|(lines, _)| *lines > FUNCTION_LINES_AIM).count();

    let quantile =
        |tenths: usize| lengths.get(lengths.len() * (10 - tenths) / 10).map_or(0, |(lines, _)| *lines);
    let mut remarks = vec![format!(
        "{} files: median {} lines, 90 of 100 below {}, longest {}",
        lengths.len(),
        quantile(5),
        quantile(9),
        lengths.first().map_or(0, |(lines, _)| *lines)
    )];
    remarks.extend(lengths.iter().take(SHOWN).map(|(lines, path)| format!("{lines:>5} {path}")));
    remarks
        .push(format!("{above} of {all} functions are longer than {FUNCTION_LINES_AIM} lines; the longest:"));
    remarks.extend(functions.iter().take(SHOWN).map(|(lines, name)| format!("{lines:>5} {name}")));
    Finding { check: "lengths", problems, remarks }
}

/// Each function with its length; relies on rustfmt: the closing brace stands under the `fn`.
fn functions(file: &Source) -> Vec<(usize, String)> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let close = format!("{}}}", line.get(..line.len() - line.trim_start().len()).unwrap_or(""));
        let rest = lines.get(start..).unwrap_or_default();
        let length =
            if line.ends_with(['}', ';']) { Some(0) } else { rest.iter().position(|line| *line == close) };
        if let Some(length) = length {
            found.push((length + 1, format!("{}:{} {name}", file.path.display(), start + 1)));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start();
    while let Some((word, rest)) = words.split_once(' ') {
        match word {
            "fn" => return rest.split(['(', '<']).next(),
            "pub" | "const" | "async" | "unsafe" | "pub(crate)" | "pub(super)" => words = rest,
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::functions;

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let text = "fn a() {\n    b();\n}\n\nimpl X {\n    pub(crate) fn c<T>(\n        x: T,\n    ) {\n    }\n    fn d() {}\n}\n";
        let found = functions(&Source { path: "a.rs".into(), text: text.to_owned() });
        let expected = [(3, "a.rs:1 a"), (4, "a.rs:6 c"), (1, "a.rs:10 d")];
        assert_eq!(found, expected.map(|(lines, name)| (lines, name.to_owned())));
    }
}
