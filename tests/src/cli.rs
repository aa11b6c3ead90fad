//! The command line of the same binary, as a person or a script uses it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Server, binary};

/// Commands against one server.
#[derive(Clone, Debug)]
pub struct Cli {
    env: Vec<(&'static str, String)>,
}

/// What a command did.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Cli {
    /// A client of a server, for an app.
    #[must_use]
    pub fn of(server: &Server, app: &str) -> Cli {
        Cli {
            env: vec![
                ("RELIVE_URL", server.admin_url.clone()),
                ("RELIVE_TOKEN", server.token.clone()),
                ("RELIVE_APP", app.to_owned()),
            ],
        }
    }

    /// A command that knows no server (offline).
    #[must_use]
    pub const fn offline() -> Cli {
        Cli { env: Vec::new() }
    }

    /// The same with another value of a variable.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Cli {
        self.env.retain(|(known, _)| *known != name);
        self.env.push((name, value.to_owned()));
        self
    }

    /// Runs `relive` with these words.
    #[must_use]
    pub fn run(&self, words: &[&str]) -> Output {
        self.run_in(Path::new("/"), words)
    }

    /// Runs `relive` in a directory.
    ///
    /// # Panics
    /// If it does not start or a signal ended it.
    #[must_use]
    pub fn run_in(&self, dir: &Path, words: &[&str]) -> Output {
        let output = self.command(dir, words).stdin(Stdio::null()).output().expect("the binary starts");
        Output::of(&output)
    }

    /// Runs `relive` with this on its standard input.
    ///
    /// # Panics
    /// If it does not start or a signal ended it.
    #[must_use]
    pub fn run_with_input(&self, words: &[&str], input: &[u8]) -> Output {
        use std::io::Write as _;
        let mut command = self.command(Path::new("/"), words);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let mut stdin = child.stdin.take().expect("it was piped");
        let input = input.to_vec();
        // On a thread of its own: it may answer before it has read everything.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("it can be waited for");
        writer.join().expect("writing does not panic");
        Output::of(&output)
    }

    fn command(&self, dir: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RELIVE_") {
                command.env_remove(name);
            }
        }
        command.args(words).current_dir(dir).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Output {
    fn of(output: &std::process::Output) -> Output {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().expect("no signal ended it");
        Output { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// The output, if the exit code is this.
    ///
    /// # Panics
    /// Otherwise, showing it.
    #[must_use]
    #[track_caller]
    pub fn expect(self, code: i32) -> Output {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The one JSON object that was printed.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// One JSON object a line.
    ///
    /// # Panics
    /// If a line is none.
    #[must_use]
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }
}
