//! The calls of the simulated disk: [`Disk`], its files and its locks.
//!
//! Owns: how each call numbers itself, fails and takes effect. Never does: decide what survives (`inode.rs` and
//! `names.rs` do).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::inode::Inode;
use super::names::Node;
use super::{Call, SimDisk, State, dead};
use crate::disk::{DirEntry, Disk, DiskFile, EntryKind, LockGuard, OpenMode, ZeroPace};

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let life = state.life;
        state.alive(life)?;
        let found = state.names.seen.get(path).copied();
        let inode = match (mode, found) {
            (_, Some(Node::Dir)) => return Err(io::ErrorKind::IsADirectory.into()),
            (OpenMode::Read | OpenMode::ReadWrite, Some(Node::File(inode))) => inode,
            (OpenMode::Read | OpenMode::ReadWrite, None) => return Err(io::ErrorKind::NotFound.into()),
            (OpenMode::CreateNew, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateNew | OpenMode::Truncate, found) => {
                if let Some(error) = state.begin(life, Call::Names, path, 1)? {
                    return Err(error);
                }
                let inode = match found {
                    Some(Node::File(inode)) => inode,
                    _ => {
                        state.inodes.push(Inode::default());
                        let inode = state.inodes.len() - 1;
                        state.names.link(path, Node::File(inode));
                        inode
                    }
                };
                if let Some(file) = state.inodes.get_mut(inode) {
                    file.truncate();
                }
                state.end()?;
                inode
            }
        };
        Ok(Box::new(SimFile { state: Arc::clone(&self.state), inode, life, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let life = state.life;
        if let Some(error) = state.begin(life, Call::Names, to, 2)? {
            return Err(error);
        }
        if !state.names.seen.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.names.rename(from, to);
        state.end()
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let life = state.life;
        if let Some(error) = state.begin(life, Call::Names, path, 3)? {
            return Err(error);
        }
        if !state.names.seen.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.names.unlink(path);
        state.end()
    }

    fn mkdir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let life = state.life;
        if let Some(error) = state.begin(life, Call::Names, path, 4)? {
            return Err(error);
        }
        if !state.names.seen.contains_key(path) {
            state.names.link(path, Node::Dir);
        }
        state.end()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state.lock();
        state.alive(state.life)?;
        if state.names.seen.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.seen.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entries = inside.filter_map(|(path, node)| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some(match node {
                Node::Dir => DirEntry { name, bytes: 0, kind: EntryKind::Dir },
                Node::File(inode) => {
                    let bytes = state.inodes.get(*inode)?.cache.len() as u64;
                    DirEntry { name, bytes, kind: EntryKind::File }
                }
            })
        });
        Ok(entries.collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let life = state.life;
        if let Some(error) = state.begin(life, Call::Sync, dir, 5)? {
            return Err(error);
        }
        let mode = state.options.dirs;
        state.names.sync_dir(dir, mode);
        state.end()
    }

    fn free_space(&self, _path: &Path) -> io::Result<u64> {
        let state = self.state.lock();
        Ok(state
            .options
            .capacity_bytes
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used_bytes())))
    }

    fn total_space(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.state.lock().options.capacity_bytes.unwrap_or(u64::MAX))
    }

    fn logical_block_bytes(&self, _path: &Path) -> Option<u32> {
        self.state.lock().options.block_bytes
    }

    fn network_filesystem(&self, _path: &Path) -> io::Result<Option<&'static str>> {
        Ok(self.state.lock().options.network)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        let mut state = self.state.lock();
        state.alive(state.life)?;
        if !state.names.seen.contains_key(path) {
            state.inodes.push(Inode::default());
            let inode = state.inodes.len() - 1;
            state.names.link(path, Node::File(inode));
        }
        if !state.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        let guard = SimLock { state: Arc::clone(&self.state), path: path.to_owned(), life: state.life };
        Ok(Some(Box::new(guard)))
    }

    fn boot_id(&self) -> [u8; 16] {
        u128::from(self.state.lock().boot).to_le_bytes()
    }
}

struct SimLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

struct SimFile {
    state: Arc<Mutex<State>>,
    inode: usize,
    life: u64,
    path: PathBuf,
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl SimFile {
    fn sync(&self, detail: u64) -> io::Result<()> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let failed = state.begin(self.life, Call::Sync, &self.path, detail)?;
        let mode = state.options.failed_sync;
        let Some(inode) = state.inodes.get_mut(self.inode) else { return Err(dead()) };
        if let Some(error) = failed {
            inode.sync_failed(&mut state.errors, mode);
            return Err(error);
        }
        inode.sync();
        let dirs = state.options.dirs;
        state.names.file_synced(dirs);
        state.end()
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.alive(self.life)?;
        let chance = state.options.short_io_per_mille;
        let mut len = buf.len();
        if len > 1 && state.short.per_mille(chance) {
            if state.short.per_mille(300) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            len = 1 + state.short.index(len - 1);
        }
        let inode = state.inodes.get(self.inode).ok_or_else(dead)?;
        let buf = buf.get_mut(..len).unwrap_or_default();
        inode.read(buf, place(offset)?).ok_or_else(|| io::Error::from_raw_os_error(5))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let failed = state.begin(self.life, Call::Write, &self.path, offset)?;
        state.note(&crc32fast::hash(buf).to_le_bytes());
        let chance = state.options.short_io_per_mille;
        let mut len = buf.len();
        if len > 1 && state.short.per_mille(chance) {
            if state.short.per_mille(300) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            len = 1 + state.short.index(len - 1);
        }
        let start = place(offset)?;
        let have = state.inodes.get(self.inode).map_or(0, |inode| inode.cache.len());
        state.room_for((start + len).saturating_sub(have) as u64)?;
        let inode = state.inodes.get_mut(self.inode).ok_or_else(dead)?;
        if let Some(error) = failed {
            // Part of it may have been written.
            let part = state.errors.index(len + 1);
            inode.write(buf.get(..part).unwrap_or_default(), start);
            return Err(error);
        }
        inode.write(buf.get(..len).unwrap_or_default(), start);
        state.end()?;
        Ok(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(6)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(7)
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.state.lock();
        state.alive(self.life)?;
        state.inodes.get(self.inode).map(|inode| inode.cache.len() as u64).ok_or_else(dead)
    }

    fn allocate_zeroed(&self, bytes: u64, _pace: ZeroPace) -> io::Result<()> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Some(error) = state.begin(self.life, Call::Write, &self.path, bytes)? {
            return Err(error);
        }
        let have = state.inodes.get(self.inode).map_or(0, |inode| inode.cache.len());
        state.room_for(bytes.saturating_sub(have as u64))?;
        let inode = state.inodes.get_mut(self.inode).ok_or_else(dead)?;
        inode.write(&vec![0; place(bytes)?], 0);
        state.end()
    }

    fn drop_cache(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.alive(self.life)?;
        state.inodes.get_mut(self.inode).map(Inode::drop_cache).ok_or_else(dead)
    }
}
