//! A progress bar on a terminal, for work that may take long.
//!
//! Owns: one line of stderr. Never does: show anything where stderr is no terminal.

use std::io::{IsTerminal as _, Write as _};

const WIDTH: u64 = 30;

/// See the module.
pub(in crate::cli) struct Progress {
    what: &'static str,
    /// Percent that are shown; none on anything but a terminal.
    shown: Option<u64>,
}

impl Progress {
    pub(in crate::cli) fn new(what: &'static str) -> Progress {
        Progress { what, shown: std::io::stderr().is_terminal().then_some(u64::MAX) }
    }

    /// So much of so much is done.
    pub(in crate::cli) fn at(&mut self, done: u64, total: u64) {
        let Some(shown) = self.shown else { return };
        let percent = done.min(total).saturating_mul(100).checked_div(total).unwrap_or(100);
        if percent != shown {
            self.shown = Some(percent);
            self.draw(&bar(self.what, percent));
        }
    }

    fn draw(&self, line: &str) {
        // A closed stderr is the reader's choice.
        let mut stderr = std::io::stderr().lock();
        let _written = write!(stderr, "\r{line}").and_then(|()| stderr.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some_and(|shown| shown != u64::MAX) {
            let blank = " ".repeat(bar(self.what, 100).chars().count());
            self.draw(&format!("{blank}\r"));
        }
    }
}

fn bar(what: &str, percent: u64) -> String {
    let full = percent.saturating_mul(WIDTH) / 100;
    let cells: String = (0..WIDTH).map(|cell| if cell < full { '█' } else { '░' }).collect();
    format!("{what} {cells} {percent:>3} %")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_bar() {
        assert_eq!(super::bar("reading", 0), format!("reading {}   0 %", "░".repeat(30)));
        assert_eq!(super::bar("reading", 50), format!("reading {}{}  50 %", "█".repeat(15), "░".repeat(15)));
        assert_eq!(super::bar("reading", 100), format!("reading {} 100 %", "█".repeat(30)));
    }
}
