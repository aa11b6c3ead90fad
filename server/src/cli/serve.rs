//! `relive serve` and `relive dev`: settings, logs, and over to the composition root.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use tracing_subscriber::EnvFilter;

use relive_engine::command::Switch;

use crate::settings::{BadSetting, DEFS, LogFormat, Overrides, Resolved, Settings, env_name, flag_name};
use crate::{dev, out, run};

/// Flags of all settings, made from their table, and `--config`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    values: BTreeMap<String, String>,
    config: Option<PathBuf>,
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, clap::Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for def in DEFS {
            if let Some(value) = matches.get_one::<String>(def.key) {
                self.values.insert(def.key.to_owned(), value.clone());
            }
        }
        self.config = matches.get_one::<PathBuf>("config").cloned();
        Ok(())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .env("RELIVE_CONFIG")
            .value_parser(clap::value_parser!(PathBuf))
            .help("TOML file with settings");
        DEFS.iter().fold(command.arg(config), |command, def| {
            let default =
                if def.default.is_empty() { String::new() } else { format!(" [default: {}]", def.default) };
            let help = format!("{} [env: {}]{default}", def.help, env_name(def.key));
            let arg = Arg::new(def.key).long(flag_name(def.key)).value_name("VALUE").help(help);
            let switch = |arg: Arg| arg.num_args(0..=1).require_equals(true).default_missing_value("true");
            command.arg(if def.is_switch() { switch(arg) } else { arg })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args(command)
    }
}

impl Flags {
    /// Values with their origins.
    pub(crate) fn resolve(&self, overrides: &Overrides) -> Result<Resolved, BadSetting> {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let text = match &self.config {
            None => None,
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|e| BadSetting(format!("--config {} cannot be read: {e}", path.display())))?,
            ),
        };
        let file = self.config.as_deref().zip(text.as_deref());
        Resolved::new(&self.values, &env, file, overrides)
    }

    /// Checked settings; logs are set up.
    fn settings(&self, overrides: &Overrides) -> Result<Settings, BadSetting> {
        let settings = Settings::check(&self.resolve(overrides)?, cores())?;
        start_logs(&settings)?;
        Ok(settings)
    }
}

/// Cores of this machine.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn start_logs(settings: &Settings) -> Result<(), BadSetting> {
    let filter = EnvFilter::try_new(&settings.log_level)
        .map_err(|e| BadSetting(format!("log_level: `{}` is no filter: {e}", settings.log_level)))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Pretty => {
            builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
        }
    }
    Ok(())
}

/// `relive serve`
#[derive(clap::Args)]
pub(crate) struct Serve {
    /// Pause every app before anything starts; each stays paused until it is resumed
    #[arg(long)]
    start_paused: bool,
    #[command(flatten)]
    flags: Flags,
}

/// `relive dev`
#[derive(clap::Args)]
pub(crate) struct Dev {
    /// Directory with relive.toml
    #[arg(default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    flags: Flags,
}

/// Runs `serve`; the exit code.
pub(crate) fn serve(command: &Serve) -> u8 {
    match command.flags.settings(&Overrides::default()) {
        Ok(settings) => {
            let begin = if command.start_paused { Switch::Paused } else { Switch::Running };
            run::run(settings, begin)
        }
        Err(bad) => complain(&bad),
    }
}

/// Runs `dev`; the exit code.
pub(crate) fn dev(command: &Dev) -> u8 {
    let data = run::dev_data(&command.dir).display().to_string();
    let overrides = Overrides(BTreeMap::from([
        ("data", data),
        ("segment_bytes", "32MiB".to_owned()),
        ("log_level", "warn".to_owned()),
    ]));
    match command.flags.settings(&overrides) {
        Ok(settings) => dev::run(settings, &command.dir),
        Err(bad) => complain(&bad),
    }
}

fn complain(bad: &BadSetting) -> u8 {
    out::complain(&format!("relive: {bad}"));
    78
}
