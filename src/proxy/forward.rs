//! A request's way to the application and back, however often it has to be tried.

mod outcome;

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, sleep};

use self::outcome::{Next, Tried};
use crate::http::recall::Recall;
use crate::proxy::answer::AnswerBody;
use crate::proxy::attempt::Attempt;
use crate::proxy::connection::Connection;
use crate::proxy::failure::Failure;
use crate::proxy::fields::Head;
use crate::proxy::metrics::Retry;
use crate::proxy::request_body::{AttemptBody, RequestBody};
use crate::proxy::room::{Permit, Refused, Waiting};
use crate::proxy::service::State;
use crate::proxy::settings::Settings;
use crate::proxy::upstream::Upstream;

/// How often a request is sent again that may have been executed: one that ends every process that gets it must not
/// end many.
const REPEATS_MAX: u8 = 2;

/// The times between tries while the application is away: short at first, since most are back soon.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
];

/// A request on its way.
pub(super) struct Forward {
    state: Arc<State>,
    settings: Arc<Settings>,
    head: Head,
    body: Option<RequestBody>,
    upgrade: Option<OnUpgrade>,
    /// Says whether a hand-over may take the request back.
    recall: Option<Recall>,
    /// It has waited before a hand-over: it has a place, however many wait.
    has_place: bool,
    /// How long the application may be away yet.
    patience: Duration,
    /// How often it was sent again that it may have been executed.
    repeats: u8,
    /// How often in a row the application was away.
    misses: u8,
    /// What was wrong when it was away the last time.
    last: Cow<'static, str>,
    /// The last attempt ended unread, over a fresh connection.
    was_unread: bool,
    /// Counts it while it waits.
    waits: Option<Waiting>,
}

// === impl Forward ===

impl Forward {
    pub(super) fn new(
        state: Arc<State>,
        settings: Arc<Settings>,
        head: Head,
        body: Option<RequestBody>,
        upgrade: Option<OnUpgrade>,
        recall: Option<Recall>,
    ) -> Self {
        let waited = recall.as_ref().and_then(Recall::waited);
        let patience = settings.wait.saturating_sub(waited.unwrap_or_default());
        let last = Cow::Borrowed("others wait as well");
        Self {
            state,
            settings,
            head,
            body,
            upgrade,
            recall,
            has_place: waited.is_some(),
            patience,
            repeats: 0,
            misses: 0,
            last,
            was_unread: false,
            waits: None,
        }
    }

    /// Has the request answered, by the application or for it.
    pub(super) async fn run(&mut self) -> Response<AnswerBody> {
        match self.answered().await {
            Ok(response) => response,
            Err(failure) => {
                if let Some(index) = failure.index() {
                    self.state.metrics.failures[index].add(1);
                    let address = self.state.upstream();
                    tracing::info!(%address, error = %failure, "a request is answered for the application");
                }
                failure.answer()
            }
        }
    }

    async fn answered(&mut self) -> Result<Response<AnswerBody>, Failure> {
        let mut had_turn = false;
        loop {
            let mut permit = self.enter(had_turn).await?;
            loop {
                // In each round: a reload may have changed it.
                let upstream = self.state.upstream();
                let began = Instant::now();
                let switching = match self.attempt(&upstream, &mut permit, began).await? {
                    Next::Answer(response) => return Ok(response),
                    Next::Again => continue,
                    Next::Behind => break,
                    Next::Away => None,
                    Next::Switch(switching) => Some(switching),
                };
                if let Some(switching) = switching {
                    return Box::pin(self.switch(*switching)).await;
                }
                self.away(&upstream, began).await?;
                if permit.is_free() || self.state.room.is_held_by_any() {
                    break;
                }
            }
            // One that has had no turn goes behind those who came before.
            had_turn = !permit.is_free();
        }
    }

    /// Waits for a turn, before others where it had one.
    async fn enter(&mut self, had_turn: bool) -> Result<Permit, Failure> {
        if self.state.room.is_open() {
            return Ok(Permit::free());
        }
        let _allowed = self.recall.as_ref().map(Recall::allow);
        let began = Instant::now();
        let max = if self.has_place { usize::MAX } else { self.settings.max_waiting };
        let max = (!had_turn).then_some(max);
        let entered = self.state.room.enter(began + self.patience, max, &mut self.waits);
        let permit = entered.await.map_err(|refused| match refused {
            Refused::Full => Failure::Full,
            Refused::Late => Failure::Away(self.last.to_string()),
        })?;
        if !permit.is_free() {
            self.patience = self.patience.saturating_sub(began.elapsed());
        }
        Ok(permit)
    }

