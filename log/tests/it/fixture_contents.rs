//! What the fixture in `log/tests/fixtures` holds: shared by the program that wrote it and the tests that open it.

use relive_log::{Batch, LogOptions, UnixMicros};

/// Items of the snapshot as of LSN 3.
pub(crate) const SNAPSHOT_ITEMS: [&[u8]; 3] = [b"one", &[7; 900], b""];
/// Its digest.
pub(crate) const SNAPSHOT_DIGEST: u128 = 77;

/// A batch: its commit time and its bodies.
pub(crate) struct Contents {
    pub(crate) commit: UnixMicros,
    pub(crate) bodies: Vec<Vec<u8>>,
}

impl Contents {
    /// As it is appended.
    pub(crate) fn encoded(&self) -> Batch {
        let mut batch = Batch::new();
        for body in &self.bodies {
            batch.push_raw(7, 1, body);
        }
        batch
    }
}

/// How its log is cut.
pub(crate) fn options() -> LogOptions {
    LogOptions { segment_bytes: 16 << 10, spares: 1, software: "fixture".to_owned(), ..LogOptions::default() }
}

/// Everything in it, in order.
pub(crate) fn batches() -> Vec<Contents> {
    let sizes: [&[usize]; 8] =
        [&[20], &[440, 8], &[700, 900], &[3000], &[5000], &[100, 100, 100], &[0], &[6000]];
    let all = sizes.iter().zip(0_u8..);
    all.map(|(sizes, n)| Contents {
        commit: UnixMicros(u64::from(n) * 10),
        bodies: sizes.iter().map(|size| vec![n + 1; *size]).collect(),
    })
    .collect()
}
