//! The simulated disk. **Fault model**, in one place:
//!
//! * Unit: sectors of 512 bytes. After a power loss every unsynced sector holds any of the versions written since
//!   its last sync, or the one before; independently, or eight at a time, or all, or none. With
//!   [`Tearing::InsideSectors`] a sector may also hold the first part of one version and the rest of the synced
//!   one, and blocks that were never synced may hold garbage.
//! * File lengths and names are separate from data: a new length or name may survive without the data and the
//!   other way round. [`DirMode::Strict`]: any subset of unsynced name changes survives, each atomic.
//!   [`DirMode::Ext4`]: an ordered prefix; a sync of a file commits all of them.
//! * A failed sync leaves a random half of the sectors on disk and all pages clean; the cache keeps the new bytes
//!   ([`FailedSync::KeepCache`]: ext4, XFS) or shows the disk's ([`FailedSync::RevertCache`]: Btrfs). The next sync
//!   succeeds and persists nothing of it.
//! * A kill keeps the cache; clean pages may be evicted, so that the disk's bytes show.
//! * At rest: single bytes change, sectors become unreadable, files are cut.
//! * Errors by number ([`SimDisk::fail_at`]) or by chance; short reads and writes; a full disk.
//!
//! Owns: that model. Never does: real I/O, draw chance from anywhere but its seed. Mutating calls are numbered as
//! on the real disk.

mod calls;
mod fates;
mod inode;
mod names;
mod outcomes;
mod rng;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use inode::{Inode, Loss};
use names::{Names, Node};

pub use super::points::When;
pub use outcomes::{Outcome, Outcomes};
pub use rng::SimRng;

/// Which name changes survive a power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirMode {
    /// An ordered prefix.
    Ext4,
    /// Any subset.
    Strict,
}

/// What a power loss may do to one sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tearing {
    /// Sectors are written whole or not at all.
    Sectors,
    /// A sector may be part new, part old.
    InsideSectors,
}

/// What the page cache shows after a failed sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedSync {
    /// The new bytes, as if they were clean.
    KeepCache,
    /// The bytes on disk.
    RevertCache,
}

/// A profile of the simulated disk.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Everything random follows from it.
    pub seed: u64,
    /// Name changes.
    pub dirs: DirMode,
    /// Sectors.
    pub tearing: Tearing,
    /// Chance that a sector that keeps a new version is torn, with [`Tearing::InsideSectors`].
    pub tear_per_mille: u32,
    /// Failed syncs.
    pub failed_sync: FailedSync,
    /// Chance that a sync fails.
    pub sync_error_per_mille: u32,
    /// Chance that a write fails.
    pub write_error_per_mille: u32,
    /// Chance that a read or write is short or interrupted.
    pub short_io_per_mille: u32,
    /// Chance that a clean page is evicted when the process is killed.
    pub evict_per_mille: u32,
    /// Bytes that fit; `None`: no bound.
    pub capacity_bytes: Option<u64>,
    /// The logical block size that it names.
    pub block_bytes: Option<u32>,
    /// The network filesystem that it pretends to be.
    pub network: Option<&'static str>,
}

impl SimOptions {
    /// No faults but crashes, the strictest name space.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            dirs: DirMode::Strict,
            tearing: Tearing::Sectors,
            tear_per_mille: 100,
            failed_sync: FailedSync::KeepCache,
            sync_error_per_mille: 0,
            write_error_per_mille: 0,
            short_io_per_mille: 0,
            evict_per_mille: 0,
            capacity_bytes: None,
            block_bytes: None,
            network: None,
        }
    }
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimCounts {
    /// Mutating calls.
    pub calls: u64,
    /// Crash points that struck.
    pub crashes: u64,
    /// Syncs that were made to fail.
    pub sync_errors: u64,
    /// Other calls that were made to fail.
    pub other_errors: u64,
    /// Power losses.
    pub power_losses: u64,
    /// Kills.
    pub kills: u64,
}