    /// The application could not be reached: others wait as well, and this one for a moment.
    async fn away(&mut self, upstream: &Upstream, began: Instant) -> Result<(), Failure> {
        upstream.pool.clear();
        if self.state.room.shut(&self.last) {
            let error = &*self.last;
            tracing::warn!(address = %upstream, error, "the application is away; requests wait for it");
        }
        let _allowed = self.recall.as_ref().map(Recall::allow);
        self.waits.get_or_insert_with(|| self.state.room.wait());
        let pause = PAUSES[usize::from(self.misses).min(PAUSES.len() - 1)];
        self.misses = self.misses.saturating_add(1);
        sleep(pause.min(self.patience)).await;
        self.patience = self.patience.saturating_sub(began.elapsed());
        let is_over = self.patience.is_zero() || self.state.room.is_closed();
        if is_over { Err(Failure::Away(self.last.to_string())) } else { Ok(()) }
    }

    /// Tries once.
    async fn attempt(
        &mut self,
        upstream: &Arc<Upstream>,
        permit: &mut Permit,
        now: Instant,
    ) -> Result<Next, Failure> {
        let Some(active) = self.state.room.begin(permit) else { return Ok(Next::Behind) };
        let (mut connection, is_kept) = match self.connection(upstream, now).await {
            Ok(connection) => connection,
            Err(error) => {
                self.last = error.to_string().into();
                self.state.metrics.connect_failures.add(1);
                if self.misses == 0 {
                    self.state.metrics.retried(Retry::Away);
                }
                return Ok(Next::Away);
            }
        };
        self.waits = None;
        let expects = self.head.expects && !connection.wire.is_http2();
        connection.wire.begin(self.body.is_some() || !permit.is_free(), expects);
        let body = match &self.body {
            Some(body) => body.attempt(&connection.wire),
            None => AttemptBody::none(),
        };
        let began = if is_kept { now } else { Instant::now() };
        // There is always something of the fields: hyper gives a request back, or writes its head.
        let request = self.head.request(body, &connection.wire).ok_or(Failure::Closed)?;
        let attempt = Attempt {
            connection: &mut connection,
            body: self.body.as_ref(),
            limit: self.settings.response_timeout,
            expects,
            may_be_starting: self.settings.wait_on_503,
            now: began,
        };
        let state = &self.state;
        let taken = (!permit.is_free()).then_some(|| state.taken(permit));
        let end = attempt.run(request, taken).await;
        self.ended(end, Tried { connection, is_kept, began, active }, upstream, permit)
    }

    /// A connection for this request, and whether it was kept.
    async fn connection(
        &self,
        upstream: &Upstream,
        now: Instant,
    ) -> io::Result<(Connection, bool)> {
        let metrics = &self.state.metrics;
        // Of a kept TCP connection that ends, nobody can say how much of the request was read.
        if upstream.is_unix() || self.head.method.is_idempotent() {
            if let Some(kept) = upstream.pool.take(now) {
                return Ok((kept, true));
            }
        }
        let _allowed = self.recall.as_ref().map(Recall::allow);
        let began = Instant::now();
        // Boxed, so that the futures of all requests need not keep room for it.
        let connection = Box::pin(upstream.connect(self.settings.connect_timeout)).await?;
        metrics.connected(began.elapsed());
        Ok((connection, false))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::proxy::forwarded::Client;
    use crate::proxy::length::Length;
    use crate::proxy::service::Proxy;

    #[test]
    fn a_request_on_its_way_is_small_enough_for_the_allocators_quick_lists() {
        let proxy = Proxy::to("unix:/nowhere");
        let (state, settings) = (Arc::clone(proxy.state()), proxy.state().settings());
        let (parts, ()) = Request::new(()).into_parts();
        let head = Head::of(parts, Length::Nothing, Client::unknown(), &settings);
        let mut forward = Forward::new(state, settings, head, None, None, None);
        let answer = async move { forward.run().await };
        // Of glibc's, and of its other lists a block costs ten times as much.
        assert!(size_of_val(&answer) <= 1032, "{}", size_of_val(&answer));
    }
}
