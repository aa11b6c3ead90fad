//! Standard output and standard error: the only place that writes to either by itself.
//!
//! Owns: whole lines. Never does: fail because nobody reads them.

use std::io::Write as _;

/// One line on stdout.
pub(crate) fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    // A closed pipe is the reader's choice, not an error of ours.
    let _written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Text on stdout as it is.
pub(crate) fn write(text: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    // As for `say`.
    let _written = stdout.write_all(text).and_then(|()| stdout.flush());
}

/// One line on stderr.
pub(crate) fn complain(line: &str) {
    // As for `say`.
    let _written = writeln!(std::io::stderr().lock(), "{line}");
}

/// Shows how far long work is, over what was shown before; on a terminal only.
pub(crate) fn progress(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // Whoever closed stderr wants no progress.
    let _ = write!(stderr, "\r\x1b[2K{text}").and_then(|()| stderr.flush());
}

/// Ends the line of progress.
pub(crate) fn progress_ended() {
    let _ = write!(std::io::stderr().lock(), "\r\x1b[2K");
}
