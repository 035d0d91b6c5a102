//! Auto traits are promises, too, which a field far away can break. What stands here compiles, or a promise is broken.

use std::future::Ready;

use lockstepd::{
    Accepted, AccessFile, AccessFormat, AccessLog, Address, AnswerBody, Body, Cause, Connection,
    Credentials, Daemon, Error, Exit, Format, InheritError, Inherited, InvalidAddress,
    InvalidSetting, InvalidTrustedProxy, Latch, Level, Limits, LimitsError, Listen, ListenError,
    LogError, LogSettings, Monitor, Peer, Phase, Proxy, Reload, Server, Shutdown, SocketsError,
    SpawnedDaemon, Target, TrustedProxy,
};
#[cfg(feature = "tls")]
use lockstepd::{ClientCertificate, Tls, TlsSession};

use super::items::Kind;
use super::of_the_library;

/// The names of types, of which each has all these traits.
macro_rules! names {
    ($traits:path; $($name:ident $(<$lifetime:lifetime>)?),* $(,)?) => {{
        $(let _ = <$name $(<$lifetime>)? as $traits>::HOLDS;)*
        [$(stringify!($name)),*]
    }};
}

trait Movable {
    const HOLDS: () = ();
}

impl<T: Send + Unpin> Movable for T {}

trait Shareable {
    const HOLDS: () = ();
}

impl<T: Send + Sync + Unpin> Shareable for T {}

/// Futures that a task may wait for. It is never called: that it compiles is the test.
#[expect(dead_code, clippy::let_underscore_future, reason = "that it compiles is the test")]
fn futures(daemons: [Daemon; 2], running: [SpawnedDaemon; 2], monitor: &Monitor) {
    fn is_send<F: Send>(future: F) -> F {
        future
    }
    let [one, other] = daemons;
    let _ = is_send(one.run_until::<Ready<Cause>>(std::future::ready(Cause::Terminate)));
    let _ = is_send(other.spawn());
    let [one, other] = running;
    let _ = is_send(one.stop());
    let _ = is_send(other.ended());
    let _ = is_send(monitor.ready());
}

#[test]
fn every_type_can_go_to_another_thread_and_nearly_all_be_shared() {
    let shareable = names![
        Shareable;
        AccessFile, AccessFormat, AccessLog, Address, Body, Cause, Connection<'static>, Credentials, Error, Exit, Format,
        InheritError, Inherited, InvalidAddress, InvalidSetting, InvalidTrustedProxy, Latch, Level, Limits, LimitsError, Listen,
        ListenError, LogError, LogSettings, Monitor, Peer, Phase, Proxy, Reload, Shutdown, SocketsError,
        SpawnedDaemon, Target, TrustedProxy,
    ];
    // They hold what the program gives them, which need not be `Sync`.
    let movable = names![Movable; Accepted, AnswerBody, Daemon, Server];
    #[cfg(feature = "tls")]
    let of_tls = names![Shareable; ClientCertificate, Tls, TlsSession];
    #[cfg(not(feature = "tls"))]
    let of_tls = ["ClientCertificate", "Tls", "TlsSession"];
    let api = of_the_library();
    for name in api.iter().filter(|entry| entry.kind == Kind::Type).map(|entry| &*entry.owner) {
        let is_here =
            shareable.contains(&name) || movable.contains(&name) || of_tls.contains(&name);
        assert!(is_here || name == "BoxError", "{name} is new: put it into this test");
    }
}
