//! A directory with `relive.toml` and scripts, read from disk.
//!
//! Owns: finding the sources, and showing an error with its line and a caret. Never does: deploy.

use std::fs;
use std::path::{Path, PathBuf};

use relive_log::events::RetryPolicy;

use crate::manifest::{self, Manifest, ManifestError};

/// Name of the manifest.
pub(crate) const MANIFEST_FILE: &str = "relive.toml";
/// How deep below the directory scripts are looked for.
const DEPTH_MAX: usize = 8;

/// What a directory holds.
#[derive(Debug)]
pub(crate) struct Project {
    /// Text of the manifest.
    pub(crate) text: String,
    /// The manifest.
    pub(crate) manifest: Manifest,
    /// Scripts.
    pub(crate) scripts: Vec<Source>,
}

/// One script.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its name: the stem of the file.
    pub(crate) name: String,
    /// Where it stands.
    pub(crate) path: PathBuf,
    /// Its source.
    pub(crate) text: String,
}

impl Project {
    /// Reads a directory; the error is for people.
    pub(crate) fn read(dir: &Path, retry: RetryPolicy) -> Result<Project, String> {
        let path = dir.join(MANIFEST_FILE);
        let text =
            fs::read_to_string(&path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
        let shown = |error: &ManifestError| match error.at {
            Some((line, column)) => {
                let message = if error.field.is_empty() {
                    error.message.clone()
                } else {
                    format!("{}: {}", error.field, error.message)
                };
                caret(&path, &text, line, column, &message)
            }
            None => error.to_string(),
        };
        let manifest = manifest::parse_toml(&text, retry).map_err(|error| shown(&error))?;
        for script in &manifest.scripts {
            let file = dir.join(&script.path);
            if let Err(error) = fs::metadata(&file) {
                let message = format!("{} cannot be read: {error}", file.display());
                return Err(shown(&script.error(Some(&text), message)));
            }
        }
        let mut scripts: Vec<Source> = Vec::new();
        let named = manifest.scripts.iter().map(|script| dir.join(&script.path));
        for path in named.chain(script_files(dir)) {
            let name = manifest::stem(&path.to_string_lossy()).to_owned();
            match scripts.iter().find(|known| known.name == name) {
                Some(known) if same(&known.path, &path) => {}
                Some(known) => {
                    return Err(format!(
                        "{} and {} have the same stem `{name}`, which is the script's name",
                        known.path.display(),
                        path.display()
                    ));
                }
                None => {
                    let text = fs::read_to_string(&path)
                        .map_err(|e| format!("script {} cannot be read: {e}", path.display()))?;
                    scripts.push(Source { name, path, text });
                }
            }
        }
        Ok(Project { text, manifest, scripts })
    }

    /// An error of a script with its source line and a caret.
    pub(crate) fn script_error(
        &self,
        script: &str,
        line: usize,
        column: usize,
        message: &str,
    ) -> Option<String> {
        let source = self.scripts.iter().find(|source| source.name == script)?;
        Some(caret(&source.path, &source.text, line, column, message))
    }
}

fn same(a: &Path, b: &Path) -> bool {
    a == b || fs::canonicalize(a).ok().is_some_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
}

/// All `.rhai` files in and below `dir`, hidden directories aside, sorted.
pub(crate) fn script_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(dir, DEPTH_MAX, &mut found);
    found.sort();
    found
}

fn collect(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                let skipped = name.starts_with('.') || matches!(name.as_ref(), "node_modules" | "target");
                if depth > 0 && !skipped {
                    collect(&path, depth - 1, found);
                }
            }
            Ok(_) if name.ends_with(".rhai") && !name.starts_with('.') => found.push(path),
            Ok(_) | Err(_) => {}
        }
    }
}

/// `file:line:column: message`, the line, and a caret under the column.
pub(crate) fn caret(path: &Path, text: &str, line: usize, column: usize, message: &str) -> String {
    let mut out = format!("{}:{line}:{column}: {message}", path.display());
    if let Some(source) = line.checked_sub(1).and_then(|at| text.lines().nth(at)) {
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let pad: String = source
            .chars()
            .take(column.saturating_sub(1))
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        out.push_str(&format!("\n {number} | {source}\n {gutter} | {pad}^"));
    }
    out
}

#[cfg(test)]
mod tests {
    use relive_engine::settings::EngineSettings;

    use super::*;

    #[test]
    fn libraries_are_found_and_hidden_directories_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "relive.toml",
            "app = \"x\"\n[[route]]\nmethod = \"GET\"\npath = \"/\"\nscript = \"api/a.rhai\"\n",
        );
        write("api/a.rhai", "1");
        write("lib/b.rhai", "2");
        write(".relive/c.rhai", "3");
        let retry = EngineSettings::default().retry;
        let names = |project: &Project| project.scripts.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&Project::read(dir.path(), retry).unwrap()), ["a", "b"]);
        write(
            "relive.toml",
            "app = \"x\"\n[[route]]\nmethod = \"GET\"\npath = \"/\"\nscript = \"gone.rhai\"\n",
        );
        let error = Project::read(dir.path(), retry).unwrap_err();
        assert!(error.contains("relive.toml:5:10: route[0].script: "), "{error}");
        assert!(error.contains("gone.rhai cannot be read"), "{error}");
        write(
            "relive.toml",
            "app = \"x\"\n[[route]]\nmethod = \"GET\"\npath = \"/\"\nscript = \"api/a.rhai\"\n",
        );
        write("other/a.rhai", "4");
        let error = Project::read(dir.path(), retry).unwrap_err();
        assert!(error.contains("same stem `a`"), "{error}");
    }

    #[test]
    fn the_caret_stands_under_the_column() {
        let got = caret(Path::new("a.rhai"), "let x = 1;\nlet y = ;", 2, 9, "unexpected `;`");
        assert_eq!(got, "a.rhai:2:9: unexpected `;`\n 2 | let y = ;\n   |         ^");
    }
}
