//! What a replay adds to a run: an end at a known operation, an eye on withheld headers, a walk by statements.
//!
//! Owns: [`Watch`], [`EndsAt`], [`HeaderProbe`], [`Tracer`] and the [`Step`]s that it collects. Never does: change
//! what a run computes. The interpreter's debugging interface shows every statement before it runs; the tracer
//! numbers them from 1 and keeps those of one window, so that a run of any length is walked in bounded memory by
//! running it again.
//!
//! Invariants: E124 a watched run computes what the same run computes unwatched: same operations, same effects;
//! E125 step *k* shows the same state however it is reached.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use relive_log::events::{ErrorRecord, ReadRecord};
use rhai::debugger::{DebuggerCommand, DebuggerEvent};
use rhai::{AST, ASTNode, Engine, EvalContext, Expr, Position, Stmt};
use serde_json::Value;

use super::compile::Compiled;
use super::errors::place;
use super::host::Host;
use super::imports::Imports;
use super::run::WriteEffect;
use super::show::{Budget, shown};
use crate::secrets::Masker;

/// Reads and writes that one step shows: the latest so many; how many there are in all stands beside them.
pub const STEP_EFFECTS_MAX: usize = 50;
/// Bytes of all variables in one window of steps; the window ends early, after at least one step.
pub const STEPS_BYTES_MAX: usize = 4 << 20;
/// Frames of the call stack that one step shows, innermost first.
pub const STEP_FRAMES_MAX: usize = 64;

/// What is done beside a run.
#[derive(Clone, Default)]
pub struct Watch {
    /// Ends the run there.
    pub ends_at: Option<EndsAt>,
    /// Notices looks at withheld headers.
    pub headers: Option<Arc<HeaderProbe>>,
    /// Walks the statements.
    pub tracer: Option<Arc<Tracer>>,
}

impl Watch {
    /// Whether nothing is told to the run's engine.
    pub(super) fn is_idle(&self) -> bool {
        self.headers.is_none() && self.tracer.is_none()
    }
}

/// Where something outside ended a recorded run, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndsAt {
    /// The operation that was not carried out any more, counted from 1.
    pub operations: u64,
    /// What the run ended with.
    pub error: ErrorRecord,
}

/// Notices whether a run passes a statement that names one of the headers whose values were withheld.
///
/// A name that the script only computes is not noticed here: a second run with other placeholders shows whether it
/// mattered.
pub struct HeaderProbe {
    /// Statements that name one, by address in the tree.
    statements: HashSet<usize>,
    /// The script's tree lives as long as its addresses are in use.
    _compiled: Compiled,
    read: AtomicBool,
}

impl HeaderProbe {
    /// Watches for these names in runs of this script.
    #[must_use]
    pub fn new(compiled: &Compiled, names: &[String]) -> Arc<HeaderProbe> {
        let mut statements = HashSet::new();
        let named = |name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        for ast in compiled.trees() {
            ast.walk(&mut |path: &[ASTNode<'_>]| {
                let names_one = match path.last() {
                    Some(ASTNode::Expr(Expr::Property(property, ..))) => named(&property.2),
                    Some(ASTNode::Expr(Expr::StringConstant(text, ..))) => named(text),
                    _ => false,
                };
                if names_one {
                    let around = path.iter().rev().find(|node| matches!(node, ASTNode::Stmt(_)));
                    statements.extend(around.and_then(address));
                }
                true
            });
        }
        Arc::new(HeaderProbe { statements, _compiled: compiled.clone(), read: AtomicBool::new(false) })
    }

    /// Whether such a statement was passed.
    #[must_use]
    pub fn was_read(&self) -> bool {
        self.read.load(Ordering::Relaxed)
    }

    fn see(&self, node: &ASTNode<'_>) {
        if address(node).is_some_and(|address| self.statements.contains(&address)) {
            self.read.store(true, Ordering::Relaxed);
        }
    }
}

/// One level of a call stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function; `None`: the script's own level.
    pub function: Option<String>,
    /// The imported script that it stands in; `None`: the script itself.
    pub script: Option<String>,
    /// The line that it is at.
    pub line: u32,
}

/// A line of a script: `None` is the script itself, a name one that it imports.
pub type ScriptLine = (Option<String>, u32);

/// One statement, before it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its number in the run, from 1.
    pub step: u64,
    /// Line in its script.
    pub line: u32,
    /// Column in its script.
    pub column: u32,
    /// Functions of the script that are being called.
    pub depth: usize,
    /// The imported script that it stands in; `None`: the script itself.
    pub script: Option<String>,
    /// Who called whom, innermost first.
    pub stack: Vec<Frame>,
    /// Variables in scope, bounded, secrets masked.
    pub variables: BTreeMap<String, Value>,
    /// The latest KV reads of the run, at most [`STEP_EFFECTS_MAX`].
    pub reads: Vec<ReadRecord>,
    /// How many there were.
    pub reads_total: usize,
    /// KV writes so far, by (collection, key), at most [`STEP_EFFECTS_MAX`].
    pub writes: Vec<((String, String), WriteEffect)>,
    /// How many there were.
    pub writes_total: usize,
    /// Lines logged so far.
    pub logs_total: usize,
}

