//! Why requests wait for an application, for the next process: there they wait on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the next process has to know of an application that requests wait for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct ShutDoor {
    /// The server before the application.
    pub(crate) server: String,
    /// The application's address.
    pub(crate) address: String,
    pub(crate) hold: Option<Hold>,
    pub(crate) away: Option<Away>,
}

/// Somebody holds it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Hold {
    /// How long that goes on at most.
    pub(crate) left: Duration,
    /// The application has been seen to be away since it began.
    pub(crate) was_away: bool,
}

/// It could not be reached.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Away {
    /// For how long.
    pub(crate) time: Duration,
    /// What was wrong the last time.
    pub(crate) trouble: String,
}
