//! `cargo xtask soak`: lives of the log on the simulated disk with seeds that nobody has run, until the time is up or one
//! of them fails; then its seed is printed.

use std::time::{Duration, Instant, SystemTime};

use crate::cargo::{self, Ended};
use crate::{Failure, Places};

const HOURS_DEFAULT: f64 = 8.0;
/// Seeds of one round; a round that takes longer than `ROUND_MAX` hangs.
const SEEDS: u64 = 5_000;
const ROUND_MAX: Duration = Duration::from_secs(3600);

pub(crate) fn run(places: &Places, arguments: &[&str]) -> Result<bool, Failure> {
    let hours: f64 = match arguments {
        [] => HOURS_DEFAULT,
        ["--hours", hours] => hours.parse()?,
        _ => return Err("options: --hours N, fractions too".into()),
    };
    if !(hours > 0.0 && hours < 10_000.0) {
        return Err("--hours is a number above 0".into());
    }
    let until = Instant::now() + Duration::from_secs_f64(hours * 3600.0);
    // Not chance of quality, only seeds that the ordinary run does not take: it begins at 0.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros();
    let mut first = u64::try_from(now)?;
    let log = places.records.join("soak.log");
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < until {
        std::fs::write(&log, "")?;
        let mut command = cargo::cargo(&places.root);
        command.args(["test", "--package", "relive-log", "--features", "planted-bugs,fault-points"]);
        command.args(["--test", "it", "--", "--nocapture", "l12_random_lives", "lives_of_one_shape"]);
        command.env("RELIVE_SIM_SEEDS", SEEDS.to_string()).env("RELIVE_SIM_FIRST_SEED", first.to_string());
        let ended = cargo::run(&mut command, &log, ROUND_MAX)?;
        let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
        if ended != Ended::Well {
            for line in text.lines().filter(|line| line.contains("SEED=") || line.starts_with("error")) {
                println!("{line}");
            }
            println!(
                "FAILED ({ended:?}) with RELIVE_SIM_FIRST_SEED={first}; everything is in {}",
                log.display()
            );
            return Ok(false);
        }
        if !text.contains("5 passed") {
            return Err(format!("not all of the five tests ran: {}", log.display()).into());
        }
        rounds += 1;
        println!("{} seeds from {first} on: nothing found", SEEDS);
        first += SEEDS;
    }
    println!("{} seeds, nothing found", rounds * SEEDS);
    Ok(true)
}
