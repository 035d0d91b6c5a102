//! A hold of an application that goes on in the next process.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the next process has to know of a hold.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Hold {
    /// The server before the application.
    pub(crate) server: String,
    /// How long it goes on at most.
    pub(crate) left: Duration,
    /// The application has been seen to be away since it began.
    pub(crate) was_away: bool,
}
