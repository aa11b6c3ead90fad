//! The app that is measured: a sync route that writes a fresh key per call, the same without a record, and one that only
//! reads.

use std::path::Path;
use std::process::Command;

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
"#;

const WRITE: &str = r#"// Keeps what was sent under a key of its own.
let key = ctx.request.params.key;
kv::set("orders", key, ctx.request.json);
#{ ok: true, key: key }
"#;

const READ: &str = r#"// Answers what is kept under a key.
kv::get("orders", ctx.request.params.key)
"#;

pub(crate) fn deploy(bin: &Path, dir: &Path, server: &Server, data: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir)?;
    for (name, text) in [("relive.toml", MANIFEST), ("write.rhai", WRITE), ("read.rhai", READ)] {
        std::fs::write(dir.join(name), text)?;
    }
    let token = std::fs::read_to_string(data.join("admin.token"))?;
    let url = server.control_plane.as_deref().ok_or("no control plane")?;
    let mut command = Command::new(bin.join("relive"));
    command.arg("deploy").arg(dir).env("RELIVE_URL", url).env("RELIVE_TOKEN", token.trim());
    process::output(&mut command)?;
    Ok(())
}
