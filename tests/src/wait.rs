//! Bounded waiting for a fact that can be asked for. Never does: sleep for luck; between two questions there is a
//! short pause, after [`WAIT_MAX`] the test fails and says what it waited for.

use std::future::Future;
use std::time::{Duration, Instant};

/// The longest wait for anything that has no time of its own.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(15);

/// Asks until there is an answer.
///
/// # Panics
/// After [`WAIT_MAX`], naming what was waited for.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} for {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
