//! Every budget ends the run with its kind, and no `catch` turns that into success (E41).

use std::sync::Arc;

use relive_log::events::ErrorKind;

use super::super::{Limits, OPERATIONS_UPPER_BOUND, Run, StopCause};
use super::{Already, check, check_error, check_refusal, finish, given};

/// As written, and with everything in a `try` whose `catch` returns quietly.
#[track_caller]
fn check_budget(source: &str, kind: ErrorKind) {
    for source in [
        source.to_owned(),
        format!("let r = 0; try {{ {source}; }} catch {{ r = 1; }} r"),
        format!("fn f() {{ {source}; }} try {{ f(); }} catch (e) {{ }}"),
    ] {
        let mut run = given(&source);
        if kind == ErrorKind::Operations {
            run.limits.operations = 300_000;
        }
        let error = finish(run).outcome.expect_err(&source);
        assert_eq!(error.kind, kind, "{source}: {error:?}");
        // Who swallowed the error inside a native function's closure also lost where it was.
        let swallowed = source.contains("catch") && source.contains(".map(");
        assert!(swallowed || error.line > 0 && error.column > 0, "{source}: {error:?}");
    }
}

#[test]
fn operations() {
    check_budget("loop { }", ErrorKind::Operations);
    check_budget("let x = 0; while true { x += 1; }", ErrorKind::Operations);
    check_budget("for i in 0..9223372036854775807 { }", ErrorKind::Operations);
    check_budget("let a = [1]; a.map(|x| { loop { } })", ErrorKind::Operations);
}

#[test]
fn operations_in_closures_of_native_functions_count() {
    let mut run = given("let a = []; a.pad(1000, 1); loop { a.for_each(|| { for i in 0..1000 { } }); }");
    run.limits.operations = 100_000;
    let finished = finish(run);
    assert_eq!(finished.outcome.expect_err("stops").kind, ErrorKind::Operations);
    assert_eq!(finished.record.operations, 100_001);
}

#[test]
fn operations_are_capped_by_what_the_stack_covers() {
    let mut run = given("loop { }");
    run.limits.operations = u64::MAX;
    assert_eq!(finish(run).record.operations, OPERATIONS_UPPER_BOUND + 1);
    assert!(Limits::default().operations <= OPERATIONS_UPPER_BOUND);
}

#[test]
fn call_depth() {
    for source in
        ["fn g(n) { g(n + 1) } g(0)", "fn g() { g() } g()", "fn g(f) { f.call(f) } g(|f| f.call(f))"]
    {
        let error = finish(given(source)).outcome.expect_err(source);
        assert_eq!(error.kind, ErrorKind::CallDepth, "{error:?}");
        let caught = source.replacen("} g(", "} try { g(", 1) + " } catch { }";
        let error = finish(given(&caught)).outcome.expect_err(&caught);
        assert_eq!(error.kind, ErrorKind::CallDepth, "{error:?}");
    }
    check("fn g(n) { if n == 0 { 0 } else { g(n - 1) } } g(62)", "0");
}

#[test]
fn sizes() {
    // E43
    for source in [
        "let s = \"x\"; loop { s += s; }",
        "let s = \"x\"; s.pad(1000000000, 'x')",
        "let a = []; a.pad(1000000, 0)",
        "let a = [0]; loop { a += a; }",
        "blob(1000000000)",
        "let a = \"[\"; a.pad(300000, '0'); a.replace(\"0\", \"0,\"); a += \"0]\"; json::parse(a)",
    ] {
        check_budget(source, ErrorKind::Size);
    }
}

/// Whatever calls a function of the script hands the end of the run on: no `catch` around it catches that.
#[test]
fn e41_budgets_cannot_be_caught_around_functions_that_call_functions() {
    let calls = [
        "[1].map(|x| F)",
        "[1].filter(|x| F)",
        "[1].for_each(|x| F)",
        "[1].find(|x| F)",
        "[1].find(|x| F, 0)",
        "[1].find_map(|x| F)",
        "[1].index_of(|x| F)",
        "[1].index_of(|x| F, 0)",
        "[1].some(|x| F)",
        "[1].all(|x| F)",
        "[1].reduce(|s, x| F)",
        "[1].reduce(|s, x| F, 0)",
        "[1].reduce_rev(|s, x| F)",
        "[1].zip([1], |x, y| F)",
        "let a = [2, 1]; a.sort(|x, y| F)",
        "let a = [2, 1]; a.sort_by(|x, y| F)",
        "[2, 1].order(|x, y| F)",
        "let a = [2, 1]; a.dedup(|x, y| F)",
        "let a = [1]; a.drain(|x| F)",
        "let a = [1]; a.retain(|x| F)",
        "#{a: 1}.map(|k, v| F)",
        "#{a: 1}.filter(|k, v| F)",
        "let m = #{a: 1}; m.drain(|k, v| F)",
        "let m = #{a: 1}; m.retain(|k, v| F)",
        "let f = |x| F; f.call(1)",
    ];
    for call in calls {
        for (body, kind) in
            [("deep()", ErrorKind::CallDepth), ("{ let s = \"x\"; loop { s += s; } }", ErrorKind::Size)]
        {
            let call = call.replace('F', body);
            let source = format!("fn deep() {{ deep() }} try {{ {call}; }} catch {{ }} 1");
            let error = finish(given(&source)).outcome.expect_err(&source);
            assert_eq!(error.kind, kind, "{source}: {error:?}");
        }
    }
}

