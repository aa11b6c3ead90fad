//! What can happen to files: bytes flipped, files cut, directories gone; and what files are there at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A small generator for tests (splitmix64): the seed is printed by whoever fails.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (0 for a bound of 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw().checked_rem(bound).unwrap_or(0)
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.below(from.len() as u64)).ok()?;
        from.get(at)
    }
}

/// All files below a directory, sorted; none if it does not exist.
#[must_use]
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// SHA-256 of every file below a directory, by path.
#[must_use]
pub fn digests(dir: &Path) -> BTreeMap<PathBuf, String> {
    files(dir)
        .into_iter()
        .filter_map(|path| fs::read(&path).ok().map(|bytes| (path, hex::encode(Sha256::digest(bytes)))))
        .collect()
}

/// Files below a directory that hold these bytes.
#[must_use]
pub fn files_with(dir: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| contains(&bytes, needle));
    files(dir).into_iter().filter(holds).collect()
}

/// Whether `needle` stands in `bytes`.
#[must_use]
pub fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    find(bytes, needle).is_some()
}

/// Where `needle` stands in `bytes` first.
#[must_use]
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len().max(1)).position(|window| window == needle)
}

/// Flips bits of one byte.
///
/// # Panics
/// If the file has no such byte.
pub fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file to damage");
    *bytes.get_mut(at).expect("a byte to damage") ^= 0x55;
    fs::write(path, bytes).expect("damage is done");
}

/// Cuts a file to `len` bytes.
///
/// # Panics
/// If the file cannot be cut.
pub fn cut(path: &Path, len: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("a file to damage");
    file.set_len(len).expect("damage is done");
}

/// Copies a directory with everything in it.
///
/// # Panics
/// If something cannot be copied.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory to copy").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a file to copy");
        }
    }
}

/// Does something bad to `views/`, or nothing; the answer says what.
///
/// # Panics
/// If the damage cannot be done.
pub fn spoil_views(data: &Path, chance: &mut Chance) -> String {
    let views = data.join("views");
    let found = files(&views);
    let kind = chance.below(6);
    let Some(victim) = chance.pick(&found) else { return "no views".to_owned() };
    let name = victim.strip_prefix(data).unwrap_or(victim).display().to_string();
    let len = fs::metadata(victim).map_or(0, |m| m.len());
    match kind {
        0 => {
            fs::remove_dir_all(&views).expect("views can be deleted");
            "deleted views".to_owned()
        }
        1 => {
            let at = chance.below(len);
            cut(victim, at);
            format!("cut {name} from {len} to {at}")
        }
        2 | 3 if len > 0 => {
            for _ in 0..8 {
                flip(victim, usize::try_from(chance.below(len)).unwrap_or(0));
            }
            format!("flipped 8 bytes of {name}")
        }
        4 => {
            fs::remove_file(victim).expect("a view's file can be deleted");
            format!("deleted {name}")
        }
        _ => "nothing".to_owned(),
    }
}
