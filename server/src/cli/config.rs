//! `relive config show`: every setting with its value and where it comes from.

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::json;

use super::serve::Flags;
use crate::settings::{Overrides, Settings};
use crate::{out, settings};

/// `relive config`
#[derive(Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Every setting with its value and where it comes from
    Show {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        flags: Flags,
    },
}

/// Runs it; the exit code.
pub(crate) fn run(command: &Config) -> u8 {
    let What::Show { json, flags } = &command.what;
    let resolved = match flags.resolve(&Overrides::default()) {
        Ok(resolved) => resolved,
        Err(bad) => return complain(&bad),
    };
    if let Err(bad) = Settings::check(&resolved, super::serve::cores()) {
        return complain(&bad);
    }
    if *json {
        for (key, value, origin) in resolved.shown() {
            out::say(&json!({"setting": key, "value": value, "source": origin.name()}).to_string());
        }
        return 0;
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["setting", "value", "source"]);
    for (key, value, origin) in resolved.shown() {
        table.add_row([key.to_owned(), value, origin.name().to_owned()]);
    }
    out::say(&table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n"));
    0
}

fn complain(bad: &settings::BadSetting) -> u8 {
    out::complain(&format!("relive: {bad}"));
    78
}
