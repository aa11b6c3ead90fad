//! A batch: the events of one commit, encoded once, into a buffer that is reused.
//!
//! Owns: the payload bytes of a Batch frame, `record_count × { u32 len, u16 type, u16 type_version, body }`.
//! Never does: assign LSNs or times; that is the appender's.

use crate::events::{self, Event};
use crate::format::RECORD_HEADER_LEN;

/// The events of one commit. All of them become durable, or none.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    payload: Vec<u8>,
    count: u32,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub const fn new() -> Self {
        Self { payload: Vec::new(), count: 0 }
    }

    /// An empty batch with room for so many bytes.
    #[must_use]
    pub fn with_room(bytes: usize) -> Self {
        Self { payload: Vec::with_capacity(bytes), count: 0 }
    }

    /// From a payload whose records were checked.
    pub(crate) fn from_payload(payload: &[u8], count: u32) -> Self {
        Self { payload: payload.to_vec(), count }
    }

    /// Empties the batch and keeps its buffer.
    pub fn clear(&mut self) {
        self.payload.clear();
        self.count = 0;
    }

    /// Adds one event by its encoded form.
    ///
    /// # Panics
    /// When the body is over 4 GiB, which no caller can mean.
    pub fn push_raw(&mut self, type_: u16, type_version: u16, body: &[u8]) {
        let at = self.open_record();
        self.payload.extend_from_slice(body);
        self.close_record(at, type_, type_version);
    }

    /// Encodes and adds one event.
    pub fn push(&mut self, event: &Event) {
        let at = self.open_record();
        let (type_, type_version) = events::encode_record(event, &mut self.payload);
        self.close_record(at, type_, type_version);
    }

    /// Adds the events of another batch, encoded as they are there.
    pub fn extend(&mut self, other: &Batch) {
        self.payload.extend_from_slice(&other.payload);
        self.count += other.count;
    }

    fn open_record(&mut self) -> usize {
        let at = self.payload.len();
        self.payload.extend_from_slice(&[0; RECORD_HEADER_LEN]);
        at
    }

    #[expect(clippy::expect_used, reason = "a record of 4 GiB is our mistake")]
    fn close_record(&mut self, at: usize, type_: u16, type_version: u16) {
        let body_len = self.payload.len() - at - RECORD_HEADER_LEN;
        let len = u32::try_from(body_len).expect("a record body is under 4 GiB");
        if let Some(header) = self.payload.get_mut(at..at + RECORD_HEADER_LEN) {
            let [l0, l1, l2, l3] = len.to_le_bytes();
            let [t0, t1] = type_.to_le_bytes();
            let [v0, v1] = type_version.to_le_bytes();
            header.copy_from_slice(&[l0, l1, l2, l3, t0, t1, v0, v1]);
        }
        self.count += 1;
    }

    /// How many events.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.count
    }

    /// Whether there is no event.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the payload, record headers included.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.payload.len() as u64
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }
}
