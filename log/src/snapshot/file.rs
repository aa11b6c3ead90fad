//! One snapshot file as read: header and footer first, then the stream of items, every block checked.
//!
//! Owns: the order of the checks, and the stream. Never does: write, allocate by an unchecked length.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Lsn;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::SnapshotError;
use crate::format::snapshot::{
    BLOCK_LEN, BODY_LEN, FOOTER_LEN, Footer, SNAPSHOT_HEADER_LEN, Salt, SnapshotHeader, SnapshotKind,
    block_offset,
};
use crate::format::{BlockError, Geometry, at, supported};

use super::SnapshotInfo;

/// A file whose header and footer are sound and say what its name says.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: PathBuf,
    pub(crate) header: SnapshotHeader,
    pub(crate) footer: Footer,
    pub(crate) salt: Salt,
}

impl Opened {
    pub(crate) fn info(&self) -> SnapshotInfo {
        SnapshotInfo::new(&self.header, &self.footer)
    }

    pub(crate) fn damaged(&self, check: &'static str) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), check: check.to_owned() }
    }

    /// The body of a block. When its check fails, the bytes are read once more past the page cache.
    pub(crate) fn block(&self, number: u64, bytes: &mut Vec<u8>) -> Result<usize, SnapshotError> {
        let stored = u32::try_from(number).map_err(|_| self.damaged("block number"))?;
        bytes.resize(BLOCK_LEN, 0);
        let io = |source| SnapshotError::Io { op: "read", path: self.path.clone(), source };
        self.file.read_exact_at(bytes, block_offset(number)).map_err(io)?;
        if let Ok(body) = self.salt.open(stored, bytes) {
            return Ok(body.len());
        }
        self.file.drop_cache().map_err(io)?;
        self.file.read_exact_at(bytes, block_offset(number)).map_err(io)?;
        self.salt.open(stored, bytes).map(<[u8]>::len).map_err(|check| self.damaged(check))
    }

    /// The body of a block.
    pub(crate) fn body<'b>(&self, number: u64, bytes: &'b mut Vec<u8>) -> Result<&'b [u8], SnapshotError> {
        let len = self.block(number, bytes)?;
        Ok(bytes.get(BODY_AT..BODY_AT + len).unwrap_or_default())
    }

    /// How long the body of a block must be.
    fn body_len(&self, number: u64) -> u64 {
        let full = BODY_LEN as u64;
        self.footer.body_bytes.saturating_sub(number.saturating_mul(full)).min(full)
    }
}

/// Opens a file and checks its header and footer.
pub(crate) fn open_file(
    disk: &dyn Disk,
    path: &Path,
    geometry: &Geometry,
    kind: SnapshotKind,
    last_lsn: Lsn,
) -> Result<Opened, SnapshotError> {
    let io = |op| move |source| SnapshotError::Io { op, path: path.to_owned(), source };
    let damaged = |check: String| SnapshotError::Damaged { path: path.to_owned(), check };
    let file: Arc<dyn DiskFile> = match disk.open(path, OpenMode::Read) {
        Ok(file) => file.into(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(damaged("the file is missing".to_owned()));
        }
        Err(error) => return Err(io("open")(error)),
    };
    let len = file.len().map_err(io("read the length of"))?;
    if len < block_offset(0) + FOOTER_LEN as u64 {
        return Err(damaged("the file is cut short".to_owned()));
    }
    let mut bytes = vec![0; at(SNAPSHOT_HEADER_LEN)];
    file.read_exact_at(&mut bytes, 0).map_err(io("read"))?;
    let header = SnapshotHeader::decode(&bytes).map_err(|error| match error {
        BlockError::Damaged(check) => damaged(format!("header: {check}")),
        BlockError::Unsupported { found } => {
            damaged(format!("header: {found}, this build supports {}", supported()))
        }
    })?;
    if !header.is_of(geometry) || (header.kind, header.last_lsn) != (kind, last_lsn) {
        return Err(damaged("it is of another log, or of another LSN than its name says".to_owned()));
    }
    let salt = header.salt();
    let mut bytes = vec![0; FOOTER_LEN];
    file.read_exact_at(&mut bytes, len - FOOTER_LEN as u64).map_err(io("read"))?;
    let footer = salt.decode_footer(&bytes).map_err(|check| damaged(check.to_owned()))?;
    let blocks = footer.body_bytes.div_ceil(BODY_LEN as u64);
    let counts =
        footer.total_len == len && footer.blocks == blocks && u64::from(footer.index_items) <= footer.items;
    if !counts {
        return Err(damaged("footer does not fit the file".to_owned()));
    }
    Ok(Opened { file, path: path.to_owned(), header, footer, salt })
}

/// Reads every item.
pub(crate) fn verify_file(opened: Opened) -> Result<SnapshotInfo, SnapshotError> {
    let info = opened.info();
    let mut reader = SnapshotReader::new(opened);
    while reader.verify_next()? {}
    Ok(info)
}

/// The bodies of the blocks, one after the other.
pub(crate) struct Stream {
    opened: Opened,
    /// Where in the stream the next byte is.
    at: u64,
    bytes: Vec<u8>,
    /// Which block `bytes` is, and how long its body.
    loaded: Option<(u64, usize)>,
}

