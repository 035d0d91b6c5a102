//! What a serving connection waits for, and the one lazy timer that notices when it waits too long.
//!
//! The timer is set when there is something to wait for, and again only when it has fired; it is not polled in
//! between: a request that is answered at once costs nothing.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::coop::has_budget_remaining;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::connections::limits::{Limits, Timeout};
use crate::http::activity::Activity;

/// A connection's timer and what it saw at its last look.
#[derive(Debug, Default)]
pub(crate) struct Timeouts {
    timer: Option<Pin<Box<Sleep>>>,
    /// The timer wakes the task when it fires.
    armed: bool,
    next_look: Option<Instant>,
    /// What was waited for, how far it had come, and since when.
    seen: Option<(Timeout, u32, Instant)>,
    /// How many requests had begun at the last look at an idle connection.
    idle_at: Option<u32>,
}

// === impl Timeouts ===

impl Timeouts {
    /// Ready once no request has come for `time`, or for twice that at most.
    pub(crate) fn poll_idle_for(
        &mut self,
        time: Duration,
        activity: &Activity,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(time)));
            if timer.is_elapsed() {
                let requests = activity.requests();
                if self.idle_at == Some(requests) {
                    return Poll::Ready(());
                }
                self.idle_at = Some(requests);
                timer.as_mut().reset(Instant::now() + time);
                self.armed = false;
            }
            if self.armed {
                return Poll::Pending;
            }
            // It may be set for the next look of `poll_timed_out`, which may be seconds away.
            let at = Instant::now() + time;
            if timer.deadline() > at {
                timer.as_mut().reset(at);
            }
            // Without budget the timer is not armed: the runtime polls the task again instead.
            self.armed = has_budget_remaining();
            ready!(timer.as_mut().poll(cx));
        }
    }

    /// Ready once the client has been waited for for too long.
    pub(crate) fn poll_timed_out(
        &mut self,
        activity: &Activity,
        limits: &Limits,
        cx: &mut Context<'_>,
    ) -> Poll<Timeout> {
        self.poll_waited(activity.waits_for_client(), limits, cx)
    }

    /// Ready once the client has been waited for for too long; `waits`: for what, and how far that has come.
    pub(crate) fn poll_waited(
        &mut self,
        waits: Option<(Timeout, u32)>,
        limits: &Limits,
        cx: &mut Context<'_>,
    ) -> Poll<Timeout> {
        let Some((waiting, mark)) = waits else {
            self.seen = None;
            return Poll::Pending;
        };
        loop {
            let look =
                *self.next_look.get_or_insert_with(|| Instant::now() + limits.look_interval());
            ready!(self.poll_until(look, cx));
            let now = Instant::now();
            self.next_look = Some(now + limits.look_interval());
            let since = match self.seen {
                Some((was, before, since)) if (was, before) == (waiting, mark) => since,
                // There was nothing to wait for at the time of the look, which comes late.
                _ if now > look + limits.look_interval() => now,
                // It began after the look before this one.
                _ => look - limits.look_interval(),
            };
            self.seen = Some((waiting, mark, since));
            let limit = match waiting {
                Timeout::Head => limits.head_timeout,
                Timeout::Body => limits.body_timeout,
                Timeout::Write => limits.write_timeout,
                Timeout::FirstByte | Timeout::Idle | Timeout::Handshake => {
                    unreachable!("waited for without hyper")
                }
            };
            if now.duration_since(since) >= limit + limits.look_interval() {
                return Poll::Ready(waiting);
            }
        }
    }

    /// Ready at that time, which may be another at each call.
    pub(crate) fn poll_until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        self.armed = false;
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        loop {
            // A client that always has something to say uses up all that the task may do in a turn.
            ready!(pin!(unconstrained(timer.as_mut())).poll(cx));
            if timer.deadline() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
    }
}

/// That time after then; of a limit beyond what the clock can express, 34 years after then.
pub(crate) fn after(since: Instant, limit: Duration) -> Instant {
    since.checked_add(limit).unwrap_or_else(|| since + Duration::from_secs(1 << 30))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use tokio::task::consume_budget;
    use tokio::time::timeout;

    use super::*;
    use crate::connections::registry::Registry;
    use crate::sockets::peer::Peer;

    /// An activity that nothing happens to.
    fn idle() -> Activity {
        Activity::new(Arc::new(Registry::new("test".to_owned())), Peer::Unix(None), false)
    }

    /// What reading and writing do.
    fn use_up_the_turn(cx: &mut Context<'_>) {
        while has_budget_remaining() {
            let _ = pin!(consume_budget()).poll(cx);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_is_over_for_a_task_that_uses_up_its_turn_each_time() {
        let mut timeouts = Timeouts::default();
        let at = Instant::now() + Duration::from_millis(20);
        assert!(poll_fn(|cx| Poll::Ready(timeouts.poll_until(at, cx).is_pending())).await);
        sleep(Duration::from_millis(20)).await;
        let is_over = poll_fn(|cx| {
            use_up_the_turn(cx);
            Poll::Ready(timeouts.poll_until(at, cx).is_ready())
        });
        assert!(is_over.await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_has_used_up_its_turn_is_woken_nevertheless() {
        let (activity, mut timeouts) = (idle(), Timeouts::default());
        let time = Duration::from_millis(20);
        let begun = Instant::now();
        let mut first = true;
        let idle = poll_fn(|cx| {
            if std::mem::take(&mut first) {
                use_up_the_turn(cx);
            }
            timeouts.poll_idle_for(time, &activity, cx)
        });
        assert!(timeout(time * 10, idle).await.is_ok(), "it is never woken");
        assert!(begun.elapsed() <= time * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn having_waited_for_the_client_does_not_keep_a_connection_built() {
        let (activity, mut timeouts) = (idle(), Timeouts::default());
        activity.received(b"GET / HT").unwrap();
        let limits = Limits::default();
        let waits = poll_fn(|cx| Poll::Ready(timeouts.poll_timed_out(&activity, &limits, cx)));
        assert!(waits.await.is_pending());
        let time = Duration::from_millis(20);
        let begun = Instant::now();
        poll_fn(|cx| timeouts.poll_idle_for(time, &activity, cx)).await;
        assert!(begun.elapsed() <= time * 3, "after {:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_in_which_nothing_was_waited_for_does_not_count() {
        let (activity, mut timeouts) = (idle(), Timeouts::default());
        let limits = Limits::default();
        activity.received(b"GET / HT").unwrap();
        let waits = poll_fn(|cx| Poll::Ready(timeouts.poll_timed_out(&activity, &limits, cx)));
        assert!(waits.await.is_pending());
        activity.received(b"TP/1.1\r\n\r\n").unwrap();
        activity.begin(None).unwrap();
        sleep(limits.head_timeout * 4).await;
        let waits = poll_fn(|cx| Poll::Ready(timeouts.poll_timed_out(&activity, &limits, cx)));
        assert!(waits.await.is_pending(), "the handler took its time");
        activity.answered(false);
        activity.end();
        activity.received(b"GET / HT").unwrap();
        let begun = Instant::now();
        poll_fn(|cx| timeouts.poll_timed_out(&activity, &limits, cx)).await;
        assert!(begun.elapsed() >= limits.head_timeout, "after {:?}", begun.elapsed());
    }
}
