//! From source to something that runs.
//!
//! Owns: [`compile`], [`CompileCache`]. Never does: check the size of a source, run anything.
//!
//! Variables are checked at compile time, so that `relive deploy` catches typos; `ctx` is known everywhere.
//! `debug` is a reserved word of Rhai, so `log::debug` does not parse as it stands. Wherever the parser complains
//! about exactly that word, it is read as an identifier of the same length (`DEBUG`), which the module `log` has
//! too: every position stays, and text inside strings and comments is never touched.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rhai::{AST, Dynamic, Engine, ParseError, Scope};
use sha2::{Digest, Sha256};

use super::engine;
use super::errors::place;
use super::imports::{self, Import};
use super::leaks;
use super::needs::Needs;
use super::pace::Pace;

/// A compiled script; cheap to clone: every run of it does, on all threads at once, so that it has one count and no more.
#[derive(Clone)]
pub struct Compiled(Arc<Parts>);

struct Parts {
    ast: AST,
    name: String,
    sha256: [u8; 32],
    pace: Pace,
    imports: Vec<Import>,
    needs: Needs,
    captures: bool,
}

impl Compiled {
    /// Whether its runs are brief.
    #[must_use]
    pub fn pace(&self) -> &Pace {
        &self.0.pace
    }

    /// Its name, which stands in errors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// SHA-256 of its source.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.0.sha256
    }

    /// What it imports itself, in order of the source.
    #[must_use]
    pub fn imports(&self) -> &[Import] {
        &self.0.imports
    }

    /// What it looks at of `ctx`, its imports aside.
    pub(super) fn needs(&self) -> Needs {
        self.0.needs
    }

    /// Whether it makes values that can hold themselves, its imports aside.
    pub(super) fn captures(&self) -> bool {
        self.0.captures
    }

    pub(super) fn ast(&self) -> &AST {
        &self.0.ast
    }

    /// The trees that a run of it walks through.
    pub(super) fn trees(&self) -> impl Iterator<Item = &AST> {
        std::iter::once(self.ast())
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Why a source does not compile; line and column count from 1, 0 when unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct CompileError {
    /// What is wrong, for people.
    pub message: String,
    /// Line in the source.
    pub line: u32,
    /// Column in the source.
    pub column: u32,
}

/// How much source one call may compile in all, re-reading for `log::debug` included.
const COMPILED_BYTES_MAX: usize = 32 << 20;
const RESERVED: &str = "debug";
pub(super) const STAND_IN: &str = "DEBUG";

/// Compiles a script. The caller checks the size of the source.
///
/// # Errors
/// Where and why the source is not a script.
pub fn compile(name: &str, source: &str) -> Result<Compiled, CompileError> {
    let mut ast = parse(source)?;
    // Errors inside an import name it by this.
    ast.set_source(name);
    let imports = imports::find(source)?;
    let sha256 = Sha256::digest(source).into();
    let (needs, captures) = (Needs::of(&ast), leaks::captures(&ast));
    let (name, pace) = (name.to_owned(), Pace::default());
    Ok(Compiled(Arc::new(Parts { ast, name, sha256, pace, imports, needs, captures })))
}

fn parse(source: &str) -> Result<AST, CompileError> {
    let engine: &Engine = engine::compiling();
    let mut source = std::borrow::Cow::Borrowed(source);
    let mut budget = COMPILED_BYTES_MAX;
    loop {
        let error = match engine.compile_with_scope(known(), source.as_ref()) {
            Ok(ast) => return Ok(ast),
            Err(error) => error,
        };
        budget = budget.saturating_sub(source.len());
        let at = reserved_debug(&error, &source);
        let Some(at) = at.filter(|_| budget > source.len()) else { return Err(explain(&error)) };
        source.to_mut().replace_range(at..at + RESERVED.len(), STAND_IN);
    }
}

/// Variables that every script sees without defining them.
fn known() -> &'static Scope<'static> {
    static KNOWN: OnceLock<Scope<'static>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let mut scope = Scope::new();
        scope.push_constant_dynamic("ctx", Dynamic::UNIT);
        scope
    })
}

/// Byte offset of the `debug` after `log::` that the parser complains about.
fn reserved_debug(error: &ParseError, source: &str) -> Option<usize> {
    let rhai::ParseErrorType::Reserved(word) = error.err_type() else { return None };
    if word != RESERVED {
        return None;
    }
    let (line, column) = (error.position().line()?, error.position().position()?);
    let start: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = source.get(start..)?;
    let at = start + rest.char_indices().nth(column.checked_sub(1)?).map(|(at, _)| at)?;
    let before = source.get(..at)?.trim_end();
    let qualified = before.strip_suffix("::").is_some_and(|before| before.trim_end().ends_with("log"));
    (qualified && source.get(at..)?.starts_with(RESERVED)).then_some(at)
}

fn explain(error: &ParseError) -> CompileError {
    let (line, column) = place(error.position());
    let text = error.err_type().to_string();
    let names = |word: &str| text.contains(&format!("'{word}'"));
    let message = if let rhai::ParseErrorType::VariableUndefined(name) = error.err_type() {
        format!(
            "{text}: functions do not see variables of the script around them; a constant is \
             `global::{name}` there"
        )
    } else if names("eval") {
        "eval is not part of the language of scripts".to_owned()
    } else {
        text
    };
    CompileError { message, line, column }
}

/// Compiled scripts by name and source; the oldest leave first. Shared between threads.
#[derive(Debug)]
pub struct CompileCache {
    entries_max: usize,
    kept: Mutex<Kept>,
}

/// A script's name and the SHA-256 of its source: what it imports is no part of its tree.
type Key = (Box<str>, [u8; 32]);

#[derive(Debug, Default)]
struct Kept {
    by_source: BTreeMap<Key, Compiled>,
    order: VecDeque<Key>,
}

impl CompileCache {
    /// Scripts kept by [`CompileCache::default`].
    pub const ENTRIES_DEFAULT: usize = 1024;

    /// A cache of at most so many scripts.
    #[must_use]
    pub fn new(entries_max: usize) -> CompileCache {
        CompileCache { entries_max: entries_max.max(1), kept: Mutex::default() }
    }

    /// How many scripts are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.lock().order.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The compiled form of a source, compiled now if it is not here; failures are not kept.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn get_or_compile(&self, name: &str, source: &str) -> Result<Compiled, CompileError> {
        self.get_or_compile_known(name, Sha256::digest(source).into(), source)
    }

    /// As [`CompileCache::get_or_compile`] for a source whose SHA-256 is known already.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn get_or_compile_known(
        &self,
        name: &str,
        digest: [u8; 32],
        source: &str,
    ) -> Result<Compiled, CompileError> {
        let key: Key = (name.into(), digest);
        if let Some(found) = self.kept.lock().by_source.get(&key) {
            return Ok(found.clone());
        }
        let compiled = compile(name, source)?;
        let mut kept = self.kept.lock();
        if kept.by_source.insert(key.clone(), compiled.clone()).is_none() {
            kept.order.push_back(key);
        }
        while kept.order.len() > self.entries_max {
            if let Some(oldest) = kept.order.pop_front() {
                kept.by_source.remove(&oldest);
            }
        }
        Ok(compiled)
    }
}

impl Default for CompileCache {
    fn default() -> CompileCache {
        CompileCache::new(CompileCache::ENTRIES_DEFAULT)
    }
}
