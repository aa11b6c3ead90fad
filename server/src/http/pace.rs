//! Admissions slow down while the views on disk lag behind, and stop when they lag too far: what is in memory stays
//! within about twice `RELIVE_BASE_LAG_BYTES`, whatever the amount of data.
//!
//! Owns: the rule. Never does: hold up what was admitted, or the log.

use std::time::Duration;

use super::error::{ApiError, ApiResult, ErrorCode};
use super::shared::Shared;

/// The longest pause before an admission.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// What an admission has to do first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Go,
    Wait(Duration),
    Stop,
}

/// Nothing up to the limit, a pause that grows up to twice the limit, then no admission.
fn pace(lag: u64, limit: u64) -> Pace {
    let over = lag.saturating_sub(limit);
    if over == 0 {
        return Pace::Go;
    }
    if over >= limit {
        return Pace::Stop;
    }
    let max = u64::try_from(PAUSE_MAX.as_millis()).unwrap_or(u64::MAX);
    Pace::Wait(Duration::from_millis(1 + over.saturating_mul(max) / limit.max(1)))
}

impl Shared {
    /// Waits as long as the lag of the views asks for.
    pub(crate) async fn admit(&self) -> ApiResult<()> {
        let Some(node) = self.running() else { return Ok(()) };
        let limit = self.parts.base_lag_bytes;
        let lag = |node: &relive_engine::node::Node| u64::try_from(node.views().lag()).unwrap_or(u64::MAX);
        match pace(lag(node), limit) {
            Pace::Go => Ok(()),
            Pace::Wait(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            Pace::Stop => {
                // The disk may catch up within a moment.
                tokio::time::sleep(PAUSE_MAX).await;
                let now = lag(node);
                if pace(now, limit) != Pace::Stop {
                    return Ok(());
                }
                Err(ApiError::new(
                    ErrorCode::Overloaded,
                    format!(
                        "the views on disk lag {now} bytes behind; admissions stop at twice {limit} bytes"
                    ),
                )
                .with("lag_bytes", now)
                .with("limit", limit)
                .with("setting", "RELIVE_BASE_LAG_BYTES"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admissions_slow_down_past_the_limit_and_stop_at_twice_of_it() {
        let millis = |lag| match pace(lag, 1000) {
            Pace::Go => 0,
            Pace::Wait(pause) => pause.as_millis(),
            Pace::Stop => u128::MAX,
        };
        assert_eq!(
            [0, 1000, 1001, 1500, 1999, 2000, 9000].map(millis),
            [0, 0, 1, 51, 100, u128::MAX, u128::MAX]
        );
    }
}
