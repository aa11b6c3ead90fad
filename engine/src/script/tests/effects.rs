//! What a run reads, writes, logs and takes.

use std::sync::Arc;

use relive_log::Lsn;
use relive_log::events::{ErrorKind, ReadRecord, Scopes};

use super::super::{
    Finished, ListPage, ListQuery, Moment, NoPast, PastVersion, ReadFailed, Run, Slot, Snapshot,
};
use super::{Fixed, check, check_error, check_refusal, finish, given, json_of, principal};

fn writes(finished: &Finished) -> Vec<String> {
    let show = |value: &Option<Arc<[u8]>>| {
        value.as_ref().map_or("-".into(), |v| String::from_utf8_lossy(v).into_owned())
    };
    finished.writes.iter().map(|((c, k), w)| format!("{c}/{k}={}@{}", show(&w.value), w.line)).collect()
}

fn reads(finished: &Finished) -> Vec<String> {
    let show = |read: &ReadRecord| match read {
        ReadRecord::Letter { letter, open } => format!("letter {letter} {open:?}"),
        ReadRecord::Key { collection, key, version, present } => {
            format!("{collection}/{key}@{version} {present}")
        }
        ReadRecord::Range { collection, prefix, cursor, reverse, limit, items } => {
            let items: Vec<_> = items.iter().map(|(key, version)| format!("{key}@{version}")).collect();
            format!("{collection}[{prefix}] {cursor:?} {reverse} {limit} {}", items.join(" "))
        }
        ReadRecord::KeyAt { collection, key, at, version, present } => {
            format!("{collection}/{key} as of {at}: @{version} {present}")
        }
        ReadRecord::History { collection, key, limit, versions } => {
            format!("history of {collection}/{key} {limit}: {versions:?}")
        }
    };
    finished.record.reads.iter().map(show).collect()
}

