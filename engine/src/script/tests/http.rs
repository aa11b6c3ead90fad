//! `http` as a script sees it: questions, answers, refusals, the record.

use std::sync::Arc;

use relive_log::events::{CallOutcome, ErrorKind};

use super::{Web, check, check_error, finish, given};
use crate::script::{Limits, Run};

const HOST: &str = "https://a.example";

/// `script` with `@` as the host of URLs.
fn at(script: &str) -> String {
    script.replace('@', HOST)
}

#[test]
fn an_answer_has_status_headers_and_three_forms_of_the_body() {
    for (script, expected) in [
        (r#"http::get("@/json").status"#, "200"),
        (r#"http::get("@/json").json.n"#, "7"),
        (r#"http::get("@/json").body"#, r#""{\"n\": 7}""#),
        (r#"http::get("@/json").headers["x-a"]"#, r#""1, 2""#),
        (r#"http::get("@/missing").status"#, "404"),
        (r#"http::get("@/missing").json"#, "null"),
        (r#"http::get("@/bytes").body"#, "null"),
        (r#"http::get("@/bytes").bytes.len()"#, "2"),
        (r#"http::get("@/empty").body"#, r#""""#),
        (
            r#"let r = http::get("@/big"); [r.body.len(), r.json, json::parse(r.body).len()]"#,
            "[1048000,null,1047998]",
        ),
        (
            r#"let m = (); try { http::get("@/huge") } catch (e) { m = e.message } m.contains("limit of a string")"#,
            "true",
        ),
        (r#"let j = http::get("@/json").json; j.n += 1; j"#, r#"{"n":8}"#),
        (r#"http::get("HTTPS://a.example/json").status"#, "200"),
    ] {
        check(&at(script), expected);
    }
}

#[test]
fn a_question_carries_what_the_script_said() {
    let web = Arc::new(Web::default());
    let script = at(r#"
        http::get("@/json");
        http::post("@/json", #{a: 1});
        http::post("@/json", "text");
        http::post("@/json", blob(2, 65));
        http::request(#{method: "patch", url: "@/json", headers: #{"X-B": [1, "two"], "content-type": "a/b"},
                        body: [1], timeout_ms: 250});
    "#);
    let finished = finish(Run { calls: Arc::clone(&web) as _, ..given(&script) });
    assert_eq!(finished.outcome.map(|_| ()), Ok(()));
    let json = r#"[("content-type", "application/json")]"#;
    let text = r#"[("content-type", "text/plain; charset=utf-8")]"#;
    let bytes = r#"[("content-type", "application/octet-stream")]"#;
    let own = r#"[("x-b", "1"), ("x-b", "two"), ("content-type", "a/b")]"#;
    let url = at("@/json");
    assert_eq!(
        *web.asked.lock(),
        [
            format!("0 GET {url} []  None"),
            format!("1 POST {url} {json} {{\"a\":1}} None"),
            format!("2 POST {url} {text} text None"),
            format!("3 POST {url} {bytes} AA None"),
            format!("4 PATCH {url} {own} [1] Some(250)"),
        ]
    );
}

#[test]
fn what_is_no_request_is_refused_without_asking() {
    for (script, expected) in [
        (r#"http::get("ftp://a/")"#, "does not start with http:// or https://"),
        (r#"http::get("/x")"#, "does not start with http:// or https://"),
        (r#"http::request(#{})"#, "url is missing"),
        (r#"http::request(#{url: "@/", methode: "GET"})"#, "knows no field methode"),
        (r#"http::request(#{url: "@/", method: "CONNECT"})"#, "no method that scripts can use"),
        (r#"http::request(#{url: "@/", method: "A B"})"#, "no method that scripts can use"),
        (r#"http::request(#{url: "@/", timeout_ms: 0})"#, "not a positive integer"),
        (r#"http::request(#{url: "@/", headers: #{host: "b"}})"#, "header host is set by the client"),
        (r#"http::request(#{url: "@/", headers: #{"transfer-encoding": "b"}})"#, "belongs to the connection"),
        (r#"http::request(#{url: "@/", headers: #{"x-a": "b\nc: d"}})"#, "control character"),
        (r#"http::request(#{url: "@/", headers: #{"x a": "b"}})"#, "no header name"),
        (r#"http::post("@/", || 1)"#, "has no JSON form"),
    ] {
        let finished = finish(given(&at(script)));
        let error = finished.outcome.unwrap_err();
        assert!(error.message.contains(expected), "{script}: {}", error.message);
        assert_eq!(error.kind, ErrorKind::Runtime, "{script}");
        assert!(finished.record.calls.is_empty(), "{script}");
    }
}

#[test]
fn no_answer_is_an_error_that_scripts_can_catch_and_that_is_recorded() {
    // E151
    check(
        &at(r#"let m = (); try { http::get("@/down") } catch (e) { m = e.message } m"#),
        r#""http: no connection""#,
    );
    check_error(&at(r#"http::get("@/down")"#), ErrorKind::Runtime, 1, "http: no connection");
    let finished = finish(given(&at("try { http::get(\"@/down\") } catch { }\nhttp::get(\"@/json\")")));
    let calls = finished.record.calls;
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].outcome, CallOutcome::Failed("http: no connection".into()));
    assert_eq!((calls[1].line, calls[1].took_ms, calls[1].url.as_str()), (2, 5, "https://a.example/json"));
}

#[test]
fn e41_the_end_of_the_attempt_cannot_be_caught_at_a_call() {
    check_error(
        &at(r#"try { http::get("@/late") } catch { 1 }"#),
        ErrorKind::Timeout,
        1,
        "the wall-clock limit was reached",
    );
    check_error(&at(r#"try { http::get("@/aside") } catch { 1 }"#), ErrorKind::Internal, 1, "made first");
}

#[test]
fn e43_calls_and_their_journal_are_bounded() {
    let many = at(r#"try { for i in 0..200 { http::get("@/json") } } catch { 1 }"#);
    check_error(&many, ErrorKind::Size, 1, "more than 100 outgoing calls in one execution");
    let script = at(r#"try { for i in 0..9 { http::get("@/big"); } } catch { 1 }"#);
    let finished = finish(given(&script));
    let error = finished.outcome.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Size);
    assert!(error.message.contains("the limit is 4194304"), "{}", error.message);
    let limits = Limits { http_request_bytes_max: 10, ..Limits::default() };
    let finished = finish(Run { limits, ..given(&at(r#"http::post("@/json", "12345678901")"#)) });
    assert_eq!(finished.outcome.unwrap_err().message, "http: the body has 11 bytes, the limit is 10");
}

#[test]
fn secrets_are_masked_in_the_journal_and_not_in_the_answer() {
    let script = at(r#"
        let key = secrets::get("stripe");
        let r = http::request(#{method: "POST", url: "@/x?k=" + key + "/echo", headers: #{"x-key": key}, body: key});
        r = http::request(#{method: "POST", url: "@/echo", headers: #{"x-key": key}, body: key});
        r.body.contains(key)
    "#);
    let finished = finish(given(&script));
    assert_eq!(crate::script::to_json(&finished.outcome.unwrap()).unwrap(), b"true");
    let recorded = format!("{:?}", finished.record);
    assert!(!recorded.contains("sk_live_12345"), "{recorded}");
    let call = &finished.record.calls[1];
    let CallOutcome::Answered(answer) = &call.outcome else { panic!("{call:?}") };
    assert!(answer.masked);
    assert!(String::from_utf8_lossy(&answer.body).contains("‹secret:stripe›"));
    assert_eq!(call.headers[0], ("x-key".into(), "‹secret:stripe›".into()));
}
