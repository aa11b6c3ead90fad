//! T3 with a client that is not ours: Microsoft's `@vscode/debugadapter-testsupport`, which tests the adapters of VS Code.
//!
//! Needs node and the client's packages (`tests/dap`): `cargo xtask test --job dap` installs both and runs these. Without
//! them the protocol is covered by the client in `backtests.rs`, which is ours. On crates.io there is no client: `dap`
//! (0.4.1-alpha1) is for writing servers, `dap-types` (0.0.1), `debug_types` and `debugserver-types` are types alone and
//! years old.

use relive_tests::{Manifest, Site};
use serde_json::json;

const BROKEN: &str = "let order = ctx.event.value;
let total = 0;
for item in order.items {
  total += item.price;
}
total";

const ONCE: &str = "retry = { max_attempts = 1 }";

/// Lets the client walk as `client.mjs` has it under this name, and checks that it came to its end.
fn client(site: &Site, walk: &str, execution: &str) {
    let told =
        |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("{name} is set by `cargo xtask test`"));
    let output = std::process::Command::new(told("RELIVE_NODE"))
        .arg(told("RELIVE_DAP_CLIENT"))
        .args([walk.as_ref(), relive_tests::binary().as_os_str(), execution.as_ref()])
        .env("RELIVE_URL", &site.server.admin_url)
        .env("RELIVE_TOKEN", &site.server.token)
        .env("RELIVE_APP", "shop")
        .output()
        .expect("node starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(text(&output.stdout), "walked\n");
}

async fn dead(site: &Site) -> String {
    let rows = site.app.executions("script=worker&status=dead_lettered").await;
    rows[0]["execution_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs node and the client in tests/dap: cargo xtask test --job dap"]
async fn t3_an_editors_client_walks_both_ways() {
    let site = Site::with(&Manifest::new().on_kv("in", "worker", BROKEN, ONCE)).await;
    site.app.put("in", "k", &json!({"items": [{"price": 3}, {"prise": 4}]})).await;
    site.app.settled().await;
    client(&site, "both-ways", &dead(&site).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs node and the client in tests/dap: cargo xtask test --job dap"]
async fn t3_an_editors_client_walks_into_an_imported_script() {
    let main = "import \"lib\" as lib;\nkv::set(\"out\", ctx.event.key, lib::total(ctx.event.value))";
    let lib = "fn total(order) {\n  let sum = 0;\n  for item in order { sum += item.price }\n  sum\n}";
    let site = Site::with(&Manifest::new().on_kv("in", "worker", main, ONCE).script("lib", lib)).await;
    site.app.put("in", "k", &json!([{"price": 3}, {"prise": 4}])).await;
    site.app.settled().await;
    client(&site, "imports", &dead(&site).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs node and the client in tests/dap: cargo xtask test --job dap"]
async fn an_editors_client_is_told_why_there_is_nothing_to_walk_through() {
    let site = Site::with(&Manifest::new().sync("POST /w", "w", "1")).await;
    client(&site, "refused", "00000000-0000-7000-8000-000000000000");
}
