//! One attempt to have a request answered, over one connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::task::unconstrained;
use tokio::time::Instant;

use crate::proxy::connection::{Attempted, Connection};
use crate::proxy::request_body::{AttemptBody, RequestBody};

/// How long a client's body is held back for `100 Continue`, which an application that does not know it never sends.
const CONTINUE: Duration = Duration::from_secs(1);

/// After how long a request that an application has accepted and not answered lets the next one try.
const LET_NEXT: Duration = Duration::from_millis(200);

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum End {
    Answered(Response<Incoming>),
    /// There is no answer.
    Broken(hyper::Error),
    /// None came in time.
    TimedOut,
}

/// What an attempt is about.
pub(super) struct Attempt<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) body: Option<&'a RequestBody>,
    /// Without a word of the answer, once the request is sent.
    pub(super) limit: Duration,
    /// The client waits to be asked for the body.
    pub(super) expects: bool,
    /// The application may say that it is starting: that it has read the request does not show that it is there.
    pub(super) may_be_starting: bool,
    /// When it begins.
    pub(super) now: Instant,
}

/// The times at which something is to be done.
struct Clock {
    /// The answer has to have come.
    due: Instant,
    /// The application has had time enough to ask for the body.
    open: Option<Instant>,
    /// The next request may try.
    next: Option<Instant>,
}

pin_project! {
    /// An attempt on its way. It is a part of the request's future, which has to stay small: that of an `async` block
    /// would keep room for what it was made of as well.
    struct Running<'a, A, T> {
        connection: &'a mut Connection,
        body: Option<&'a RequestBody>,
        limit: Duration,
        may_be_starting: bool,
        clock: Clock,
        taken: Option<T>,
        #[pin]
        answer: A,
    }
}

// === impl Attempt ===

impl<'a> Attempt<'a> {
    /// Sends `request`, and waits for the answer's head. `taken` is called when the application is seen to be there,
    /// if anybody `wants` to know.
    pub(super) fn run<T: FnMut()>(
        self,
        mut request: Request<AttemptBody>,
        taken: Option<T>,
    ) -> impl Future<Output = End> + use<'a, T> {
        let Self { connection, body, limit, expects, may_be_starting, now } = self;
        if expects {
            let wire = Arc::clone(&connection.wire);
            hyper::ext::on_informational(&mut request, move |interim| {
                if interim.status() == StatusCode::CONTINUE {
                    wire.open();
                }
            });
        }
        let clock = Clock {
            due: now + limit,
            open: expects.then(|| now + CONTINUE),
            next: taken.is_some().then(|| now + LET_NEXT),
        };
        // Only a word from hyper: the runtime's budget must not make it look as if there were none.
        let answer = unconstrained(connection.send(request));
        Running { connection, body, limit, may_be_starting, clock, taken, answer }
    }
}

// === impl Running ===

impl<A, T> Future for Running<'_, A, T>
where
    A: Future<Output = Attempted>,
    T: FnMut(),
{
    type Output = End;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let mut this = self.project();
        let (connection, clock, taken) = (this.connection, this.clock, this.taken);
        loop {
            if let Poll::Ready(attempted) = poll_attempt(connection, this.answer.as_mut(), cx) {
                return Poll::Ready(match attempted {
                    Ok(answer) => End::Answered(answer),
                    Err(mut failed) => {
                        if let Some(request) = failed.take_message() {
                            connection.wire.returned(request.into_parts().0.headers);
                        }
                        End::Broken(failed.into_error())
                    }
                });
            }
            if taken.is_some() && connection.wire.is_taken() && !*this.may_be_starting {
                clock.next = None;
                if let Some(mut taken) = taken.take() {
                    taken();
                }
            }
            if this.body.is_some_and(RequestBody::has_moved) {
                clock.due = Instant::now() + *this.limit;
            }
            ready!(connection.timer.poll(clock.first(), cx));
            let now = Instant::now();
            if clock.next.take_if(|next| *next <= now).is_some() {
                if let Some(mut taken) = taken.take() {
                    taken();
                }
            }
            if clock.open.take_if(|open| *open <= now).is_some() {
                connection.wire.expect_no_longer();
            }
            if clock.due <= now {
                return Poll::Ready(End::TimedOut);
            }
        }
    }
}

/// Drives the connection until there is an answer.
fn poll_attempt(
    connection: &mut Connection,
    mut answer: Pin<&mut impl Future<Output = Attempted>>,
    cx: &mut Context<'_>,
) -> Poll<Attempted> {
    let is_done = connection.poll(cx).is_ready();
    // The answer comes from the connection, which was polled just now: there is nothing to be woken for.
    let cx = &mut Context::from_waker(Waker::noop());
    let polled = answer.as_mut().poll(cx);
    if is_done && polled.is_pending() {
        // The connection ended before hyper had taken up the request, which it tells only when it is dropped.
        connection.drop_hyper();
        return answer.as_mut().poll(cx);
    }
    polled
}

// === impl Clock ===

impl Clock {
    /// When something is to be done.
    fn first(&self) -> Instant {
        let others = [self.open, self.next].into_iter().flatten();
        others.fold(self.due, Instant::min)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::unix::net::UnixStream;

    use tokio::task::{coop, yield_now};

    use super::*;
    use crate::proxy::verdict::{Seen, seen};
    use crate::sockets::stream::Stream;

    /// The most that the runtime lets a task do before it lets others.
    const BUDGET: usize = 128;

    /// Uses up so much of it.
    async fn spend(budget: usize) {
        for _ in 0..budget {
            poll_fn(|cx| coop::poll_proceed(cx).map(|spent| spent.made_progress())).await;
        }
    }

    #[tokio::test]
    async fn a_connection_that_has_ended_is_told_whatever_is_left_of_the_budget() {
        for spent in 0..BUDGET {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let stream = Stream::connected(ours.into()).unwrap();
            let mut connection = Connection::new(stream, true).await.unwrap();
            let is_pending = poll_fn(|cx| Poll::Ready(connection.poll(cx).is_pending())).await;
            assert!(is_pending && connection.is_usable());
            drop(theirs);
            // The runtime looks for what has come, and there is a new budget.
            yield_now().await;
            spend(spent).await;
            connection.wire.begin(false, false);
            let request = Request::get("/").header("a", "1").body(AttemptBody::none()).unwrap();
            let fields = request.headers().clone();
            let limit = Duration::from_secs(60);
            let attempt = Attempt {
                connection: &mut connection,
                body: None,
                limit,
                expects: false,
                may_be_starting: false,
                now: Instant::now(),
            };
            let end = attempt.run(request, None::<fn()>).await;
            let End::Broken(error) = end else { panic!("{spent}: {end:?}") };
            assert_eq!(seen(&connection.wire, &error), Seen::NotItsHead, "{spent}");
            assert_eq!(connection.wire.fields().take(), Some(fields), "{spent}");
        }
    }
}
