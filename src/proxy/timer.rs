//! A timer that is kept from one request to the next.
//!
//! Nearly every time that is waited for is later than the one before, and is never reached. So the runtime is not told
//! of it: the timer goes off at the earlier time, and is set to the later one then.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer of the runtime, once there was something to wait for.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

// === impl Timer ===

impl Timer {
    /// Ready at `time` or later.
    pub(super) fn poll(&mut self, time: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(time)));
        if sleep.deadline() > time {
            sleep.as_mut().reset(time);
        }
        loop {
            // An application that always has something to say uses up all that the task may do in a turn.
            ready!(pin!(unconstrained(sleep.as_mut())).poll(cx));
            if sleep.deadline() >= time {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_time_is_kept_whatever_was_waited_for_before() {
        let mut timer = Timer::default();
        for seconds in [5, 60, 1, 1, 30] {
            let time = Instant::now() + Duration::from_secs(seconds);
            // A later time is asked for first, and given up.
            let later = time + Duration::from_secs(1);
            let is_pending = poll_fn(|cx| Poll::Ready(timer.poll(later, cx).is_pending())).await;
            assert!(is_pending);
            poll_fn(|cx| timer.poll(time, cx)).await;
            assert_eq!(Instant::now(), time);
        }
    }
}