#[derive(Clone)]
struct State {
    options: SimOptions,
    inodes: Vec<Inode>,
    names: Names,
    locks: BTreeSet<PathBuf>,
    /// Grows with every crash: handles and locks of an earlier life are dead.
    life: u64,
    boot: u64,
    crashed: bool,
    crash_at: Option<(u64, When)>,
    fail_at: Option<(u64, i32)>,
    counts: SimCounts,
    trace: u64,
    power: SimRng,
    errors: SimRng,
    short: SimRng,
}

/// A simulated disk. Clones share it; [`SimDisk::fork`] copies it.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimDisk").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

fn dead() -> io::Error {
    io::Error::other("simulated crash: this process is dead")
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(options: SimOptions) -> Self {
        let seed = options.seed;
        let state = State {
            options,
            inodes: Vec::new(),
            names: Names::default(),
            locks: BTreeSet::new(),
            life: 0,
            boot: 1,
            crashed: false,
            crash_at: None,
            fail_at: None,
            counts: SimCounts::default(),
            trace: 0xcbf2_9ce4_8422_2325,
            power: SimRng::stream(seed, "power"),
            errors: SimRng::stream(seed, "errors"),
            short: SimRng::stream(seed, "short"),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// An independent copy whose further fate follows from another seed.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let mut state = self.state.lock().clone();
        state.power = SimRng::stream(seed, "power");
        state.errors = SimRng::stream(seed, "errors");
        state.short = SimRng::stream(seed, "short");
        state.life += 1;
        state.locks.clear();
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Changes the profile from now on.
    pub fn adjust(&self, change: impl FnOnce(&mut SimOptions)) {
        change(&mut self.state.lock().options);
    }

    /// Crashes at the mutating call with that number (counted from the disk's creation).
    pub fn crash_at(&self, call: u64, when: When) {
        self.state.lock().crash_at = Some((call, when));
    }

    /// Fails the mutating call with that number.
    pub fn fail_at(&self, call: u64, errno: i32) {
        self.state.lock().fail_at = Some((call, errno));
    }

    /// Disarms both.
    pub fn disarm(&self) {
        let mut state = self.state.lock();
        state.crash_at = None;
        state.fail_at = None;
    }

    /// Whether a crash point has struck; every call fails until [`SimDisk::power_loss`] or [`SimDisk::kill`].
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.state.lock().crashed
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> SimCounts {
        self.state.lock().counts
    }

    /// A hash over every mutating call and its outcome.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.state.lock().trace
    }

    /// The machine lost power and boots again.
    pub fn power_loss(&self) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.counts.power_losses += 1;
        state.next_life();
        state.boot += 1;
        let dirs = state.options.dirs;
        let tearing = match state.options.tearing {
            Tearing::Sectors => None,
            Tearing::InsideSectors => Some(state.options.tear_per_mille),
        };
        state.names.power_loss(&mut state.power, dirs);
        let loss = match state.power.below(10) {
            0 => Loss::Everything,
            1 => Loss::Nothing,
            2 | 3 => Loss::PerPage,
            _ => Loss::PerSector,
        };
        for inode in &mut state.inodes {
            inode.power_loss(&mut state.power, loss, tearing);
        }
    }

    /// The process was killed; the machine runs on.
    pub fn kill(&self) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.counts.kills += 1;
        state.next_life();
        let evict = state.options.evict_per_mille;
        for inode in &mut state.inodes {
            inode.kill(&mut state.power, evict);
        }
    }

    /// Every file and what reads of it return, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.state.lock();
        let files = state.names.seen.iter().filter_map(|(path, node)| match node {
            Node::File(inode) => Some((path.clone(), state.inodes.get(*inode)?.cache.clone())),
            Node::Dir => None,
        });
        files.collect()
    }

    /// Changes one byte of a file on disk, as rot would.
    pub fn rot(&self, path: &Path, offset: u64, change: impl Fn(u8) -> u8) {
        self.with_inode(path, |inode, offset| inode.rot(offset, change), offset);
    }

    /// Makes one sector of a file unreadable until it is written.
    pub fn make_unreadable(&self, path: &Path, offset: u64) {
        self.with_inode(path, Inode::make_unreadable, offset);
    }

    /// Cuts a file on disk.
    pub fn cut(&self, path: &Path, len: u64) {
        self.with_inode(path, Inode::cut, len);
    }

    /// Removes a file from the disk, durably.
    pub fn lose(&self, path: &Path) {
        let mut state = self.state.lock();
        state.names.unlink(path);
        if let Some(dir) = path.parent() {
            state.names.sync_dir(dir, DirMode::Strict);
        }
    }

    fn with_inode(&self, path: &Path, act: impl FnOnce(&mut Inode, usize), n: u64) {
        let mut state = self.state.lock();
        let Some(Node::File(inode)) = state.names.seen.get(path).copied() else { return };
        if let (Some(inode), Ok(n)) = (state.inodes.get_mut(inode), usize::try_from(n)) {
            act(inode, n);
        }
    }
}

