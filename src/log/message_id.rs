//! The events that an operator may want to act on, each with a stable `MESSAGE_ID` in the journal.
//!
//! `journalctl MESSAGE_ID=…` finds them whatever their text; docs/logging.md lists them.

/// Every server accepts and every latch is down.
pub(crate) const READY: &str = "5e2700f102b9401ba53ee1deced92e49";
/// A stop has begun, with its cause.
pub(crate) const STOPPING: &str = "393cbef64d4c47b1820077e29259c3b5";
/// Everything has ended.
pub(crate) const STOPPED: &str = "c67f37d1e802425e98ab001b7ca75c91";
/// Connections were handed over to the next process.
pub(crate) const HANDED_OVER: &str = "1e145fc124854657bea723bbce38d0a8";
/// Connections found no room in a hand-over, and were closed.
pub(crate) const NOT_HANDED_OVER: &str = "f01c0568632e43e1b23e735e1cf8110f";
/// Connections were taken over from the process before.
pub(crate) const TAKEN_OVER: &str = "ff493ff0e52c43ab9ad1076ec36cce44";
/// Requests were cut off at a stop.
pub(crate) const CUT_OFF: &str = "c6432bb678b04903affcf0cac7a4694f";
/// The configuration was reloaded.
pub(crate) const RELOADED: &str = "7569123e205a4e2589118b372afdd896";
/// A reload failed; the old configuration holds.
pub(crate) const NOT_RELOADED: &str = "87bd3f6bd2824cde92366fa8c7be414d";
/// An upgrade in place failed; the old program goes on.
pub(crate) const NOT_UPGRADED: &str = "db64fd090802432292c69b3ef7bab40c";
/// A certificate expires within 14 days.
#[cfg(feature = "tls")]
pub(crate) const CERTIFICATE_EXPIRES: &str = "4b9d3c0f2a5e4f0d9a7c1e6b8f2d7a35";
/// A check of the watchdog failed; WATCHDOG=1 is not sent.
pub(crate) const STUCK: &str = "8d5deb852e6b407699d324fa46e7594f";
