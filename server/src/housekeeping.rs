//! The thread that looks after what is stored: snapshots of the state, how much history is kept, the scrubber.
//!
//! Owns: when each is due. Never does: hold up the commit path or the views behind it; wake up while nothing is due.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use relive_engine::script::memory;
use relive_log::disk::Disk;
use relive_log::snapshot::{ScrubStatus, ScrubStep, Scrubber, Snapshots};
use relive_log::{Durability, Lsn, Reader, Recycle, SnapshotError, UnixMicros};
use relive_projections::{Views, ViewsError};

use crate::clock;
use crate::log_counts::LogCounts;
use crate::reserve::Reserve;
use crate::retention::History;
use crate::settings::Settings;
use crate::start_error::StartError;
use crate::threads;

/// Bytes that the scrubber reads at once …
const SCRUB_STEP_BYTES: u64 = 1 << 20;
/// … and the pause behind, so that it reads 8 MiB a second at most.
const SCRUB_PAUSE: Duration = Duration::from_millis(125);
/// The scrubber begins so long after the start: a start has better things to read.
const SCRUB_AFTER: Duration = Duration::from_secs(60);
/// How often the age of history is looked at.
const RETENTION_EVERY: Duration = Duration::from_secs(60);
/// How often room for the reserve is looked for while there is none.
const RESERVE_EVERY: Duration = Duration::from_secs(60);
/// Pause after something failed.
const FAILED_PAUSE: Duration = Duration::from_secs(10);
/// Pause while a checkpoint of the views is waited for.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(2);
/// How long an `Idempotency-Key` counts.
const IDEMPOTENCY_WINDOW_MICROS: u64 = 24 * 3600 * 1_000_000;
/// Events of a base that are gathered at once: 4 Mi take about 200 MiB for a moment, fewer mean more passes.
const BASE_EVENTS: usize = 1 << 20;
/// A snapshot at shutdown is cheap up to this many bytes.
const CHEAP_BYTES: u64 = 16 << 20;

/// What a look at the snapshots came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing more before the log grows.
    Done,
    /// A snapshot is due, and the views on disk are not far enough.
    WaitsForCheckpoint,
}

/// How the process before this one left the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It stopped in order, or there was none.
    InOrder,
    /// It died: what it wrote last was never synced. The views are used at once, and read in full beside (V5).
    ByDeath,
}

/// Room on the disk.
pub(crate) struct Space {
    /// The disk.
    pub(crate) disk: Arc<dyn Disk>,
    /// What a start on a full disk lives on.
    pub(crate) reserve: Reserve,
}

/// What it works on.
pub(crate) struct House {
    /// The log's snapshots.
    pub(crate) snapshots: Snapshots,
    /// What the scrubber did and found.
    pub(crate) scrub: Arc<Mutex<ScrubStatus>>,
    /// How much history is kept.
    pub(crate) history: History,
    /// What failed last, if nothing has succeeded since.
    pub(crate) trouble: Mutex<Option<String>>,
    /// A snapshot is due after so many bytes of log.
    pub(crate) snapshot_bytes: u64,
    /// What becomes of segments that a cut retires.
    pub(crate) recycle: Recycle,
    /// What the log consists of.
    pub(crate) counts: LogCounts,
    left: Left,
    views: Arc<Views>,
    /// Reads the log, whether the views are there or not.
    pub(crate) reader: Reader,
    space: Space,
    /// Wake up when the log is so long: segments counted whole.
    wake_at: AtomicU64,
    /// Where the log begins once the cut is over that is under way; what is kept by then is looked at afterwards.
    cut_begins: AtomicU64,
    /// Something changed that retention depends on.
    again: AtomicBool,
    waker: OnceLock<Thread>,
}

/// The first LSN that has to stay, by each reason; `MAX` where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Floors {
    /// `RELIVE_HISTORY_RETENTION`.
    pub(crate) asked: Lsn,
    /// Open work and open dead letters.
    pub(crate) work: Lsn,
    /// Calls with an `Idempotency-Key` of the last day (D14).
    pub(crate) idempotency: Lsn,
    /// Holds.
    pub(crate) holds: Lsn,
}

impl Floors {
    fn lowest(&self) -> Lsn {
        self.asked.min(self.work).min(self.idempotency).min(self.holds)
    }
}

impl House {
    /// Of an open log and its views.
    pub(crate) fn new(
        snapshots: Snapshots,
        scrubber: &Scrubber,
        views: Arc<Views>,
        reader: Reader,
        space: Space,
        settings: &Settings,
        left: Left,
    ) -> Arc<House> {
        Arc::new(House {
            snapshots,
            scrub: scrubber.status(),
            history: settings.history,
            trouble: Mutex::new(None),
            snapshot_bytes: settings.snapshot_bytes,
            recycle: settings.recycle,
            counts: LogCounts::default(),
            left,
            views,
            reader,
            space,
            wake_at: AtomicU64::new(0),
            cut_begins: AtomicU64::new(0),
            again: AtomicBool::new(false),
            waker: OnceLock::new(),
        })
    }

