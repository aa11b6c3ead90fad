//! Single reads and listings, now and in the past.

use std::path::Path;
use std::time::Instant;

use relive_log::events::{Event, KvEvent, KvPut, Principal, Writer};
use relive_log::{AppId, AppendError, Batch, Lsn};
use relive_projections::{AsOf, KvRange};
use serde::Serialize;

use crate::rig::{Dice, Rig, SystemClock};
use crate::{Failure, When};
use relive_engine::seams::Clock as _;

const COLLECTION: &str = "orders";
/// Keys of one page of a listing.
const PAGE: usize = 1000;
/// Reads between two looks at the clock.
const CHUNK: u32 = 64;

/// What was made.
#[derive(Debug, Serialize)]
pub(crate) struct Filled {
    versions: u64,
    log_bytes: u64,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Reads {
    /// Microseconds of one.
    us: f64,
    reads: u64,
}

fn app() -> AppId {
    AppId::from_bytes([7; 16])
}

fn name(key: u64) -> String {
    format!("order-{key:08}")
}

/// Every version in a batch of its own, as calls commit them; all keys once, then all of them again. Where each key has
/// one version only, as many events of other keys follow: there is a past in which all keys are there.
pub(crate) fn fill(dir: &Path, keys: u64, versions: u64) -> Result<Filled, Failure> {
    let mut rig = Rig::open(dir)?;
    let mut previous: Vec<Option<Lsn>> = vec![None; usize::try_from(keys)?];
    let mut last = Lsn::ZERO;
    let Principal { id, name: by, .. } = Principal::instance();
    let writer = Writer::Principal { id, name: by };
    let passes = if versions == 1 { 2 } else { versions };
    let mut batch = Batch::new();
    for pass in 0..passes {
        for (key, before) in (0..).zip(&mut previous) {
            let of = if pass < versions { COLLECTION } else { "others" };
            let value = format!("{{\"total\":{},\"paid\":false,\"version\":{pass}}}", key * 7);
            batch.clear();
            batch.push(&Event::Kv(KvEvent::Put(KvPut {
                app: app(),
                collection: of.into(),
                key: name(key),
                value: value.into_bytes().into(),
                previous: before.filter(|_| pass < versions),
                expires_at: None,
                writer: writer.clone(),
            })));
            let appended = loop {
                match rig.appender.append(&batch, SystemClock.now()) {
                    Err(AppendError::Busy) => rig.appender.wait_for_room(),
                    done => break done?,
                }
            };
            last = appended.last;
            *before = Some(last);
        }
    }
    rig.durability.wait(last)?;
    let reader = rig.reader.clone();
    rig.views.catch_up(&reader, &mut |_| {})?;
    let log_bytes = reader.bytes();
    rig.close()?;
    Ok(Filled { versions: keys * versions, log_bytes })
}

/// The instant of a read: the end of the log, or a random one in its second half, where every key has a version.
fn instant(rig: &Rig, when: When, dice: &mut Dice) -> AsOf {
    let (last, time) = (rig.reader.durable(), SystemClock.now());
    match when {
        When::Now => AsOf { lsn: Lsn::MAX, time },
        When::Past => AsOf { lsn: Lsn(last.0 - dice.below(last.0 / 2)), time },
    }
}

pub(crate) fn get(dir: &Path, keys: u64, when: When, seconds: f64) -> Result<Reads, Failure> {
    let rig = Rig::open(dir)?;
    let mut dice = Dice(1);
    let mut read = || -> Result<u64, Failure> {
        let at = instant(&rig, when, &mut dice);
        let slot = rig.views.kv().get(app(), COLLECTION, &name(dice.below(keys)), at)?;
        Ok(u64::from(slot.value.is_some()))
    };
    let (reads, us) = measured(seconds, &mut read)?;
    rig.close()?;
    Ok(Reads { us, reads })
}

pub(crate) fn list(dir: &Path, when: When, seconds: f64) -> Result<Reads, Failure> {
    let rig = Rig::open(dir)?;
    let mut dice = Dice(1);
    let range = KvRange { limit: PAGE, bytes_max: 4 << 20, ..KvRange::default() };
    let mut read = || -> Result<u64, Failure> {
        let at = instant(&rig, when, &mut dice);
        let page = rig.views.kv().list(app(), COLLECTION, &range, at)?;
        if page.items.len() != PAGE {
            return Err(format!("a page of {}", page.items.len()).into());
        }
        Ok(1)
    };
    let (reads, us) = measured(seconds, &mut read)?;
    rig.close()?;
    Ok(Reads { us, reads })
}

/// Warms up for a quarter of the time, then reads for all of it: how often, and microseconds of one.
fn measured(seconds: f64, read: &mut dyn FnMut() -> Result<u64, Failure>) -> Result<(u64, f64), Failure> {
    let mut counted = (0, 0.0);
    for part in [seconds / 4.0, seconds] {
        let (begin, mut reads, mut found) = (Instant::now(), 0_u64, 0);
        while begin.elapsed().as_secs_f64() < part {
            for _ in 0..CHUNK {
                found += read()?;
                reads += 1;
            }
        }
        if found == 0 {
            return Err("nothing was found".into());
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of reads is far below 2^52")]
        let us = begin.elapsed().as_secs_f64() * 1e6 / reads as f64;
        counted = (reads, us);
    }
    Ok(counted)
}
