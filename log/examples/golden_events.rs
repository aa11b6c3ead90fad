//! Prints the golden bytes of the sample events, one file after the other, for a person to put in place:
//! `cargo run -p relive-log --example golden_events -- DIR` writes `<kind>.v1.hex` into `DIR`.
//!
//! Never run by a test: golden bytes that write themselves prove nothing. A released file only ever grows.

#[path = "../src/events/tests/samples.rs"]
mod samples;

mod vocabulary {
    pub(super) use relive_log::events::*;
    pub(super) use relive_log::{
        AppId, BacktestId, ExecutionId, JobId, LetterId, Lsn, PrincipalId, RouteId, TriggerId, UnixMicros,
    };
}

use std::collections::BTreeMap;
use std::io::Write;

#[expect(clippy::disallowed_methods, reason = "a tool for people, not part of the log")]
fn main() -> std::io::Result<()> {
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for (kind, sample, event) in samples::samples() {
        let mut body = Vec::new();
        let (_, version) = relive_log::events::encode_record(&event, &mut body);
        assert_eq!(version, 1, "a new version gets files of its own");
        *files.entry(kind).or_default() += &format!("{sample} {}\n", hex::encode(body));
    }
    let mut out = std::io::stdout().lock();
    match std::env::args_os().nth(1) {
        Some(dir) => {
            for (kind, text) in files {
                std::fs::write(std::path::Path::new(&dir).join(format!("{kind}.v1.hex")), text)?;
            }
        }
        None => {
            for (kind, text) in files {
                write!(out, "{kind}.v1.hex\n{text}\n")?;
            }
        }
    }
    Ok(())
}
