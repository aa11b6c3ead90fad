//! The Rust sources of the workspace as text, and which of their lines are test code.

use std::path::{Path, PathBuf};

use crate::Failure;

/// Folders that hold Rust sources of ours.
const FOLDERS: [&str; 7] = ["log", "projections", "engine", "server", "tests", "fuzz", "xtask"];

/// One file.
pub(crate) struct Source {
    /// Relative to the root.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// The part that only tests compile: everything in a `tests` folder or file, else what follows the first
    /// `#[cfg(test)]` that opens a module (tests stand at the bottom of a file).
    pub(crate) fn test_code(&self) -> &str {
        let in_tests = self.path.components().any(|part| part.as_os_str() == "tests");
        if in_tests || self.path.file_stem().is_some_and(|stem| stem == "tests") {
            return &self.text;
        }
        let start =
            self.text.match_indices("#[cfg(test)]").map(|(at, _)| at).find(|at| self.opens_module(*at));
        start.and_then(|at| self.text.get(at..)).unwrap_or("")
    }

    fn opens_module(&self, at: usize) -> bool {
        let after = self.text.get(at..).unwrap_or("");
        after.lines().nth(1).is_some_and(|line| line.trim_start().starts_with("mod ") && line.ends_with('{'))
    }
}

/// All sources, sorted by path.
pub(crate) fn all(root: &Path) -> Result<Vec<Source>, Failure> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        let folder = root.join(folder);
        if folder.is_dir() {
            walk(root, &folder, &mut found)?;
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<Source>) -> Result<(), Failure> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        if path.is_dir() {
            if !name.starts_with("target") && !name.starts_with('.') {
                walk(root, &path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            found.push(Source { path: path.strip_prefix(root)?.to_path_buf(), text });
        }
    }
    Ok(())
}
