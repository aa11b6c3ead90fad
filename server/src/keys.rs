//! The instance's token and key: from settings, from `admin.token` and `instance.key`, or new ones.
//!
//! Owns: both files (mode 0600, installed whole), and the check that what is sealed opens with the key at hand.
//! Never does: print or log either.

use std::fs;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::Path;

use relive_engine::secrets::InstanceKey;
use relive_log::Reader;
use relive_log::events::{Event, ExecutionEvent, HeaderRecord, Input, Source};
use relive_projections::Views;

use crate::clock::random;
use crate::http::Token;
use crate::settings::Settings;
use crate::start_error::StartError;

/// File of the instance token.
pub(crate) const TOKEN_FILE: &str = "admin.token";
/// File of the instance key.
pub(crate) const KEY_FILE: &str = "instance.key";

/// Whether the data directory holds anything yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Directory {
    /// No event was ever written.
    New,
    /// There are events.
    WithData,
}

/// The instance token: the setting, the file, or, in a new directory, a new one.
pub(crate) fn token(settings: &Settings, directory: Directory) -> Result<(Token, String), StartError> {
    let path = settings.data.join(TOKEN_FILE);
    let text = match (&settings.admin_token, read(&path)?, directory) {
        (Some(token), ..) => token.clone(),
        (None, Some(text), _) => text,
        (None, None, Directory::New) => {
            let text = format!("rlv_{}", hex::encode(random::<32>()));
            install(&path, &text)?;
            text
        }
        (None, None, Directory::WithData) => {
            return Err(StartError::config(format!(
                "{} is missing: restore it, or set RELIVE_ADMIN_TOKEN",
                path.display()
            )));
        }
    };
    if text.is_empty() {
        return Err(StartError::config(format!(
            "{} is empty: restore it, or set RELIVE_ADMIN_TOKEN",
            path.display()
        )));
    }
    Ok((Token::new(&text), text))
}

/// The instance key as far as it is known before the views are: `None` if a directory with data has none.
pub(crate) fn key(settings: &Settings, directory: Directory) -> Result<Option<InstanceKey>, StartError> {
    let path = settings.data.join(KEY_FILE);
    if let Some(key) = &settings.instance_key {
        return Ok(Some(key.clone()));
    }
    match (read(&path)?, directory) {
        (Some(text), _) => InstanceKey::from_text(&text)
            .map(Some)
            .map_err(|error| StartError::config(format!("{}: {error}", path.display()))),
        (None, Directory::New) => new_key(settings).map(Some),
        (None, Directory::WithData) => Ok(None),
    }
}

/// Makes a key and its file.
pub(crate) fn new_key(settings: &Settings) -> Result<InstanceKey, StartError> {
    let text = hex::encode(random::<32>());
    install(&settings.data.join(KEY_FILE), &text)?;
    InstanceKey::from_text(&text).map_err(|error| StartError::config(error.to_string()))
}

/// Refuses to start when something sealed is live and the key is missing or another one.
pub(crate) fn check(key: Option<&InstanceKey>, views: &Views, reader: &Reader) -> Result<(), StartError> {
    let Some(what) = sealed_with_another(key.map(InstanceKey::key_id), views, reader)? else { return Ok(()) };
    let why = if key.is_some() {
        "sealed with another instance key"
    } else {
        "sealed, and there is no instance key"
    };
    Err(StartError::config(format!(
        "{what} is {why}: restore {KEY_FILE} of this data directory, or set RELIVE_INSTANCE_KEY"
    )))
}

/// Rows of open work that are looked at: enough to notice another key, whatever waits.
const OPEN_ROWS_MAX: usize = 1000;

fn sealed_with_another(
    key: Option<[u8; 8]>,
    views: &Views,
    reader: &Reader,
) -> Result<Option<String>, StartError> {
    let registry = views.registry();
    for app in registry.apps.values() {
        for secret in app.secrets.values() {
            if Some(secret.sealed.key_id) != key {
                return Ok(Some(format!("secret `{}` of app `{}`", secret.name, app.slug)));
            }
        }
    }
    let mut routed = Vec::new();
    views.executions().visit_open(|work| {
        if matches!(work.source, Source::Route { sync: false, .. }) {
            routed.push((work.pos, work.lsn, work.execution));
        }
        if routed.len() < OPEN_ROWS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    for (pos, lsn, execution) in routed {
        let (event, _) = reader
            .read_event(pos, lsn)
            .map_err(|error| StartError::io(format!("the log cannot be read: {error}")))?;
        let Event::Execution(ExecutionEvent::Enqueued(enqueued)) = event else { continue };
        let Input::Request(request) = &enqueued.input else { continue };
        let other = |value: &HeaderRecord| match value {
            HeaderRecord::Sealed(sealed) => Some(sealed.key_id) != key,
            HeaderRecord::Clear(_) | HeaderRecord::Digest(_) => false,
        };
        if request.headers.iter().any(|(_, value)| other(value)) {
            return Ok(Some(format!("a request header of execution {}, which waits,", execution)));
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<Option<String>, StartError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StartError::io(format!("{} cannot be read: {error}", path.display()))),
    }
}

/// Installs a file of mode 0600 whole or not at all.
pub(crate) fn install(path: &Path, text: &str) -> Result<(), StartError> {
    let write = || -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        writeln!(file, "{text}")?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        fs::File::open(dir)?.sync_all()
    };
    write().map_err(|error| StartError::io(format!("{} cannot be written: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::settings::{Overrides, Resolved};

    fn settings(dir: &Path) -> Settings {
        let flags = BTreeMap::from([("data".to_owned(), dir.display().to_string())]);
        let resolved = Resolved::new(&flags, &|_| None, None, &Overrides::default()).unwrap();
        Settings::check(&resolved, 2).unwrap()
    }

    #[test]
    fn made_once_in_a_new_directory_and_never_in_one_with_data() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        assert_eq!(token(&settings, Directory::WithData).map(|_| ()).unwrap_err().code, 78);
        assert!(key(&settings, Directory::WithData).unwrap().is_none());
        let (_, made) = token(&settings, Directory::New).unwrap();
        let made_key = key(&settings, Directory::New).unwrap();
        for file in [TOKEN_FILE, KEY_FILE] {
            let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert_eq!(token(&settings, Directory::WithData).unwrap().1, made);
        assert_eq!(key(&settings, Directory::WithData).unwrap(), made_key);
    }
}
