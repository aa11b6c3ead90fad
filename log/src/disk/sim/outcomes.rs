//! Every outcome of a power loss at one instant, one by one, where [`SimDisk::power_loss`] draws a single one.
//!
//! Owns: the product of what may happen to names, to lengths and to sectors. Never does: tearing inside sectors, and
//! garbage in blocks that were never synced: there are too many, and chance finds them (`Tearing::InsideSectors`).

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::fates::{Fate, Grain, fates};
use super::inode::Inode;
use super::names::{Names, Node};
use super::{SimDisk, SimRng, State};

/// What a power loss may leave of a disk.
pub struct Outcomes {
    crashed: State,
    worlds: Vec<World>,
}

/// One set of names that may survive, and the files that have one.
struct World {
    names: BTreeMap<PathBuf, Node>,
    files: Vec<File>,
}

struct File {
    inode: usize,
    path: u64,
    grain: Grain,
    fates: Arc<Vec<Fate>>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    world: usize,
    /// For each file its length and the contents of its sectors, as numbers of choices.
    files: Vec<(usize, Vec<usize>)>,
    /// Equal for disks that hold the same names with the same bytes.
    pub hash: u64,
}

impl std::fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outcomes").field("total", &self.total()).finish_non_exhaustive()
    }
}

impl SimDisk {
    /// What a power loss may leave now. A file for which `whole` holds is left as it was synced or as it was written
    /// last, and not in any of the mixtures: for files that are known to be removed unread.
    #[must_use]
    pub fn outcomes(&self, whole: impl Fn(&Path) -> bool) -> Outcomes {
        let crashed = self.state.lock().clone();
        let mut known: BTreeMap<usize, Arc<Vec<Fate>>> = BTreeMap::new();
        let mut worlds = Vec::new();
        for names in crashed.names.survivors(crashed.options.dirs) {
            let mut files = Vec::new();
            for (path, node) in &names {
                let Node::File(inode) = *node else { continue };
                let fates = known
                    .entry(inode)
                    .or_insert_with(|| Arc::new(crashed.inodes.get(inode).map(fates).unwrap_or_default()));
                let grain = if whole(path) { Grain::Whole } else { Grain::Sectors };
                files.push(File { inode, path: hash_of(path), grain, fates: Arc::clone(fates) });
            }
            worlds.push(World { names, files });
        }
        Outcomes { crashed, worlds }
    }
}

fn hash_of(value: impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl File {
    /// Contents of the sectors of one fate, each asked of `pick`.
    fn sectors(&self, fate: &Fate, pick: &mut dyn FnMut(usize) -> usize) -> Vec<usize> {
        match self.grain {
            Grain::Sectors => fate.arities().map(pick).collect(),
            Grain::Whole if fate.arities().next().is_none() => Vec::new(),
            Grain::Whole => {
                let last = pick(2) == 1;
                fate.arities().map(|n| if last { n - 1 } else { 0 }).collect()
            }
        }
    }

    fn total(&self) -> u128 {
        let of_fate = |fate: &Fate| match self.grain {
            Grain::Sectors => fate.arities().fold(1_u128, |product, n| product.saturating_mul(n as u128)),
            Grain::Whole => 1 + u128::from(fate.arities().next().is_some()),
        };
        self.fates.iter().map(of_fate).fold(0, u128::saturating_add)
    }
}

impl Outcomes {
    /// How many there are, equal ones in different names counted twice.
    #[must_use]
    pub fn total(&self) -> u128 {
        let of_world = |world: &World| world.files.iter().map(File::total).fold(1, u128::saturating_mul);
        self.worlds.iter().map(of_world).fold(0, u128::saturating_add)
    }

    /// Equal for instants that have the same outcomes.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for world in &self.worlds {
            hash_of(world.names.iter().map(|(path, node)| (path, *node == Node::Dir)).collect::<Vec<_>>())
                .hash(&mut hasher);
            for file in &world.files {
                (file.path, file.grain == Grain::Whole).hash(&mut hasher);
                for fate in file.fates.iter() {
                    fate.fingerprint().hash(&mut hasher);
                }
            }
        }
        hasher.finish()
    }

    /// The outcome that follows from the answers of `pick`, which is asked for a number below another, in the same
    /// order for the same answers.
    fn outcome(&self, pick: &mut dyn FnMut(usize) -> usize) -> Outcome {
        let mut outcome = Outcome { world: pick(self.worlds.len()), files: Vec::new(), hash: 0 };
        let Some(world) = self.worlds.get(outcome.world) else { return outcome };
        for (path, node) in &world.names {
            if *node == Node::Dir {
                outcome.hash = outcome.hash.wrapping_add(hash_of(path));
            }
        }
        for file in &world.files {
            let length = pick(file.fates.len());
            let Some(fate) = file.fates.get(length) else { continue };
            let sectors = file.sectors(fate, pick);
            outcome.hash = outcome.hash.wrapping_add(hash_of((file.path, fate.hash(&sectors))));
            outcome.files.push((length, sectors));
        }
        outcome
    }

    /// Every outcome, or `None` when there are more than `max`.
    #[must_use]
    pub fn all(&self, max: u128) -> Option<Vec<Outcome>> {
        if self.total() > max {
            return None;
        }
        let mut digits: Vec<(usize, usize)> = Vec::new();
        let mut found = Vec::new();
        loop {
            let mut at = 0;
            found.push(self.outcome(&mut |below| {
                if at == digits.len() {
                    digits.push((0, below));
                }
                at += 1;
                digits.get(at - 1).map_or(0, |(digit, _)| *digit)
            }));
            while digits.last().is_some_and(|(digit, below)| digit + 1 >= *below) {
                digits.pop();
            }
            let Some((digit, _)) = digits.last_mut() else { return Some(found) };
            *digit += 1;
        }
    }

    /// At most `max` distinct outcomes: those in which all is lost or kept, or all but one thing; the rest by chance.
    #[must_use]
    pub fn sample(&self, max: usize, rng: &mut SimRng) -> Vec<Outcome> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        let mut keep = |outcome: Outcome| {
            if found.len() < max && seen.insert(outcome.hash) {
                found.push(outcome);
            }
            found.len() < max
        };
        for last in [false, true] {
            let mut asked = 0;
            let all = |below: usize| if last { below.saturating_sub(1) } else { 0 };
            keep(self.outcome(&mut |below| {
                asked += 1;
                all(below)
            }));
            for odd in 0..asked {
                let mut at = 0;
                keep(self.outcome(&mut |below| {
                    at += 1;
                    if at == odd + 1 { below.saturating_sub(1) - all(below) } else { all(below) }
                }));
            }
        }
        // What is equal in the end may leave fewer than asked for.
        for _ in 0..max.saturating_mul(2) {
            if !keep(self.outcome(&mut |below| rng.index(below))) {
                break;
            }
        }
        found
    }

    /// The disk after that outcome, booted again.
    #[must_use]
    pub fn disk(&self, outcome: &Outcome) -> SimDisk {
        let world = self.worlds.get(outcome.world);
        let mut inodes = vec![Inode::default(); self.crashed.inodes.len()];
        for (file, (length, sectors)) in world.into_iter().flat_map(|world| &world.files).zip(&outcome.files)
        {
            if let (Some(inode), Some(fate)) = (inodes.get_mut(file.inode), file.fates.get(*length)) {
                *inode = fate.file(sectors);
            }
        }
        let names = Names::settled(world.map(|world| world.names.clone()).unwrap_or_default());
        let mut state = State { inodes, names, ..self.crashed.bare() };
        state.next_life();
        state.boot += 1;
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }
}
