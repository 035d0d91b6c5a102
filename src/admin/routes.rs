//! The admin routes, as a service that knows no sockets.
//!
//! | route | answer |
//! |---|---|
//! | `GET /` | to a browser (`Accept: text/html`) the status page, to others 404 |
//! | `GET`, `POST /listener` | a greeting; `?stop=REASON` then stops the daemon, `?fail=REASON` fails it |
//! | `GET /live` | 200 while the process can answer at all |
//! | `GET /ready` | 200 while it should get traffic, else 503 with the reason |
//! | `OPTIONS /`, `/live`, `/ready` | what `GET /ready` or `/live` answers: HAProxy checks health with `OPTIONS / HTTP/1.0` |
//! | `GET /status` | phase, servers, sockets, connections, limits and settings as JSON |
//! | `GET /events` | the same once a second, as server-sent events, until a stop, a reload or an upgrade |
//! | `GET /metrics` | everything that is counted, for Prometheus, as its text or as `OpenMetrics` (feature `metrics`) |
//! | `POST /reload` | reads the configuration anew, as `SIGHUP` does |
//! | `POST /hold`, `POST /release` | has requests wait for the application, until it was restarted (feature `proxy`) |
//! | others | the application's own routes, if it has any |

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_TYPE, HeaderName};
#[cfg(feature = "metrics")]
use axum::http::header::{HeaderMap, VARY};
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use serde::Deserialize;
use tokio::sync::Notify;

#[cfg(feature = "proxy")]
use super::applications;
use super::guard::{self, Guard};
use super::status::Status;
use super::{events, page};
#[cfg(feature = "metrics")]
use crate::admin::exposition::Format;
#[cfg(feature = "metrics")]
use crate::admin::metrics::Metrics;
use crate::connections::overview::{HandOver, ServerOverview};
use crate::http::connection::HttpSettings;
use crate::http::server::Failure;
use crate::lifecycle::phase::{Latches, Phase, Phases};
use crate::lifecycle::settings::LiveSettings;
use crate::lifecycle::shutdown::{Cause, Shutdown};
#[cfg(feature = "proxy")]
use crate::proxy::overview::ProxyOverview;
#[cfg(feature = "tls")]
use crate::tls::acceptor::Acceptors;

/// The longest reason that is taken from a request, in characters.
const REASON_MAX: usize = 200;

/// What the routes show and do.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) name: String,
    pub(crate) started: Instant,
    pub(crate) started_at: SystemTime,
    pub(crate) phases: Phases,
    pub(crate) latches: Latches,
    pub(crate) shutdown: Shutdown,
    pub(crate) failure: Failure,
    pub(crate) servers: Vec<ServerOverview>,
    /// What the process before this one handed over, if there was one.
    pub(crate) hand_over: Option<HandOver>,
    #[cfg(feature = "metrics")]
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) http_settings: Arc<HttpSettings>,
    /// Those of each of the program's servers, which may have settings of its own.
    pub(crate) own_settings: Vec<Arc<HttpSettings>>,
    pub(crate) settings: LiveSettings,
    #[cfg(feature = "proxy")]
    pub(crate) applications: Vec<ProxyOverview>,
    /// Asks for a reload.
    pub(crate) reload: Arc<Notify>,
    #[cfg(feature = "tls")]
    pub(crate) acceptors: Acceptors,
}

#[derive(Debug, Deserialize)]
struct Order {
    stop: Option<String>,
    fail: Option<String>,
}

/// The admin routes, and behind them the application's own, for the requests that `guard` lets through.
pub(crate) fn router(admin: Admin, own: Option<Router>, guard: Guard) -> Router {
    let guard = (Arc::new(guard), Arc::clone(&admin.http_settings));
    let router = Router::new()
        .route("/listener", get(listener).post(listener))
        .route("/", get(page::page).options(ready))
        .route("/live", get(live).options(live))
        .route("/ready", get(ready).options(ready))
        .route("/status", get(status))
        .route("/events", get(events::events))
        .route("/reload", post(reload));
    #[cfg(feature = "proxy")]
    let router = router
        .route("/hold", post(applications::hold))
        .route("/release", post(applications::release));
    #[cfg(feature = "metrics")]
    let router = router.route("/metrics", get(metrics));
    let router = router.with_state(Arc::new(admin));
    // As the fallback: two routes of the same path cannot be merged, and the admin routes go first.
    let router = match own {
        Some(own) => router.fallback_service(own),
        None => router,
    };
    router.layer(from_fn_with_state(guard, guard::guard))
}

async fn listener(
    State(admin): State<Arc<Admin>>,
    Query(order): Query<Order>,
    method: Method,
) -> &'static str {
    // HEAD is answered as GET, without the effect.
    if method != Method::HEAD {
        if let Some(reason) = order.stop {
            admin.shutdown.trigger(Cause::Request(bounded(&reason)));
        } else if let Some(reason) = order.fail {
            admin.failure.request(bounded(&reason));
        }
    }
    "Hello, I am is listener!!\n"
}

async fn live() -> &'static str {
    "live\n"
}

async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, String) {
    let phase = admin.phases.current();
    if phase.is_ready() {
        return (StatusCode::OK, format!("{phase}\n"));
    }
    let waiting = admin.latches.waiting();
    let reason = match phase {
        Phase::Starting if !waiting.is_empty() => format!("{phase}: {}\n", waiting.join(", ")),
        _ => format!("{phase}\n"),
    };
    (StatusCode::SERVICE_UNAVAILABLE, reason)
}

async fn status(State(admin): State<Arc<Admin>>) -> ([(HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, "application/json")], Status::of(&admin, 0).json() + "\n")
}

async fn reload(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    admin.reload.notify_one();
    (StatusCode::ACCEPTED, "reloading\n")
}

#[cfg(feature = "metrics")]
async fn metrics(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
) -> ([(HeaderName, &'static str); 2], String) {
    let format = Format::asked_for(&headers);
    let headers = [(CONTENT_TYPE, format.content_type()), (VARY, "Accept")];
    (headers, admin.metrics.text(format))
}

fn bounded(reason: &str) -> String {
    reason.chars().take(REASON_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