/// The kinds of mutating calls that differ in how they fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Sync,
    Write,
    Names,
}

impl State {
    /// The same machine with nothing on its disk.
    fn bare(&self) -> Self {
        Self {
            options: self.options.clone(),
            inodes: Vec::new(),
            names: Names::default(),
            locks: BTreeSet::new(),
            power: self.power.clone(),
            errors: self.errors.clone(),
            short: self.short.clone(),
            ..*self
        }
    }

    fn next_life(&mut self) {
        self.life += 1;
        self.crashed = false;
        self.crash_at = None;
        self.fail_at = None;
        self.locks.clear();
    }

    fn alive(&self, life: u64) -> io::Result<()> {
        if self.crashed || self.life != life { Err(dead()) } else { Ok(()) }
    }

    fn note(&mut self, what: &[u8]) {
        for byte in what {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Numbers a mutating call, and decides its fate: crash before it, an error, or go on.
    fn begin(&mut self, life: u64, call: Call, path: &Path, detail: u64) -> io::Result<Option<io::Error>> {
        self.alive(life)?;
        self.counts.calls += 1;
        let n = self.counts.calls;
        self.note(path.as_os_str().as_encoded_bytes());
        self.note(&detail.to_le_bytes());
        if self.crash_at == Some((n, When::Before)) {
            return Err(self.strike());
        }
        let chance = match call {
            Call::Sync => self.options.sync_error_per_mille,
            Call::Write => self.options.write_error_per_mille,
            Call::Names => 0,
        };
        let errno = match self.fail_at {
            Some((at, errno)) if at == n => Some(errno),
            _ => self.errors.per_mille(chance).then_some(5),
        };
        let Some(errno) = errno else { return Ok(None) };
        self.note(b"error");
        if call == Call::Sync {
            self.counts.sync_errors += 1;
        } else {
            self.counts.other_errors += 1;
        }
        Ok(Some(io::Error::from_raw_os_error(errno)))
    }

    fn end(&mut self) -> io::Result<()> {
        if self.crash_at == Some((self.counts.calls, When::After)) {
            return Err(self.strike());
        }
        Ok(())
    }

    fn strike(&mut self) -> io::Error {
        self.crashed = true;
        self.counts.crashes += 1;
        dead()
    }

    fn used_bytes(&self) -> u64 {
        let files = self.names.seen.values().filter_map(|node| match node {
            Node::File(inode) => self.inodes.get(*inode),
            Node::Dir => None,
        });
        files.map(|inode| inode.cache.len() as u64).sum()
    }

    fn room_for(&self, grow: u64) -> io::Result<()> {
        match self.options.capacity_bytes {
            Some(capacity) if grow > 0 && self.used_bytes() + grow > capacity => {
                Err(io::Error::from_raw_os_error(28))
            }
            _ => Ok(()),
        }
    }
}