    /// Where the log begins, or will once the cut is over that is under way.
    pub(crate) fn cut_begins(&self) -> Lsn {
        Lsn(self.cut_begins.load(Ordering::SeqCst)).max(self.reader.first_lsn())
    }

    /// Has it look at once whether there is something to cut.
    pub(crate) fn look_again(&self) {
        self.again.store(true, Ordering::Release);
        if let Some(thread) = self.waker.get() {
            thread.unpark();
        }
    }

    /// The log's length, cut segments included.
    fn end_bytes(&self) -> u64 {
        let end = self.reader.durable_end();
        u64::from(end.segment) * self.snapshots.segment_bytes() + u64::from(end.offset)
    }

    /// After how many bytes behind the newest snapshot the next one is due: a large state is not written more often
    /// than the log grows by its size.
    fn due_after(&self) -> u64 {
        let newest = self.snapshots.list().last().map_or(0, |info| info.bytes);
        self.snapshot_bytes.max(newest)
    }

    /// Takes a snapshot if one is due, then cuts what is no longer wanted. Whether that is all for now: a checkpoint of
    /// the views comes a moment after the log has grown, and only then there is something to take.
    fn step(&self) -> Result<Step, ViewsError> {
        let keep_from = self.keep_from()?;
        let wanted = keep_from.is_some_and(|lsn| self.snapshots.waits_for_snapshots(lsn));
        if wanted || self.snapshots.bytes_since_newest() >= self.due_after() {
            self.snapshot()?;
        }
        if let Some(keep_from) = keep_from {
            self.cut(keep_from)?;
        }
        let due = self.snapshots.bytes_since_newest() >= self.due_after();
        let wanted = keep_from.is_some_and(|lsn| self.snapshots.waits_for_snapshots(lsn));
        let newer = self.snapshots.newest() < self.views.applied();
        Ok(if (due || wanted) && newer { Step::WaitsForCheckpoint } else { Step::Done })
    }

    fn snapshot(&self) -> Result<(), ViewsError> {
        let begun = Instant::now();
        if let Some(info) = self.views.snapshot(&self.snapshots, self.reader.durable(), clock::now())? {
            let (lsn, bytes) = (info.last_lsn.0, info.bytes);
            tracing::info!(lsn, bytes, took_ms = begun.elapsed().as_millis(), "snapshot installed");
            memory::give_back();
        }
        Ok(())
    }

    /// The first LSN that has to stay: by the setting, and by what is still needed. `None`: all of it.
    fn keep_from(&self) -> Result<Option<Lsn>, ViewsError> {
        Ok(self.floors()?.map(|floors| floors.lowest()))
    }

    /// The same, reason by reason.
    pub(crate) fn floors(&self) -> Result<Option<Floors>, ViewsError> {
        if self.history.is_forever() {
            return Ok(None);
        }
        Ok(Some(Floors {
            asked: self.history.keep_from(&self.reader, clock::now())?,
            work: self.views.oldest_needed()?.unwrap_or(Lsn::MAX),
            idempotency: self.replayable_from()?,
            holds: self.views.holds().oldest().unwrap_or(Lsn::MAX),
        }))
    }

    /// Calls with an `Idempotency-Key` are answered again for a day, from what the log has of them (D14).
    fn replayable_from(&self) -> Result<Lsn, ViewsError> {
        let day_ago = UnixMicros(clock::now().0.saturating_sub(IDEMPOTENCY_WINDOW_MICROS));
        let before = self.reader.frame_at_time(day_ago)?;
        let from = before.map_or_else(|| self.reader.first_lsn(), |frame| frame.last_lsn.next());
        Ok(if self.views.keyed_since(from) { from } else { Lsn::MAX })
    }

    fn cut(&self, keep_from: Lsn) -> Result<(), ViewsError> {
        let Some(cut) = self.snapshots.plan_cut(keep_from)? else { return Ok(()) };
        // The base is written anew by every cut: not for less than a quarter of it.
        if cut.bytes < self.snapshots.base().map_or(0, |base| base.bytes / 4) {
            return Ok(());
        }
        // What was made since `keep_from` was found out (a fork, say) may need more.
        if !self.views.announce_cut(cut.start)? {
            return Ok(());
        }
        let mut base = self.snapshots.begin_base(&cut, clock::now())?;
        let mut after = Lsn::ZERO;
        loop {
            let needed = self.views.needed_below(cut.start, after, BASE_EVENTS)?;
            let Some((last, _)) = needed.last() else { break };
            after = *last;
            for (lsn, pos) in needed {
                base.keep(pos, lsn)?;
            }
        }
        let kept = base.finish()?;
        // Said before the holds are looked at for the last time; whoever sets one looks here after it.
        self.cut_begins.store(cut.start.0, Ordering::SeqCst);
        if self.views.holds().oldest().is_some_and(|from| from < cut.start) {
            tracing::info!(start = cut.start.0, "a hold came in between: the log is not cut");
            self.cut_begins.store(0, Ordering::SeqCst);
            return Ok(());
        }
        let done = self.snapshots.cut(&cut)?;
        self.views.set_horizon(done.start);
        let (start, segments) = (done.start.0, done.segments);
        tracing::info!(start, segments, freed = done.bytes, kept_events = kept.items, "the log was cut");
        Ok(())
    }

