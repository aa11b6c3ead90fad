//! The scripts. One test each; the name says what it tries.

use relive_log::events::ErrorKind::{CallDepth, Memory, Operations, Runtime, Size, Timeout, Writes};

use crate::{Ends, judge};

macro_rules! hostile {
    ($($(#[$deep:ident])? $name:ident: $ends:expr, $source:expr;)*) => {
        $(
            #[test]
            fn $name() {
                judge(stringify!($name), &$ends);
            }
        )*

        /// The source of a script.
        pub(crate) fn source(name: &str) -> Option<String> {
            match name {
                $(stringify!($name) => Some(String::from($source)),)*
                _ => None,
            }
        }

        /// Whether freeing what a script made recurses deeply.
        pub(crate) fn is_deep(name: &str) -> bool {
            let deep: &[&str] = &[$($(stringify!($name), stringify!($deep),)?)*];
            deep.contains(&name)
        }
    };
}

const BUDGETS: Ends = Ends::With(&[Operations, Timeout, Memory, Size]);
const TIME: Ends = Ends::With(&[Operations, Timeout]);
const SPACE: Ends = Ends::With(&[Memory, Size, Operations, Timeout]);

/// A string of about a megabyte in `s`.
fn with_long_string(rest: &str) -> String {
    format!("let s = \"\"; s.pad(1000000, 'x'); {rest}")
}

fn repeated(open: &str, times: usize, middle: &str, close: &str) -> String {
    format!("{}{middle}{}", open.repeat(times), close.repeat(times))
}

hostile! {
    // Time.
    empty_loop: TIME, "loop { }";
    caught_loop: TIME, "loop { try { loop { } } catch { } }";
    endless_range: TIME, "for i in 0..9223372036854775807 { }";
    negative_step: Ends::Anyhow, "for i in range(0, 10, -1) { }";
    zero_step: Ends::Anyhow, "for i in range(0, 10, 0) { }";
    loop_in_closure: TIME, "[1].map(|x| { loop { } })";
    loop_in_sort: TIME, "let a = []; a.pad(50000, 1); loop { a.sort(|x, y| y - x); }";
    sort_without_order: Ends::Anyhow, "let a = []; for i in 0..5000 { a.push(i); } a.sort(|x, y| random::int(-1, 1)); 1";
    loop_in_reduce: TIME, "let a = []; a.pad(90000, 1); loop { a.reduce(|x, y| x + y, 0); }";
    native_heavy_loop: TIME, with_long_string("loop { s.replace(\"x\", \"x\"); }");
    native_search_loop: TIME, with_long_string("loop { s.contains(\"xxxxxxxxxxxxxxxxxxxxy\"); }");
    split_loop: BUDGETS, with_long_string("loop { s.split(\"xx\"); }");
    hash_loop: TIME, with_long_string("loop { crypto::sha256(s); }");
    sleeps: Ends::With(&[Runtime]), "sleep(60)";
    sleeps_a_little: Ends::With(&[Runtime]), "sleep(0.5)";
    sleeps_as_a_method: Ends::With(&[Runtime]), "60.sleep()";
    reads_a_clock: Ends::With(&[Runtime]), "timestamp()";
    exits: Ends::Well, "exit(1)";
    exits_in_closure: Ends::Anyhow, "[1].map(|x| exit(1))";

    // Depth.
    recursion: Ends::With(&[CallDepth]), "fn f(n) { f(n + 1) } f(0)";
    mutual_recursion: Ends::With(&[CallDepth]), "fn f(n) { g(n) } fn g(n) { f(n) } f(0)";
    caught_recursion: Ends::With(&[CallDepth]), "fn f(n) { try { f(n + 1) } catch { f(n) } } f(0)";
    closure_recursion: Ends::With(&[CallDepth]), "let f = |f| f.call(f); f.call(f)";
    recursion_through_map: BUDGETS_OR_DEPTH, "fn f(n) { [n].map(|x| f(x + 1)) } f(0)";
    recursion_through_sort: Ends::Anyhow, "fn f(n) { let a = [2, 1]; a.sort(|x, y| { f(n + 1); 0 }); } f(0)";
    deep_parentheses: Ends::Anyhow, repeated("(", 20_000, "1", ")");
    deep_arrays: Ends::Anyhow, repeated("[", 20_000, "1", "]");
    deep_maps: Ends::Anyhow, repeated("#{a:", 20_000, "1", "}");
    deep_blocks: Ends::Anyhow, repeated("{", 20_000, "1", "}");
    deep_unary: Ends::Anyhow, repeated("-", 50_000, "1", "");
    deep_not: Ends::Anyhow, repeated("!", 50_000, "true", "");
    deep_else_if: Ends::Anyhow, repeated("if false { 1 } else ", 20_000, "{ 2 }", "");
    deep_interpolation: Ends::Anyhow, repeated("`${", 5_000, "1", "}`");
    deep_closures: Ends::Anyhow, repeated("|x| ", 20_000, "1", "");
    long_sum: Ends::Anyhow, format!("1{}", " + 1".repeat(60_000));
    long_chain: Ends::Anyhow, format!("let a = #{{}}; a{}", ".b".repeat(60_000));
    many_functions: Ends::Anyhow, (0..5000).map(|n| format!("fn f{n}() {{ }}\n")).collect::<String>();
    many_variables: Ends::Anyhow, (0..5000).map(|n| format!("let v{n} = {n};\n")).collect::<String>();
    #[deep] nested_values: Ends::Anyhow, "let a = []; for i in 0..90000 { a = [a]; } a.len()";
    #[deep] nested_values_printed: Ends::Anyhow, "let a = []; for i in 0..9000 { a = [a]; } a.to_string().len()";
    #[deep] nested_values_compared: Ends::Anyhow, "let a = []; for i in 0..9000 { a = [a]; } let b = a; a == b";
    #[deep] nested_maps: Ends::Anyhow, "let a = #{}; for i in 0..90000 { a = #{a: a}; } a.len()";
    #[deep] nested_captures: SPACE, "let a = 1; for i in 0..2000000 { let b = a; let f = || b; a = f; }";
    #[deep] nested_curries: Ends::Anyhow, "let f = |x| x; for i in 0..100000 { f = f.curry(f); } 1";

    // Space.
    doubled_string: Ends::With(&[Size]), "let s = \"x\"; loop { s += s; }";
    doubled_array: Ends::With(&[Size]), "let a = [0]; loop { a += a; }";
    doubled_by_interpolation: Ends::With(&[Size]), "let s = \"x\"; loop { s = `${s}${s}`; }";
    doubled_map: SPACE, "let m = #{a: 1}; loop { m = #{a: m, b: m}; }";
    padded_string: Ends::With(&[Size]), "let s = \"\"; s.pad(1000000000, 'x')";
    padded_array: Ends::With(&[Size]), "let a = []; a.pad(1000000000, 0)";
    huge_blob: Ends::With(&[Size]), "blob(1000000000)";
    huge_range_to_array: SPACE, "let a = []; for i in 0..9223372036854775807 { a.push(i); }";
    replaced_string: SPACE, with_long_string("s.replace(\"x\", s)");
    replaced_characters: SPACE, with_long_string("s.replace('x', s)");
    replaced_nothing: SPACE, with_long_string("s.replace(\"\", s)");
    replaced_twofold: SPACE, with_long_string("let t = s; loop { t.replace(\"x\", \"xx\"); }");
    joined_characters: SPACE, with_long_string("let a = []; for i in 0..100 { a.push(s.to_chars()); } 1");
    indexed_map: Ends::With(&[Memory, Timeout, Operations]),
        "let m = #{}; for i in 0..20000 { let s = \"\"; s.pad(500000, 'x'); m[`k${i}`] = s; }";
    indexed_array: Ends::With(&[Memory, Timeout, Operations]),
        "let a = []; a.pad(50000, 0); for i in 0..50000 { let s = \"\"; s.pad(500000, 'x'); a[i] = s; }";
    shared_strings_printed: SPACE, with_long_string("let m = #{}; for i in 0..3000 { m[`${i}`] = s; } m.to_string()");
    shared_strings_to_json: Ends::Anyhow,
        with_long_string("let m = #{}; for i in 0..3000 { m[`${i}`] = s; } json::stringify(m)");
    shared_strings_returned: Ends::Anyhow, with_long_string("let m = #{}; for i in 0..3000 { m[`${i}`] = s; } m");
    shared_strings_logged: Ends::Anyhow,
        with_long_string("let m = #{}; for i in 0..300 { m[`${i}`] = s; } for i in 0..100 { log::info(m); }");
    shared_value_in_data: Ends::Anyhow, "let x = #{}; let f = || x; let a = []; a.push(x); x.a = a; a.push(f); a.len()";
    self_capture: Ends::Anyhow, with_long_string("let m = #{s: s}; m.f = || m.len(); m.f.call()");
    self_capture_in_function: Ends::Anyhow,
        with_long_string("fn f(s) { let m = #{s: s + \"1\"}; m.f = || m.len(); 1 } for i in 0..9 { f(s); } 1");
    self_capture_without_end: SPACE,
        with_long_string("fn f(s) { let m = #{s: s + \"1\"}; m.f = || m.len(); 1 } loop { f(s); }");
    parsed_arrays: SPACE, "let s = \"[\"; s.pad(900000, '['); loop { try { json::parse(s); } catch { } }";
    parsed_long_array: SPACE,
        "let s = \"[],\"; while s.len() < 500000 { s += s; } let a = []; loop { a.push(json::parse(\"[\" + s + \"1]\")); }";
    deep_json: Ends::Anyhow, "let s = \"\"; s.pad(500000, '['); json::parse(s)";
    encoded_string: SPACE, with_long_string("let a = []; loop { a.push(hex::encode(s)); }");
    random_blobs: SPACE, "let a = []; loop { a.push(random::bytes(65536)); }";

    // What the world hands in.
    many_writes: Ends::With(&[Writes]), "for i in 0..20000 { kv::set(\"c\", `${i}`, i) }";
    large_writes: Ends::With(&[Writes, Memory]), with_long_string("for i in 0..100 { kv::set(\"c\", `${i}`, s) }");
    caught_writes: Ends::With(&[Writes]), "try { for i in 0..20000 { kv::set(\"c\", `${i}`, i) } } catch { 1 }";
    endless_reads: SPACE, "let i = 0; loop { kv::get(\"c\", `${i}`); i += 1; }";
    endless_listing: SPACE, "let c = (); loop { c = kv::list(\"c\", #{cursor: c}).cursor; }";
    endless_history: SPACE, "let a = []; loop { a.push(kv::history(\"c\", \"k\", 1000)); }";
    endless_past: SPACE, "let i = 0; loop { kv::get_at(\"c\", `${i}`, 3); i += 1; }";
    endless_calls: Ends::With(&[Size, Memory, Timeout]), "loop { http::get(\"http://a.example/\"); }";
    kept_answers: Ends::With(&[Size, Memory, Timeout]),
        "let a = []; loop { try { a.push(http::get(\"http://a.example/\")); } catch { } }";
    endless_log: TIME, with_long_string("loop { log::info(s); }");
    printed_without_end: TIME, with_long_string("loop { print(s); debug(s); }");
    endless_imports: BUDGETS, "loop { import \"grows\" as g; }";
    import_that_loops: TIME, "try { import \"loops\" as l; } catch { 1 }";
    import_that_recurses: Ends::With(&[CallDepth]), "import \"deep\" as d; try { d::f(0) } catch { 1 }";
    import_that_is_absent: Ends::With(&[Runtime]), "import \"../../etc/passwd\" as p;";
    import_of_an_import: Ends::Anyhow, "`${import \"deep\" as d}`";

    // Patterns.
    pattern_that_backtracks_elsewhere: Ends::Well,
        "let s = \"\"; s.pad(200000, 'a'); regex::is_match(\"(a+)+$\", s + \"!\")";
    pattern_that_is_large: Ends::With(&[Runtime]), "regex::is_match(\"((a{1000}){1000}){1000}\", \"a\")";
    pattern_that_nests: Ends::With(&[Runtime]), "let p = \"\"; p.pad(1000, '('); regex::is_match(p, \"a\")";
    pattern_without_end: TIME,
        "let s = \"\"; s.pad(200000, 'a'); loop { regex::replace(\".*[^A-Z]|[A-Z]\", s, \"b\"); }";
    pattern_with_many_states: BUDGETS,
        "let s = \"\"; s.pad(200000, 'a'); loop { regex::is_match(\"(a|aa|aaa){1,40}b\", s); }";
    replacement_that_grows: Ends::With(&[Size]),
        "let s = \"\"; s.pad(200000, 'a'); regex::replace(\"(a+)\", s, \"$1$1$1$1$1$1$1$1\")";
    split_into_many: SPACE, "let s = \"\"; s.pad(200000, 'a'); let a = []; loop { a.push(regex::split(\"a\", s)); }";
    many_patterns: BUDGETS, "let i = 0; loop { regex::is_match(`a{${i % 500}}b`, \"aaab\"); i += 1; }";
}

const BUDGETS_OR_DEPTH: Ends = Ends::With(&[CallDepth, Operations, Timeout, Memory, Size]);
