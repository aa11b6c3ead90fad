//! The bound on how long the head of a request may take, kept by one timer per connection.
//!
//! Owns: [`HeadTimer`], what hyper asks for the time. Never does: decide what happens when the time is over; hyper does.
//!
//! hyper asks for a new sleep per request and drops it as soon as the head is there. A timer of the runtime for each would
//! go in and out of its wheel with every request, though hardly one ever ends: here a connection's sleeps share one, which is
//! moved only when it ends too early.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use parking_lot::Mutex;

/// The timer of one connection.
#[derive(Default)]
pub(super) struct HeadTimer {
    /// Made when it is first waited for.
    alarm: Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeadSleep { alarm: Arc::clone(&self.alarm), deadline: deadline.into() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

/// One wait. It ends at its deadline at the earliest, and the connection waits for one thing at a time.
struct HeadSleep {
    alarm: Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>,
    deadline: tokio::time::Instant,
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut alarm = self.alarm.lock();
        let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.deadline)));
        if alarm.deadline() > self.deadline {
            alarm.as_mut().reset(self.deadline);
        }
        loop {
            std::task::ready!(alarm.as_mut().poll(cx));
            if alarm.deadline() >= self.deadline {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(self.deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(20);

    /// Waits for something and gives it up, as hyper does when a head is there.
    async fn given_up(timer: &HeadTimer, wait: Duration) {
        let ended = timeout(Duration::from_millis(1), timer.sleep(wait)).await;
        assert!(ended.is_err(), "it ended too early");
    }

    #[tokio::test]
    async fn a_wait_never_ends_before_its_deadline_and_always_after_it() {
        let timer = HeadTimer::default();
        given_up(&timer, SHORT).await;
        let begun = timer.now();
        timer.sleep(2 * SHORT).await;
        assert!(begun.elapsed() >= 2 * SHORT, "not when an alarm of before goes off");
        timer.sleep(SHORT).await;
        given_up(&timer, LONG).await;
        let moved = timeout(Duration::from_secs(60), timer.sleep(SHORT)).await;
        assert!(moved.is_ok(), "an earlier deadline moves the alarm");
    }
}
