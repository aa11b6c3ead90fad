//! Schedules: which moments a cron expression means, in a time zone whose clock changes (D16).
//!
//! Owns: [`Schedule`] (text to moments) and [`CronTable`] (which trigger is due when). Never does: read a clock or
//! enqueue anything.
//!
//! A schedule names civil times. Each means one moment: the first at which the zone's clock shows it, or, if the clock
//! skips it, the first after the gap. So what is skipped runs once right after the gap, what repeats runs once, and the
//! moments never go back: invariant E64 is that every moment after a time is found, once.

mod table;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan, Zoned};
use relive_log::UnixMicros;

pub(crate) use self::table::CronTable;
use crate::refusal::Refusal;

/// How far a schedule is looked ahead, years: one that does not come within them (29 February comes every four or
/// eight) makes no sense.
const AHEAD_YEARS: i32 = 9;

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: croner::Cron,
    zone: TimeZone,
}

/// The moments of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    /// The latest.
    pub latest: UnixMicros,
    /// How many, the latest included.
    pub count: u64,
}

fn invalid(field: &str, problem: String) -> Refusal {
    Refusal::Invalid { field: field.to_owned(), problem }
}

impl Schedule {
    /// Reads five fields (minute, hour, day of the month, month, day of the week), or six with seconds in front;
    /// UTC, or the IANA time zone of this name.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] with the field and what is wrong, also if no moment ever comes.
    pub fn parse(schedule: &str, timezone: Option<&str>) -> Result<Schedule, Refusal> {
        let fields = schedule.split_whitespace().count();
        if !(5..=6).contains(&fields) {
            let problem = format!(
                "`{schedule}` has {fields} fields; a schedule has five (minute, hour, day of the month, month, day of \
                 the week), or six with seconds in front"
            );
            return Err(invalid("schedule", problem));
        }
        let parser = croner::parser::CronParser::builder().year(croner::parser::Year::Disallowed).build();
        let cron =
            parser.parse(schedule).map_err(|why| invalid("schedule", format!("`{schedule}`: {why}")))?;
        let zone = match timezone {
            None => TimeZone::UTC,
            Some(name) => zone(name)?,
        };
        let schedule_ = Schedule { cron, zone };
        // From a leap day on, so that what is left is what no calendar has.
        let from = jiff::civil::date(2024, 2, 29).at(0, 0, 0, 0);
        let until = from.saturating_add(AHEAD_YEARS.years());
        match schedule_.next_civil(from) {
            Some(first) if first < until => Ok(schedule_),
            Some(_) | None => {
                Err(invalid("schedule", format!("`{schedule}` never comes: no calendar has such a day")))
            }
        }
    }

    /// The first civil time of the schedule after this one.
    fn next_civil(&self, after: DateTime) -> Option<DateTime> {
        let carrier = after.to_zoned(TimeZone::UTC).ok()?;
        let found: Zoned = self.cron.find_next_occurrence(&carrier, false).ok()?;
        Some(found.datetime())
    }

    /// The one moment that a civil time means.
    fn moment(&self, civil: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
            AmbiguousOffset::Gap { before, .. } => {
                // With the offset from before the gap it lies at or after the change: that is where the gap ended.
                let inside = before.to_timestamp(civil).ok()?.checked_add(1.second()).ok()?;
                self.zone.preceding(inside).next().map(|change| change.timestamp())
            }
        }
    }

    /// The first moment after this time.
    #[must_use]
    pub fn next(&self, after: UnixMicros) -> Option<UnixMicros> {
        let after = timestamp(after)?;
        self.first_after(after).map(|(_, moment)| micros(moment))
    }

    fn first_after(&self, after: Timestamp) -> Option<(DateTime, Timestamp)> {
        let mut civil = second(self.zone.to_datetime(after));
        loop {
            civil = self.next_civil(civil)?;
            let moment = self.moment(civil)?;
            if moment > after {
                return Some((civil, moment));
            }
        }
    }

    /// The moments after `after` and up to `until`; `None` if there is none.
    #[must_use]
    pub fn between(&self, after: UnixMicros, until: UnixMicros) -> Option<Moments> {
        let (mut at, until) = (timestamp(after)?, timestamp(until)?);
        let (mut latest, mut count) = (None, 0_u64);
        let mut in_a_day = None;
        while let Some((_, moment)) = self.first_after(at).filter(|(_, moment)| *moment <= until) {
            match self.plain_day(at, until) {
                Some((start, end)) if moment > start => {
                    // Days without a change of the clock have the same moments: counted once, then by the day.
                    let per_day = *in_a_day.get_or_insert_with(|| self.count(start, end));
                    let last = self.last_in(start, end, per_day);
                    match last {
                        Some(last) => {
                            (latest, at) = (Some(last), end);
                            count = count.saturating_add(per_day);
                        }
                        None => at = end,
                    }
                }
                _ => (latest, at, count) = (Some(moment), moment, count.saturating_add(1)),
            }
        }
        latest.map(|latest| Moments { latest: micros(latest), count })
    }

    /// The civil day that begins right after `at`, if it ends by `until` and the clock does not change in it: the
    /// moments after the first bound, up to the second, are its.
    fn plain_day(&self, at: Timestamp, until: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let civil = self.zone.to_datetime(at);
        let last_second = jiff::civil::time(23, 59, 59, 0);
        if civil.time() < last_second {
            return None;
        }
        let end = at.checked_add(24.hours()).ok().filter(|end| *end <= until)?;
        let change = self.zone.following(at).next();
        (change.is_none_or(|change| change.timestamp() > end) && civil.time() == last_second)
            .then_some((at, end))
    }

    fn count(&self, after: Timestamp, until: Timestamp) -> u64 {
        let (mut at, mut count) = (after, 0);
        while let Some((_, moment)) = self.first_after(at).filter(|(_, moment)| *moment <= until) {
            (at, count) = (moment, count + 1);
        }
        count
    }

    /// The last moment of a plain day that has `count`, or none if it is not one of the schedule's days.
    fn last_in(&self, after: Timestamp, until: Timestamp, count: u64) -> Option<Timestamp> {
        let first = self.first_after(after).filter(|(_, moment)| *moment <= until)?.1;
        if count == 1 {
            return Some(first);
        }
        let carrier = self.zone.to_datetime(until).saturating_add(1.second()).to_zoned(TimeZone::UTC).ok()?;
        let last: Zoned = self.cron.find_previous_occurrence(&carrier, false).ok()?;
        self.moment(last.datetime())
    }
}

/// The time zone of this name.
fn zone(name: &str) -> Result<TimeZone, Refusal> {
    let unknown = || {
        invalid(
            "timezone",
            format!("`{name}` is no time zone; write its IANA name, as `Europe/Berlin` or `UTC`"),
        )
    };
    if name.is_empty() {
        return Err(unknown());
    }
    TimeZone::get(name).map_err(|_| unknown())
}

/// Without fractions of a second.
fn second(civil: DateTime) -> DateTime {
    civil.with().subsec_nanosecond(0).build().unwrap_or(civil)
}

fn timestamp(at: UnixMicros) -> Option<Timestamp> {
    Timestamp::from_microsecond(i64::try_from(at.0).ok()?).ok()
}

fn micros(at: Timestamp) -> UnixMicros {
    UnixMicros(u64::try_from(at.as_microsecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
