//! The app that is measured: sync routes that write (also without a record) and read a key, and every kind of background work.

use std::path::Path;
use std::process::Command;

use super::http;
use super::process::{self, Server};
use crate::Failure;

const MANIFEST: &str = r#"app = "bench"

[[route]]
method = "POST"
path = "/write/{key}"
script = "write.rhai"
dispatch_mode = "sync"

[[route]]
method = "POST"
path = "/write-unrecorded/{key}"
script = "write.rhai"
dispatch_mode = "sync"
record = "off"

[[route]]
method = "GET"
path = "/read/{key}"
script = "read.rhai"
dispatch_mode = "sync"

[[route]]
method = "GET"
path = "/read-filled/{key}"
script = "read_filled.rhai"
dispatch_mode = "sync"

[[route]]
method = "POST"
path = "/fill/{n}"
script = "fill.rhai"
dispatch_mode = "sync"

[[route]]
method = "POST"
path = "/warm/{n}"
script = "warm.rhai"
dispatch_mode = "async"

[[route]]
method = "POST"
path = "/asked/{n}"
script = "asked.rhai"
dispatch_mode = "async"

[[route]]
method = "POST"
path = "/late/{n}"
script = "late.rhai"
dispatch_mode = "sync"

[[route]]
method = "POST"
path = "/fired/{n}"
script = "fired.rhai"
dispatch_mode = "sync"

[[route]]
method = "POST"
path = "/send/{n}"
script = "send.rhai"
dispatch_mode = "sync"

[[trigger]]
name = "late"
kind = "kv"
collection = "late"
ops = ["insert"]
script = "on_late.rhai"

[[trigger]]
name = "fired"
kind = "kv"
collection = "fired"
ops = ["insert"]
script = "on_fired.rhai"

[[trigger]]
name = "sent"
kind = "queue"
queue = "sent"
script = "on_sent.rhai"
"#;

/// Names and texts of the scripts.
const SCRIPTS: [(&str, &str); 12] = [
    (
        "write",
        r#"// Keeps what was sent under a key of its own.
let key = ctx.request.params.key;
kv::set("orders", key, ctx.request.json);
#{ ok: true, key: key }
"#,
    ),
    (
        "read",
        r#"// Answers what is kept under a key.
kv::get("orders", ctx.request.params.key)
"#,
    ),
    ("read_filled", r#"kv::get("filled", ctx.request.params.key + "-0")"#),
    (
        "fill",
        r#"// A thousand fresh keys in one commit.
let n = ctx.request.params.n;
for i in 0..1000 { kv::set("filled", n + "-" + i, i); }
"#,
    ),
    ("late", r#"kv::set("late", ctx.request.params.n, 1);"#),
    ("fired", r#"kv::set("fired", ctx.request.params.n, 1);"#),
    (
        "send",
        r#"// A thousand messages in one commit.
for i in 0..1000 { queue::send("sent", i); }
"#,
    ),
    ("warm", "// Nothing.\n"),
    ("asked", "// Nothing.\n"),
    ("on_late", "// Nothing.\n"),
    ("on_fired", "// Nothing.\n"),
    ("on_sent", "// Nothing.\n"),
];

pub(crate) fn deploy(bin: &Path, dir: &Path, server: &Server, data: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("relive.toml"), MANIFEST)?;
    for (name, text) in SCRIPTS {
        std::fs::write(dir.join(format!("{name}.rhai")), text)?;
    }
    let mut command = command(bin, server, data)?;
    command.arg("deploy").arg(dir);
    process::output(&mut command)?;
    Ok(())
}

/// `relive trigger pause` and its like.
pub(crate) fn switch_trigger(
    bin: &Path,
    server: &Server,
    data: &Path,
    what: &str,
    trigger: &str,
) -> Result<(), Failure> {
    let mut command = command(bin, server, data)?;
    command.args(["trigger", what, trigger, "--app", "bench"]);
    process::output(&mut command)?;
    Ok(())
}

fn command(bin: &Path, server: &Server, data: &Path) -> Result<Command, Failure> {
    let url = server.control_plane.as_deref().ok_or("no control plane")?;
    let mut command = Command::new(bin.join("relive"));
    command.env("RELIVE_URL", url).env("RELIVE_TOKEN", token(data)?);
    Ok(command)
}

fn token(data: &Path) -> Result<String, Failure> {
    Ok(std::fs::read_to_string(data.join("admin.token"))?.trim().to_owned())
}

/// What the admin API answers to a POST of JSON.
pub(crate) fn tell_control(
    server: &Server,
    data: &Path,
    path: &str,
    json: &str,
) -> Result<serde_json::Value, Failure> {
    let url = server.control_plane.as_deref().ok_or("no control plane")?;
    let (address, path) = (url.trim_start_matches("http://"), format!("/api/v1{path}"));
    let answer = http::post(address, &path, Some(&token(data)?), json)?;
    if answer.status >= 300 {
        return Err(format!("POST {path}: {} {}", answer.status, answer.body).into());
    }
    Ok(serde_json::from_str(&answer.body)?)
}

/// What the admin API answers to a GET.
pub(crate) fn ask_control(server: &Server, data: &Path, path: &str) -> Result<serde_json::Value, Failure> {
    let url = server.control_plane.as_deref().ok_or("no control plane")?;
    let answer =
        http::get(url.trim_start_matches("http://"), &format!("/api/v1{path}"), Some(&token(data)?))?;
    if answer.status != 200 {
        return Err(format!("GET {path}: {} {}", answer.status, answer.body).into());
    }
    Ok(serde_json::from_str(&answer.body)?)
}
