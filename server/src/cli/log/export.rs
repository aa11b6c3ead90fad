//! Where an export goes: a new file, or stdout.
//!
//! Owns: one JSON object a line. Never does: replace a file.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::client::Failed;
use crate::out;

/// See the module.
pub(super) struct Sink {
    file: Option<(PathBuf, BufWriter<File>)>,
    events: u64,
}

impl Sink {
    pub(super) fn new(path: Option<&Path>) -> Result<Sink, Failed> {
        let Some(path) = path else { return Ok(Sink { file: None, events: 0 }) };
        let file = File::create_new(path)
            .map_err(|error| Failed::new(format!("{} cannot be made: {error}", path.display())))?;
        Ok(Sink { file: Some((path.to_owned(), BufWriter::new(file))), events: 0 })
    }

    pub(super) fn put(&mut self, event: &Value) -> Result<(), Failed> {
        self.events += 1;
        match &mut self.file {
            None => {
                out::say(&event.to_string());
                Ok(())
            }
            Some((path, file)) => writeln!(file, "{event}").map_err(|error| cannot_write(path, &error)),
        }
    }

    /// Everything is on disk when this returns; says how much.
    pub(super) fn finish(self) -> Result<(), Failed> {
        let Some((path, file)) = self.file else { return Ok(()) };
        let file = file.into_inner().map_err(|error| cannot_write(&path, error.error()))?;
        file.sync_all().map_err(|error| cannot_write(&path, &error))?;
        out::complain(&format!("{} events in {}", self.events, path.display()));
        Ok(())
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failed {
    Failed::new(format!("{} cannot be written: {error}", path.display()))
}
