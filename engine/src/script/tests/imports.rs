//! `import`: modules of other scripts, their constants, their errors, their budgets.

use std::collections::BTreeMap;

use relive_log::events::ErrorKind;

use super::{check_refusal, finish, given, json_of};
use crate::script::{Imports, Run, compile};

const LIB: &str = r#"const RATE = 3;
let calls = 0;
export const VERSION = 7;
export calls as made;
fn plus(x) { x + 1 }
fn rated(x) { x * global::RATE }
fn chain(x) { plus(plus(x)) }
private fn hidden() { 1 }
fn fails(x) {
    let y = x;
    y.no_such_method()
}
fn throws() { throw #{code: 5} }
fn deep() { deep() }
fn long() { let s = "x"; loop { s += s; } }
fn writes() { kv::set("from", "lib", ctx.app) }
fn asks() { secrets::get("lost") }
"#;

fn importing(source: &str) -> Run {
    let other = "import \"lib\" as l;\nfn twice(x) { l::plus(x) * 2 }\nfn fails() { l::fails(1) }";
    let scripts = [("lib", LIB), ("other", other), ("broken", "1;\nlet x = 1 / 0;")];
    let compiled = scripts.map(|(name, source)| (name.to_owned(), compile(name, source).unwrap()));
    Run { imports: Imports::new(BTreeMap::from(compiled)), ..given(source) }
}

#[test]
fn an_import_has_the_functions_and_exported_values_of_a_script() {
    for (source, expected) in [
        (r#"import "lib" as l; l::plus(1)"#, "2"),
        (r#"import "lib" as l; l::chain(1)"#, "3"),
        (r#"import "lib" as l; l::rated(2)"#, "6"),
        (r#"import "lib" as l; l::VERSION"#, "7"),
        (r#"import "lib" as l; l::made"#, "0"),
        (r#"import "other" as o; o::twice(1)"#, "4"),
        (r#"fn f() { import "lib" as l; l::plus(1) } f()"#, "2"),
        (r#"import "lib" as l; fn f() { l::plus(1) } f()"#, "2"),
        (r#"import "lib" as l; [1, 2].map(|x| l::plus(x))"#, "[2,3]"),
        (r#"import "lib" as a; import "lib" as b; a::plus(b::plus(1))"#, "3"),
        (r#"for i in 0..20 { import "lib" as l; l::plus(i); } 1"#, "1"),
        ("const RATE = 2; fn f(x) { x * global::RATE } f(3)", "6"),
        (r#"const RATE = 2; fn f(x) { x * global::RATE } import "lib" as l; [f(1), l::rated(1)]"#, "[2,3]"),
    ] {
        let found = json_of(&finish(importing(source)));
        assert_eq!(found.as_deref(), Ok(expected), "\n{source}");
    }
}

#[test]
fn an_import_does_what_the_script_could_do_itself() {
    let finished = finish(importing("import \"lib\" as l;\nl::writes()"));
    let written: Vec<_> = finished.writes.keys().collect();
    assert_eq!(written, [&("from".to_owned(), "lib".to_owned())]);
}

#[test]
fn d17_errors_inside_an_import_name_its_file_and_line() {
    for (source, line, part) in [
        ("import \"lib\" as l;\nl::fails(1)", 2, "(in `lib`, line 11, column 7)"),
        ("import \"other\" as o;\n\no::fails()", 3, "(in `lib`, line 11, column 7)"),
        ("1;\nimport \"broken\" as b;", 2, "(in `broken`, line 2, column "),
    ] {
        check_refusal(importing(source), ErrorKind::Runtime, line, part);
    }
    check_refusal(importing("import \"lib\" as l;\nl::throws()"), ErrorKind::Throw, 2, "(in `lib`, line 13,");
    check_refusal(
        importing("import \"lib\" as l;\nl::asks()"),
        ErrorKind::KeyMissing,
        2,
        "(in `lib`, line 17,",
    );
    check_refusal(importing("import \"lib\" as l;\nl::hidden()"), ErrorKind::Runtime, 2, "hidden");
    check_refusal(importing("1;\nimport \"absent\" as a;"), ErrorKind::Runtime, 2, "`absent` is not among");
}

#[test]
fn e41_budgets_hold_inside_imports_and_cannot_be_caught() {
    for (source, kind) in [
        ("import \"lib\" as l;\ntry { l::deep() } catch { 1 }", ErrorKind::CallDepth),
        ("import \"lib\" as l;\ntry { l::long() } catch { 1 }", ErrorKind::Size),
        ("import \"lib\" as l;\ntry { l::asks() } catch { 1 }", ErrorKind::KeyMissing),
        ("try { loop { import \"lib\" as l; } } catch { 1 }", ErrorKind::Size),
    ] {
        let error = finish(importing(source)).outcome.unwrap_err();
        assert_eq!(error.kind, kind, "{source}: {}", error.message);
    }
}

#[test]
fn e161_an_import_is_evaluated_once_per_run() {
    let once = "kv::incr(\"evaluated\", \"n\", 1);\nfn f() { 1 }";
    let other = "import \"once\" as o;\nfn f() { o::f() }";
    let compiled = [("once", once), ("other", other)].map(|(n, s)| (n.to_owned(), compile(n, s).unwrap()));
    let source = "import \"once\" as a; import \"other\" as b;\nfor i in 0..5 { import \"once\" as c; c::f(); } b::f()";
    let finished = finish(Run { imports: Imports::new(BTreeMap::from(compiled)), ..given(source) });
    assert_eq!(json_of(&finished).as_deref(), Ok("1"));
    let value = finished.writes.values().next().unwrap().value.clone().unwrap();
    assert_eq!(&*value, b"1");
}
