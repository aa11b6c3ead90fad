//! D10, D12: dead letters, their handlers, redrive.

use relive_tests::{App, Manifest, Site};
use serde_json::{Value, json};

const ONCE: &str = r#"retry = { max_attempts = 2, backoff = "none" }"#;
const BROKEN: &str = "kv::set(\"half\", ctx.event.key, 1);\nthrow `cannot do ${ctx.event.key}`;";
const FIXED: &str = r#"kv::set("done", ctx.event.key, #{ value: ctx.event.value, depth: ctx.depth, attempt: ctx.attempt,
    root: ctx.root_execution_id, source: ctx.event.source })"#;

async fn one_letter(app: &App) -> Value {
    app.settled().await;
    let letters = app.letters("").await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    letters[0].clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d10_a_handler_sees_the_letter_at_the_depth_of_the_dead_and_success_does_not_resolve_it() {
    let handler = r#"
        let e = ctx.event;
        kv::set("alerts", e.id, #{ source: e.source, execution: e.execution_id, root: e.root_execution_id,
            script: e.script, trigger: e.trigger, attempts: e.attempts, kind: e.last_error.kind,
            message: e.last_error.message, line: e.last_error.line, key: e.original.key, value: e.original.value,
            times: [e.first_attempt_at, e.last_attempt_at], depth: ctx.depth, attempt: ctx.attempt })
    "#;
    let manifest = Manifest::new()
        .sync("POST /in", "in", r#"kv::set("in", "k", 7); ()"#)
        .on_kv("in", "worker", BROKEN, ONCE)
        .on_dead_letter("alert", handler, "")
        .on_dead_letter("not_mine", "kv::set(\"wrong\", \"x\", 1)", "from_script = \"other\"")
        .on_dead_letter("mine", "kv::set(\"filtered\", ctx.event.script, 1)", "from_trigger = \"worker\"");
    let site = Site::with(&manifest).await;
    let call = site.app.call("POST", "/in", "").await.expect(204);
    let letter = one_letter(&site.app).await;
    assert_eq!((&letter["script"], &letter["trigger"]), (&json!("worker"), &json!("worker")), "{letter}");
    assert_eq!(letter["attempts"], json!(2));
    let error = &letter["last_error"];
    assert_eq!((&error["kind"], &error["line"]), (&json!("throw"), &json!(2)), "{letter}");
    assert!(text(&error["message"]).contains("cannot do k"), "{letter}");
    assert!(letter["resolution"].is_null(), "success does not resolve: {letter}");
    assert!(!letter["fingerprint"].is_null());
    let alert = site.app.value("alerts", &text(&letter["id"])).await.unwrap();
    let expected = json!({ "source": "dead_letter", "execution": letter["execution_id"], "root": call.execution(),
        "script": "worker", "trigger": "worker", "attempts": 2, "kind": "throw", "message": error["message"], "line": 2,
        "key": "k", "value": 7, "times": [letter["first_attempt_at"], letter["last_attempt_at"]], "depth": 1, "attempt": 1 });
    assert_eq!(alert, expected);
    assert!(site.app.collection("wrong").await.is_empty(), "from_script filters");
    assert_eq!(site.app.value("filtered", "worker").await, Some(json!(1)), "from_trigger filters");
    assert!(site.app.collection("half").await.is_empty(), "S1");
    let listing = site.app.admin.get("/api/v1/apps").await.expect(200).json();
    assert_eq!(listing["items"][0]["open_dead_letters"], json!(1), "{listing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d10_a_handler_that_fails_annotates_the_letter_and_is_neither_retried_nor_dead_lettered() {
    let manifest = Manifest::new().on_kv("in", "worker", BROKEN, ONCE).on_dead_letter(
        "alert",
        "throw \"the handler is broken too\";",
        "",
    );
    let site = Site::with(&manifest).await;
    site.app.put("in", "k", &json!(1)).await;
    let letter = one_letter(&site.app).await;
    assert_eq!(letter["resolution"], json!("handler_failed"), "{letter}");
    let handlers = site.app.executions("script=alert").await;
    assert_eq!((handlers.len(), &handlers[0]["status"]), (1, &json!("failed")), "{handlers:?}");
    let claims = site.app.items(&format!("/log?kind=claimed&execution={}", text(&handlers[0]["id"]))).await;
    assert_eq!(claims.len(), 1, "handlers run once");
    assert_eq!(site.app.letters("status=open").await.len(), 1, "it stays open");
    assert!(site.app.letters("status=resolved").await.is_empty());
    // … and redrivable.
    site.app.deploy(&Manifest::new().on_kv("in", "worker", FIXED, ONCE)).await;
    let redrive = site.app.path(&format!("/dead-letters/{}/redrive", text(&letter["id"])));
    let _ = site.app.admin.post(&redrive, &json!({})).await.expect(202);
    site.app.settled().await;
    assert!(site.app.value("done", "k").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d10_a_retry_of_a_handler_is_refused_since_it_runs_once() {
    let site = Site::with(&Manifest::new().script("alert", "1")).await;
    let with_retry = Manifest::new().on_dead_letter("alert", "1", ONCE);
    let refused = site.app.try_deploy(&with_retry).await;
    let document = refused.problem(422, "invalid_manifest");
    assert!(document["detail"].as_str().unwrap().contains("once"), "{document}");
    let line = with_retry.text("shop").lines().position(|line| line.starts_with("retry")).unwrap() + 1;
    assert_eq!((&document["file"], &document["line"]), (&json!("relive.toml"), &json!(line)), "{document}");
    let trigger =
        json!({ "name": "alert", "kind": "dead_letter", "script": "alert", "retry": { "max_attempts": 2 } });
    let refused = site.app.admin.post(&site.app.path("/triggers"), &trigger).await;
    assert_eq!(refused.problem(422, "invalid_manifest")["field"], json!("retry"), "{refused}");
    assert!(site.app.items("/triggers").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d12_a_redrive_runs_the_original_input_with_the_current_version_and_a_second_one_is_409() {
    let manifest = Manifest::new()
        .sync("POST /in", "in", r#"kv::set("in", "k", #{ n: 7 }); ()"#)
        .on_kv("in", "worker", BROKEN, ONCE);
    let site = Site::with(&manifest).await;
    let call = site.app.call("POST", "/in", "").await.expect(204);
    let letter = one_letter(&site.app).await;
    let redrive = site.app.path(&format!("/dead-letters/{}/redrive", text(&letter["id"])));
    site.app.deploy(&Manifest::new().on_kv("in", "worker", FIXED, ONCE)).await;
    // The key has another value by now: the redrive sees the one of then.
    let _ = site.app.admin.delete(&site.app.key_path("in", "k")).await.expect(200);
    site.app.settled().await;
    for (id, done) in site.app.collection("done").await {
        assert!(id != "k" || done["value"].is_null(), "only the deletion ran: {done}");
    }
    let answer = site.app.admin.post(&redrive, &json!({})).await.expect(202).json();
    let id = text(&answer["execution_id"]);
    let record = site.app.execution_in(&id, "completed|dead_lettered|failed").await;
    assert_eq!(record["status"], json!("completed"), "{record}");
    assert_ne!(json!(id), letter["execution_id"], "a fresh id");
    assert_eq!(record["redrive_of"], letter["id"], "{record}");
    let done = site.app.value("done", "k").await.unwrap();
    let expected =
        json!({ "value": { "n": 7 }, "depth": 1, "attempt": 1, "root": call.execution(), "source": "kv" });
    assert_eq!(done, expected);
    let resolved = site.app.get(&format!("/dead-letters/{}", text(&letter["id"]))).await;
    assert_eq!(resolved["resolution"], json!("redriven"), "{resolved}");
    assert!(!resolved["resolved_by"].is_null(), "{resolved}");
    let second = site.app.admin.post(&redrive, &json!({})).await;
    assert_eq!(second.status, 409, "{second}");
    assert_eq!(second.header("content-type"), "application/problem+json");
    assert_eq!(
        site.app.executions("script=worker").await.len(),
        3,
        "dead, deletion, redrive: nothing ran again"
    );
    assert!(site.app.letters("status=open").await.is_empty());
    assert_eq!(site.app.letters("status=resolved").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d12_the_original_version_can_be_asked_for_and_letters_outlive_a_crash() {
    let site = Site::with(&Manifest::new().on_kv("in", "worker", BROKEN, ONCE)).await;
    site.app.put("in", "k", &json!(1)).await;
    let letter = one_letter(&site.app).await;
    let shown = site.app.get(&format!("/dead-letters/{}", text(&letter["id"]))).await;
    site.app.deploy(&Manifest::new().on_kv("in", "worker", FIXED, ONCE)).await;
    let site = site.crashed();
    assert_eq!(site.app.get(&format!("/dead-letters/{}", text(&letter["id"]))).await, shown);
    let redrive = |id: &Value| site.app.path(&format!("/dead-letters/{}/redrive", text(id)));
    let answer =
        site.app.admin.post(&redrive(&letter["id"]), &json!({ "version": "original" })).await.expect(202);
    let again = site.app.execution_in(&text(&answer.json()["execution_id"]), "completed|dead_lettered").await;
    assert_eq!(again["status"], json!("dead_lettered"), "version 1 still throws: {again}");
    let open = site.app.letters("status=open").await;
    assert_eq!(open.len(), 1);
    assert_ne!(open[0]["id"], letter["id"]);
    assert_eq!(open[0]["fingerprint"], letter["fingerprint"], "errors alike have it alike");
    let unknown =
        site.app.admin.post(&redrive(&json!("00000000-0000-4000-8000-000000000000")), &json!({})).await;
    unknown.problem(404, "not_found");
    let bad = site.app.admin.post(&redrive(&open[0]["id"]), &json!({ "version": "newest" })).await;
    assert_eq!(bad.status, 422, "{bad}");
    let field = site.app.admin.post(&redrive(&open[0]["id"]), &json!({ "verion": 1 })).await;
    assert_eq!(field.status, 422, "{field}");
    assert!(field.text().contains("verion"), "names the field: {field}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_d12_an_async_request_that_died_is_redriven_with_its_whole_request() {
    let broken = "throw \"later\";";
    let fixed = r#"kv::set("done", "request", #{ body: ctx.request.json, q: ctx.request.query.q, id: ctx.request.params.id,
        kind: ctx.request.headers["x-kind"] })"#;
    let retry = r#"retry = { max_attempts = 1 }"#;
    let site = Site::with(&Manifest::new().asynchronous("POST /jobs/{id}", "job", broken, retry)).await;
    let headers = [("x-kind", "test"), ("authorization", "Bearer of-somebody-else")];
    let _ = site.app.data.send("POST", "/shop/jobs/j%201?q=a%26b", &headers, r#"{"n":1}"#).await.expect(202);
    let letter = one_letter(&site.app).await;
    assert!(letter["trigger"].is_null(), "{letter}");
    site.app.deploy(&Manifest::new().asynchronous("POST /jobs/{id}", "job", fixed, retry)).await;
    let redrive = site.app.path(&format!("/dead-letters/{}/redrive", text(&letter["id"])));
    let _ = site.app.admin.post(&redrive, &json!({})).await.expect(202);
    site.app.settled().await;
    let done = site.app.value("done", "request").await.unwrap();
    assert_eq!(done, json!({ "body": { "n": 1 }, "q": "a&b", "id": "j 1", "kind": "test" }));
}
