//! `relive dev`: deploys what is in the directory, again on every change, and shows a person what happens.

use std::path::Path;

use relive_tests::{Cli, Launch, damage, repository, until};
use serde_json::json;

fn example_copy(to: &Path) {
    let example = repository().join("examples/webhooks");
    for file in damage::files(&example) {
        let name = file.strip_prefix(&example).unwrap();
        if name.starts_with(".relive") {
            continue;
        }
        std::fs::create_dir_all(to.join(name).parent().unwrap()).unwrap();
        std::fs::copy(&file, to.join(name)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_serves_the_example_greets_and_client_commands_in_the_directory_find_it() {
    let dir = tempfile::tempdir().unwrap();
    example_copy(dir.path());
    let server = Launch::dev(dir.path()).start();
    let app = server.app("webhooks");
    until("the example to be deployed", || async {
        (app.call("GET", "/stats", "").await.status == 200).then_some(())
    })
    .await;
    let greeting = until("the greeting", || async {
        let text = server.stdout();
        text.contains("export RELIVE_URL=").then_some(text)
    })
    .await;
    let export = greeting.lines().find(|line| line.starts_with("export RELIVE_URL=")).unwrap();
    for part in [
        format!("RELIVE_URL={}", server.admin_url),
        format!("RELIVE_TOKEN={}", server.token),
        "RELIVE_APP=webhooks".into(),
    ] {
        assert!(export.contains(&part), "{export}");
    }
    // Client commands started in the directory, or below it, find it by themselves.
    app.put("counts", "test", &json!(7)).await;
    for place in [dir.path().to_path_buf(), dir.path().join("data")] {
        let found = Cli::offline().run_in(&place, &["kv", "get", "counts", "test"]).expect(0);
        assert_eq!(found.stdout.trim(), "7");
    }
    // The secret for development is set: a bad signature is 401, not a missing secret.
    let _ = app.data.send("POST", "/webhooks/github", &[], "{}").await.expect(401);
    assert_eq!(server.terminate().code, Some(0));
    // Started again: everything is there.
    let server = Launch::dev(dir.path()).start();
    assert_eq!(server.app("webhooks").value("counts", "test").await, Some(json!(7)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_redeploys_on_save_and_shows_compile_errors_with_line_and_caret_while_the_old_version_serves() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "relive.toml",
        "app = \"mine\"\n\n[[route]]\nmethod = \"GET\"\npath = \"/x\"\nscript = \"x.rhai\"\ndispatch_mode = \"sync\"\n",
    );
    write("x.rhai", "\"one\"");
    let server = Launch::dev(dir.path()).start();
    let app = server.app("mine");
    let answers = |text: &'static str| {
        let app = app.clone();
        until(text, move || {
            let app = app.clone();
            async move { (app.call("GET", "/x", "").await.text() == text).then_some(()) }
        })
    };
    answers("one").await;
    write("x.rhai", "\"two\"");
    answers("two").await;
    write("x.rhai", "let a = 1;\nlet broken = = 2;\n");
    let shown = until("the compile error", || async {
        let text = server.stdout() + &server.stderr();
        text.contains("let broken = = 2;").then_some(text)
    })
    .await;
    assert!(shown.contains("x.rhai") && shown.contains('^') && shown.contains('2'), "{shown}");
    assert_eq!(app.call("GET", "/x", "").await.expect(200).text(), "two", "the old version serves");
    // Errors of a run are shown to callers in dev mode.
    write("x.rhai", "let a = 1;\nthrow \"told to the caller\";\n");
    let problem = until("the throwing version", || async {
        let reply = app.call("GET", "/x", "").await;
        (reply.status == 422).then_some(reply)
    })
    .await;
    let document = problem.problem(422, "throw");
    assert_eq!(document["line"], json!(2), "{document}");
    assert!(document.to_string().contains("told to the caller"), "{document}");
    assert_eq!(app.items("/scripts/x/versions").await.len(), 3, "what does not compile is no version");
}

/// How often each thread of a process went to sleep, by the threads' names.
fn sleeps(pid: u32) -> std::collections::BTreeMap<String, u64> {
    let mut sleeps = std::collections::BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        let count: u64 = value("voluntary_ctxt_switches:").parse().unwrap();
        *sleeps.entry(value("Name:").to_owned()).or_default() += count;
    }
    sleeps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_shows_a_call_at_once_and_sleeps_while_nothing_happens() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "relive.toml",
        "app = \"mine\"\n\n[[route]]\nmethod = \"GET\"\npath = \"/x\"\nscript = \"x.rhai\"\ndispatch_mode = \"sync\"\n",
    );
    write("x.rhai", "\"one\"");
    let server = Launch::dev(dir.path()).start();
    let app = server.app("mine");
    until("the deploy", || async { (app.call("GET", "/x", "").await.status == 200).then_some(()) }).await;
    until("the line of the call", || async { server.stdout().contains("GET /x → 200").then_some(()) }).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let before = sleeps(server.pid());
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let after = sleeps(server.pid());
    let idle = after.iter().map(|(name, count)| (name, count - before.get(name).unwrap_or(&0)));
    println!("dev_idle_sleeps_in_2_s={:?}", idle.filter(|(_, count)| *count > 0).collect::<Vec<_>>());
    // Whoever follows the log waits to be told; it does not look.
    let looks = after["follow"] - before["follow"];
    assert!(looks <= 4, "{looks} in two seconds");
}
