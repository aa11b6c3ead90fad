//! `cargo xtask dap`: the debugger's adapter, driven by a client that is not ours.
//!
//! Owns: fetching the client (npm, locked versions, no install scripts) and running the test that needs it. Not part of
//! `cargo xtask test`: that asks neither for node nor for the network.

use std::process::Command;

use crate::{Failure, Places, cargo};

pub(crate) fn run(places: &Places) -> Result<bool, Failure> {
    let dir = places.root.join("tests/dap");
    let mut fetch = Command::new("npm");
    fetch.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(dir);
    if !fetch.status().map_err(|error| format!("npm cannot be started: {error}"))?.success() {
        return Err("the client could not be fetched".into());
    }
    let server = ["build", "-p", "relive-server", "--features", "fault-points"];
    if !cargo::cargo(&places.root).args(server).status()?.success() {
        return Err("relive-server does not build".into());
    }
    let test = ["test", "-p", "relive-tests", "--features", "relive-log/fault-points", "--test", "system"];
    let mut command = cargo::cargo(&places.root);
    command.args(test).args(["--", "--ignored", "dap::"]);
    command.env("RELIVE_BIN", places.target.join("debug/relive"));
    Ok(command.status()?.success())
}
