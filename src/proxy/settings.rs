//! How a proxy treats its application.

use std::time::Duration;

use crate::proxy::service::Proxy;
use crate::proxy::trusted::TrustedProxy;

/// The settings of a proxy; a reload may change them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Settings {
    /// How long a request waits for an application that is away.
    pub(crate) wait: Duration,
    /// How many requests may wait.
    pub(crate) max_waiting: usize,
    pub(crate) connect_timeout: Duration,
    /// Without a word of the answer, once the request is sent.
    pub(crate) response_timeout: Duration,
    /// Without a byte of the answer's body.
    pub(crate) idle_timeout: Duration,
    /// 503 is the answer of an application that is starting.
    pub(crate) wait_on_503: bool,
    pub(crate) via: bool,
    pub(crate) trusted: Vec<TrustedProxy>,
    /// The path that has to answer before requests go to a new address.
    pub(crate) health: Option<String>,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            wait: Proxy::WAIT,
            max_waiting: 1000,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(300),
            wait_on_503: false,
            via: false,
            trusted: Vec::new(),
            health: None,
        }
    }
}
