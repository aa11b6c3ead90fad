//! T1 to T6: a past attempt run again, stepped through, and compared, through the API and the command line.

use relive_tests::{Cli, Manifest, Site};
use serde_json::{Value, json};

const WRITES: &str = r#"
let n = kv::incr("c", "n", 1);
kv::set("c", "id", uuid::v4());
log::info(`n is ${n}`);
#{ n: n, dice: random::int(1, 1000000), at: time::now() }"#;

const BROKEN: &str = "let order = ctx.event.value;
let total = 0;
for item in order.items {
  total += item.price;
}
kv::set(\"totals\", ctx.event.key, total);
total";

const ONCE: &str = "retry = { max_attempts = 1 }";

async fn replay(site: &Site, id: &str, body: &Value) -> relive_tests::Reply {
    site.app.admin.post(&site.app.path(&format!("/executions/{id}/replay")), body).await
}

async fn steps(site: &Site, id: &str, body: &Value) -> relive_tests::Reply {
    site.app.admin.post(&site.app.path(&format!("/executions/{id}/steps")), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_a_replay_is_faithful_after_everything_changed_and_has_no_effect() {
    let site = Site::with(&Manifest::new().sync("POST /w", "w", WRITES)).await;
    let first = site.app.call("POST", "/w", "{}").await.expect(200);
    let second = site.app.call("POST", "/w", "{}").await.expect(200);
    let recorded = site.app.execution(&first.execution()).await;
    site.app.put("c", "n", &json!(1000)).await;
    site.app.deploy(&Manifest::new().sync("POST /w", "w", "\"another\"")).await;
    let head = site.app.admin.get("/api/v1/instance").await.expect(200).json()["lsn"].clone();
    let got = replay(&site, &first.execution(), &json!({})).await.expect(200).json();
    assert_eq!(got["faithful"], json!(true), "{got}");
    assert_eq!(got["result"], first.json());
    assert_eq!((&got["diverged_at"], &got["error"]), (&Value::Null, &Value::Null));
    assert_eq!(got["writes"].as_array().unwrap().len(), 2);
    assert_eq!(got["logs"][0]["message"], json!("n is 1"));
    assert_eq!(got["reads"], recorded["attempts"][0]["reads"]);
    let got = replay(&site, &second.execution(), &json!({"attempt": 1})).await.expect(200).json();
    assert_eq!((&got["faithful"], &got["result"]), (&json!(true), &second.json()));
    let other = replay(&site, &first.execution(), &json!({"source": "throw \"x\""})).await.expect(200).json();
    assert_eq!(
        (&other["faithful"], &other["diverged_at"]["what"]),
        (&json!(false), &json!("log")),
        "{other}"
    );
    assert_eq!(other["error"]["kind"], json!("throw"));
    let version = replay(&site, &first.execution(), &json!({"script_version": 2})).await.expect(200).json();
    assert_eq!(version["result"], json!("another"));
    let after = site.app.admin.get("/api/v1/instance").await.expect(200).json()["lsn"].clone();
    assert_eq!(head, after, "no effect");
    let site = site.crashed();
    let got = replay(&site, &first.execution(), &json!({})).await.expect(200).json();
    assert_eq!((&got["faithful"], &got["result"]), (&json!(true), &first.json()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_bad_replays_are_clear_refusals() {
    let manifest =
        Manifest::new().sync("POST /w", "w", "1").route("POST /off", "off", "1", "sync", "record = \"off\"");
    let site = Site::with(&manifest).await;
    let id = site.app.call("POST", "/w", "").await.expect(200).execution();
    let off = site.app.call("POST", "/off", "").await.expect(200).execution();
    let code = |reply: relive_tests::Reply| reply.json()["code"].clone();
    assert_eq!(code(replay(&site, &off, &json!({})).await.expect(409)), json!("not_recorded"));
    for (body, status, want) in [
        (json!({"attempt": 5}), 404, "not_found"),
        (json!({"script_version": 5}), 404, "not_found"),
        (json!({"source": "let = 1"}), 422, "parse"),
        (json!({"source": "1", "script_version": 1}), 422, "invalid"),
        (json!({"sauce": "1"}), 422, "invalid"),
    ] {
        assert_eq!(code(replay(&site, &id, &body).await.expect(status)), json!(want), "{body}");
    }
    let unknown = "00000000-0000-7000-8000-000000000000";
    assert_eq!(code(replay(&site, unknown, &json!({})).await.expect(404)), json!("not_found"));
    for (body, want) in [
        (json!({"from": 99}), "step_out_of_range"),
        (json!({"breakpoints": [7]}), "no_code"),
        (json!({"limit": 0}), "invalid"),
    ] {
        assert_eq!(code(steps(&site, &id, &body).await.expect(422)), json!(want), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_a_failed_delivery_is_stepped_backwards_from_its_failing_line() {
    let site = Site::with(&Manifest::new().on_kv("in", "worker", BROKEN, ONCE)).await;
    site.app.put("in", "k", &json!({"items": [{"price": 3}, {"prise": 4}]})).await;
    site.app.settled().await;
    let execution = site.app.executions("script=worker").await[0].clone();
    assert_eq!(execution["status"], json!("dead_lettered"));
    let id = execution["execution_id"].as_str().unwrap().to_owned();
    let all = steps(&site, &id, &json!({})).await.expect(200).json();
    let items = all["items"].as_array().unwrap().clone();
    assert_eq!((&all["faithful"], &all["cursor"]), (&json!(true), &Value::Null), "{all}");
    let last = items.last().unwrap();
    assert_eq!((&last["line"], &all["error"]["line"]), (&json!(4), &json!(4)));
    assert_eq!(last["variables"]["item"], json!({"prise": 4}));
    assert_eq!(last["variables"]["total"], json!(3));
    let mut cursor = json!(null);
    let mut paged = Vec::new();
    loop {
        let page = steps(&site, &id, &json!({"limit": 2, "cursor": cursor})).await.expect(200).json();
        paged.extend(page["items"].as_array().unwrap().clone());
        cursor = page["cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(paged, items);
    let back = json!({"breakpoints": [4], "direction": "backward", "from": items.len(), "limit": 1});
    let back = steps(&site, &id, &back).await.expect(200).json();
    assert_eq!(back["items"][0]["variables"]["item"], json!({"price": 3}), "the time before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_replay_says_what_differs_with_exit_code_6() {
    let site = Site::with(&Manifest::new().on_kv("in", "worker", BROKEN, ONCE)).await;
    site.app.put("in", "k", &json!({"items": [{"prise": 4}]})).await;
    site.app.settled().await;
    let id = site.app.executions("script=worker").await[0]["execution_id"].as_str().unwrap().to_owned();
    let cli = Cli::of(&site.server, "shop");
    let same = cli.run(&["exec", "replay", &id]).expect(0);
    assert!(same.stdout.contains("faithful") && same.stdout.contains("(line 4)"), "{}", same.stdout);
    let fix = site.server.data.parent().unwrap().join("fix.rhai");
    std::fs::write(&fix, BROKEN.replace("item.price", "item.price ?? 0")).unwrap();
    let fix = fix.to_str().unwrap();
    let fixed = cli.run(&["exec", "replay", &id, "--source", fix]).expect(6);
    assert!(fixed.stdout.contains("write     totals/k = 0"), "{}", fixed.stdout);
    let shown = cli.run(&["exec", "replay", &id, "--json"]).expect(0).json();
    assert_eq!(shown["faithful"], json!(true));
    let _ = cli.run(&["exec", "replay", "00000000-0000-7000-8000-000000000000"]).expect(3);
}
