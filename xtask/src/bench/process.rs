//! The processes that are measured: started on free ports, watched through /proc, stopped in order.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::http;
use serde::Deserialize;

use crate::Failure;

/// How long an orderly stop may take.
const STOP_MAX: Duration = Duration::from_secs(120);
/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(600);
/// USER_HZ: the unit of CPU times in /proc, the same on every Linux that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A server; killed when it is dropped without `stop`.
pub(crate) struct Server {
    child: Child,
    /// HOST:PORT.
    pub(crate) data_plane: String,
    /// URL; none for a floor.
    pub(crate) control_plane: Option<String>,
    /// Kept open: a server must not meet a closed pipe.
    stdout: BufReader<ChildStdout>,
}

/// What a process uses at this moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resources {
    pub(crate) rss_bytes: u64,
    pub(crate) peak_rss_bytes: u64,
    pub(crate) cpu_seconds: f64,
}

impl Server {
    /// `relive serve` with default settings on a new data directory.
    pub(crate) fn relive(bin: &Path, data: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(bin.join("relive"));
        command.arg("serve").env("RELIVE_DATA", data);
        command.env("RELIVE_LISTEN", "127.0.0.1:0").env("RELIVE_ADMIN_LISTEN", "127.0.0.1:0");
        let (mut server, lines) =
            Self::start(command, &["data plane listening on", "control plane listening on"])?;
        server.control_plane = lines.get(1).cloned();
        Ok(server)
    }

    pub(crate) fn floor(bin: &Path, mode: &str, dir: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(bin.join("floor"));
        command.arg(mode);
        if mode == "http" {
            command.arg("--dir").arg(dir);
        }
        Ok(Self::start(command, &["floor listening on"])?.0)
    }

    /// Waits for one line with each beginning, in whatever order; their URLs in the order of `wanted`.
    fn start(mut command: Command, wanted: &[&str]) -> Result<(Self, Vec<String>), Failure> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut server =
            Self { child, data_plane: String::new(), control_plane: None, stdout: BufReader::new(stdout) };
        let mut urls = vec![String::new(); wanted.len()];
        while urls.iter().any(String::is_empty) {
            let mut line = String::new();
            if server.stdout.read_line(&mut line)? == 0 {
                return Err(format!("{command:?} ended before it listened").into());
            }
            for (url, beginning) in urls.iter_mut().zip(wanted) {
                if let Some(rest) = line.trim().strip_prefix(beginning) {
                    *url = rest.trim().to_owned();
                }
            }
        }
        let first = urls.first().ok_or("nothing to wait for")?;
        server.data_plane = first.trim_start_matches("http://").to_owned();
        Ok((server, urls))
    }

    pub(crate) fn usage(&self) -> Result<Resources, Failure> {
        let id = self.child.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name of the program, in parentheses, may hold spaces; user and system time are fields 14 and 15.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
        Ok(Resources {
            rss_bytes: kilobytes(&status, "VmRSS:") * 1024,
            peak_rss_bytes: kilobytes(&status, "VmHWM:") * 1024,
            cpu_seconds: (ticks(11) + ticks(12)) / TICKS_PER_SECOND,
        })
    }

    /// Voluntary context switches of all threads so far: each is a thread that went to sleep and woke up.
    pub(crate) fn voluntary_switches(&self) -> Result<u64, Failure> {
        let mut sum = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // Threads come and go.
            let Ok(status) = std::fs::read_to_string(task?.path().join("status")) else { continue };
            sum += kilobytes(&status, "voluntary_ctxt_switches:");
        }
        Ok(sum)
    }

    /// Asks the data plane until it answers with something else than 503.
    pub(crate) fn first_answer(&self, path: &str) -> Result<u16, Failure> {
        let begin = Instant::now();
        while begin.elapsed() < START_MAX {
            match http::get(&self.data_plane, path, None)?.status {
                503 => std::thread::sleep(Duration::from_millis(1)),
                status => return Ok(status),
            }
        }
        Err("the server does not answer".into())
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and checks that it ends well.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status()?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_MAX {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("the server ended with {status}").into()),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        Err("the server does not stop".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kilobytes(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What it printed; an error if it did not end well.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?} ended with {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// What a participant says that works in `dir`: it prints one JSON object.
pub(crate) fn ask<T: for<'a> Deserialize<'a>>(
    bin: &Path,
    mode: &str,
    dir: &Path,
    rest: &[(&str, String)],
) -> Result<T, Failure> {
    let mut command = Command::new(bin);
    command.arg(mode).arg("--dir").arg(dir);
    for (option, value) in rest {
        command.arg(option).arg(value);
    }
    Ok(serde_json::from_str(&output(&mut command)?)?)
}

/// Sum of the lengths of all files.
pub(crate) fn bytes_below(dir: &Path) -> Result<u64, Failure> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        // Files come and go while a server works; one that is gone has no length.
        let Ok(metadata) = path.metadata() else { continue };
        sum += if metadata.is_dir() { bytes_below(&path)? } else { metadata.len() };
    }
    Ok(sum)
}
