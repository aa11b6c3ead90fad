//! Functions that are pure, or pure given the seed and the claim time.

use relive_log::events::ErrorKind;

use super::{check, check_error};

#[test]
fn time_is_the_claim_time() {
    for (source, expected) in [
        ("time::now()", "1700000000123"),
        ("time::rfc3339(0)", r#""1970-01-01T00:00:00.000Z""#),
        ("time::rfc3339(time::now())", r#""2023-11-14T22:13:20.123Z""#),
        ("time::rfc3339(-1)", r#""1969-12-31T23:59:59.999Z""#),
        ("time::parse(\"2023-11-14T22:13:20.123Z\")", "1700000000123"),
        ("time::parse(\"2023-11-14T23:13:20.1239+01:00\")", "1700000000123"),
        ("time::parse(\"1969-12-31T23:59:59.9995Z\")", "-1"),
    ] {
        check(source, expected);
    }
    check_error("time::parse(\"yesterday\")", ErrorKind::Runtime, 1, "yesterday");
    check_error("time::parse(\"2023-11-14T22:13:20\")", ErrorKind::Runtime, 1, "offset");
    check_error("time::rfc3339(9223372036854775807)", ErrorKind::Runtime, 1, "outside");
}

#[test]
fn text_and_bytes() {
    for (source, expected) in [
        ("json::parse(`{\"a\": [1, 2.5, null, true, \"x\"]}`)", r#"{"a":[1,2.5,null,true,"x"]}"#),
        ("json::parse(`9223372036854775807`)", "9223372036854775807"),
        ("type_of(json::parse(`1.0`))", r#""f64""#),
        ("json::stringify(#{b: 1.0, a: 'c', c: ()})", r#""{\"a\":\"c\",\"b\":1.0,\"c\":null}""#),
        ("json::stringify(\"é\\n\")", r#""\"é\\n\"""#),
        ("json::parse(json::stringify(-9223372036854775807))", "-9223372036854775807"),
        ("hex::encode(\"az\")", r#""617a""#),
        ("hex::decode(\"617A\").as_string()", r#""az""#),
        ("base64::encode(\"a?>\")", r#""YT8+""#),
        ("base64::encode_url(\"a?>b\")", r#""YT8-Yg""#),
        ("base64::decode(\"YT8+Yg==\").as_string()", r#""a?>b""#),
        ("base64::decode(\"YT8+Yg\").as_string()", r#""a?>b""#),
        ("base64::decode_url(\"YT8-Yg\").as_string()", r#""a?>b""#),
        ("base64::encode(blob(2, 255))", r#""//8=""#),
    ] {
        check(source, expected);
    }
    for (source, part) in [
        ("json::parse(\"{\")", "json::parse"),
        ("json::parse(\"1 2\")", "json::parse"),
        ("json::stringify(|x| x)", "no JSON form"),
        ("json::stringify(blob(1))", "base64::encode"),
        ("json::stringify([1.0 / 0.0])", "no JSON form"),
        ("hex::decode(\"0\")", "hex::decode"),
        ("hex::encode(5)", "a string or a blob"),
        ("base64::decode(\"!\")", "base64::decode"),
    ] {
        check_error(source, ErrorKind::Runtime, 1, part);
    }
}

#[test]
fn digests_match_their_published_vectors() {
    for (source, expected) in [
        (
            "hex::encode(crypto::sha256(\"abc\"))",
            r#""ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#,
        ),
        (
            "hex::encode(crypto::hmac_sha256(\"Jefe\", \"what do ya want for nothing?\"))",
            r#""5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843""#,
        ),
        ("crypto::constant_time_eq(\"a\", \"a\".to_blob())", "true"),
        ("crypto::constant_time_eq(\"a\", \"ab\")", "false"),
        ("crypto::constant_time_eq(crypto::sha256(\"a\"), crypto::sha256(\"b\"))", "false"),
    ] {
        check(source, expected);
    }
    check_error("crypto::sha256(1)", ErrorKind::Runtime, 1, "a string or a blob");
}

#[test]
fn chance_comes_from_the_seed() {
    for (source, expected) in [
        (
            "let ok = true; for i in 0..1000 { let x = random::int(-2, 2); ok = ok && x >= -2 && x <= 2; } ok",
            "true",
        ),
        ("random::int(5, 5)", "5"),
        ("let s = #{}; for i in 0..200 { s[`${random::int(1, 6)}`] = 1; } s.len()", "6"),
        ("let a = random::int(-9223372036854775807 - 1, 9223372036854775807); type_of(a)", r#""i64""#),
        (
            "let ok = true; for i in 0..1000 { let x = random::float(); ok = ok && x >= 0.0 && x < 1.0; } ok",
            "true",
        ),
        ("[random::bytes(0).len, random::bytes(33).len]", "[0,33]"),
        ("random::int(0, 1000000000) != random::int(0, 1000000000)", "true"),
        (
            "[uuid::v4().len, uuid::v4()[14], uuid::v7()[14], uuid::v4() == uuid::v4()]",
            r#"[36,"4","7",false]"#,
        ),
        ("uuid::v7().sub_string(0, 13)", r#""018bcfe5-687b""#),
    ] {
        check(source, expected);
    }
    check_error("random::int(2, 1)", ErrorKind::Runtime, 1, "above");
    check_error("random::bytes(-1)", ErrorKind::Runtime, 1, "0 to");
    check_error("random::bytes(65537)", ErrorKind::Runtime, 1, "0 to");
}

#[test]
fn patterns() {
    for (source, expected) in [
        (r#"regex::is_match("^a+$", "aaa")"#, "true"),
        (r#"regex::is_match("^a+$", "aab")"#, "false"),
        (r#"regex::is_match("(?i)ÄB", "äb")"#, "true"),
        (r#"regex::find("[0-9]+", "order 42, 43")"#, r#""42""#),
        (r#"regex::find("[0-9]+", "none")"#, "null"),
        (
            r#"regex::captures("(\\w+)@(\\w+)(\\.org)?", "to ann@example")"#,
            r#"["ann@example","ann","example",null]"#,
        ),
        (r#"regex::captures("x", "y")"#, "null"),
        (r#"regex::replace("(a)(b)", "ab-ab", "$2$1")"#, r#""ba-ba""#),
        (r#"regex::replace("(?P<n>\\d+)", "7 8", "<${n}>$$")"#, r#""<7>$ <8>$""#),
        (r#"regex::replace("", "ab", "-")"#, r#""-a-b-""#),
        (r#"regex::split("\\s*,\\s*", "a , b,c")"#, r#"["a","b","c"]"#),
        (r#"regex::split(",", "")"#, r#"[""]"#),
    ] {
        check(source, expected);
    }
    for (source, part) in [
        (r#"regex::is_match("(", "a")"#, "regex::is_match: error: unclosed group"),
        (r#"regex::is_match("(?=a)", "a")"#, "look-around"),
        (r#"regex::find("(a)\\1", "aa")"#, "backreferences are not supported"),
        (r#"regex::find("a{100000}", "aa")"#, "regex::find: "),
        (
            r#"let s = ""; s.pad(300000, 'a'); regex::find("a", s)"#,
            "the text has 300000 bytes, the limit is 262144",
        ),
    ] {
        check_error(source, ErrorKind::Runtime, 1, part);
    }
}

#[test]
fn urls() {
    for (source, expected) in [
        (r#"url::encode("a b/ü?&=~-._")"#, r#""a%20b%2F%C3%BC%3F%26%3D~-._""#),
        (r#"url::decode("a%20b+c%C3%BC")"#, r#""a b+cü""#),
        (r#"url::decode(url::encode("100% ✓"))"#, r#""100% ✓""#),
        (r#"url::parse_query("?a=1&b=x+y&a=2&c&d=%26")"#, r#"{"a":"2","b":"x y","c":"","d":"&"}"#),
        (r#"url::parse_query("")"#, "{}"),
    ] {
        check(source, expected);
    }
    check_error(r#"url::decode("%ff")"#, ErrorKind::Runtime, 1, "not UTF-8");
}
