//! `cargo xtask mutants`: whether the tests of recovery, frames and snapshots can fail. The work is done by
//! `xtask/mutants`, a package of its own, so that chores which are quick to build stay so.

use crate::{Failure, Places, cargo};

pub(crate) fn run(places: &Places, arguments: &[&str]) -> Result<bool, Failure> {
    cargo::install_tool(&places.root, "mutants", "cargo-mutants")?;
    let mut command = cargo::cargo(&places.root);
    command.args(["run", "--quiet", "--package", "relive-mutants", "--"]).args(arguments);
    Ok(command.status()?.success())
}