/// Which steps to keep, and what to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The first step to keep, from 1.
    pub from: u64,
    /// At most so many.
    pub limit: usize,
    /// Lines to look for.
    pub lines: BTreeSet<ScriptLine>,
}

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Walked {
    /// The steps wanted.
    pub steps: Vec<Step>,
    /// Steps of the whole run.
    pub total: u64,
    /// The first step at or after `from` on one of the lines.
    pub hit_after: Option<u64>,
    /// The last step before `from` on one of the lines.
    pub hit_before: Option<u64>,
}

#[derive(Default)]
struct State {
    walked: Walked,
    bytes: usize,
    masker: Masker,
    secrets: usize,
}

/// Walks the statements of one run.
pub struct Tracer {
    wanted: Wanted,
    /// Where statements begin, by address in the tree; for an expression that stands as a statement, its own.
    places: HashMap<usize, Position>,
    /// The trees live as long as their addresses are in use.
    _compiled: (Compiled, Imports),
    /// Whether a line of an import is looked for.
    looks_into_imports: bool,
    state: Mutex<State>,
}

impl Tracer {
    /// A walk through runs of this script and of what it imports.
    #[must_use]
    pub fn new(compiled: &Compiled, imports: &Imports, wanted: Wanted) -> Arc<Tracer> {
        let mut places = HashMap::new();
        for script in std::iter::once(compiled).chain(imports.scripts()) {
            statements(script.ast(), |address, position| {
                places.insert(address, position);
            });
        }
        let looks_into_imports = wanted.lines.iter().any(|(script, _)| script.is_some());
        let held = (compiled.clone(), imports.clone());
        Arc::new(Tracer { wanted, places, _compiled: held, looks_into_imports, state: Mutex::default() })
    }

    /// What it found; to be called when the run has ended.
    #[must_use]
    pub fn walked(&self) -> Walked {
        std::mem::take(&mut self.state.lock().walked)
    }

    /// The place of a node if it is a statement that somebody wrote.
    fn place_of(&self, node: &ASTNode<'_>) -> Option<Position> {
        self.places.get(&address(node)?).copied()
    }

    fn see(
        &self,
        host: &Host,
        context: &EvalContext<'_, '_, '_, '_, '_, '_>,
        source: Option<&str>,
        at: Position,
    ) {
        let mut state = self.state.lock();
        state.walked.total += 1;
        let step = state.walked.total;
        let (line, column) = place(at);
        if self.is_wanted(source, line) {
            if step < self.wanted.from {
                state.walked.hit_before = Some(step);
            } else {
                state.walked.hit_after.get_or_insert(step);
            }
        }
        let kept = state.walked.steps.len();
        let full = kept >= self.wanted.limit || (kept > 0 && state.bytes > STEPS_BYTES_MAX);
        if step < self.wanted.from || full || step != self.wanted.from + kept as u64 {
            return;
        }
        let shown = self.step(&mut state, host, context, source, (line, column));
        state.walked.steps.push(Step { step, ..shown });
    }

    fn is_wanted(&self, script: Option<&str>, line: u32) -> bool {
        match script {
            None => !self.wanted.lines.is_empty() && self.wanted.lines.contains(&(None, line)),
            Some(name) => {
                self.looks_into_imports && self.wanted.lines.contains(&(Some(name.to_owned()), line))
            }
        }
    }

    fn step(
        &self,
        state: &mut State,
        host: &Host,
        context: &EvalContext<'_, '_, '_, '_, '_, '_>,
        source: Option<&str>,
        (line, column): (u32, u32),
    ) -> Step {
        let effects = host.effects.lock();
        if effects.secret_values.len() != state.secrets {
            state.secrets = effects.secret_values.len();
            state.masker = Masker::new(effects.secret_values.iter().cloned());
        }
        let latest = effects.reads.len().saturating_sub(STEP_EFFECTS_MAX);
        let reads = effects.reads.iter().skip(latest).cloned().collect();
        let writes = effects
            .writes
            .iter()
            .take(STEP_EFFECTS_MAX)
            .map(|(key, write)| (key.clone(), write.clone()))
            .collect();
        let (reads_total, writes_total, logs_total) =
            (effects.reads.len(), effects.writes.len(), effects.logs.len());
        drop(effects);
        let mut budget = Budget::of_step();
        let mut variables = BTreeMap::new();
        // The newest of a name is the one in sight: it comes last and replaces the others.
        for (name, _, value) in context.scope().iter_raw() {
            variables.insert(name.to_owned(), shown(value, &state.masker, &mut budget));
        }
        if let Some(this) = context.this_ptr() {
            variables.insert("this".to_owned(), shown(this, &state.masker, &mut budget));
        }
        state.bytes += budget.used();
        let stack = stack(context, host, source, line);
        Step {
            step: 0,
            line,
            column,
            depth: context.debugger().map_or(0, |debugger| debugger.call_stack().len()),
            script: source.map(str::to_owned),
            stack,
            variables,
            reads,
            reads_total,
            writes,
            writes_total,
            logs_total,
        }
    }
}

