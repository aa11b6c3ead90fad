//! One build for all mutants: a copy of the workspace whose log has them woven in.
//!
//! Owns: that copy, and which mutants do not compile: the compiler's errors name places, those places stand in
//! alternatives, and what has one is left out when the text is woven again. Never does: touch the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::Failure;
use crate::list::Mutant;
use crate::weave::{Woven, weave};

/// What the log's own build needs of the workspace.
const COPIED: [&str; 4] = ["Cargo.toml", "Cargo.lock", "clippy.toml", "log"];
/// How often the text is woven again before it is given up.
const ROUNDS_MAX: usize = 12;

/// How mutants are chosen: the one whose number `RELIVE_MUTANT` holds. It stands in the copy's `lib.rs`.
const CHOICE: &str = r#"
#[doc(hidden)]
pub mod woven {
    static CHOSEN: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {
        std::env::var("RELIVE_MUTANT").ok().and_then(|it| it.parse().ok()).unwrap_or(0)
    });
    /// 0, or the place of the chosen mutant among `ids`, from 1.
    #[inline]
    pub fn choice(ids: &[u32]) -> usize {
        let chosen = *CHOSEN;
        if chosen == 0 { return 0 }
        ids.iter().position(|id| *id == chosen).map_or(0, |at| at + 1)
    }
}
"#;

/// The tests with every mutant that compiles.
#[derive(Debug)]
pub(crate) struct Built {
    /// The log's unit tests and its integration tests.
    pub(crate) binaries: Vec<PathBuf>,
    /// Where they are to run.
    pub(crate) package: PathBuf,
    /// Mutants that do not compile.
    pub(crate) unviable: BTreeSet<u32>,
    /// Mutants that could not be woven in.
    pub(crate) left_out: BTreeSet<u32>,
}

/// Weaves, leaves out what does not compile, builds.
pub(crate) fn build(root: &Path, work: &Path, mutants: &[Mutant]) -> Result<Built, Failure> {
    let copy = work.join("woven");
    copy_tree(root, &copy)?;
    let lib = copy.join("log/src/lib.rs");
    std::fs::write(&lib, std::fs::read_to_string(root.join("log/src/lib.rs"))? + CHOICE)?;
    let mut unviable = BTreeSet::new();
    let mut constants = BTreeSet::new();
    for round in 1..=ROUNDS_MAX {
        let woven = weave_all(root, &copy, mutants, &unviable)?;
        let left_out: BTreeSet<u32> =
            woven.values().flat_map(|woven| woven.left_out.iter().copied()).collect();
        unviable.extend(woven.values().flat_map(|woven| woven.unviable.iter().copied()));
        for (file, function) in &constants {
            let path = copy.join(file);
            let text = std::fs::read_to_string(&path)?;
            std::fs::write(path, text.replace(&format!("const fn {function}"), &format!("fn {function}")))?;
        }
        let errors = check(&copy, work)?;
        if errors.is_empty() {
            // Into the tree that is built, where only what changed gets a new time: the next run need not build again.
            let tree = work.join("tree");
            copy_into(&copy, &tree)?;
            let binaries = binaries(&tree, work)?;
            return Ok(Built { binaries, package: tree.join("log"), unviable, left_out });
        }
        let before = (unviable.len(), constants.len());
        for error in &errors {
            let blamed: Vec<u32> = error.places.iter().flat_map(|place| blame(&woven, place)).collect();
            if blamed.is_empty() && error.is_constness {
                constants.extend(error.places.iter().filter_map(|place| enclosing_constant(&copy, place)));
            } else if blamed.is_empty() {
                return Err(format!("the woven log does not compile:\n{}", error.rendered).into());
            }
            unviable.extend(blamed);
        }
        println!("round {round}: {} mutants do not compile", unviable.len());
        if (unviable.len(), constants.len()) == before {
            return Err("the woven log does not compile, whatever is left out".into());
        }
    }
    Err("the woven log does not compile after many rounds".into())
}

/// Brings the copy up to date; what did not change keeps its time, so that it is not built again.
fn copy_tree(root: &Path, copy: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(copy)?;
    for name in COPIED {
        copy_into(&root.join(name), &copy.join(name))?;
    }
    // A workspace of the log alone, with the dependencies and profiles of the whole.
    let manifest = copy.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest)?;
    let alone = |line: &str| match line.split_once('=').map(|(name, _)| name.trim()) {
        Some("members") => "members = [\"log\"]".to_owned(),
        Some("default-members" | "exclude") => String::new(),
        _ => line.to_owned(),
    };
    let kept: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("relive-") || line.starts_with("relive-log "))
        .map(alone)
        .collect();
    std::fs::write(manifest, kept.join("\n"))?;
    Ok(())
}

