//! Recorded attempts without a server: from a data directory, or from a capsule.
//!
//! Owns: opening both, read-only. Never does: write below a data directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use relive_engine::replay::{Archive, Candidate, NotReplayable, Recording, Sealed};
use relive_engine::secrets::InstanceKey;
use relive_log::ExecutionId;
use relive_log::disk::{Disk, RealDisk};
use relive_log::tools::{OfflineLog, Upto};
use relive_projections::{App, ExecutionRow};
use tempfile::TempDir;

use super::log::views::folded;
use crate::client::Failed;
use crate::clock::{SystemClock, random};
use crate::http::replay::not_replayable;
use crate::keys::KEY_FILE;
use crate::start_error::StartError;
use crate::threads;

/// Where recorded attempts are, instead of a server.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Local {
    /// Read this data directory instead of asking a server (which must not be running on it)
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// A data directory, opened read-only.
pub(crate) struct Opened {
    archive: Archive,
    /// Keeps servers out for as long as it lives.
    _log: OfflineLog,
    /// Where the views stand that began from a snapshot.
    _scratch: Option<TempDir>,
}

fn refused(error: StartError) -> Failed {
    Failed { code: error.code, message: error.message, problem: None }
}

impl Opened {
    /// Opens it: the views are folded beside it.
    pub(crate) fn open(data: &Path) -> Result<Opened, Failed> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let log = OfflineLog::open(disk, data, Upto::Valid).map_err(|e| refused(StartError::of_log(&e)))?;
        if let Some(refusal) = &log.refusal {
            return Err(refused(StartError::of_log(refusal)));
        }
        let (views, scratch) = folded(&log, log.reader.durable(), &mut |_| {})?;
        let archive = Archive::new(Arc::new(views), log.reader.clone(), key(data)?, Arc::new(SystemClock));
        Ok(Opened { archive, _log: log, _scratch: scratch })
    }

    /// An execution with its app; without a name it is looked for in all of them.
    pub(crate) fn find(&self, app: Option<&str>, id: &str) -> Result<(Arc<App>, ExecutionRow), Failed> {
        let missing = || Failed { code: 3, message: format!("there is no execution `{id}`"), problem: None };
        let execution: ExecutionId = id.parse().map_err(|_| missing())?;
        let registry = self.archive.views().registry();
        let apps = registry.apps.values().filter(|known| app.is_none_or(|app| known.slug == app));
        let mut why = missing();
        for app in apps {
            match self.archive.row(app.id, execution) {
                Ok(row) => return Ok((Arc::clone(app), row)),
                Err(NotReplayable::NotFound { .. }) => {}
                Err(other) => why = not_replayed(other),
            }
        }
        Err(why)
    }

    /// One recorded attempt.
    pub(crate) fn recording(
        &self,
        app: Option<&str>,
        id: &str,
        attempt: Option<u32>,
        candidate: &Candidate,
    ) -> Result<Recording, Failed> {
        let (app, row) = self.find(app, id)?;
        // Whoever reads the directory may read what is in it.
        self.archive.recording(&app, &row, attempt, candidate, Sealed::Opened).map_err(not_replayed)
    }

    /// What it reads from.
    pub(crate) const fn archive(&self) -> &Archive {
        &self.archive
    }
}

/// The same refusal that a server would give.
fn not_replayed(why: NotReplayable) -> Failed {
    let problem = not_replayable(why);
    let code = if problem.status_code() == 404 { 3 } else { 1 };
    Failed { code, message: problem.text().to_owned(), problem: None }
}

/// The key of the directory. Without one, what is sealed stays so.
fn key(data: &Path) -> Result<InstanceKey, Failed> {
    let text = match std::env::var("RELIVE_INSTANCE_KEY") {
        Ok(text) => text,
        Err(_) => {
            std::fs::read_to_string(data.join(KEY_FILE)).unwrap_or_else(|_| hex::encode(random::<32>()))
        }
    };
    InstanceKey::from_text(text.trim()).map_err(|error| Failed {
        code: 78,
        message: format!("{KEY_FILE} is no instance key: {error}"),
        problem: None,
    })
}

/// Runs what runs scripts, on a thread with the stack that they need.
pub(crate) fn scripted<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failed> {
    let thread = threads::scripted("replay", work).map_err(refused)?;
    thread.join().map_err(|_| Failed::new("the replay panicked; this is an error of Relive"))
}
