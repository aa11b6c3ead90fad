//! Rows within one block: prefix-compressed keys.

use std::cmp::Ordering;

use relive_log::Lsn;

use super::codec::{Bytes, len64, put_varint};

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowRef<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) lsn: Lsn,
    pub(crate) value: &'a [u8],
}

/// The order of rows: key ascending, LSN descending.
pub(super) fn row_order(a: (&[u8], Lsn), b: (&[u8], Lsn)) -> Ordering {
    a.0.cmp(b.0).then(b.1.cmp(&a.1))
}

/// Appends a row whose predecessor in the block has the key `before`.
pub(super) fn put_row(out: &mut Vec<u8>, before: &[u8], row: RowRef<'_>) {
    let shared = before.iter().zip(row.key).take_while(|(a, b)| a == b).count();
    let unshared = row.key.get(shared..).unwrap_or_default();
    put_varint(out, shared);
    put_varint(out, unshared.len());
    put_varint(out, row.value.len());
    out.extend_from_slice(&row.lsn.0.to_le_bytes());
    out.extend_from_slice(unshared);
    out.extend_from_slice(row.value);
}

/// The rows of a block, decoded: one arena, spans into it.
#[derive(Debug, Default)]
pub(super) struct Block {
    arena: Vec<u8>,
    rows: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    key: usize,
    value: usize,
    end: usize,
    lsn: Lsn,
}

impl Block {
    /// Decodes a block without its CRC. `None`: the rows are not well-formed or not in order.
    pub(super) fn decode(bytes: &[u8]) -> Option<Block> {
        let (body, count) = bytes.split_last_chunk::<4>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let mut rest = Bytes(body);
        let mut block = Block { arena: Vec::with_capacity(body.len() * 2), rows: Vec::new() };
        while !rest.0.is_empty() {
            let (shared, unshared, value_len) = (rest.varint()?, rest.varint()?, rest.varint()?);
            let lsn = Lsn(rest.u64()?);
            let (tail, value) = (rest.take(unshared)?, rest.take(value_len)?);
            let key_at = block.arena.len();
            if shared > 0 {
                let before = block.rows.last()?;
                let end = before.key.checked_add(shared).filter(|&end| end <= before.value)?;
                block.arena.extend_from_within(before.key..end);
            }
            block.arena.extend_from_slice(tail);
            let value_at = block.arena.len();
            block.arena.extend_from_slice(value);
            block.rows.push(Span { key: key_at, value: value_at, end: block.arena.len(), lsn });
        }
        let sorted = (1..block.rows.len()).all(|i| match (block.row(i - 1), block.row(i)) {
            (Some(a), Some(b)) => row_order((a.key, a.lsn), (b.key, b.lsn)) == Ordering::Less,
            (None, _) | (_, None) => false,
        });
        (sorted && block.rows.len() == count && count > 0).then_some(block)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What it holds in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        len64(self.arena.capacity() + self.rows.capacity() * size_of::<Span>())
    }

    pub(super) fn row(&self, at: usize) -> Option<RowRef<'_>> {
        let span = self.rows.get(at)?;
        Some(RowRef {
            key: self.arena.get(span.key..span.value)?,
            lsn: span.lsn,
            value: self.arena.get(span.value..span.end)?,
        })
    }

    /// Index of the first row that is not before `(key, lsn)` in the order of rows; `len()` if there is none.
    pub(super) fn lower_bound(&self, key: &[u8], lsn: Lsn) -> usize {
        self.rows.partition_point(|span| {
            let row_key = self.arena.get(span.key..span.value).unwrap_or_default();
            row_order((row_key, span.lsn), (key, lsn)) == Ordering::Less
        })
    }
}