#[test]
fn keys_are_read_and_written() {
    for (source, expected) in [
        ("kv::get(\"orders\", \"a\")", r#"{"total":5}"#),
        ("kv::get(\"orders\", \"zz\")", "null"),
        ("kv::get(\"orders\", \"gone\")", "null"),
        ("[kv::has(\"orders\", \"a\"), kv::has(\"orders\", \"gone\")]", "[true,false]"),
        ("kv::set(\"o\", \"k\", #{b: 1, a: 2.0})", "null"),
        ("kv::set(\"o\", \"k\", [1]); kv::get(\"o\", \"k\")", "[1]"),
        ("kv::set(\"o\", \"k\", ()); [kv::has(\"o\", \"k\"), kv::get(\"o\", \"k\")]", "[true,null]"),
        (
            "let r = kv::delete(\"orders\", \"a\"); [r, kv::has(\"orders\", \"a\"), kv::delete(\"orders\", \"a\")]",
            "[true,false,false]",
        ),
        ("[kv::delete(\"o\", \"k\"), kv::delete(\"orders\", \"gone\")]", "[false,false]"),
        ("kv::incr(\"counters\", \"visits\", 1)", "42"),
        ("kv::incr(\"counters\", \"new\", -3)", "-3"),
        ("kv::incr(\"counters\", \"visits\", 1); kv::incr(\"counters\", \"visits\", 1)", "43"),
    ] {
        check(source, expected);
    }
}

#[test]
fn effects_are_the_last_write_per_key_with_its_line() {
    let source = "kv::set(\"o\", \"k\", 1);\nkv::set(\"o\", \"k\", 2);\nkv::set(\"o\", \"new\", 1); kv::delete(\"o\", \"new\");\n\
                  kv::delete(\"orders\", \"a\"); kv::delete(\"orders\", \"gone\");\nkv::incr(\"counters\", \"visits\", 9);";
    let finished = finish(given(source));
    assert_eq!(writes(&finished), ["counters/visits=50@5", "o/k=2@2", "orders/a=-@4"]);
}

#[test]
fn reads_are_recorded_once_absence_included() {
    // E44
    let source = "kv::get(\"orders\", \"a\"); kv::get(\"orders\", \"a\"); kv::has(\"orders\", \"gone\");\
                  kv::get(\"orders\", \"zz\"); kv::set(\"x\", \"y\", 1); kv::get(\"x\", \"y\");";
    let finished = finish(given(source));
    assert_eq!(reads(&finished), ["orders/a@11 true", "orders/gone@14 false", "orders/zz@0 false"]);
    assert_eq!((finished.depends_on, finished.record.snapshot), (Lsn(14), Lsn(100)));
}

#[test]
fn listings_merge_own_writes() {
    let keys = "let keys = |page| page.items.map(|item| item.key);\n";
    for (source, expected) in [
        (
            "kv::list(\"orders\")",
            r#"{"cursor":null,"items":[{"key":"a","value":{"total":5}},{"key":"b","value":{"total":15}},{"key":"c","value":{"total":25}}]}"#,
        ),
        ("kv::list(\"none\").items", "[]"),
        ("let p = kv::list(\"orders\", #{limit: 2}); [p.cursor, keys.call(p)]", r#"["b",["a","b"]]"#),
        (
            "let p = kv::list(\"orders\", #{limit: 2, cursor: \"b\"}); [p.cursor, keys.call(p)]",
            r#"[null,["c"]]"#,
        ),
        ("keys.call(kv::list(\"orders\", #{reverse: true}))", r#"["c","b","a"]"#),
        ("keys.call(kv::list(\"orders\", #{reverse: true, cursor: \"b\"}))", r#"["a"]"#),
        ("keys.call(kv::list(\"orders\", #{prefix: \"b\"}))", r#"["b"]"#),
        (
            "kv::set(\"orders\", \"aa\", 1); kv::delete(\"orders\", \"b\"); kv::set(\"orders\", \"c\", 9); let p = kv::list(\"orders\"); [keys.call(p), p.items[2].value]",
            r#"[["a","aa","c"],9]"#,
        ),
        (
            "kv::set(\"orders\", \"aa\", 1); kv::set(\"orders\", \"z\", 1); keys.call(kv::list(\"orders\", #{reverse: true}))",
            r#"["z","c","b","aa","a"]"#,
        ),
        (
            "kv::delete(\"orders\", \"a\"); kv::delete(\"orders\", \"b\"); let p = kv::list(\"orders\", #{limit: 1}); [p.cursor, keys.call(p)]",
            r#"[null,["c"]]"#,
        ),
        (
            "kv::set(\"new\", \"k\", 1); keys.call(kv::list(\"new\", #{cursor: (), prefix: \"k\"}))",
            r#"["k"]"#,
        ),
        (
            "kv::set(\"new\", \"é\", 1); kv::set(\"new\", \"z\", 1); keys.call(kv::list(\"new\"))",
            r#"["z","é"]"#,
        ),
    ] {
        check(&format!("{keys}{source}"), expected);
    }
}

#[test]
fn listings_are_recorded_as_asked() {
    let mut run = given("kv::delete(\"orders\", \"b\"); kv::list(\"orders\", #{limit: 2}).items.len");
    let mut snapshot = Fixed::new(&[
        ("orders", "a", 1, Some("1")),
        ("orders", "b", 2, Some("2")),
        ("orders", "c", 3, Some("3")),
    ]);
    snapshot.page_max = Some(1);
    run.snapshot = Arc::new(snapshot);
    let finished = finish(run);
    assert_eq!(json_of(&finished).as_deref(), Ok("2"));
    assert_eq!(
        reads(&finished),
        [
            "orders/b@2 true",
            "orders[] None false 2 a@1",
            "orders[] Some(\"a\") false 2 b@2",
            "orders[] Some(\"b\") false 2 c@3",
        ]
    );
    assert_eq!(finished.depends_on, Lsn(100));
    let twice = finish(given("kv::list(\"orders\"); kv::list(\"orders\").items.len"));
    assert_eq!(reads(&twice).len(), 1);
}

#[test]
fn walking_a_listing_page_by_page_sees_every_key_once() {
    let source = "let seen = []; let cursor = ();\n\
                  loop { let p = kv::list(\"orders\", #{limit: 1, cursor: cursor}); for i in p.items { seen.push(i.key); } cursor = p.cursor; if cursor == () { break; } }\n\
                  seen";
    check(source, r#"["a","b","c"]"#);
    check(&source.replace("limit: 1", "reverse: true, limit: 2"), r#"["c","b","a"]"#);
}

#[test]
fn kv_refuses_what_it_cannot_keep() {
    for (source, part) in [
        ("kv::get(\"c\", \"\")", "key is empty"),
        ("let k = \"\"; k.pad(1025, 'x'); kv::get(\"c\", k)", "key has 1025 bytes, the limit is 1024"),
        ("let c = \"\"; c.pad(257, 'x'); kv::set(c, \"k\", 1)", "name has 257 bytes, the limit is 256"),
        ("let v = \"\"; v.pad(1048576, 'x'); kv::set(\"c\", \"k\", v)", "longer than 1048576 bytes as JSON"),
        ("kv::set(\"c\", \"k\", |x| x)", "no JSON form"),
        ("kv::set(\"c\", \"k\", blob(3))", "base64::encode"),
        ("kv::set(\"c\", \"k\", 1.0 / 0.0)", "no JSON form"),
        ("kv::incr(\"counters\", \"text\", 1)", "not an integer"),
        ("kv::incr(\"counters\", \"visits\", 9223372036854775807)", "64-bit"),
        ("kv::list(\"c\", #{limit: 1001})", "1 to 1000"),
        ("kv::list(\"c\", #{limit: 0})", "1 to 1000"),
        ("kv::list(\"c\", #{prefx: \"a\"})", "no option prefx"),
        ("kv::list(\"c\", #{reverse: 1})", "not a bool"),
        ("kv::list(\"\")", "name is empty"),
        ("kv::set(\"c\", \"k\", 1, #{nope: 1})", "no option nope"),
        ("kv::set(\"c\", 5, 1)", "kv::set"),
        ("let a = []; for i in 0..200 { a = [a]; } kv::set(\"c\", \"k\", a)", "deeper than 127"),
    ] {
        check_error(source, ErrorKind::Runtime, 1, part);
    }
    check_error("kv::incr(\"counters\", \"visits\", 1.5)", ErrorKind::Runtime, 1, "kv::incr");
}

#[test]
fn a_store_that_fails_ends_the_run_whatever_the_script_does() {
    for source in ["try { kv::get(\"a\", \"b\") } catch { 1 }", "try { kv::list(\"a\") } catch { 1 }"] {
        let mut run = given(source);
        run.snapshot = Arc::new(Fixed { broken: Some("disk".into()), ..Fixed::default() });
        check_refusal(run, ErrorKind::Internal, 1, "disk");
    }
}

/// A store that panics.
struct Panics;

impl Snapshot for Panics {
    fn get(&self, _: &str, _: &str) -> Result<Slot, ReadFailed> {
        panic!("planted");
    }
    fn letter(&self, _: relive_log::LetterId) -> Result<Option<bool>, ReadFailed> {
        unreachable!("nothing asks")
    }

    fn list(&self, _: &ListQuery) -> Result<ListPage, ReadFailed> {
        panic!("planted");
    }
    fn resolve(&self, _: Moment) -> Result<Lsn, NoPast> {
        panic!("planted");
    }
    fn get_at(&self, _: &str, _: &str, _: Lsn) -> Result<Slot, ReadFailed> {
        panic!("planted");
    }
    fn history(&self, _: &str, _: &str, _: usize, _: usize) -> Result<Vec<PastVersion>, ReadFailed> {
        panic!("planted");
    }
}

#[test]
fn e45_a_panic_below_a_run_is_an_internal_error_of_that_run() {
    for source in [r#"kv::get("c", "k")"#, r#"try { kv::list("c") } catch { 1 }"#] {
        let mut run = given(source);
        run.snapshot = Arc::new(Panics);
        let error = finish(run).outcome.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Internal, "{source}: {error:?}");
    }
}

fn with_scopes(source: &str, scopes: Scopes) -> Run {
    let mut run = given(source);
    run.context.principal = Some(principal(scopes));
    run
}

#[test]
fn a_principal_needs_the_scope_of_each_function() {
    for (source, scope) in [
        ("kv::get(\"c\", \"k\")", "script:read"),
        ("kv::has(\"c\", \"k\")", "script:read"),
        ("kv::list(\"c\")", "script:read"),
        ("kv::set(\"c\", \"k\", 1)", "script:write"),
        ("kv::delete(\"c\", \"k\")", "script:write"),
        ("kv::incr(\"c\", \"k\", 1)", "script:write"),
    ] {
        let part = format!("needs the scope {scope}");
        check_refusal(with_scopes(source, Scopes::LOG_READ), ErrorKind::Permission, 1, &part);
        let both = Scopes(Scopes::SCRIPT_READ.0 | Scopes::SCRIPT_WRITE.0);
        assert!(finish(with_scopes(source, both)).outcome.is_ok(), "{source}");
        assert!(finish(with_scopes(source, Scopes::INSTANCE_ADMIN)).outcome.is_ok(), "{source}");
        let caught = format!("try {{ {source} }} catch (e) {{ return e.kind }}");
        assert_eq!(json_of(&finish(with_scopes(&caught, Scopes::APP_READ))).as_deref(), Ok("\"permission\""));
    }
    let again = "try { kv::set(\"c\", \"k\", 1) } catch (e) { throw e }";
    check_refusal(with_scopes(again, Scopes::APP_READ), ErrorKind::Permission, 1, "kv::set needs");
    let shown = json_of(&finish(with_scopes("ctx.principal", Scopes::SCRIPT_READ)));
    assert_eq!(
        shown.as_deref(),
        Ok(r#"{"id":"07070707-0707-0707-0707-070707070707","name":"ci","scopes":["script:read"]}"#)
    );
}

#[test]
fn secrets_are_journalled_by_name_and_masked() {
    let source = "let s = secrets::get(\"stripe\"); secrets::get(\"stripe\"); log::info(\"key \" + s); log::info(#{k: s}); throw \"bad \" + s;";
    let finished = finish(given(source));
    assert_eq!(finished.record.secrets, [("stripe".to_owned(), 3)]);
    let logs: Vec<_> = finished.record.logs.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(logs, ["key ‹secret:stripe›", "{\"k\":\"‹secret:stripe›\"}"]);
    assert_eq!(finished.outcome.expect_err("thrown").message, "bad ‹secret:stripe›");
    assert!(!finished.masker.is_empty());
    check_error("secrets::get(\"nope\")", ErrorKind::Runtime, 1, "no secret nope");
    check("try { secrets::get(\"nope\") } catch { 1 }", "null");
    check_error("try {\nsecrets::get(\"lost\") } catch { }\n1", ErrorKind::KeyMissing, 2, "lost");
}

#[test]
fn logs_have_levels_lines_and_bounds() {
    let source = "log::debug(1);\nlog::info(\"a\");\nlog::warn([1, \"b\"]);\nlog::error(#{a: ()});\nprint(\"p\"); print(1); print([1]); print(); debug(2.5)";
    let finished = finish(given(source));
    let logs: Vec<_> =
        finished.record.logs.iter().map(|l| format!("{} {} {}", l.level.name(), l.message, l.line)).collect();
    assert_eq!(
        logs,
        [
            "debug 1 1",
            "info a 2",
            "warn [1,\"b\"] 3",
            "error {\"a\":null} 4",
            "info p 5",
            "info 1 5",
            "info [1] 5",
            "info  5",
            "debug 2.5 5"
        ]
    );
    let many = finish(given("for i in 0..2000 { log::info(i) }")).record.logs;
    assert_eq!(many.len(), 1001);
    let long =
        finish(given("let s = \"\"; s.pad(200000, 'x'); log::info(s); log::info(s); log::info(\"y\")"))
            .record
            .logs;
    assert_eq!(long.len(), 2);
    assert!(long.last().is_some_and(|line| line.message.contains("dropped")));
}

#[test]
fn the_same_run_twice_leaves_the_same() {
    // E40
    let source = "kv::incr(\"counters\", \"visits\", random::int(1, 100)); kv::set(\"u\", uuid::v4(), uuid::v7());\
                  log::info(random::float()); kv::list(\"orders\"); secrets::get(\"stripe\");\
                  #{a: random::bytes(4).to_array(), b: time::now(), c: #{z: 1, y: 2}.keys()}";
    let (first, second) = (finish(given(source)), finish(given(source)));
    assert!(first.outcome.is_ok(), "{first:?}");
    assert_eq!(first, second);
    let mut other = given(source);
    other.seed = [8; 16];
    assert_ne!(finish(other).writes, first.writes);
}