    /// A snapshot at an orderly stop, when that takes no time.
    pub(crate) fn at_shutdown(&self) {
        let newest = self.snapshots.list().last().map_or(0, |info| info.bytes);
        let worth = self.snapshots.bytes_since_newest() >= self.snapshot_bytes / 4;
        if worth
            && newest <= CHEAP_BYTES
            && let Err(error) = self.snapshot()
        {
            tracing::warn!(%error, "no snapshot at the stop; the next start folds more of the log");
        }
    }

    fn note(&self, result: &Result<Step, ViewsError>) {
        let message = result.as_ref().err().map(ToString::to_string);
        if let Some(error) = &message {
            tracing::warn!(error, "snapshot or cut failed; trying again");
        }
        *self.trouble.lock() = message;
    }

    fn work(&self, mut scrubber: Scrubber, stop: &AtomicBool) {
        threads::yield_to_others();
        let begun = Instant::now();
        if self.left == Left::ByDeath {
            match self.views.verify() {
                Ok(()) => tracing::debug!("the views that a dead process left behind are sound"),
                Err(error) => {
                    let marked = self.views.damage().is_some();
                    tracing::error!(%error, marked, "the views are damaged; the next start makes them anew");
                }
            }
        }
        let mut looked: Option<Instant> = None;
        while !stop.load(Ordering::Acquire) {
            let due = self.again.swap(false, Ordering::AcqRel)
                || looked.is_none_or(|at| at.elapsed() >= RETENTION_EVERY)
                || self.end_bytes() >= self.wake_at.load(Ordering::Acquire);
            let mut pause = if self.history.is_forever() { None } else { Some(RETENTION_EVERY) };
            if due {
                let result = self.step();
                self.note(&result);
                looked = Some(Instant::now());
                let since = self.snapshots.bytes_since_newest();
                let left = self.due_after().saturating_sub(since).max(self.snapshots.segment_bytes() / 2);
                self.wake_at.store(self.end_bytes().saturating_add(left), Ordering::Release);
                match result {
                    Ok(Step::Done) => {}
                    Ok(Step::WaitsForCheckpoint) => {
                        pause = Some(CHECKPOINT_PAUSE);
                        looked = None;
                    }
                    Err(ViewsError::Snapshot(SnapshotError::Poisoned(_)) | ViewsError::Broken(_)) => return,
                    Err(_) => pause = Some(FAILED_PAUSE),
                }
            }
            let scrub = self.scrub(&mut scrubber, begun);
            self.space.reserve.keep(&*self.space.disk);
            let room = (!self.space.reserve.is_there()).then_some(RESERVE_EVERY);
            let pause = [pause, scrub, room].into_iter().flatten().min();
            match pause {
                Some(pause) => std::thread::park_timeout(pause),
                None => std::thread::park(),
            }
        }
    }

    /// Lets the scrubber read a little; when it wants to again.
    fn scrub(&self, scrubber: &mut Scrubber, begun: Instant) -> Option<Duration> {
        if begun.elapsed() < SCRUB_AFTER {
            return Some(SCRUB_AFTER.saturating_sub(begun.elapsed()));
        }
        let now = clock::now();
        match scrubber.step(now, SCRUB_STEP_BYTES) {
            ScrubStep::Read { .. } => Some(SCRUB_PAUSE),
            ScrubStep::Idle { until } => Some(Duration::from_micros(until.0.saturating_sub(now.0))),
            ScrubStep::Poisoned => None,
        }
    }
}

/// The running thread.
pub(crate) struct Housekeeping {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    house: Arc<House>,
}

impl Housekeeping {
    /// Tells it to end.
    pub(crate) fn stop(self) -> (JoinHandle<()>, Arc<House>) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        (self.thread, self.house)
    }
}

/// Starts looking after what is stored.
pub(crate) fn start(
    house: Arc<House>,
    scrubber: Scrubber,
    durability: &Durability,
) -> Result<Housekeeping, StartError> {
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, works) = (Arc::clone(&stop), Arc::clone(&house));
    let thread = threads::spawn("house", move || works.work(scrubber, &stopped))?;
    let (wake, watched) = (thread.thread().clone(), Arc::clone(&house));
    house.waker.get_or_init(|| wake.clone());
    durability.on_change(Box::new(move |_| {
        if watched.end_bytes() >= watched.wake_at.load(Ordering::Acquire) {
            wake.unpark();
        }
    }));
    Ok(Housekeeping { thread, stop, house })
}
