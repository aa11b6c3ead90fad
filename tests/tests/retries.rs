//! D3, D4, D6, D7, D17: attempts, waits, and work that will never run.

use relive_tests::{App, Manifest, Site};
use serde_json::{Value, json};

/// Milliseconds since the epoch of an RFC 3339 time in UTC with milliseconds.
pub(crate) fn millis(time: &Value) -> u64 {
    let text = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
    let number = |from: usize, to: usize| -> u64 { text[from..to].parse().unwrap() };
    assert!(text.len() == 24 && text.ends_with('Z'), "not RFC 3339 with milliseconds: {text}");
    let (y, m, d) = (number(0, 4), number(5, 7), number(8, 10));
    // Days from civil (Howard Hinnant), for years after 1970.
    let (y, m) = if m <= 2 { (y - 1, m + 9) } else { (y, m - 3) };
    let day_of_era = (y % 400) * 365 + (y % 400) / 4 - (y % 400) / 100 + (153 * m + 2) / 5 + d - 1;
    let days = (y / 400) * 146_097 + day_of_era - 719_468;
    ((days * 24 + number(11, 13)) * 60 + number(14, 16)) * 60_000 + number(17, 19) * 1000 + number(20, 23)
}

/// The times of an execution's events of one kind.
async fn times(app: &App, execution: &str, kind: &str) -> Vec<u64> {
    let events = app.items(&format!("/log?execution={execution}&kind={kind}")).await;
    events.iter().map(|event| millis(&event["at"])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d7_waits_between_attempts_follow_the_policy() {
    let policies = [
        ("none", r#"{ max_attempts = 3, backoff = "none" }"#, [(0, 0), (0, 0)]),
        (
            "fixed",
            r#"{ max_attempts = 3, backoff = "fixed", base_ms = 150, jitter_pct = 0 }"#,
            [(150, 150); 2],
        ),
        (
            "linear",
            r#"{ max_attempts = 3, backoff = "linear", base_ms = 100, jitter_pct = 0 }"#,
            [(100, 100), (200, 200)],
        ),
        (
            "exponential",
            r#"{ max_attempts = 4, backoff = "exponential", base_ms = 100, max_ms = 150, jitter_pct = 0 }"#,
            [(100, 100), (150, 150)],
        ),
        (
            "jitter",
            r#"{ max_attempts = 3, backoff = "fixed", base_ms = 200, jitter_pct = 50 }"#,
            [(100, 300); 2],
        ),
    ];
    let manifest = policies.iter().fold(Manifest::new(), |manifest, (name, retry, _)| {
        manifest.on_kv(name, name, "throw `attempt ${ctx.attempt}`;", &format!("retry = {retry}"))
    });
    let site = Site::with(&manifest).await;
    for (name, ..) in policies {
        site.app.put(name, "k", &json!(1)).await;
    }
    site.app.settled().await;
    for (name, _, waits) in policies {
        let letters = site.app.letters(&format!("script={name}")).await;
        assert_eq!(letters.len(), 1, "{name}: {letters:?}");
        let attempts = if name == "exponential" { 4 } else { 3 };
        assert_eq!(letters[0]["attempts"], json!(attempts), "{name}");
        assert_eq!(
            letters[0]["last_error"]["message"].as_str().map(|m| m.contains(&format!("attempt {attempts}"))),
            Some(true)
        );
        let execution = letters[0]["execution_id"].as_str().unwrap();
        let failed = times(&site.app, execution, "attempt_failed").await;
        let claimed = times(&site.app, execution, "claimed").await;
        assert_eq!((failed.len(), claimed.len()), (attempts, attempts), "{name}");
        for (n, (least, most)) in waits.into_iter().enumerate() {
            let waited = claimed[n + 1] - failed[n];
            // Not before its due time (one millisecond of rounding); late only by what a loaded machine costs.
            assert!(
                waited + 1 >= least && waited <= most + 1500,
                "{name}: waited {waited} ms before attempt {}",
                n + 2
            );
        }
        println!("{name}: {:?}", claimed.iter().map(|at| at - claimed[0]).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d7_an_attempt_that_succeeds_late_writes_once() {
    let source = r#"
        kv::incr("runs", ctx.event.key, 1);
        if ctx.attempt < 3 { throw "not yet"; }
        kv::set("done", ctx.event.key, ctx.attempt)
    "#;
    let retry = r#"retry = { max_attempts = 5, backoff = "fixed", base_ms = 20, jitter_pct = 0 }"#;
    let site = Site::with(&Manifest::new().on_kv("in", "late", source, retry)).await;
    site.app.put("in", "k", &json!(1)).await;
    site.app.settled().await;
    assert_eq!(site.app.value("runs", "k").await, Some(json!(1)), "S1: failed attempts leave nothing");
    assert_eq!(site.app.value("done", "k").await, Some(json!(3)));
    let rows = site.app.executions("script=late").await;
    assert_eq!((rows.len(), &rows[0]["status"]), (1, &json!("completed")));
    let record = site.app.execution(rows[0]["id"].as_str().unwrap()).await;
    let attempts = record["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 3, "{record}");
    assert_eq!(attempts[0]["error"]["kind"], json!("throw"), "{record}");
    assert_eq!(attempts[0]["error"]["line"], json!(3), "{record}");
    assert!(site.app.letters("").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_sync_work_never_retries_and_never_dead_letters() {
    let manifest = Manifest::new()
        .sync("POST /fail", "fail", r#"kv::incr("runs", "n", 1); throw "always";"#)
        .on_dead_letter("alert", r#"kv::incr("alerts", "n", 1)"#, "");
    let site = Site::launched(|launch| launch.env("RELIVE_RETRY_BASE_MS", 1), &manifest).await;
    for _ in 0..5 {
        site.app.call("POST", "/fail", "").await.problem(422, "throw");
    }
    site.app.settled().await;
    let rows = site.app.executions("script=fail").await;
    assert_eq!(rows.len(), 5);
    for row in &rows {
        assert_eq!(row["status"], json!("failed"));
        let id = row["id"].as_str().unwrap();
        let claims = site.app.items(&format!("/log?execution={id}&kind=claimed")).await;
        assert_eq!(claims.len(), 1, "one attempt");
    }
    assert!(site.app.letters("").await.is_empty());
    assert_eq!(site.app.value("runs", "n").await, None);
    assert_eq!(site.app.value("alerts", "n").await, None);
    println!("sync_failures=5 attempts=5 dead_letters=0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_an_async_route_answers_202_and_fails_like_a_trigger() {
    let manifest = Manifest::new()
        .asynchronous(
            "POST /ok",
            "ok",
            r#"kv::set("done", ctx.execution_id, ctx.request.json); #{ status: 99 }"#,
            "",
        )
        .asynchronous(
            "POST /bad",
            "bad",
            "throw \"no\";",
            r#"retry = { max_attempts = 2, backoff = "none" }"#,
        );
    let site = Site::with(&manifest).await;
    let accepted = site.app.call("POST", "/ok", r#"{"n":7}"#).await.expect(202);
    let body = accepted.json();
    let id = body["execution_id"].as_str().unwrap().to_owned();
    assert!(millis(&body["accepted_at"]) > 1_700_000_000_000);
    assert_eq!(accepted.execution(), id);
    // What an async script returns is recorded and not checked.
    let record = site.app.execution_in(&id, "completed").await;
    assert_eq!(record["script"], json!("ok"), "{record}");
    assert_eq!(site.app.value("done", &id).await, Some(json!({ "n": 7 })));
    let bad = site.app.call("POST", "/bad", "").await.expect(202).json();
    let record = site.app.execution_in(bad["execution_id"].as_str().unwrap(), "dead_lettered").await;
    assert_eq!(record["attempts"].as_array().unwrap().len(), 2, "{record}");
    assert_eq!(site.app.letters("status=open&script=bad").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_deleting_a_trigger_or_a_route_drops_its_unclaimed_work() {
    let retry = r#"retry = { max_attempts = 5, backoff = "fixed", base_ms = 60000 }"#;
    let manifest = Manifest::new().on_kv("in", "stuck", "throw \"no\";", retry).asynchronous(
        "POST /stuck",
        "stuck_route",
        "throw \"no\";",
        retry,
    );
    let site = Site::with(&manifest).await;
    site.app.put("in", "k", &json!(1)).await;
    let call = site.app.call("POST", "/stuck", "").await.expect(202).json();
    let by_route = call["execution_id"].as_str().unwrap();
    site.app.execution_in(by_route, "retrying").await;
    let by_trigger = relive_tests::until("a retry to wait", || async {
        let rows = site.app.executions("script=stuck&status=retrying").await;
        rows.first().map(|row| row["id"].as_str().unwrap().to_owned())
    })
    .await;
    let outbox = site.app.items("/outbox").await;
    assert_eq!(outbox.len(), 2, "{outbox:?}");
    assert!(
        outbox.iter().all(|row| row["waiting_for"].is_string() || row["waiting_for"].is_object()),
        "{outbox:?}"
    );
    let trigger = site.app.items("/triggers").await[0]["id"].as_str().unwrap().to_owned();
    let route = site.app.items("/routes").await[0]["id"].as_str().unwrap().to_owned();
    let _ = site.app.admin.delete(&site.app.path(&format!("/triggers/{trigger}"))).await.expect(204);
    let _ = site.app.admin.delete(&site.app.path(&format!("/routes/{route}"))).await.expect(204);
    for id in [by_trigger.as_str(), by_route] {
        let record = site.app.execution_in(id, "dropped").await;
        assert!(
            !record["outcome"].is_null() || record.to_string().contains("deleted"),
            "the reason is kept: {record}"
        );
    }
    assert!(site.app.letters("").await.is_empty());
    assert!(site.app.items("/outbox").await.is_empty());
    assert_eq!(site.app.call("POST", "/stuck", "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_a_missing_script_dead_letters_without_retry() {
    let retry = r#"retry = { max_attempts = 5, backoff = "none" }"#;
    let manifest = Manifest::new().on_kv("in", "gone", "()", retry).sync("GET /gone", "gone_route", "()");
    let site = Site::with(&manifest).await;
    for name in ["gone", "gone_route"] {
        let _ = site.app.admin.delete(&site.app.path(&format!("/scripts/{name}"))).await.expect(204);
    }
    site.app.put("in", "k", &json!(1)).await;
    site.app.settled().await;
    let letters = site.app.letters("status=open").await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (&letters[0]["attempts"], &letters[0]["last_error"]["kind"]),
        (&json!(1), &json!("script_missing"))
    );
    site.app.call("GET", "/gone", "").await.problem(422, "script_missing");
    assert_eq!(site.app.letters("").await.len(), 1, "D4: the route's work never dead-letters");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_an_attempt_uses_the_version_that_is_current_at_its_claim() {
    let retry = r#"retry = { max_attempts = 2, backoff = "fixed", base_ms = 1500, jitter_pct = 0 }"#;
    let manifest = Manifest::new().on_kv("in", "fixable", "throw \"v1\";", retry);
    let site = Site::with(&manifest).await;
    site.app.put("in", "k", &json!(1)).await;
    let id = relive_tests::until("a retry to wait", || async {
        let rows = site.app.executions("script=fixable&status=retrying").await;
        rows.first().map(|row| row["id"].as_str().unwrap().to_owned())
    })
    .await;
    let fixed = Manifest::new().on_kv("in", "fixable", r#"kv::set("done", "by", ctx.script.version)"#, retry);
    site.app.deploy(&fixed).await;
    let record = site.app.execution_in(&id, "completed|dead_lettered").await;
    assert_eq!(record["status"], json!("completed"));
    assert_eq!(site.app.value("done", "by").await, Some(json!(2)));
    let versions: Vec<_> =
        record["attempts"].as_array().unwrap().iter().map(|a| a["version"].clone()).collect();
    assert_eq!(versions, [json!(1), json!(2)], "{record}");
}