/// Bytes of a block before its body.
const BODY_AT: usize = 8;

impl Stream {
    pub(crate) const fn new(opened: Opened) -> Self {
        Self { opened, at: 0, bytes: Vec::new(), loaded: None }
    }

    pub(crate) const fn opened(&self) -> &Opened {
        &self.opened
    }

    pub(crate) const fn left(&self) -> u64 {
        self.opened.footer.body_bytes.saturating_sub(self.at)
    }

    pub(crate) const fn seek(&mut self, at: u64) {
        self.at = at;
    }

    pub(crate) fn skip(&mut self, n: u64) -> Result<(), SnapshotError> {
        if n > self.left() {
            return Err(self.opened.damaged("an item is longer than what is left"));
        }
        self.at += n;
        Ok(())
    }

    /// Appends the next `n` bytes to `out`.
    pub(crate) fn read(&mut self, n: u64, out: &mut Vec<u8>) -> Result<(), SnapshotError> {
        let mut wanted = n;
        if wanted > self.left() {
            return Err(self.opened.damaged("an item is longer than what is left"));
        }
        while wanted > 0 {
            let body = self.body()?;
            let part = body.get(..usize::try_from(wanted).unwrap_or(usize::MAX)).unwrap_or(body);
            out.extend_from_slice(part);
            let part = part.len() as u64;
            if part == 0 {
                return Err(self.opened.damaged("a block is empty"));
            }
            self.at += part;
            wanted -= part;
        }
        Ok(())
    }

    /// What is left of the block at the current place.
    fn body(&mut self) -> Result<&[u8], SnapshotError> {
        let number = self.at / BODY_LEN as u64;
        let len = match self.loaded {
            Some((loaded, len)) if loaded == number => len,
            _ => {
                self.loaded = None;
                let len = self.opened.block(number, &mut self.bytes)?;
                if len as u64 != self.opened.body_len(number) {
                    return Err(self.opened.damaged("block length"));
                }
                self.loaded = Some((number, len));
                len
            }
        };
        let within = usize::try_from(self.at % BODY_LEN as u64).unwrap_or(usize::MAX);
        Ok(self.bytes.get(BODY_AT + within..BODY_AT + len).unwrap_or_default())
    }

    /// The length that stands before the next item.
    pub(crate) fn item_len(&mut self, scratch: &mut Vec<u8>) -> Result<u64, SnapshotError> {
        scratch.clear();
        self.read(4, scratch)?;
        let len = scratch.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        Ok(u64::from(len))
    }
}

/// The items of a snapshot, in order.
pub struct SnapshotReader {
    stream: Stream,
    left: u64,
    index_left: u32,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader").field("items_left", &self.left).finish_non_exhaustive()
    }
}

impl SnapshotReader {
    pub(crate) fn new(opened: Opened) -> Self {
        let (items, index_left) = (opened.footer.items, opened.footer.index_items);
        let left = items.saturating_sub(u64::from(index_left));
        Self { stream: Stream::new(opened), left, index_left, scratch: Vec::new() }
    }

    /// What header and footer say.
    #[must_use]
    pub fn info(&self) -> SnapshotInfo {
        self.stream.opened().info()
    }

    pub(crate) fn into_opened(self) -> Opened {
        self.stream.opened
    }

    pub(crate) fn drop_cache(&self) -> Result<(), SnapshotError> {
        let opened = self.stream.opened();
        opened.file.drop_cache().map_err(|source| SnapshotError::Io {
            op: "drop the cache of",
            path: opened.path.clone(),
            source,
        })
    }

    /// Bytes that were read so far, about.
    pub(crate) const fn read_bytes(&self) -> u64 {
        self.stream.at
    }

    /// The next item; `None` after the last one, and only if everything that was written was read.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub fn next_item(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        if self.left == 0 {
            return self.end().map(|()| None);
        }
        let len = self.stream.item_len(&mut self.scratch)?;
        let mut item = Vec::new();
        self.stream.read(len, &mut item)?;
        self.left -= 1;
        Ok(Some(item))
    }

    /// Reads the next item and forgets it; `false` at the end.
    pub(crate) fn verify_next(&mut self) -> Result<bool, SnapshotError> {
        if self.left == 0 {
            return self.end().map(|()| false);
        }
        let len = self.stream.item_len(&mut self.scratch)?;
        self.scratch.clear();
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.stream.read(len, &mut scratch);
        self.scratch = scratch;
        self.left -= 1;
        read.map(|()| true)
    }

    /// What is behind the items is the index, and nothing else.
    fn end(&mut self) -> Result<(), SnapshotError> {
        while self.index_left > 0 {
            let len = self.stream.item_len(&mut self.scratch)?;
            self.scratch.clear();
            self.stream.read(len, &mut self.scratch)?;
            self.index_left -= 1;
        }
        if self.stream.left() == 0 {
            Ok(())
        } else {
            Err(self.stream.opened().damaged("bytes behind the last item"))
        }
    }
}
