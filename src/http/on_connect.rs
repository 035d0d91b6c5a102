//! What the program makes of a connection before its first request.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use http::Extensions;

use crate::connections::parked::Idle;
use crate::sockets::peer::Connection;

/// The program's function that is called with each connection.
pub(crate) struct OnConnect(pub(crate) Box<dyn Fn(Connection<'_>) -> Extensions + Send + Sync>);

// === impl OnConnect ===

impl OnConnect {
    /// None if the program's function panics, which costs the connection.
    pub(crate) fn call(&self, idle: &Idle) -> Option<Extensions> {
        let connection = Connection::new(idle.stream.peer(), idle.stream.socket());
        #[cfg(feature = "tls")]
        let session = idle.stream.tls_session();
        #[cfg(feature = "tls")]
        let connection = connection.over_tls(session.as_ref());
        catch_unwind(AssertUnwindSafe(|| (self.0)(connection))).ok()
    }
}

impl fmt::Debug for OnConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnConnect")
    }
}
