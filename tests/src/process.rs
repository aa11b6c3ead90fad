//! A `relive serve` process: started on a data directory with free ports, killed when it is dropped.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{App, Http};

/// A start or an end that takes longer than this is a failure.
const PROCESS_WAIT_MAX: Duration = Duration::from_secs(60);

/// Small segments: a start prepares several, and a test should see rollovers.
const SEGMENT_BYTES: &str = "4MiB";

/// The binary under test: `RELIVE_BIN`, else the one beside the test's own directory.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn binary() -> PathBuf {
    let path = std::env::var_os("RELIVE_BIN").map_or_else(
        || {
            let own = std::env::current_exe().expect("the path of the test itself");
            own.ancestors().nth(2).expect("target/debug").join("relive")
        },
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} does not exist: build it with `cargo build -p relive-server --features fault-points`",
        path.display()
    );
    path
}

/// The root of the checkout.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the repository")
}

/// How a process is started.
#[derive(Clone, Debug)]
pub struct Launch {
    command: Vec<OsString>,
    data: PathBuf,
    env: BTreeMap<String, String>,
    args: Vec<String>,
    admin_port: String,
}

impl Launch {
    /// A server on this data directory, with ports of its own and small segments.
    #[must_use]
    pub fn on(data: &Path) -> Launch {
        let command = vec!["serve".into(), "--data".into(), data.into()];
        Launch {
            command,
            data: data.to_path_buf(),
            env: small_segments(),
            args: Vec::new(),
            admin_port: "0".to_owned(),
        }
    }

    /// `relive dev` on the directory of an app, with ports of its own.
    #[must_use]
    pub fn dev(dir: &Path) -> Launch {
        let command = vec!["dev".into(), dir.into()];
        Launch {
            command,
            data: dir.join(".relive"),
            env: small_segments(),
            args: Vec::new(),
            admin_port: "0".to_owned(),
        }
    }

    /// With a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl ToString) -> Launch {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    /// With an argument of `serve`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Launch {
        self.args.push(arg.to_owned());
        self
    }

    /// With this port for the control plane, as it was before a restart.
    #[must_use]
    pub fn admin_port(mut self, port: &str) -> Launch {
        port.clone_into(&mut self.admin_port);
        self
    }

    /// Starts and waits until both listeners answer.
    ///
    /// # Panics
    /// If the process ends, or says nothing for a minute.
    #[must_use]
    pub fn start(&self) -> Server {
        self.try_start().unwrap_or_else(|ended| panic!("relive serve ended: {ended:#?}"))
    }

    /// Starts and waits until both listeners answer or the process ends.
    ///
    /// # Errors
    /// How it ended.
    pub fn try_start(&self) -> Result<Server, Ended> {
        let mut command = Command::new(binary());
        command.args(&self.command);
        let admin = format!("127.0.0.1:{}", self.admin_port);
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", &admin]).args(&self.args);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RELIVE_") {
                command.env_remove(name);
            }
        }
        command.envs(&self.env).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().expect("the binary starts");
        let (lines, stdout) = follow(child.stdout.take().expect("stdout"));
        let (_, stderr) = follow(child.stderr.take().expect("stderr"));
        let mut process = Process { child, stdout, stderr, started };
        let data_url = process.listening(&lines, "data plane listening on ")?;
        let admin_url = process.listening(&lines, "control plane listening on ")?;
        let token = self.token();
        Ok(Server {
            process,
            data: self.data.clone(),
            data_url,
            admin_url,
            token,
            start_took: started.elapsed(),
        })
    }

    fn token(&self) -> String {
        self.env.get("RELIVE_ADMIN_TOKEN").cloned().unwrap_or_else(|| {
            let text = std::fs::read_to_string(self.data.join("admin.token"));
            text.expect("DATA/admin.token of a new directory").trim().to_owned()
        })
    }
}

fn small_segments() -> BTreeMap<String, String> {
    BTreeMap::from([("RELIVE_SEGMENT_BYTES".to_owned(), SEGMENT_BYTES.to_owned())])
}

/// How a process ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
    /// Since its start.
    pub after: Duration,
}

impl Ended {
    /// Whether it said that a thread of it panicked. The thread that opens the views is left out: sled panics on what some
    /// kills leave it, and then the views are rebuilt (V6).
    pub fn panicked(&self) -> bool {
        self.stderr.lines().any(|line| line.contains("panicked at") && !line.contains("'views-open'"))
    }
}

/// A running process.
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// Its data directory.
    pub data: PathBuf,
    /// Where user routes are.
    pub data_url: String,
    /// Where the API is.
    pub admin_url: String,
    /// The instance token.
    pub token: String,
    /// From the start of the process to the second listening line.
    pub start_took: Duration,
}

impl Server {
    /// The control plane, with the instance token.
    #[must_use]
    pub fn admin(&self) -> Http {
        Http::new(&self.admin_url, Some(&self.token))
    }

    /// The data plane, anonymous.
    #[must_use]
    pub fn data(&self) -> Http {
        Http::new(&self.data_url, None)
    }

    /// One app, seen from both planes.
    #[must_use]
    pub fn app(&self, slug: &str) -> App {
        App::new(self.admin(), self.data(), slug)
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// What it printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        text(&self.process.stdout)
    }

    /// What it logged so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        text(&self.process.stderr)
    }

    /// SIGKILL, as a crash of the process.
    pub fn kill(mut self) -> Ended {
        self.process.child.kill().expect("SIGKILL");
        self.process.end()
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// If it does not end within a minute.
    pub fn terminate(self) -> Ended {
        self.signal_term();
        self.ended()
    }

    /// SIGTERM only.
    pub fn signal_term(&self) {
        let pid = rustix::process::Pid::from_child(&self.process.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
    }

    /// Waits for the end that comes by itself.
    ///
    /// # Panics
    /// If it does not end within a minute.
    pub fn ended(mut self) -> Ended {
        self.process.end()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.process.child.try_wait(), Ok(None))
    }
}

#[derive(Debug)]
struct Process {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    started: Instant,
}

impl Process {
    fn listening(&mut self, lines: &Receiver<String>, prefix: &str) -> Result<String, Ended> {
        loop {
            match lines.recv_timeout(PROCESS_WAIT_MAX.saturating_sub(self.started.elapsed())) {
                Ok(line) => {
                    if let Some(url) = line.strip_prefix(prefix) {
                        return Ok(url.trim().to_owned());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.end()),
                Err(RecvTimeoutError::Timeout) => panic!("no `{prefix}` line:\n{}", text(&self.stderr)),
            }
        }
    }

    fn end(&mut self) -> Ended {
        let waiting = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("waiting for the process") {
                Some(status) => break status,
                None => {
                    assert!(
                        waiting.elapsed() < PROCESS_WAIT_MAX,
                        "the process does not end:\n{}",
                        text(&self.stderr)
                    );
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        };
        let after = self.started.elapsed();
        // The readers see the end of the pipes a moment later.
        let readers = Instant::now();
        while Arc::strong_count(&self.stderr) > 1 && readers.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (stdout, stderr) = (text(&self.stdout), text(&self.stderr));
        Ended { code: status.code(), signal: status.signal(), stdout, stderr, after }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn text(buffer: &Mutex<String>) -> String {
    buffer.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Reads a pipe to its end on a thread: lines as they come, and all of it.
fn follow(pipe: impl Read + Send + 'static) -> (Receiver<String>, Arc<Mutex<String>>) {
    let (lines, received) = channel();
    let all = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&all);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_str(&line);
                kept.push('\n');
            }
            // Nobody listens once both addresses are known.
            drop(lines.send(line));
        }
    });
    (received, all)
}