/// Innermost first: each function with the line that it is at.
fn stack(
    context: &EvalContext<'_, '_, '_, '_, '_, '_>,
    host: &Host,
    script: Option<&str>,
    line: u32,
) -> Vec<Frame> {
    let mut frames = Vec::new();
    let (mut at, mut within) = (line, script.map(str::to_owned));
    let calls = context.debugger().map_or(&[][..], |debugger| debugger.call_stack());
    for (depth, call) in calls.iter().enumerate().rev() {
        let name = if call.fn_name.starts_with("anon$") { "(closure)" } else { call.fn_name.as_str() };
        frames.push(Frame { function: Some(name.to_owned()), script: within, line: at });
        at = place(call.pos).0;
        // Who called stands in the script of the call around it.
        let around = depth.checked_sub(1).and_then(|outer| calls.get(outer));
        let around = around.and_then(|outer| outer.source.as_deref());
        within = around.filter(|name| *name != host.context.script).map(str::to_owned);
    }
    frames.push(Frame { function: None, script: within, line: at });
    frames.truncate(STEP_FRAMES_MAX);
    frames
}

/// What tells a node from every other of its tree. An expression that stands as a statement is seen as the expression.
fn address(node: &ASTNode<'_>) -> Option<usize> {
    match node {
        ASTNode::Stmt(Stmt::Expr(expr)) => Some(std::ptr::from_ref::<Expr>(expr).addr()),
        ASTNode::Stmt(stmt) => Some(std::ptr::from_ref::<Stmt>(stmt).addr()),
        ASTNode::Expr(expr) => Some(std::ptr::from_ref::<Expr>(expr).addr()),
        _ => None,
    }
}

/// Every statement of a script that somebody wrote: its address and its place.
fn statements(ast: &AST, mut found: impl FnMut(usize, Position)) {
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        let Some(node @ ASTNode::Stmt(stmt)) = path.last() else { return true };
        // Blocks are seen by what is in them; captures are made by the compiler.
        if matches!(stmt, Stmt::Noop(..) | Stmt::Block(..) | Stmt::Share(..)) {
            return true;
        }
        let position = if let Stmt::Expr(expr) = stmt { expr.start_position() } else { stmt.position() };
        if !position.is_none()
            && !part_of_an_expression(path)
            && let Some(address) = address(node)
        {
            found(address, position);
        }
        true
    });
}

/// The interpreter wraps what stands in `${…}` and what makes a closure into a block of its own: no statement.
fn part_of_an_expression(path: &[ASTNode<'_>]) -> bool {
    let mut around = path.iter().rev().skip(1);
    let Some(ASTNode::Expr(Expr::Stmt(block))) = around.next() else { return false };
    let captures = matches!(block.statements().first(), Some(Stmt::Share(..)));
    let interpolated = matches!(around.next(), Some(ASTNode::Expr(Expr::InterpolatedString(..))));
    captures || (interpolated && block.statements().len() == 1)
}

impl Compiled {
    /// The lines on which a statement begins.
    #[must_use]
    pub fn lines_with_code(&self) -> BTreeSet<u32> {
        let mut lines = BTreeSet::new();
        statements(self.ast(), |_, position| {
            lines.insert(place(position).0);
        });
        lines
    }
}

/// Lets an engine tell what is watched.
pub(super) fn attach(engine: &mut Engine, host: &Arc<Host>, watch: &Watch) {
    if watch.is_idle() {
        return;
    }
    let (probe, tracer) = (watch.headers.clone(), watch.tracer.clone());
    let host = Arc::clone(host);
    #[expect(deprecated, reason = "Rhai marks this interface as volatile, not as going away")]
    engine.register_debugger(
        |_, debugger| debugger,
        move |context, event, node, source, _| {
            if matches!(event, DebuggerEvent::Start | DebuggerEvent::Step) {
                if let Some(probe) = &probe {
                    probe.see(&node);
                }
                if let Some(tracer) = &tracer
                    && let Some(at) = tracer.place_of(&node)
                {
                    // The script itself has no name here, an import has its own.
                    let import = source.filter(|name| *name != host.context.script);
                    tracer.see(&host, &context, import, at);
                }
            }
            Ok(DebuggerCommand::StepInto)
        },
    );
}
