//! The language: what a script is, what it sees, what it does not have.

use relive_log::events::ErrorKind;

use super::super::{CompileCache, Imports, compile};
use super::{check, check_error, finish, given, json_of};

#[test]
fn a_script_is_evaluated_top_to_bottom() {
    for (source, expected) in [
        ("1 + 1", "2"),
        ("", "null"),
        ("let x = 1;", "null"),
        ("return 5; 6", "5"),
        ("if true { return [1, 2.5, 'c', ()]; } 1", r#"[1,2.5,"c",null]"#),
        ("fn f(x) { x * 2 } f(21)", "42"),
        ("fn f(n) { if n < 2 { n } else { f(n - 1) + f(n - 2) } } f(12)", "144"),
        ("exit(7); 8", "7"),
        ("fn f() { exit(#{a: 1}) } f(); 8", r#"{"a":1}"#),
        ("let a = 5; take(a) + 1", "6"),
        ("let s = 0; for i in 0..10 { if i == 5 { break; } s += i; } s", "10"),
        ("`${1 + 1} and ${[1, #{a: 2}]}`", "\"2 and [1, #{\\\"a\\\": 2}]\""),
        ("let r = \"\"; try { throw \"x\"; } catch (e) { r = e; } r", "\"x\""),
        ("let x = #{}; x.a?.b ?? 3", "3"),
        ("parse_json(`{\"a\": [1]}`).a[0]", "1"),
        ("#{a: 1}.to_json()", r#""{\"a\":1}""#),
        ("0.1 + 0.2 == 0.3", "true"),
    ] {
        check(source, expected);
    }
}

#[test]
fn closures_capture() {
    for (source, expected) in [
        ("let limit = 10; let xs = [5, 15, 25]; xs.filter(|x| x > limit)", "[15,25]"),
        (
            "let limit = 10; let items = [#{total: 5}, #{total: 15}]; items.filter(|x| x.total > limit)",
            r#"[{"total":15}]"#,
        ),
        ("fn f(xs, limit) { xs.filter(|x| x > limit) } f([1, 5], 3)", "[5]"),
        ("let n = 0; let bump = || n += 1; bump.call(); bump.call(); n", "2"),
        ("[1, 2].map(|x| x + ctx.attempt)", "[3,4]"),
        ("fn f() { [1].map(|x| ctx.app) } f()", r#"["shop"]"#),
        ("let t = 0; [1, 2, 3].for_each(|| t += this); t", "6"),
        ("let n = 1; let f = || n; let m = #{f: f}; n = 5; m.f.call()", "5"),
    ] {
        check(source, expected);
    }
}

#[test]
fn ctx_is_visible_everywhere_and_read_only() {
    for (source, expected) in [
        ("ctx.app", r#""shop""#),
        ("ctx.script", r#"{"name":"test","version":4}"#),
        ("ctx.sdk", "1"),
        ("[ctx.depth, ctx.attempt, ctx.lsn]", "[1,2,100]"),
        ("ctx.execution_id", r#""01010101-0101-0101-0101-010101010101""#),
        ("ctx.root_execution_id", r#""02020202-0202-0202-0202-020202020202""#),
        ("ctx.principal", "null"),
        ("type_of(ctx.event)", r#""()""#),
        ("ctx.request.method + ctx.request.path", r#""POST/orders/7""#),
        ("ctx.request.params.id", r#""7""#),
        ("ctx.request.query.q", r#""2""#),
        ("ctx.request.headers[\"x-a\"]", r#""1, 2""#),
        ("ctx.request.json.total", "12"),
        ("type_of(ctx.request.json.big)", r#""f64""#),
        ("ctx.request.body.len", "42"),
        ("ctx.request.bytes.len", "42"),
        ("fn id() { ctx.request.params.id } id()", r#""7""#),
        ("fn f(ctx) { ctx } f(3)", "3"),
        ("let c = ctx; c.app = \"mine\"; [c.app, ctx.app]", r#"["mine","shop"]"#),
        ("fn f(c) { c.app } f(ctx)", r#""shop""#),
        ("let ctx = 5; ctx", "5"),
    ] {
        check(source, expected);
    }
    check_error("let a = 1;\nctx.app = \"x\";", ErrorKind::Runtime, 2, "");
    check_error("ctx = 1;", ErrorKind::Runtime, 1, "");
}

#[test]
fn e166_a_part_of_ctx_is_what_it_is_in_the_whole() {
    for field in [
        "app",
        "script",
        "sdk",
        "execution_id",
        "root_execution_id",
        "depth",
        "attempt",
        "principal",
        "lsn",
        "event",
        "payload",
        "request",
        "nothing",
        "request.method",
        "request.path",
        "request.params",
        "request.query",
        "request.headers",
        "request.body",
        "request.json",
        "request.bytes",
        "request.nothing",
        "request.headers[\"x-a\"]",
        "request.json.total",
    ] {
        let part = json_of(&finish(given(&format!("ctx.{field}"))));
        let whole = json_of(&finish(given(&format!("let all = ctx; all.{field}"))));
        assert_eq!(part, whole, "ctx.{field}");
    }
}

#[test]
fn e166_an_import_has_the_ctx_that_it_needs() {
    let mut run = given("import \"lib\" as lib; [ctx.depth, lib::path()]");
    let lib = compile("lib", "fn path() { ctx.request.path }").unwrap();
    run.imports = Imports::new([("lib".to_owned(), lib)].into());
    assert_eq!(json_of(&finish(run)).as_deref(), Ok(r#"[1,"/orders/7"]"#));
}

#[test]
fn errors_say_what_where_and_of_which_kind() {
    for (source, kind, line, part) in [
        ("let a = 1;\nthrow \"boom\";", ErrorKind::Throw, 2, "boom"),
        ("throw #{code: 1};", ErrorKind::Throw, 1, r#"{"code":1}"#),
        ("throw;", ErrorKind::Throw, 1, "null"),
        ("fn f() {\n throw 3 }\nf()", ErrorKind::Throw, 2, "3"),
        ("let m = #{};\nm.missing()", ErrorKind::Runtime, 2, "missing"),
        ("let a = [1];\n\na[5]", ErrorKind::Runtime, 3, "5"),
        ("1 / 0", ErrorKind::Runtime, 1, "zero"),
        ("9223372036854775807 + 1", ErrorKind::Runtime, 1, "overflow"),
        ("[1].map(|x|\n x.nope())", ErrorKind::Runtime, 2, "nope"),
        ("kv::get(\"\", \"k\")", ErrorKind::Runtime, 1, "empty"),
        ("try {\n kv::get(\"\", \"k\") } catch (e) {\n throw e; }", ErrorKind::Runtime, 3, "empty"),
        ("fn f() {\n kv::nope(1) }\nf()", ErrorKind::Runtime, 2, "kv::nope"),
    ] {
        check_error(source, kind, line, part);
    }
    check(
        "try { kv::get(\"\", \"k\") } catch (e) { return [e.kind, e.message] }",
        r#"["runtime","kv: the collection's name is empty"]"#,
    );
}

#[test]
fn what_the_language_leaves_out() {
    // E42
    for (source, part) in [
        ("sleep(5)", "sleep"),
        ("sleep(0.1)", "sleep"),
        ("timestamp()", "timestamp"),
        ("rand()", "rand"),
        ("back_trace()", "back_trace"),
        ("read_file(\"x\")", "read_file"),
    ] {
        check_error(source, ErrorKind::Runtime, 1, part);
    }
}

#[test]
fn what_does_not_compile() {
    for (source, line, column, part) in [
        ("let a = 1;\nlet b = ;", 2, 9, ""),
        ("let total = 1;\ntotl + 1", 2, 1, "totl"),
        ("fn f() { y }", 1, 10, "y"),
        ("[1].map(|x| x + yy)", 1, 17, "yy"),
        ("let n = \"lib\";\nimport n as l;", 2, 1, "import takes the name of a script"),
        ("const RATE = 2;\nfn f(x) { x * RATE }", 2, 15, "a constant is `global::RATE` there"),
        ("eval(\"1\")", 1, 1, "eval is not part"),
        ("nope::f(1)", 1, 1, "nope"),
        ("let debug = 1;", 1, 5, "debug"),
        ("x::debug(1)", 1, 4, "debug"),
        ("\"abc", 1, 1, ""),
    ] {
        let error = compile("t", source).expect_err(source);
        assert_eq!((error.line, error.column), (line, column), "{source}: {error}");
        assert!(error.message.contains(part), "{source}: {error}");
    }
}

#[test]
fn log_debug_is_read_in_place_and_nothing_else_changes() {
    let finished = finish(given(
        "let s = \"log::debug(1)\"; /* log::debug */ log::debug(s);\nlog :: debug(`é ${log::debug(2)}`); debug(3);\ns",
    ));
    let logs: Vec<_> =
        finished.record.logs.iter().map(|l| (l.level.name(), l.message.as_str(), l.line)).collect();
    assert_eq!(
        logs,
        [("debug", "log::debug(1)", 1), ("debug", "2", 2), ("debug", "é ", 2), ("debug", "3", 2)]
    );
    assert_eq!(super::json_of(&finished).as_deref(), Ok("\"log::debug(1)\""));
}

#[test]
fn the_cache_is_bounded_and_shares_by_source() {
    let cache = CompileCache::new(2);
    let first = cache.get_or_compile("a", "1").expect("compiles");
    let again = cache.get_or_compile("b", "1").expect("compiles");
    assert_eq!((first.sha256(), first.name(), again.name()), (again.sha256(), "a", "b"));
    for source in ["2", "3", "4"] {
        cache.get_or_compile("x", source).expect("compiles");
    }
    assert_eq!(cache.len(), 2);
    assert!(cache.get_or_compile("x", "let").is_err());
}

/// The functions that shadow Rhai's do what Rhai's do.
#[test]
fn functions_that_call_functions_behave_as_the_language_says() {
    for (source, expected) in [
        ("[1, 2, 3].map(|x| x * 2)", "[2,4,6]"),
        ("[5, 6].map(|x, i| x + i)", "[5,7]"),
        ("[1, 2].map(|| this + 1)", "[2,3]"),
        ("[1, 2, 3, 4].filter(|x| x % 2 == 0)", "[2,4]"),
        ("[1, 2, 3, 4].filter(|x, i| i > 1)", "[3,4]"),
        ("let a = [1, 2]; a.for_each(|| this *= 10); a", "[10,20]"),
        ("let a = [1, 2]; a.for_each(|i| this += i); a", "[1,3]"),
        ("[1, 2, 3].find(|x| x > 1)", "2"),
        ("[1, 2, 3].find(|x| x > 9)", "null"),
        ("[1, 2, 3, 1].find(|x| x < 3, 2)", "1"),
        ("[1, 2, 3, 1].find(|x| x > 0, -2)", "3"),
        ("[1, 2].find_map(|x| if x > 1 { x * 10 })", "20"),
        ("[#{a: 1}, #{b: 2}].find_map(|x| x.b, 1)", "2"),
        ("[1, 2, 3].index_of(|x| x == 3)", "2"),
        ("[1, 2, 3].index_of(|x| x == 1, 1)", "-1"),
        ("[1, 2, 3].index_of(|x| x > 0, -99)", "0"),
        ("[1, 2, 3].index_of(|x| x > 0, 99)", "-1"),
        ("[1, 2, 3].index_of(2)", "1"),
        (
            "[[1, 2].some(|x| x > 1), [].some(|x| true), [1, 2].all(|x| x > 1), [].all(|x| false)]",
            "[true,false,false,true]",
        ),
        ("[1, 2, 3].reduce(|s, x| s + x, 0)", "6"),
        ("[1, 2, 3].reduce(|s, x| (s ?? 0) + x)", "6"),
        ("[1, 2, 3].reduce(|s, x, i| s + x * i, 0)", "8"),
        ("[1, 2, 3].reduce_rev(|s, x| s + `${x}`, \"\")", r#""321""#),
        ("[1, 2].zip([3, 4, 5], |x, y| x + y)", "[4,6]"),
        ("[1, 2].zip([3, 4], |x, y, i| x + y + i)", "[4,7]"),
        ("let a = [3, 1, 2]; a.sort(|x, y| x - y); a", "[1,2,3]"),
        ("let a = [3, 1, 2]; a.sort(|x, y| x > y); a", "[3,2,1]"),
        ("let a = [3, 1, 2]; a.sort(); a", "[1,2,3]"),
        ("[3, 1, 2].order(|x, y| y - x)", "[3,2,1]"),
        ("let a = [1, 1, 2, 1]; a.dedup(); a", "[1,2,1]"),
        ("let a = [1, 3, 2, 5]; a.dedup(|x, y| x % 2 == y % 2); a", "[1,2,5]"),
        ("let a = [1, 2, 3]; let b = a.drain(|x| x > 1); [a, b]", "[[1],[2,3]]"),
        ("let a = [1, 2, 3]; let b = a.retain(|x| x > 1); [a, b]", "[[2,3],[1]]"),
        ("#{a: 1, b: 2}.map(|k, v| `${k}${v}`)", r#"{"a":"a1","b":"b2"}"#),
        ("#{a: 1, b: 2}.filter(|k, v| v > 1)", r#"{"b":2}"#),
        ("#{a: 1, b: 2}.filter(|k| this > 1)", r#"{"b":2}"#),
        ("let m = #{a: 1, b: 2}; let n = m.drain(|k, v| v > 1); [m, n]", r#"[{"a":1},{"b":2}]"#),
        ("let m = #{a: 1, b: 2}; let n = m.retain(|k, v| v > 1); [m, n]", r#"[{"b":2},{"a":1}]"#),
        ("fn big(x) { x > 1 } [1, 2].filter(Fn(\"big\"))", "[2]"),
        ("let limit = 1; [1, 2].filter(|x| x > limit)", "[2]"),
        ("let e = (); try { [1].map(|x| { throw \"no\" }) } catch (caught) { e = caught } e", r#""no""#),
        (
            "let e = (); let a = [2, 1]; try { a.sort(|x, y| { throw \"no\" }) } catch (caught) { e = caught } e",
            r#""no""#,
        ),
        ("[1, 2, 3].map(|x| if x == 2 { exit(7) } else { x })", "7"),
    ] {
        check(source, expected);
    }
    check_error("[1].map(|x| x.nothing())", ErrorKind::Runtime, 1, "nothing");
}
