//! Hold and release of the applications behind the servers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::routes::Admin;
use crate::proxy::overview::ProxyOverview;

/// How long a hold waits for requests in flight, and how long it lasts, unless the request says so.
const TIMEOUT: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(60);

/// Which applications a hold is about, and for how long.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    server: Option<String>,
    timeout: Option<String>,
    longest: Option<String>,
}

type Answer = (StatusCode, String);

/// How many may wait for a hold at the same time: the admin server has few connections, and other things to do.
static HOLDS: Semaphore = Semaphore::const_new(4);

/// `POST /hold`: new requests wait. Answers when none is with the application, or when the time for that is over.
pub(super) async fn hold(State(admin): State<Arc<Admin>>, Query(asked): Query<Asked>) -> Answer {
    let times = (time(asked.timeout, TIMEOUT), time(asked.longest, LONGEST));
    let (Ok(limit), Ok(longest)) = times else {
        let text = "timeout and longest are times such as 20s or 1m\n".to_owned();
        return (StatusCode::BAD_REQUEST, text);
    };
    let Some(views) = named(&admin, asked.server.as_deref()) else { return none(asked.server) };
    let Ok(_hold) = HOLDS.try_acquire() else {
        let text = "as many wait for a hold already as may\n".to_owned();
        return (StatusCode::TOO_MANY_REQUESTS, text);
    };
    let mut text = String::new();
    for view in views {
        let is_at_rest = view.proxy.hold(limit, longest).await;
        let rest = if is_at_rest { "nothing is in flight" } else { "requests are still in flight" };
        text.extend([&view.server, ": held, ", rest, "\n"]);
    }
    (StatusCode::OK, text)
}

/// `POST /release`: the end of a hold.
pub(super) async fn release(State(admin): State<Arc<Admin>>, Query(asked): Query<Asked>) -> Answer {
    let Some(views) = named(&admin, asked.server.as_deref()) else { return none(asked.server) };
    let mut text = String::new();
    for view in views {
        let was = if view.proxy.release() { "released" } else { "was not held" };
        text.extend([&view.server, ": ", was, "\n"]);
    }
    (StatusCode::OK, text)
}

fn time(text: Option<String>, default: Duration) -> Result<Duration, humantime::DurationError> {
    text.map_or(Ok(default), |text| humantime::parse_duration(&text))
}

/// The applications of a server, or all.
fn named<'a>(admin: &'a Admin, server: Option<&str>) -> Option<Vec<&'a ProxyOverview>> {
    let is_named = |view: &&ProxyOverview| server.is_none_or(|server| server == view.server);
    let named: Vec<_> = admin.applications.iter().filter(is_named).collect();
    (!named.is_empty()).then_some(named)
}

fn none(server: Option<String>) -> Answer {
    let text = match server {
        Some(server) => format!("no server \"{}\" has an application\n", server.escape_debug()),
        None => "no server has an application\n".to_owned(),
    };
    (StatusCode::NOT_FOUND, text)
}
