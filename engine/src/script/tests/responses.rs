//! Return values and the responses that they mean.

use std::sync::Arc;

use relive_log::events::ErrorKind;

use super::super::{ContextInput, DeadLetter, Finished, KvEvent, Request, Returned, to_response};
use super::{check, finish, given, json_of};
use relive_log::events::ErrorRecord;
use relive_log::{ExecutionId, Lsn, UnixMicros};

fn answer(source: &str) -> Result<String, ErrorRecord> {
    let finished = finish(given(source));
    let response = to_response(finished.outcome.as_ref().expect("returns"))?;
    Ok(format!(
        "{} {} {:?} {}",
        response.status,
        response.content_type.as_deref().unwrap_or("-"),
        response.headers,
        String::from_utf8_lossy(&response.body)
    ))
}

#[test]
fn a_return_value_is_a_response() {
    for (source, expected) in [
        ("()", "204 - [] "),
        ("\"hi\"", "200 text/plain; charset=utf-8 [] hi"),
        ("\"hi\".to_blob()", "200 application/octet-stream [] hi"),
        ("#{a: 1}", r#"200 application/json [] {"a":1}"#),
        ("42", "200 application/json [] 42"),
        ("true", "200 application/json [] true"),
        ("[]", "200 application/json [] []"),
        ("#{status: \"open\"}", r#"200 application/json [] {"status":"open"}"#),
        ("#{status: 201}", "201 - [] "),
        ("#{status: 404, body: \"no\"}", "404 text/plain; charset=utf-8 [] no"),
        ("#{status: 200, body: #{a: 1}}", r#"200 application/json [] {"a":1}"#),
        ("#{status: 200, body: \"x\".to_blob()}", "200 application/octet-stream [] x"),
        (
            "#{status: 200, headers: #{\"Content-Type\": \"text/html\"}, body: \"<p>\"}",
            "200 text/html [] <p>",
        ),
        ("#{status: 302, headers: #{Location: \"/x\"}}", r#"302 - [("location", "/x")] "#),
        (
            "#{status: 200, headers: #{\"x-n\": 5, \"set-cookie\": [\"a=1\", \"b=2\"]}}",
            r#"200 - [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-n", "5")] "#,
        ),
    ] {
        assert_eq!(answer(source).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn what_is_no_valid_response() {
    for (source, part) in [
        ("#{status: 199}", "outside 200 to 599"),
        ("#{status: 600}", "outside 200 to 599"),
        ("#{status: -1}", "outside 200 to 599"),
        ("#{status: 200, headers: 5}", "not a map"),
        ("#{status: 200, headers: #{\"a b\": \"x\"}}", "no header name"),
        ("#{status: 200, headers: #{\"a\": \"x\\r\\ny: z\"}}", "control character"),
        ("#{status: 200, headers: #{\"a\": #{}}}", "neither text nor a number"),
        ("#{status: 200, headers: #{\"Connection\": \"close\"}}", "connection"),
        ("#{status: 200, headers: #{\"Transfer-Encoding\": \"x\"}}", "connection"),
        ("#{status: 200, headers: #{\"Content-Length\": \"5\"}}", "connection"),
        ("#{status: 200, headers: #{\"relive-lsn\": \"5\"}}", "reserved"),
        ("#{status: 200, body: |x| x}", "no JSON form"),
        ("#{status: 204, body: \"x\"}", "no body"),
        ("|x| x", "no JSON form"),
        ("[1.0 / 0.0]", "no JSON form"),
    ] {
        let error = answer(source).expect_err(source);
        assert_eq!(error.kind, ErrorKind::BadResponse);
        assert!(error.message.contains(part), "{source}: {}", error.message);
    }
}

#[test]
fn direct_runs_and_triggers_see_json() {
    for (source, expected) in [
        ("()", "null"),
        ("\"a\\\"b\"", r#""a\"b""#),
        ("\"hi\".to_blob()", r#""aGk=""#),
        ("#{status: 999, body: 1}", r#"{"body":1,"status":999}"#),
    ] {
        check(source, expected);
    }
}

#[track_caller]
fn check_input(input: ContextInput, source: &str, expected: &str) {
    let mut run = given(source);
    run.context.input = input;
    assert_eq!(json_of(&finish(run)).as_deref(), Ok(expected), "{source}");
}

#[test]
fn every_input_has_its_shape() {
    let kv = KvEvent {
        op: "update",
        collection: "orders".into(),
        key: "a".into(),
        value: Some(b"{\"n\":2}".as_slice().into()),
        old_value: Some(b"1".as_slice().into()),
        lsn: Lsn(50),
    };
    let shown = r#"{"collection":"orders","key":"a","lsn":50,"old_value":1,"op":"update","source":"kv","value":{"n":2}}"#;
    check_input(ContextInput::Kv(kv.clone()), "ctx.event", shown);
    check_input(ContextInput::Kv(kv.clone()), "ctx.request", "null");
    check_input(ContextInput::Payload(None), "ctx.payload", "null");
    check_input(ContextInput::Payload(None), "ctx.contains(\"event\")", "false");
    check_input(ContextInput::Payload(Some(b"[1]".as_slice().into())), "ctx.payload[0]", "1");
    let error = ErrorRecord { kind: ErrorKind::Throw, message: "no".into(), line: 3, column: 4 };
    let letter = DeadLetter {
        id: "L".into(),
        execution: ExecutionId::from_bytes([3; 16]),
        root: ExecutionId::from_bytes([4; 16]),
        original: ContextInput::Kv(kv),
        script: "orders".into(),
        trigger: Some("on-order".into()),
        attempts: 3,
        last_error: error,
        first_attempt_at: UnixMicros::from_millis(1000),
        last_attempt_at: UnixMicros::from_millis(2000),
    };
    let input = ContextInput::DeadLetter(Box::new(letter));
    check_input(input.clone(), "ctx.event.original", shown);
    let source = "let e = ctx.event; [e.source, e.id, e.script, e.trigger, e.attempts, e.last_error, e.first_attempt_at]";
    let expected = r#"["dead_letter","L","orders","on-order",3,{"column":4,"kind":"throw","line":3,"message":"no"},"1970-01-01T00:00:01.000Z"]"#;
    check_input(input, source, expected);
}

/// A request with this body.
fn posted(source: &str, body: Vec<u8>) -> Finished {
    let mut run = given(source);
    run.context.input = ContextInput::Request(Arc::new(Request { body, ..Request::default() }));
    finish(run)
}

#[test]
fn a_body_of_the_largest_size_can_be_signed_parsed_kept_and_answered() {
    let text = "x".repeat(1000);
    let items: Vec<String> = (0..900).map(|n| format!(r#"{{"n":{n},"text":"{text}"}}"#)).collect();
    let body = format!(r#"{{"items":[{}]}}"#, items.join(","));
    let script = r#"
        let request = ctx.request;
        let mac = hex::encode(crypto::hmac_sha256("key", request.bytes));
        let payload = request.json;
        if type_of(request.bytes) != "blob" || request.bytes.len != request.body.len { throw "lengths" }
        if request.bytes[0] != 123 || request.bytes.extract(0, 2).len != 2 || request.bytes != request.bytes { throw 1 }
        kv::set("deliveries", "big", #{ payload: payload });
        #{ mac: mac.len, items: payload.items.len, again: request.bytes.as_string() == request.body }
    "#;
    let finished = posted(script, body.into_bytes());
    assert_eq!(json_of(&finished), Ok(r#"{"again":true,"items":900,"mac":64}"#.into()));
    let echoed = posted("ctx.request.bytes", vec![7; 1 << 20]);
    assert_eq!(echoed.outcome, Ok(Returned::Bytes(vec![7; 1 << 20])));
}

#[test]
fn out_of_a_long_blob_come_clear_errors() {
    for (source, part) in [
        ("ctx.request.bytes[1000000]", "1000000"),
        ("ctx.request.bytes.extract(-1, 5)", "start is within it"),
        ("ctx.request.bytes.extract(0, 70000)", "at most 65536"),
        ("#{ json: ctx.request.bytes }", "base64::encode"),
    ] {
        let error = json_of(&posted(source, vec![1; 100_000])).unwrap_err();
        assert!(error.message.contains(part), "{source}: {error:?}");
    }
}