/// A map may hold one long string many times for nothing: its text must not be built before it is measured.
#[test]
fn printing_a_map_of_shared_strings_is_bounded() {
    let map = "let s = \"\"; s.pad(500000, 'x'); let m = #{}; for i in 0..2000 { m[`${i}`] = s; }";
    for print in ["m.to_string()", "`${m}`", "m.to_debug()", "\"\" + m", "[1].map(|x| m.to_string())"] {
        check_budget(&format!("{map} {print}"), ErrorKind::Size);
    }
    check_error(&format!("{map} m.to_json()"), ErrorKind::Runtime, 1, "longer than");
    check(&format!("{map} print(m); log::info(m); 1"), "1");
}

#[test]
fn memory() {
    check_budget(
        "let m = #{}; for i in 0..20000 { let s = `${i}`; s.pad(500000, 'x'); m[`${i}`] = s; }",
        ErrorKind::Memory,
    );
    check_budget(
        "let xs = []; for i in 0..99 { let s = \"\"; s.pad(1000000, 'x'); kv::get(\"c\", `${i}`); xs = #{a: xs, s: s}; }",
        ErrorKind::Size,
    );
    let mut run = given("let m = #{}; for i in 0..20000 { m[`k${i}`] = i; } m.len");
    run.limits.memory_bytes = 1 << 19;
    check_refusal(run, ErrorKind::Memory, 1, "524288 bytes");
}

#[test]
fn writes() {
    check_budget("for i in 0..10001 { kv::set(\"c\", `${i}`, i) }", ErrorKind::Writes);
    check_budget(
        "let s = \"\"; s.pad(1000000, 'x'); for i in 0..9 { kv::set(\"c\", `${i}`, s) }",
        ErrorKind::Writes,
    );
    check_budget("[1].map(|x| { for i in 0..10001 { kv::set(\"c\", `${i}`, i) } })", ErrorKind::Writes);
    check("for i in 0..20000 { kv::set(\"c\", \"same\", i) } 1", "1");
    check("let s = \"\"; s.pad(1000000, 'x'); for i in 0..30 { kv::set(\"c\", \"k\", s) } 1", "1");
}

fn stopped(source: &str, cause: StopCause) -> Run {
    Run { stopwatch: Arc::new(Already(cause)), ..given(source) }
}

#[test]
fn the_stopwatch() {
    for (cause, kind) in
        [(StopCause::Timeout, ErrorKind::Timeout), (StopCause::ShuttingDown, ErrorKind::ShuttingDown)]
    {
        for source in
            ["loop { }", "try { loop { } } catch { }", "try { [1].map(|x| { loop { } }) } catch { } 1"]
        {
            check_refusal(stopped(source, cause), kind, 1, "");
        }
        assert!(finish(stopped("1 + 1", cause)).outcome.is_ok());
    }
}

/// `ecosystem.md` 3.2 #1: dropping captures nested once per loop recurses; the stack must cover it.
#[test]
fn nested_captures_do_not_overflow_the_stack() {
    let source = "let a = 1; for i in 0..10000000 { let b = a; let f = || b; a = f; }";
    let finished = finish(given(source));
    let kind = finished.outcome.expect_err("a budget ends it").kind;
    assert!(matches!(kind, ErrorKind::Memory | ErrorKind::Operations), "{kind:?}");
    let mut unmetered = given(source);
    unmetered.limits.memory_bytes = u64::MAX;
    assert_eq!(finish(unmetered).outcome.expect_err("a budget ends it").kind, ErrorKind::Operations);
}

/// `ecosystem.md` 3.2 #4: printing deeply nested arrays recurses.
#[test]
fn nested_arrays_do_not_overflow_the_stack() {
    let mut run = given("let a = []; for i in 0..10000 { a = [a]; } a.to_string().len");
    run.limits.array_len = 1_000_000;
    assert!(finish(run).outcome.is_ok());
    check_error(
        "let a = []; for i in 0..3000 { a = [a]; } json::stringify(a)",
        ErrorKind::Runtime,
        1,
        "deeper",
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test lends the thread that a run needs")]
fn a_closure_kept_in_what_it_captured_is_freed() {
    let source = "let s = \"\"; s.pad(1000000, 'x'); let m = #{s: s}; m.f = || m.len(); m.f.call()";
    let run = given(source);
    std::thread::Builder::new()
        .stack_size(super::SCRIPT_STACK_BYTES)
        .spawn(move || {
            let _warm = super::run(run.clone());
            let before = super::super::memory::held_bytes();
            drop(super::run(run.clone()));
            let kept = super::super::memory::held_bytes() - before;
            assert!(kept < 100_000, "{kept} bytes stay");
        })
        .expect("a thread starts")
        .join()
        .expect("no assertion fails");
}
