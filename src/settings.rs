//! The settings that are needed after the start; a reload may change them.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::reload::Reload;

/// How a daemon stops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) drain_timeout: Duration,
    pub(crate) linger: Duration,
    pub(crate) hand_over: bool,
    /// None: never.
    pub(crate) idle_exit: Option<Duration>,
}

/// The settings of a running daemon, as they are now.
#[derive(Clone, Debug)]
pub(crate) struct LiveSettings(Arc<RwLock<Settings>>);

// === impl LiveSettings ===

impl LiveSettings {
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Arc::new(RwLock::new(settings)))
    }

    pub(crate) fn now(&self) -> Settings {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what a reload mentions.
    pub(crate) fn apply(&self, reload: &Reload) {
        let mut settings = self.0.write().unwrap_or_else(PoisonError::into_inner);
        settings.drain_timeout = reload.drain_timeout.unwrap_or(settings.drain_timeout);
        settings.linger = reload.linger.unwrap_or(settings.linger);
        settings.idle_exit = reload.idle_exit.unwrap_or(settings.idle_exit);
    }
}
