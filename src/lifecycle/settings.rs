//! The settings that are needed after the start; a reload may change all but `hand_over`.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// How a daemon stops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Zero: the drain begins at once.
    pub(crate) lame_duck: Duration,
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

    /// Changes the settings; what calls [`LiveSettings::now`] later gets the new ones.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}
