//! The command line against a running server: every command, its exit codes, `--json`.

use relive_tests::{Cli, Manifest, Output, Site};
use serde_json::{Value, json};

const BROKEN: &str = "throw `cannot do ${ctx.event.key}`;";

fn manifest() -> Manifest {
    Manifest::new().sync("GET /x", "x", "log::info(\"hi\"); ctx.payload ?? 1").on_kv(
        "in",
        "worker",
        BROKEN,
        "retry = { max_attempts = 1 }",
    )
}

/// Rows of a `--json` listing: one object a line.
fn rows(output: &Output) -> Vec<Value> {
    output.json_lines()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kv_commands_read_write_and_look_back() {
    let site = Site::with(&Manifest::new()).await;
    let cli = Cli::of(&site.server, "shop");
    let put = cli.run(&["kv", "put", "c", "k", r#"{"n": 1}"#, "--json"]).expect(0).json();
    let first = put["lsn"].as_u64().unwrap();
    let _ = cli.run(&["kv", "put", "c", "k", "2"]).expect(0);
    let _ = cli.run(&["kv", "put", "c", "other", "\"text\""]).expect(0);
    let get = cli.run(&["kv", "get", "c", "k"]).expect(0);
    assert_eq!(get.stdout.trim(), "2");
    let then = cli.run(&["kv", "get", "c", "k", "--at", &first.to_string()]).expect(0);
    assert_eq!(serde_json::from_str::<Value>(&then.stdout).unwrap(), json!({ "n": 1 }));
    let list = rows(&cli.run(&["kv", "list", "c", "--json"]).expect(0));
    assert_eq!(list.iter().map(|row| row["key"].clone()).collect::<Vec<_>>(), [json!("k"), json!("other")]);
    let back = rows(&cli.run(&["kv", "list", "c", "--at", &first.to_string(), "--json"]).expect(0));
    assert_eq!(back.len(), 1);
    let table = cli.run(&["kv", "list", "c"]).expect(0);
    assert!(table.stdout.contains("other"), "{}", table.stdout);
    let history = rows(&cli.run(&["kv", "history", "c", "k", "--json"]).expect(0));
    assert_eq!(
        history.iter().map(|row| row["value"].clone()).collect::<Vec<_>>(),
        [json!(2), json!({ "n": 1 })]
    );
    let _ = cli.run(&["kv", "delete", "c", "k"]).expect(0);
    let gone = cli.run(&["kv", "get", "c", "k"]).expect(3);
    assert!(gone.stdout.is_empty() && !gone.stderr.is_empty());
    let _ = cli.run(&["kv", "delete", "c", "k"]).expect(3);
    let json = cli.run(&["kv", "get", "c", "k", "--json"]).expect(3);
    assert_eq!(serde_json::from_str::<Value>(&json.stderr).unwrap()["code"], json!("not_found"), "{json:?}");
    // Bad JSON is bad usage: nothing is sent, so that it takes no server to say so.
    for cli in [cli.clone(), cli.clone().with("RELIVE_URL", "http://127.0.0.1:1")] {
        let bad = cli.run(&["kv", "put", "c", "k", "{not json"]).expect(2);
        assert!(bad.stderr.contains("not JSON"), "{bad:?}");
    }
    let future = cli.run(&["kv", "get", "c", "other", "--at", "999999"]).expect(1);
    assert!(future.stderr.contains("future"), "{}", future.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_2_usage_3_not_found_4_denied() {
    let site = Site::with(&manifest()).await;
    let cli = Cli::of(&site.server, "shop");
    let _ = cli.run(&["no-such-command"]).expect(2);
    let _ = cli.run(&["kv", "get", "c"]).expect(2);
    let _ = cli.clone().with("RELIVE_APP", "").run(&["kv", "get", "c", "k"]).expect(2);
    let _ = cli.clone().with("RELIVE_APP", "nobody").run(&["kv", "list", "c"]).expect(3);
    let _ = cli.run(&["exec", "show", "00000000-0000-4000-8000-000000000000"]).expect(3);
    let _ = cli.run(&["dl", "show", "00000000-0000-4000-8000-000000000000"]).expect(3);
    let denied = cli.clone().with("RELIVE_TOKEN", "wrong").run(&["app", "list"]).expect(4);
    assert!(!denied.stderr.contains("wrong"), "a token is never echoed");
    let nobody = cli.with("RELIVE_URL", "http://127.0.0.1:1").run(&["app", "list"]).expect(1);
    assert!(!nobody.stderr.is_empty());
    let help = Cli::offline().run(&["--help"]).expect(0);
    assert!(help.stdout.contains("deploy") && help.stdout.contains("serve"));
    let version = Cli::offline().run(&["--version"]).expect(0);
    assert!(version.stdout.contains("relive"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploy_is_idempotent_plans_and_names_file_line_and_what_is_allowed() {
    let site = Site::with(&Manifest::new()).await;
    let cli = Cli::of(&site.server, "shop");
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let deploy = |more: &[&str]| cli.run(&[&["deploy", dir.path().to_str().unwrap()], more].concat());
    let good = manifest();
    write("relive.toml", &good.text("fromcli"));
    for (name, source) in good.scripts() {
        write(&format!("{name}.rhai"), source);
    }
    let plan = deploy(&["--dry-run"]).expect(0);
    assert!(plan.stdout.contains("worker"), "{}", plan.stdout);
    let app = site.server.app("fromcli");
    assert_eq!(app.admin.get(&app.path("")).await.status, 404, "a plan creates nothing");
    let _ = deploy(&[]).expect(0);
    assert_eq!(app.call("GET", "/x", "").await.expect(200).text(), "1");
    let again = deploy(&["--json"]).expect(0).json();
    let second = deploy(&["--json"]).expect(0).json();
    assert_eq!(again["lsn"], second["lsn"], "idempotent");
    // A script error: file, line and column.
    write("x.rhai", "let a = 1;\nlet b = = 2;\n");
    let bad = deploy(&[]).expect(1);
    assert!(bad.stderr.contains("x.rhai") && bad.stderr.contains('2'), "{}", bad.stderr);
    write("x.rhai", "2");
    write(
        "relive.toml",
        "app = \"fromcli\"\n[[route]]\nmethod = \"GET\"\npath = \"/x\"\nscript = \"missing.rhai\"\ndispatch_mode = \"sync\"\n",
    );
    let missing = deploy(&[]);
    assert!(missing.code != 0 && missing.stderr.contains("missing.rhai"), "{missing:?}");
    assert!(missing.stderr.contains("relive.toml:5:10"), "{missing:?}");
    assert_eq!(app.call("GET", "/x", "").await.expect(200).text(), "1", "nothing of it was deployed");
    let nothing = cli.run(&["deploy", "/nonexistent"]);
    assert_ne!(nothing.code, 0);
    // Manifest errors: file, line and the allowed names.
    let text = good.text("fromcli");
    for (from, to, named) in [
        ("dispatch_mode = \"sync\"", "dispatch_mode = \"later\"", &["sync", "async"][..]),
        ("collection = ", "colection = ", &["colection", "collection"]),
        ("kind = \"kv\"", "kind = \"kvv\"", &["kv", "dead_letter"]),
        ("[[route]]", "[[rout]]", &["rout", "route"]),
        ("method = \"GET\"", "method = 5", &["method"]),
        ("app = \"fromcli\"", "app = \"From CLI\"", &["app"]),
        ("path = \"/x\"", "path = \"/{*x}/y\"", &["path", "last"]),
        ("max_attempts = 1", "base_ms = 5, max_ms = 4", &["base_ms", "max_ms"]),
    ] {
        assert!(text.contains(from));
        let spoiled = text.replacen(from, to, 1);
        let line = spoiled.lines().position(|line| line.contains(to)).unwrap() + 1;
        write("relive.toml", &spoiled);
        let bad = deploy(&[]);
        assert!(bad.code == 1 || bad.code == 78 || bad.code == 2, "{to}: {bad:?}");
        assert!(bad.stderr.contains("relive.toml"), "{to}: names the file: {}", bad.stderr);
        assert!(bad.stderr.contains(&line.to_string()), "{to}: names line {line}: {}", bad.stderr);
        for name in named {
            assert!(bad.stderr.contains(name), "{to}: names {name}: {}", bad.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_noun_lists_shows_creates_and_deletes() {
    let site = Site::with(&manifest()).await;
    let cli = Cli::of(&site.server, "shop");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fresh.rhai");
    std::fs::write(&file, "ctx.payload").unwrap();
    // app
    let _ = cli.run(&["app", "create", "second", "--name", "The second"]).expect(0);
    let _ = cli.run(&["app", "create", "second"]).expect(1);
    let apps = rows(&cli.run(&["app", "list", "--json"]).expect(0));
    assert_eq!(
        apps.iter().map(|row| row["slug"].clone()).collect::<Vec<_>>(),
        [json!("second"), json!("shop")]
    );
    assert_eq!(cli.run(&["app", "show", "second", "--json"]).expect(0).json()["name"], json!("The second"));
    let _ = cli.run(&["app", "delete", "second"]).expect(0);
    let _ = cli.run(&["app", "show", "second"]).expect(3);
    // instance
    let instance = cli.run(&["instance", "show", "--json"]).expect(0).json();
    assert_eq!(instance["durability"], json!("sync"), "{instance}");
    assert!(instance["lsn"]["durable"].as_u64().unwrap() > 0, "{instance}");
    // script, invoke
    let _ = cli.run(&["script", "create", "fresh", file.to_str().unwrap()]).expect(0);
    let shown = cli.run(&["script", "show", "fresh"]).expect(0);
    assert!(shown.stdout.contains("ctx.payload"));
    assert_eq!(rows(&cli.run(&["script", "list", "--json"]).expect(0)).len(), 3);
    let invoked = cli.run(&["invoke", "fresh", "--data", r#"{"n":5}"#, "--json"]).expect(0).json();
    assert_eq!(invoked["result"], json!({ "n": 5 }));
    let data = dir.path().join("data.json");
    std::fs::write(&data, "[1]").unwrap();
    let at_file = format!("@{}", data.display());
    assert_eq!(
        cli.run(&["invoke", "fresh", "--data", &at_file, "--json"]).expect(0).json()["result"],
        json!([1])
    );
    std::fs::write(&file, "throw \"no\";").unwrap();
    let _ = cli.run(&["script", "create", "fresh", file.to_str().unwrap()]).expect(0);
    let _ = cli.run(&["invoke", "fresh"]).expect(1);
    let _ = cli.run(&["script", "delete", "fresh"]).expect(0);
    let _ = cli.run(&["script", "show", "fresh"]).expect(3);
    // route
    let routes = rows(&cli.run(&["route", "list", "--json"]).expect(0));
    assert_eq!((routes.len(), &routes[0]["path"]), (1, &json!("/x")));
    let _ =
        cli.run(&["route", "create", r#"{"method":"GET","path":"/y","script":"x","dispatch_mode":"sync"}"#]);
    let _ = cli.run(&["route", "delete", routes[0]["id"].as_str().unwrap()]).expect(0);
    assert_eq!(site.app.call("GET", "/x", "").await.status, 404);
    // trigger
    let triggers = rows(&cli.run(&["trigger", "list", "--json"]).expect(0));
    assert_eq!((triggers.len(), &triggers[0]["name"]), (1, &json!("worker")));
    assert_eq!(
        cli.run(&["trigger", "show", triggers[0]["id"].as_str().unwrap(), "--json"]).expect(0).json()["collection"],
        json!("in")
    );
    // dead letters, executions, log
    site.app.put("in", "k", &json!(1)).await;
    site.app.settled().await;
    let letters = rows(&cli.run(&["dl", "list", "--json"]).expect(0));
    assert_eq!(letters.len(), 1);
    let id = letters[0]["id"].as_str().unwrap();
    let shown = cli.run(&["dl", "show", id]).expect(0);
    assert!(shown.stdout.contains("cannot do k"), "{}", shown.stdout);
    let (error, input) = (shown.stdout.find("(worker:1:").unwrap(), shown.stdout.find("\ninput\n").unwrap());
    assert!(error < input, "the error first: {}", shown.stdout);
    let whole = cli.run(&["dl", "show", id, "--json"]).expect(0).json();
    assert_eq!(
        (&whole["last_error"]["line"], &whole["input"]["event"]["key"]),
        (&json!(1), &json!("k")),
        "{whole}"
    );
    let redriven = cli.run(&["dl", "redrive", id, "--json"]).expect(0).json();
    assert!(redriven["execution_id"].is_string());
    let _ = cli.run(&["dl", "redrive", id]).expect(1);
    site.app.settled().await;
    let runs = rows(&cli.run(&["exec", "list", "--script", "worker", "--json"]).expect(0));
    assert_eq!(runs.len(), 2);
    let shown =
        cli.run(&["exec", "show", letters[0]["execution_id"].as_str().unwrap(), "--json"]).expect(0).json();
    assert_eq!(shown["status"], json!("dead_lettered"));
    let events = rows(&cli.run(&["log", "show", "--json"]).expect(0));
    assert!(events.iter().any(|event| event["kind"] == json!("dead_letter_redriven")), "{events:?}");
    let _ = cli.run(&["trigger", "delete", triggers[0]["id"].as_str().unwrap()]).expect(0);
    assert!(rows(&cli.run(&["trigger", "list", "--json"]).expect(0)).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_set_listed_by_name_and_never_shown() {
    let site = Site::with(&Manifest::new()).await;
    let cli = Cli::of(&site.server, "shop");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("value");
    std::fs::write(&file, "very-secret-value").unwrap();
    let at_file = format!("@{}", file.display());
    let _ = cli.run(&["secret", "create", "KEY", "--value", &at_file]).expect(0);
    let listed = cli.run(&["secret", "list"]).expect(0);
    assert!(
        listed.stdout.contains("KEY") && !listed.stdout.contains("very-secret-value"),
        "{}",
        listed.stdout
    );
    let _ = cli.run(&["secret", "delete", "KEY"]).expect(0);
    let _ = cli.run(&["secret", "delete", "KEY"]).expect(3);
}
