//! The interpreter: which parts of Rhai exist for scripts, and with which bounds.
//!
//! Owns: the language package (no clock, no sleep, no `eval`), the shared compiling engine and the
//! engine of one run. Never does: keep state between runs: an engine that a thread keeps for its next run has lost
//! everything that tied it to the last one.
//! Every bound is set by hand: Rhai's own defaults differ between debug and release builds.
//! Invariants: E40, E42, E43.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use rhai::module_resolvers::DummyModuleResolver;
use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicBlobPackage, BasicFnPackage, BasicIteratorPackage,
    BasicMapPackage, BasicMathPackage, BasicStringPackage, BitFieldPackage, LogicPackage, MoreStringPackage,
    Package,
};
use rhai::{Engine, Module, OptimizationLevel, Shared, def_package};

use super::host::Host;
use super::imports::{Imports, Resolver};
use super::modules;
use super::types::Limits;

/// Nesting of expressions at top level and in functions; the values of Rhai's release builds.
const EXPRESSION_DEPTH_MAX: usize = 64;
const FUNCTION_EXPRESSION_DEPTH_MAX: usize = 32;
/// Import statements that one run may carry out.
const IMPORTS_MAX: usize = 1000;
/// Functions that one script may define, closures included.
const FUNCTIONS_MAX: usize = 2000;
/// Rhai hashes function names with this, so that two processes behave alike (T2).
const HASHING_SEED: [u64; 4] = [0x7265_6c69, 0x7665_2d73, 0x6372_6970, 0x7473_2d31];

def_package! {
    /// What scripts may use of Rhai's library: all of it that is pure. `LanguageCorePackage` (sleep),
    /// `BasicTimePackage` and `DebuggingPackage` are left out; `modules::language` has the rest of the first.
    ScriptPackage(lib) :
        ArithmeticPackage, BasicStringPackage, BasicIteratorPackage, BasicFnPackage, BitFieldPackage,
        LogicPackage, BasicMathPackage, BasicArrayPackage, BasicBlobPackage, BasicMapPackage, MoreStringPackage
    {
        lib.set_id("std");
    }
}

/// What every engine shares, made once.
struct Library {
    package: Shared<Module>,
    language: Shared<Module>,
    modules: Vec<(&'static str, Shared<Module>)>,
}

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        // Before the first engine of the process; whoever came first set the same constant.
        let _already_set = rhai::config::hashing::set_hashing_seed(Some(HASHING_SEED));
        Library {
            package: ScriptPackage::new().as_shared_module(),
            language: modules::language::module(),
            modules: modules::all(),
        }
    })
}

fn bare(limits: &Limits) -> Engine {
    let library = library();
    let mut engine = Engine::new_raw();
    engine.set_optimization_level(OptimizationLevel::None);
    engine.register_global_module(Arc::clone(&library.package));
    engine.register_global_module(Arc::clone(&library.language));
    for (name, module) in &library.modules {
        engine.register_static_module(*name, Arc::clone(module));
    }
    engine
        .set_max_call_levels(limits.call_levels)
        .set_max_expr_depths(EXPRESSION_DEPTH_MAX, FUNCTION_EXPRESSION_DEPTH_MAX)
        .set_max_functions(FUNCTIONS_MAX)
        .set_max_modules(IMPORTS_MAX)
        .set_max_variables(limits.variables)
        .set_max_string_size(limits.string_bytes)
        .set_max_array_size(limits.array_len)
        .set_max_map_size(limits.map_len)
        // Counted by the host instead: the interpreter loses count in closures that native functions call.
        .set_max_operations(0);
    engine
}

/// The engine that compiles: shared, because compiling keeps no state.
pub(super) fn compiling() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut engine = bare(&Limits::default());
        engine.set_strict_variables(true);
        engine.disable_symbol("eval");
        engine
    })
}

thread_local! {
    /// The engine of this thread's last run: putting one together takes longer than a small script.
    static SPARE: RefCell<Option<Spare>> = const { RefCell::new(None) };
}

struct Spare {
    engine: Box<Engine>,
    limits: Limits,
}

/// Keeps an engine that ran to an end for the next run of this thread, without what tied it to this one.
pub(super) fn give_back(mut engine: Box<Engine>, limits: Limits) {
    engine.on_progress(|_| None);
    #[expect(deprecated, reason = "as in `running`")]
    engine.on_var(|_, _, _| Ok(None));
    engine.set_module_resolver(DummyModuleResolver::new());
    engine.set_default_tag(rhai::Dynamic::UNIT);
    SPARE.set(Some(Spare { engine, limits }));
}

/// The engine of one run.
pub(super) fn running(host: &Arc<Host>, imports: &Imports) -> Box<Engine> {
    let spare = SPARE.take().filter(|spare| spare.limits == host.limits);
    let mut engine = spare.map_or_else(|| Box::new(bare(&host.limits)), |spare| spare.engine);
    engine.set_module_resolver(Resolver::new(imports.clone()));
    let counted = Arc::clone(host);
    engine.on_progress(move |_| counted.progress());
    let known = Arc::clone(host);
    #[expect(deprecated, reason = "Rhai marks this hook as volatile, not as going away")]
    engine.on_var(move |name, index, _| Ok((index == 0 && name == "ctx").then(|| known.ctx())));
    engine.set_default_tag(rhai::Dynamic::from(Arc::clone(host)));
    engine
}
