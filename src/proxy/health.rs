//! Another address: whether the application there is well, and the change to it.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::header::{HOST, HeaderValue, USER_AGENT};
use tokio::time::{Instant, sleep};

use crate::proxy::attempt::{Attempt, End};
use crate::proxy::connection::Connection;
use crate::proxy::request_body::AttemptBody;
use crate::proxy::service::Proxy;

/// How long the application at a new address may take to answer.
const LIMIT: Duration = Duration::from_secs(3);

/// How long it may take to be there, and well: a deploy starts it and reloads. A reload takes ten seconds at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// Why requests do not go to another address.
#[derive(Debug, thiserror::Error)]
#[error("cannot pass requests on to {address}: {problem}; they go to {before} as before")]
pub(crate) struct NotWell {
    address: String,
    problem: String,
    before: String,
}

// === impl Proxy ===

impl Proxy {
    /// Finds out whether the application of `new` is well, if it is another and there is a path to ask for.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) async fn check_change(&self, new: &Self) -> Result<(), NotWell> {
        let (before, upstream) = (self.state().upstream(), new.state().upstream());
        if before.is_same(&upstream) {
            return Ok(());
        }
        let not_well = |problem: String| NotWell {
            address: upstream.to_string(),
            problem,
            before: before.to_string(),
        };
        if let Some(problem) = new.problem() {
            return Err(not_well(problem));
        }
        let settings = new.state().settings();
        let Some(path) = &settings.health else { return Ok(()) };
        let until = Instant::now() + PATIENCE;
        loop {
            match upstream.connect(LIMIT.min(settings.connect_timeout)).await {
                Ok(connection) => return ask(connection, path).await.map_err(not_well),
                // It may have been started just now.
                Err(_) if Instant::now() < until => sleep(PAUSE).await,
                Err(error) => return Err(not_well(error.to_string())),
            }
        }
    }

    /// Sends new requests where `new` does, with the settings of that; what is in flight ends where it is.
    pub(crate) fn change_to(&self, new: &Self) {
        let (before, upstream) = (self.state().upstream(), new.state().upstream());
        self.state().set_settings(new.state().settings());
        if !before.is_same(&upstream) {
            self.state().set_upstream(Arc::clone(&upstream));
            before.pool.clear();
            if before.address == upstream.address {
                let http2 = upstream.is_http2;
                tracing::info!(address = %upstream, http2, "requests go on by another version of HTTP");
            } else {
                tracing::info!(%before, address = %upstream, "requests go to another address");
            }
        }
    }
}

/// Asks the application for `path`; an error says why it is not well.
async fn ask(mut connection: Connection, path: &str) -> Result<(), String> {
    let mut request = Request::get(path)
        .body(AttemptBody::none())
        .map_err(|error| format!("health path \"{path}\": {error}"))?;
    request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("lockstepd-health"));
    connection.wire.begin(false, false);
    let attempt = Attempt {
        connection: &mut connection,
        body: None,
        limit: LIMIT,
        expects: false,
        may_be_starting: false,
        now: Instant::now(),
    };
    match attempt.run(request, None::<fn()>).await {
        End::Answered(answer) if answer.status().is_success() => Ok(()),
        End::Answered(answer) => Err(format!("{path} answers {}", answer.status())),
        End::Broken(error) => Err(format!("{path}: {error}")),
        End::TimedOut => Err(format!("{path} is not answered within 3 s")),
    }
}
