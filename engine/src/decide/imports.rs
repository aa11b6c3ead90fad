//! The graph of imports: checked when a script is deployed, resolved to versions when an attempt is claimed (D17).
//!
//! Owns: the refusals (an import that is missing, a script that imports itself, directly or not) and the list of
//! versions for a claim. Never does: compile, or look into sources; what a version imports is in its event.
//!
//! Invariants: **E162** the current versions of an app never import in a circle; **E163** a claim names every script
//! that the attempt can import, with the version that was current then.

use std::collections::{BTreeMap, BTreeSet};

use relive_log::events::ImportedVersion;
use relive_projections::App;

use crate::command::Others;
use crate::refusal::Refusal;
use crate::script::Compiled;

/// What an app will have after a deploy, as far as imports go.
pub(super) struct After<'a> {
    /// The app, unless the deploy makes it.
    pub app: Option<&'a App>,
    /// What happens to scripts that are not deployed.
    pub others: Others,
    /// The scripts that are deployed.
    pub deployed: &'a [Compiled],
}

impl After<'_> {
    /// What a script imports itself; `None` if there is no such script.
    fn imports(&self, name: &str) -> Option<Vec<&str>> {
        if let Some(deployed) = self.deployed.iter().find(|compiled| compiled.name() == name) {
            return Some(deployed.imports().iter().map(|import| import.script.as_str()).collect());
        }
        let standing = self.app.filter(|_| self.others == Others::Keep)?.live_script(name)?;
        let version = standing.current_version()?;
        Some(version.imports.iter().map(String::as_str).collect())
    }

    /// Refuses what is missing and what goes in a circle, with the line of the import in the script deployed.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        for compiled in self.deployed {
            for import in compiled.imports() {
                let refuse = |message: String| Refusal::Source {
                    script: compiled.name().to_owned(),
                    message,
                    line: import.line,
                    column: import.column,
                };
                if self.imports(&import.script).is_none() {
                    return Err(refuse(format!("there is no script `{}` to import", import.script)));
                }
                if let Some(path) = self.path(&import.script, compiled.name()) {
                    let circle = path.join("` imports `");
                    let name = compiled.name();
                    return Err(refuse(format!("the imports go in a circle: `{name}` imports `{circle}`")));
                }
            }
        }
        Ok(())
    }

    /// The scripts from one to another along imports, both included; the first way found.
    fn path(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut came_from: BTreeMap<String, Option<String>> = BTreeMap::from([(from.to_owned(), None)]);
        let mut open = vec![from.to_owned()];
        while let Some(name) = open.pop() {
            if name == to {
                let mut path = vec![name];
                while let Some(Some(before)) = path.last().and_then(|last| came_from.get(last)) {
                    path.push(before.clone());
                }
                path.reverse();
                return Some(path);
            }
            for next in self.imports(&name).unwrap_or_default() {
                if !came_from.contains_key(next) {
                    came_from.insert(next.to_owned(), Some(name.clone()));
                    open.push(next.to_owned());
                }
            }
        }
        None
    }
}

/// Every script that this version of a script can import, with its current version; 0 for one that is missing.
pub(crate) fn versions(app: &App, script: &str, version: u32) -> Vec<ImportedVersion> {
    let own = app.live_script(script).and_then(|script| script.version(version));
    let Some(own) = own.filter(|own| !own.imports.is_empty()) else { return Vec::new() };
    let mut open: Vec<&str> = own.imports.iter().map(String::as_str).collect();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    while let Some(name) = open.pop() {
        if !seen.insert(name) {
            continue;
        }
        let current = app.live_script(name).and_then(|script| script.current_version());
        found.push(ImportedVersion {
            script: name.to_owned(),
            version: current.map_or(0, |current| current.version),
        });
        open.extend(current.iter().flat_map(|current| current.imports.iter().map(String::as_str)));
    }
    found.sort();
    found
}
