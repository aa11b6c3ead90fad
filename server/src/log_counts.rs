//! What a log consists of: events and bytes by kind and by app.
//!
//! Owns: [`Counts`], and what was counted of segments that no longer change. Never does: count a segment twice that is
//! full, or show what is not durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use relive_log::events::{DecodeError, Event, decode_record};
use relive_log::{AppId, Frame, Lsn, RawRecord, ReadError, Reader, UnixMicros};

/// Bytes of a record beside its body: its length, type and version.
const RECORD_HEAD_BYTES: u64 = 8;

/// So many events, so many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Events.
    pub(crate) events: u64,
    /// Bytes of their records, without frames and padding.
    pub(crate) bytes: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.events += other.events;
        self.bytes += other.bytes;
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// All together.
    pub(crate) total: Tally,
    /// By kind.
    pub(crate) kinds: BTreeMap<&'static str, Tally>,
    /// By app; what is of the instance has its own id.
    pub(crate) apps: BTreeMap<AppId, Tally>,
    /// When the first of them was committed.
    pub(crate) first_at: Option<UnixMicros>,
    /// When the last was.
    pub(crate) last_at: Option<UnixMicros>,
}

impl Counts {
    /// One event.
    pub(crate) fn add(&mut self, event: &Event, body_bytes: usize, at: UnixMicros) {
        let one = Tally { events: 1, bytes: body_bytes as u64 + RECORD_HEAD_BYTES };
        self.total.add(one);
        self.kinds.entry(event.kind().name).or_default().add(one);
        self.apps.entry(event.app()).or_default().add(one);
        self.first_at.get_or_insert(at);
        self.last_at = Some(at);
    }

    fn frame(&mut self, frame: &Frame) -> Result<(), ReadError> {
        for RawRecord { lsn, type_, type_version, body } in frame.records() {
            let event = decode_record(type_, type_version, body)
                .map_err(|source: DecodeError| ReadError::Decode { lsn, source })?;
            self.add(&event, body.len(), frame.commit_time);
        }
        Ok(())
    }

    fn merge(&mut self, later: &Counts) {
        self.total.add(later.total);
        for (kind, tally) in &later.kinds {
            self.kinds.entry(kind).or_default().add(*tally);
        }
        for (app, tally) in &later.apps {
            self.apps.entry(*app).or_default().add(*tally);
        }
        self.first_at = self.first_at.or(later.first_at);
        self.last_at = later.last_at.or(self.last_at);
    }
}

/// What was counted so far. The first count reads the whole log, later ones what came since.
#[derive(Debug, Default)]
pub(crate) struct LogCounts {
    full: Mutex<BTreeMap<u32, Arc<Counts>>>,
}

impl LogCounts {
    /// Counts the durable log. One caller at a time reads, the others wait for it.
    ///
    /// # Errors
    /// The log could not be read.
    pub(crate) fn count(&self, reader: &Reader) -> Result<Counts, ReadError> {
        let mut full = self.full.lock();
        let segments = reader.segments();
        full.retain(|known, _| segments.iter().any(|segment| segment.segment == *known));
        let mut total = Counts::default();
        for (at, info) in segments.iter().enumerate() {
            let counts = match full.get(&info.segment) {
                Some(counts) => Arc::clone(counts),
                None => {
                    let counts = Arc::new(of_segment(reader, info.segment, info.first_lsn)?);
                    // The last one still grows.
                    if at + 1 < segments.len() {
                        full.insert(info.segment, Arc::clone(&counts));
                    }
                    counts
                }
            };
            total.merge(&counts);
        }
        Ok(total)
    }
}

fn of_segment(reader: &Reader, segment: u32, first: Lsn) -> Result<Counts, ReadError> {
    let mut counts = Counts::default();
    let mut scan = reader.scan(first)?;
    while let Some(frame) = scan.next() {
        match frame {
            Err(ReadError::Gap { gap }) => scan.pass_gap(gap),
            Err(error) => return Err(error),
            Ok(frame) if frame.pos.segment < segment => {}
            Ok(frame) if frame.pos.segment > segment => break,
            Ok(frame) => counts.frame(&frame)?,
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use relive_log::disk::{Disk, RealDisk};
    use relive_log::events::{AppChanged, AppEvent, KvDeleted, KvEvent, OutgoingCalls, Principal, Writer};
    use relive_log::{Batch, FreshIdentity, LogOptions, Purpose, Urgency};

    use super::*;

    fn app(n: u8) -> AppId {
        AppId::from_bytes([n; 16])
    }

    fn deleted(app: AppId) -> Event {
        let (collection, key, writer) = (
            "c".into(),
            "k".repeat(300),
            Writer::Principal { id: relive_log::PrincipalId::default(), name: "someone".into() },
        );
        Event::Kv(KvEvent::Deleted(KvDeleted { app, collection, key, previous: Lsn(1), writer }))
    }

    #[test]
    fn later_counts_read_what_came_since_and_say_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let options = LogOptions { segment_bytes: 16 << 10, ..LogOptions::default() };
        let identity = FreshIdentity { log_id: [7; 16], frame_magic: [9; 4] };
        let now = UnixMicros(1_000_000);
        let mut log = relive_log::open(disk, &dir.path().join("data"), &options, identity, now).unwrap();
        let counts = LogCounts::default();
        let changed = AppChanged {
            app: app(2),
            name: None,
            outgoing_calls: OutgoingCalls::On,
            by: Principal::instance(),
        };
        for round in 1..=20_u64 {
            for _ in 0..5 {
                let mut batch = Batch::new();
                batch.push(&deleted(app(1)));
                batch.push(&Event::App(AppEvent::Changed(changed.clone())));
                while log
                    .appender
                    .append_with(&batch, UnixMicros(now.0 + round), Purpose::NewWork, Urgency::Now)
                    .is_err()
                {
                    log.preparer.step();
                }
                while log.committer.step() != relive_log::StepOutcome::Idle {}
                log.preparer.step();
            }
            let counted = counts.count(&log.reader).unwrap();
            assert_eq!(counted, LogCounts::default().count(&log.reader).unwrap());
            assert_eq!(counted.total.events, round * 10);
            assert_eq!(counted.kinds.values().map(|tally| tally.events).sum::<u64>(), round * 10);
            assert_eq!(counted.apps.keys().copied().collect::<Vec<_>>(), [app(1), app(2)]);
            assert!(counted.kinds["kv_deleted"].bytes > 300 * counted.kinds["kv_deleted"].events);
            assert_eq!(counted.last_at, Some(UnixMicros(now.0 + round)));
        }
        assert!(log.reader.segments().len() > 2, "several segments");
    }
}
