//! The names under which descriptors lie in the file descriptor store.

/// The carrier's name.
pub(crate) const CARRIER_NAME: &str = "lockstepd-connections";

/// What stands before the server's name in the name of a listener that the daemon has bound.
pub(crate) const LISTENER_PREFIX: &str = "lockstepd-listener-";

/// The name of the files of such listeners, where they are Unix sockets.
pub(crate) const FILE_NAME: &str = "lockstepd-socket-file";
