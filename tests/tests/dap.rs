//! T3 with a client that is not ours: Microsoft's `@vscode/debugadapter-testsupport`, which tests the adapters of VS Code.
//!
//! Needs `node`; `cargo xtask dap` fetches the client (`tests/dap`, versions and digests locked) and runs this. Without
//! node the protocol is covered by the client in `backtests.rs`, which is ours. On crates.io there is no client: `dap`
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs node and the client in tests/dap: cargo xtask dap"]
async fn t3_an_editors_client_walks_both_ways() {
    let manifest = Manifest::new().on_kv("in", "worker", BROKEN, "retry = { max_attempts = 1 }");
    let site = Site::with(&manifest).await;
    site.app.put("in", "k", &json!({"items": [{"price": 3}, {"prise": 4}]})).await;
    site.app.settled().await;
    let rows = site.app.executions("script=worker&status=dead_lettered").await;
    let output = std::process::Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/dap/client.mjs"))
        .arg(relive_tests::binary())
        .arg(rows[0]["execution_id"].as_str().unwrap())
        .env("RELIVE_URL", &site.server.admin_url)
        .env("RELIVE_TOKEN", &site.server.token)
        .env("RELIVE_APP", "shop")
        .output()
        .expect("node starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(text(&output.stdout), "walked\n");
}
