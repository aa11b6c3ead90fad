//! Running cargo: with the environment of a plain shell, its output kept, within a time limit.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Well,
    /// With this exit code, or -1 after a signal.
    Badly(i32),
    TimedOut,
}

/// The cargo that runs us.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // What `cargo run` told us about this package would look like a changed environment to build scripts.
    for (name, _) in std::env::vars_os() {
        let inherited = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
                || name == "CARGO_PRIMARY_PACKAGE"
        });
        if inherited {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs it with both outputs in one file; stops it at the limit.
pub(crate) fn run(command: &mut Command, log: &Path, limit: Duration) -> Result<Ended, Failure> {
    let file = File::options().create(true).append(true).open(log)?;
    let mut child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() {
                Ended::Well
            } else {
                Ended::Badly(status.code().unwrap_or(-1))
            });
        }
        if started.elapsed() > limit {
            stop(&mut child)?;
            return Ok(Ended::TimedOut);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asks first, so that a test runner can end its tests, then insists.
fn stop(child: &mut Child) -> Result<(), Failure> {
    Command::new("kill").arg("-TERM").arg(child.id().to_string()).status()?;
    for _ in 0..100 {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Whether `cargo nextest` is installed: faster, one process per test. Not required.
pub(crate) fn has_nextest(root: &Path) -> bool {
    answers(cargo(root).args(["nextest", "--version"]))
}

/// Installs what a new machine lacks of the toolchain.
pub(crate) fn install_components(root: &Path) -> Result<(), Failure> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if answers(cargo(root).args([subcommand, "--version"])) {
            continue;
        }
        println!("installing the {component} component");
        let added = Command::new("rustup").args(["component", "add", component]).current_dir(root).status();
        if !added.is_ok_and(|status| status.success()) {
            return Err(format!(
                "`cargo {subcommand}` is missing and `rustup component add {component}` failed"
            )
            .into());
        }
    }
    Ok(())
}

/// Installs a subcommand of cargo from its package, unless it answers.
pub(crate) fn install_tool(root: &Path, subcommand: &str, package: &str) -> Result<(), Failure> {
    if answers(cargo(root).args([subcommand, "--version"])) {
        return Ok(());
    }
    println!("installing {package}");
    let ended = cargo(root).args(["install", package, "--locked"]).status()?;
    if ended.success() { Ok(()) } else { Err(format!("`cargo install {package} --locked` failed").into()) }
}

/// Whether it can be started and ends well.
pub(crate) fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|it| it.success())
}