fn copy_into(from: &Path, to: &Path) -> Result<(), Failure> {
    if from.is_dir() {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            copy_into(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    let bytes = std::fs::read(from)?;
    if std::fs::read(to).ok().as_ref() != Some(&bytes) {
        std::fs::write(to, bytes)?;
    }
    Ok(())
}

fn weave_all(
    root: &Path,
    copy: &Path,
    mutants: &[Mutant],
    unviable: &BTreeSet<u32>,
) -> Result<BTreeMap<String, Woven>, Failure> {
    let mut by_file: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants.iter().filter(|mutant| !unviable.contains(&mutant.id)) {
        by_file.entry(&mutant.file).or_default().push(mutant);
    }
    let mut all = BTreeMap::new();
    for (file, mutants) in by_file {
        let woven = weave(&std::fs::read_to_string(root.join(file))?, &mutants)?;
        std::fs::write(copy.join(file), &woven.text)?;
        all.insert(file.to_owned(), woven);
    }
    Ok(all)
}

/// A place in a file of the copy: bytes from, to.
type ErrorPlace = (String, usize, usize);

struct CompileError {
    places: Vec<ErrorPlace>,
    /// A function that can be called by constants calls one that chooses.
    is_constness: bool,
    rendered: String,
}

/// The mutants in whose alternatives a place stands.
fn blame(woven: &BTreeMap<String, Woven>, (file, from, to): &ErrorPlace) -> Vec<u32> {
    let Some(woven) = woven.get(file) else { return Vec::new() };
    let inside =
        woven.alternatives.iter().filter(|(range, id)| *id != 0 && range.start <= *from && *to <= range.end);
    inside.map(|(_, id)| *id).collect()
}

/// The `const fn` in which a place stands: its file and name.
fn enclosing_constant(copy: &Path, (file, from, _): &ErrorPlace) -> Option<(String, String)> {
    let text = std::fs::read_to_string(copy.join(file)).ok()?;
    let (_, behind) = text.get(..*from)?.rsplit_once("const fn ")?;
    let name = behind.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    Some((file.clone(), name.to_owned()))
}

fn cargo(copy: &Path, work: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(copy).args(arguments).args(["--package", "relive-log", "--message-format", "json"]);
    // Warnings about woven text help nobody. Nobody debugs it either.
    command.env("RUSTFLAGS", "--cap-lints allow").env("CARGO_TARGET_DIR", work.join("target"));
    command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "0");
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn check(copy: &Path, work: &Path) -> Result<Vec<CompileError>, Failure> {
    let output = cargo(copy, work, &["check", "--lib"]).output()?;
    let mut errors = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let line: Line = serde_json::from_str(line)?;
        let Some(message) = line.message.filter(|message| message.level == "error") else { continue };
        let primary = message.spans.into_iter().filter(|span| span.is_primary);
        let places: Vec<_> = primary.map(|span| (span.file_name, span.byte_start, span.byte_end)).collect();
        if !places.is_empty() {
            let is_constness = message.code.is_some_and(|code| code.code == "E0015");
            errors.push(CompileError {
                places,
                is_constness,
                rendered: message.rendered.unwrap_or_default(),
            });
        }
    }
    if errors.is_empty() && !output.status.success() {
        return Err("`cargo check` of the woven log failed and names no place".into());
    }
    Ok(errors)
}

/// What cargo says, a line each.
#[derive(Deserialize)]
struct Line {
    message: Option<Message>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Message {
    level: String,
    code: Option<Code>,
    spans: Vec<MessageSpan>,
    rendered: Option<String>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct MessageSpan {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
}

fn binaries(copy: &Path, work: &Path) -> Result<Vec<PathBuf>, Failure> {
    let output = cargo(copy, work, &["test", "--no-run", "--lib", "--test", "it"]).output()?;
    if !output.status.success() {
        return Err("the tests of the woven log do not build".into());
    }
    let mut binaries = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let line: Line = serde_json::from_str(line)?;
        binaries.extend(line.executable);
    }
    // The unit tests first: they are over at once.
    binaries
        .sort_by_key(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("it-")));
    if binaries.len() == 2 { Ok(binaries) } else { Err("not two test binaries".into()) }
}
