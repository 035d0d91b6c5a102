//! The names under which descriptors lie in the file descriptor store.

/// The carrier's name in the file descriptor store.
pub(crate) const CARRIER_NAME: &str = "lockstepd-connections";

/// What a listener bound by ourselves is called in the file descriptor store, before its server's
/// name.
pub(crate) const LISTENER_PREFIX: &str = "lockstepd-listener-";

/// What the files of such listeners that are Unix sockets are called in the file descriptor store.
pub(crate) const FILE_NAME: &str = "lockstepd-socket-file";
