//! The server: the daemon with TLS, or the example `grpc`.

use std::fmt;

use rustix::process::Signal;

use crate::{
    launched::{Daemon, Launch, example},
    program::Place,
    report::Report,
    support::{Trouble, free_ports},
};

/// How clients reach the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Speech {
    /// By TLS, which offers it.
    Http2,
    /// HTTP/2 in clear text.
    Grpc,
    /// HTTP/1.1 over TLS, a connection for each client.
    Kept,
    /// HTTP/1.1 over TLS, a connection for each request.
    Handshakes,
}

/// A server that runs, on a port that stays the same.
pub(crate) struct Server {
    daemon: Daemon,
    address: String,
    speech: Speech,
    starts: usize,
}

// === impl Speech ===

impl Speech {
    /// Whether a report is what is promised: of HTTP/2 nothing is.
    pub(crate) fn allows(self, report: &Report) -> bool {
        match self {
            Self::Http2 | Self::Grpc => true,
            Self::Kept => report.failed == 0 && report.connections == Some(crate::CLIENTS),
            Self::Handshakes => report.failed == 0,
        }
    }
}

impl fmt::Display for Speech {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http2 => "HTTP/2",
            Self::Grpc => "gRPC",
            Self::Kept => "HTTP/1.1, TLS",
            Self::Handshakes => "handshakes",
        })
    }
}

// === impl Server ===

impl Server {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(speech: Speech, place: &Place) -> Result<Self, Trouble> {
        let ports = free_ports::<3>()?;
        let [address, public, admin] = ports.map(|port| format!("127.0.0.1:{port}"));
        let launch = if speech == Speech::Grpc {
            Launch::program(example("grpc")).args([&address])
        } else {
            let alpn = if speech == Speech::Http2 { "h2,http/1.1" } else { "http/1.1" };
            Launch::bare()
                .args(["--public", &public, "--admin", &admin, "--tls-listen", &address])
                .args(["--tls-certificates".as_ref(), place.certificate.file.as_os_str()])
                .args(["--tls-keys".as_ref(), place.certificate.key.as_os_str()])
                .env("LOCKSTEPD_TLS_ALPN", alpn)
        };
        let mut this = Self { daemon: launch.spawn(), address, speech, starts: 0 };
        this.wait_until_it_is_ready();
        Ok(this)
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.speech == Speech::Grpc { "http" } else { "https" };
        format!("{scheme}://{}/", self.address)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Replaces the program in place, and waits until the next one is ready.
    pub(crate) fn upgrade(&mut self) {
        self.daemon.signal(Signal::USR2);
        self.wait_until_it_is_ready();
    }

    pub(crate) fn stop(self) {
        self.daemon.stop();
    }

    fn wait_until_it_is_ready(&mut self) {
        self.starts += 1;
        self.daemon.lines_with(self.starts, " ready ");
    }
}
