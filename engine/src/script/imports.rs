//! `import "name" as m`: which scripts a source imports, and how a run gets them.
//!
//! Owns: the search for imports in a source (before it runs: D17 wants the versions at the claim), [`Imports`], and the
//! resolver of one run. Never does: look a script up; the engine hands in what a claim names.
//!
//! Only literal names can be known before a script runs, so only those are imports: anything else is refused when the
//! source is compiled, or, where it hides inside an interpolated string, when it is run.
//!
//! Invariants: **E160** what a run imports is what it was handed: same names, same versions, whatever was deployed
//! since; **E161** an import is evaluated once per run, and never while it is being evaluated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use rhai::{Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};

use super::compile::{CompileError, Compiled};

/// One import statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The imported script.
    pub script: String,
    /// Line of the statement, from 1.
    pub line: u32,
    /// Column of the statement, from 1.
    pub column: u32,
}

/// The scripts that a run can import, by name.
#[derive(Clone, Debug, Default)]
pub struct Imports(Arc<BTreeMap<String, Compiled>>);

impl Imports {
    /// These scripts, by name.
    #[must_use]
    pub fn new(scripts: BTreeMap<String, Compiled>) -> Imports {
        Imports(Arc::new(scripts))
    }

    /// The script of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Compiled> {
        self.0.get(name)
    }

    /// All of them.
    pub fn scripts(&self) -> impl Iterator<Item = &Compiled> {
        self.0.values()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Makes the modules of one run.
pub(super) struct Resolver {
    imports: Imports,
    made: Mutex<BTreeMap<String, Shared<Module>>>,
    making: Mutex<BTreeSet<String>>,
}

impl Resolver {
    pub(super) fn new(imports: Imports) -> Resolver {
        Resolver { imports, made: Mutex::default(), making: Mutex::default() }
    }
}

impl ModuleResolver for Resolver {
    fn resolve(
        &self,
        engine: &Engine,
        _: Option<&str>,
        path: &str,
        at: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        if let Some(made) = self.made.lock().get(path) {
            return Ok(Arc::clone(made));
        }
        let Some(compiled) = self.imports.0.get(path) else {
            return Err(EvalAltResult::ErrorModuleNotFound(path.to_owned(), at).into());
        };
        if !self.making.lock().insert(path.to_owned()) {
            return Err(super::errors::runtime(format!("`{path}` imports itself")));
        }
        let module = Module::eval_ast_as_new(Scope::new(), compiled.ast(), engine);
        self.making.lock().remove(path);
        let module = module.map_err(|error| match *error {
            // Nothing may wrap the end of a run: wrapped it could be caught.
            ended if ended.is_system_exception() => Box::new(ended),
            other => EvalAltResult::ErrorInModule(path.to_owned(), other.into(), at).into(),
        })?;
        let module = Shared::new(module);
        self.made.lock().insert(path.to_owned(), Arc::clone(&module));
        Ok(module)
    }
}

/// The imports of a source that parses, in order.
pub(super) fn find(source: &str) -> Result<Vec<Import>, CompileError> {
    let mut reader = Reader { rest: source, line: 1, column: 1 };
    let mut found = Vec::new();
    while let Some(token) = reader.next_token() {
        if token.text != "import" {
            continue;
        }
        let (line, column) = (token.line, token.column);
        let name = reader.next_token().and_then(|token| {
            let name = token.text.strip_prefix('"')?.strip_suffix('"')?;
            (!name.contains('\\')).then(|| name.to_owned())
        });
        match name {
            Some(script) => found.push(Import { script, line, column }),
            None => {
                let message = "import takes the name of a script as text in double quotes: which scripts it \
                               needs is known before it runs";
                return Err(CompileError { message: message.to_owned(), line, column });
            }
        }
    }
    Ok(found)
}

/// A token that matters: a word or a string; everything else is passed over.
struct Token<'a> {
    text: &'a str,
    line: u32,
    column: u32,
}

/// Walks a source past comments, strings and characters.
struct Reader<'a> {
    rest: &'a str,
    line: u32,
    column: u32,
}

impl<'a> Reader<'a> {
    fn next_token(&mut self) -> Option<Token<'a>> {
        loop {
            let first = self.rest.chars().next()?;
            let len = match first {
                '/' if self.rest.starts_with("//") => self.rest.find('\n').unwrap_or(self.rest.len()),
                '/' if self.rest.starts_with("/*") => comment_len(self.rest),
                '\'' => quoted_len(self.rest, '\''),
                '"' | '`' => {
                    let len = quoted_len(self.rest, first);
                    return Some(self.take(len));
                }
                c if c == '_' || c.is_alphabetic() => {
                    let word = |c: char| c == '_' || c.is_alphanumeric();
                    let len = self.rest.find(|c| !word(c)).unwrap_or(self.rest.len());
                    return Some(self.take(len));
                }
                other => other.len_utf8(),
            };
            self.take(len);
        }
    }

    fn take(&mut self, len: usize) -> Token<'a> {
        let (text, rest) = self.rest.split_at(len);
        let token = Token { text, line: self.line, column: self.column };
        for c in text.chars() {
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.rest = rest;
        token
    }
}

/// Length of the comment at the start; comments nest.
fn comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the quoted text at the start. A back-tick doubles to stand for itself; the others escape.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote != '`' => drop(chars.next()),
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &[(&str, u32, u32)]) {
        let found = find(source).unwrap();
        let found: Vec<_> = found.iter().map(|i| (i.script.as_str(), i.line, i.column)).collect();
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn d17_imports_are_found_where_the_language_has_them() {
        check("import \"a\" as a; a::f()", &[("a", 1, 1)]);
        check("fn f() {\n  import \"lib-1\" as x;\n}\nimport \"b\" as b", &[("lib-1", 2, 3), ("b", 4, 1)]);
        check("// import \"a\" as a\n/* import \"b\" /* c */ as b */ import \"d\" as d", &[("d", 2, 31)]);
        check("let s = \"import \\\" x\"; `import \"x\" as y`; 'i'", &[]);
        check("let important = 1; let x_import = 2; my.import_it()", &[]);
        check("import/* between */\"a\"as a", &[("a", 1, 1)]);
        check("let ä = \"ü\"; import \"é\" as e", &[("é", 1, 14)]);
        check("", &[]);
        check("\"never closed import", &[]);
        check("/* never closed import", &[]);
    }

    #[test]
    fn d17_a_name_that_is_not_literal_is_refused_with_its_place() {
        for source in ["let n = \"a\";\n import n as x", "1;\n import `a` as x", "1;\n import \"a\\n\" as x"]
        {
            let error = find(source).unwrap_err();
            assert_eq!((error.line, error.column), (2, 2), "{source}");
            assert!(error.message.contains("double quotes"));
        }
    }
}
