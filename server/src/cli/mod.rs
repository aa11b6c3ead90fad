//! The command line: one file per noun.
//!
//! Owns: commands, their flags, exit codes. Never does: the work of a server; client commands use the public
//! API and nothing else.

mod apps;
mod backtest;
mod config;
mod dap;
mod dead_letters;
mod debug;
mod deploy;
mod exec;
mod execution;
mod fork;
mod fork_directory;
mod holds;
mod instance;
mod invoke;
mod kv;
mod local;
mod log;
mod queues;
mod remote;
mod render;
mod replay;
mod routes;
mod scripts;
mod secrets;
mod serve;
mod tokens;
mod triggers;

use clap::{Parser, Subcommand};

pub(crate) use remote::{CLIENT_FILE, ClientFile};

use crate::client::Failed;
use crate::out;

/// A self-hosted serverless engine: the append-only log is the database.
#[derive(Parser)]
#[command(name = "relive", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the app in a directory, deploy it on every change, follow what happens
    Dev(serve::Dev),
    /// Serve
    Serve(serve::Serve),
    /// Bring an app to what DIR/relive.toml says
    Deploy(deploy::Deploy),
    /// Apps
    App(apps::Apps),
    /// An app, or a data directory, as it was at any moment, as one of its own
    Fork(fork::Fork),
    /// Scripts
    Script(scripts::Scripts),
    /// Routes
    Route(routes::Routes),
    /// Triggers
    Trigger(triggers::Triggers),
    /// Secrets
    Secret(secrets::Secrets),
    /// Tokens and what they allow
    Token(tokens::Tokens),
    /// Queues
    Queue(queues::Queues),
    /// Run a script directly
    Invoke(invoke::Invoke),
    /// Keys and values, now or as of any moment
    Kv(kv::Kv),
    /// Executions and their attempts
    Exec(exec::Exec),
    /// Run exported attempts again, without a server; exit code 6 if one differs
    Test(backtest::Test),
    /// Dead letters
    Dl(dead_letters::DeadLetters),
    /// The instance that serves
    Instance(instance::Instance),
    /// The app's events, and the care of the log
    Log(log::Log),
    /// History that has to stay, whatever retention asks for
    Hold(holds::Holds),
    /// Settings
    Config(config::Config),
}

/// Runs the command line; the exit code.
pub(crate) fn run() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no failures; clap knows where each goes.
            let _printed = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let (json, done) = match cli.command {
        Command::Dev(command) => return serve::dev(&command),
        Command::Serve(command) => return serve::serve(&command),
        Command::Config(command) => return config::run(&command),
        Command::Deploy(command) => (command.remote.json, deploy::run(&command)),
        Command::App(command) => (command.remote.json, apps::run(&command)),
        Command::Fork(command) => (command.remote.json, fork::run(&command)),
        Command::Script(command) => (command.remote.json, scripts::run(&command)),
        Command::Route(command) => (command.remote.json, routes::run(&command)),
        Command::Trigger(command) => (command.remote.json, triggers::run(&command)),
        Command::Secret(command) => (command.remote.json, secrets::run(&command)),
        Command::Token(command) => (command.remote.json, tokens::run(&command)),
        Command::Queue(command) => (command.remote.json, queues::run(&command)),
        Command::Invoke(command) => (command.remote.json, invoke::run(&command)),
        Command::Kv(command) => (command.remote.json, kv::run(&command)),
        Command::Exec(command) => (command.remote.json, exec::run(&command)),
        Command::Test(command) => (command.json, backtest::test(&command)),
        Command::Dl(command) => (command.remote.json, dead_letters::run(&command)),
        Command::Instance(command) => (command.remote.json, instance::run(&command)),
        Command::Log(command) => (command.remote.json, log::run(&command)),
        Command::Hold(command) => (command.remote.json, holds::run(&command)),
    };
    match done {
        Ok(()) => 0,
        Err(failed) => report(&failed, json),
    }
}

fn report(failed: &Failed, json: bool) -> u8 {
    match (&failed.problem, json) {
        (Some(problem), true) => out::complain(&problem.to_string()),
        (None, true) => out::complain(&serde_json::json!({"detail": failed.message}).to_string()),
        (_, false) => out::complain(&format!("relive: {}", failed.message)),
    }
    failed.code
}
