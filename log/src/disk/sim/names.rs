//! The simulated name space: what `list` shows, what is durable, and the operations in between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::DirMode;
use super::rng::SimRng;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A file, by the index of its inode.
    File(usize),
    /// A directory.
    Dir,
}

/// A change of names that may not be durable yet.
#[derive(Clone, Debug)]
enum Change {
    Link(PathBuf, Node),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl Change {
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Change::Link(path, _) | Change::Unlink(path) => path.parent() == Some(dir),
            Change::Rename(from, to) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Change::Link(path, node) => {
                names.insert(path, node);
            }
            Change::Unlink(path) => {
                names.remove(&path);
            }
            Change::Rename(from, to) => {
                if let Some(node) = names.remove(&from) {
                    names.insert(to, node);
                }
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) seen: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<Change>,
}

impl Names {
    pub(crate) fn link(&mut self, path: &Path, node: Node) {
        self.change(Change::Link(path.to_owned(), node));
    }

    pub(crate) fn unlink(&mut self, path: &Path) {
        self.change(Change::Unlink(path.to_owned()));
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) {
        self.change(Change::Rename(from.to_owned(), to.to_owned()));
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.seen);
        self.pending.push(change);
    }

    /// Everything pending in that directory becomes durable; on `Ext4` everything pending at all (one journal).
    pub(crate) fn sync_dir(&mut self, dir: &Path, mode: DirMode) {
        for change in std::mem::take(&mut self.pending) {
            if mode == DirMode::Ext4 || change.is_in(dir) {
                change.apply(&mut self.durable);
            } else {
                self.pending.push(change);
            }
        }
    }

    /// A sync of a file commits the journal on `Ext4`.
    pub(crate) fn file_synced(&mut self, mode: DirMode) {
        if mode == DirMode::Ext4 {
            self.sync_dir(Path::new("/"), mode);
        }
    }

    /// On `Ext4` an ordered prefix of the pending changes survives, on `Strict` any subset.
    pub(crate) fn power_loss(&mut self, rng: &mut SimRng, mode: DirMode) {
        let pending = std::mem::take(&mut self.pending);
        let prefix = rng.index(pending.len() + 1);
        for (i, change) in pending.into_iter().enumerate() {
            let survives = match mode {
                DirMode::Ext4 => i < prefix,
                DirMode::Strict => rng.per_mille(500),
            };
            if survives {
                change.apply(&mut self.durable);
            }
        }
        drop_orphans(&mut self.durable);
        self.seen.clone_from(&self.durable);
    }

    /// Names of which all are durable.
    pub(crate) fn settled(names: BTreeMap<PathBuf, Node>) -> Self {
        Self { seen: names.clone(), durable: names, pending: Vec::new() }
    }

    /// Every distinct set of names that a power loss may leave.
    pub(crate) fn survivors(&self, mode: DirMode) -> Vec<BTreeMap<PathBuf, Node>> {
        let n = self.pending.len();
        assert!(n <= SUBSETS_OF_MAX, "{n} unsynced name changes have too many subsets");
        let subsets: Vec<u64> = match mode {
            DirMode::Ext4 => (0..=n).map(|prefix| (1_u64 << prefix) - 1).collect(),
            DirMode::Strict => (0..1_u64 << n).collect(),
        };
        let mut found = Vec::new();
        for subset in subsets {
            let mut names = self.durable.clone();
            for (i, change) in self.pending.iter().enumerate() {
                if subset & (1 << i) != 0 {
                    change.clone().apply(&mut names);
                }
            }
            drop_orphans(&mut names);
            if !found.contains(&names) {
                found.push(names);
            }
        }
        found
    }
}

/// All subsets of so many changes are looked at, at most.
const SUBSETS_OF_MAX: usize = 16;

/// What stands in a directory that was lost is lost with it.
fn drop_orphans(names: &mut BTreeMap<PathBuf, Node>) {
    let dirs: Vec<_> = names.iter().filter(|(_, node)| **node == Node::Dir).map(|(p, _)| p.clone()).collect();
    names.retain(|path, _| match path.parent() {
        Some(parent) if parent != Path::new("/") && parent != Path::new("") => {
            dirs.iter().any(|d| d == parent)
        }
        _ => true,
    });
}
