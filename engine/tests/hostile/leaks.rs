//! What a run leaves for ever, measured where memory is metered: cycles are found, everything else is not taken for one.

use relive_engine::script::{SCRIPT_STACK_BYTES, run};

use crate::world::given;

/// What a run of this source leaks, as the proof finds it; `None`: it captures nothing, so nobody looks.
fn leaked(source: &str) -> Option<u64> {
    let source = source.to_owned();
    let thread = std::thread::Builder::new().stack_size(SCRIPT_STACK_BYTES).spawn(move || {
        let run_of = given(&source);
        let operations = run(run_of.clone()).record.operations;
        run_of.may_leak().then(|| run_of.leaked_bytes(operations).expect("the same answers again"))
    });
    thread.unwrap().join().unwrap()
}

#[track_caller]
fn check(source: &str, expected: std::ops::RangeInclusive<u64>) {
    let leaked = leaked(source).unwrap_or_else(|| panic!("nobody looks at {source}"));
    assert!(expected.contains(&leaked), "{leaked} bytes of {source}");
}

#[test]
fn e167_a_cycle_is_found_and_as_large_as_it_is() {
    let cycle = |text: usize| {
        format!("fn f() {{ let s = \"\"; s.pad({text}, 'x'); let m = #{{s: s}}; m.f = || m.len(); 1 }} f();")
    };
    check(&cycle(1), 128..=2_000);
    check(&cycle(100_000), 100_000..=140_000);
    // Once per call of the function.
    check(&format!("{} for i in 0..9 {{ f(); }}", cycle(100_000)), 1_000_000..=1_400_000);
    // However the run ends.
    check(&format!("{} throw 1;", cycle(100_000)), 100_000..=140_000);
    check(&format!("{} loop {{ }}", cycle(100_000)), 100_000..=140_000);
    // Through a list, in a block, in an import's closure.
    check("fn f() { let a = []; a.pad(1000, 7); let g = || a.len(); a[0] = g; 1 } f()", 16_000..=40_000);
    check(
        "{ let m = #{}; m.s = \"\"; let t = \"\"; t.pad(50000, 'x'); m.s = t; m.f = || m.len(); } 1",
        50_000..=80_000,
    );
    // One that its memory ends.
    check(&format!("{} loop {{ f(); }}", cycle(1_000_000)), 60_000_000..=70_000_000);
}

#[test]
fn e167_what_is_no_cycle_is_not_taken_for_a_leak() {
    let busy = "let limit = 3;
        fn big() { let s = \"\"; s.pad(200000, 'x'); let t = s; let g = || t.len(); g.call() }
        let n = big();
        for i in 0..50 { let item = kv::get(\"c\", `${i % 7}`); let f = || item.len() > limit; if f.call() { n += 1; } }
        let page = kv::list(\"c\", #{});
        page.items.filter(|x| x.key.len() > limit).len();
        kv::history(\"c\", \"k\", 5); kv::get_at(\"c\", \"k\", 3);
        let answer = http::get(\"http://a.example/\");
        regex::is_match(\"(a|b)+c\", \"abc\"); crypto::sha256(\"x\"); random::int(1, 6); uuid::v4();
        for i in 0..20 { kv::set(\"w\", `k${i}`, #{n: i, s: answer.body}); log::info(`line ${i}`); }
        #{ status: 200, body: answer.body }";
    check(busy, 0..=0);
    // A cycle of the top level is taken apart when the run ends.
    check("let s = \"\"; s.pad(100000, 'x'); let m = #{s: s}; m.f = || m.len(); m.f.call()", 0..=0);
    check("let a = 1; let f = || a; f.call()", 0..=0);
    check("let k = 2; throw [1, 2].map(|x| x * k);", 0..=0);
    check("let k = 2; [1].map(|x| x / (k - 2))", 0..=0);
    check("let k = 2; let a = []; loop { a.push([1].map(|x| x * k)); }", 0..=0);
}

#[test]
fn e168_nobody_looks_at_what_captures_nothing() {
    for source in
        ["1", "[1].map(|x| x + 1)", "fn f(x) { x } let m = #{f: Fn(\"f\")}; m", "import \"deep\" as d; 1"]
    {
        assert_eq!(leaked(source), None, "{source}");
    }
}
