//! Directed lives for layers that stand behind other layers: every life writes a group of the same shape at the same
//! place, loses power before its sync, and so leaves frames that end exactly where frames of the next life begin.
//!
//! Lives by chance come to this rarely: the first group of a life begins with an Open frame, which moves everything
//! after it, and its length, which every frame of the group names, must be that of the next life's.

use relive_log::disk::sim::{SimDisk, SimOptions, SimRng, Tearing, When};
use relive_log::{OpenedLog, UnixMicros};

use super::model::{Model, open_sim, small};

/// What is the same in every life, and what is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twins {
    /// Groups of four sectors, a frame ends with each; one event per frame.
    Equal,
    /// The same, with another number of events per frame in each life.
    OtherCounts,
    /// Several acknowledged groups per life, on a disk that tears every sector it was writing.
    TornWatermark,
}

/// Lives of one seed; fewer than there are counts of events that fill a sector.
const LIVES: u64 = 12;
/// Payload of a frame that fills what an Open frame leaves of its sector, and of one that fills a sector.
const AFTER_OPEN: usize = 512 - (64 + 72) - 64;
const SECTOR: usize = 512 - 64;

/// Bodies of so many events that fill a payload: each event has a head of eight bytes.
fn bodies(payload: usize, events: usize) -> Vec<usize> {
    let mut sizes = vec![8; events - 1];
    sizes.push(payload - 16 * (events - 1) - 8);
    sizes
}

/// Opens the log and checks what is there.
fn opened(disk: &SimDisk, model: &mut Model, now: u64) -> Result<OpenedLog, String> {
    let log =
        open_sim(disk, &small(), now).map_err(|error| format!("refused without corruption: {error}"))?;
    model.check(&log.reader)?;
    Ok(log)
}

/// Runs one seed; the violation that it found.
pub(crate) fn run_seed(seed: u64, twins: Twins) -> Result<(), String> {
    let mut rng = SimRng::stream(seed, "twins");
    let tearing = if twins == Twins::TornWatermark { Tearing::InsideSectors } else { Tearing::Sectors };
    let disk = SimDisk::new(SimOptions { tearing, tear_per_mille: 1000, ..SimOptions::new(seed) });
    let mut model = Model::default();
    for life in 0..LIVES {
        let mut log = opened(&disk, &mut model, life)?;
        let events = match twins {
            Twins::OtherCounts => 1 + usize::try_from(life).unwrap(),
            Twins::Equal | Twins::TornWatermark => 1,
        };
        match twins {
            Twins::Equal | Twins::OtherCounts => {
                for payload in [AFTER_OPEN, SECTOR, SECTOR, SECTOR] {
                    model.append(&mut log, &bodies(payload, events), UnixMicros(life))?;
                }
                // The write and not its sync; now and then both, so that the log grows.
                if rng.per_mille(900) {
                    disk.crash_at(disk.counts().calls + 2, When::Before);
                }
                log.committer.step();
            }
            Twins::TornWatermark => {
                for _ in 0..2 + rng.below(3) {
                    model.append(&mut log, &[20], UnixMicros(life))?;
                    log.committer.step();
                }
            }
        }
        model.note_durable(log.durability.durable());
        drop(log);
        disk.power_loss();
    }
    opened(&disk, &mut model, LIVES).map(drop)
}

#[test]
fn lives_of_one_shape() {
    let rounds = super::campaign::seed_count().min(5_000);
    for twins in [Twins::Equal, Twins::OtherCounts, Twins::TornWatermark] {
        for seed in (0..rounds).map(|n| super::campaign::first_seed() + n) {
            run_seed(seed, twins).unwrap_or_else(|violation| panic!("SEED={seed} {twins:?}: {violation}"));
        }
        println!("log twins {twins:?}: seeds={rounds} recoveries={}", rounds * (LIVES + 1));
    }
}
