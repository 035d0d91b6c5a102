//! A systemd-native HTTP daemon, as a library.
//!
//! Any tower or hyper service, an axum `Router` say, gets sockets from systemd, readiness, a restart
//! that no client notices, a watchdog that means something, logs in the journal and an admin server.
//!
//! # Quick start
//!
//! In `Cargo.toml`:
//!
//! ```toml
//! [dependencies]
//! axum = "0.8"
//! lockstepd = { version = "0.1", default-features = false, features = ["metrics"] }
//! ```
//!
//! In `src/main.rs`:
//!
//! ```no_run
//! use axum::{Router, routing::get};
//!
//! fn main() -> std::process::ExitCode {
//!     lockstepd::Daemon::new("shop")
//!         .server("public", "0.0.0.0:8080", Router::new().route("/", get(|| async { "Hello" })))
//!         .admin("127.0.0.1:8081")
//!         .run()
//! }
//! ```
//!
//! `cargo run` serves it. As a service, with units made from templates; `$LOCKSTEPD` is where the
//! source of this crate is, a checkout or a directory below `~/.cargo/registry/src`:
//!
//! ```sh
//! cargo build --release
//! sudo install target/release/shop /usr/local/bin/shop
//! sudo UNITDIR=/etc/systemd/system sh $LOCKSTEPD/packaging/make-units.sh shop /usr/local/bin/shop public=0.0.0.0:8080 admin=127.0.0.1:8081
//! sudo systemctl daemon-reload
//! sudo systemctl enable --now shop.socket shop-admin.socket
//! ```
//!
//! The first client starts it, no request fails at a `systemctl restart shop`, and
//! `systemctl status shop` says in one line what it is doing. A test builds this very program from these
//! lines, and restarts it twenty times under load.
//!
//! More: [`guide`] has a page for programs that use `axum::serve` now, one for services behind a load balancer, one
//! on applications in other languages behind the daemon, and one on the alternatives; `examples/` has a program for
//! each of: a queue that is emptied at the end,
//! a database, static files, server-sent events, a chat over `WebSocket`s, gRPC, hyper without a framework, a
//! tracing subscriber or a runtime of your own, two servers with all the trimmings.
//!
//! # What there is
//!
//! | for | see |
//! |---|---|
//! | servers | [`Daemon::server`], [`Daemon::hyper_server`], [`Server`], [`Listen`], [`Limits`] |
//! | limits, access log, drain time-out of one server | [`Server`], [`Daemon::add_server`] |
//! | vsock, tunnels, clients in memory | [`Accept`], [`Server::accept_from`] |
//! | an application in another language behind it | `Proxy`, [`guide::applications`] |
//! | who the client is | [`Peer`], [`Server::on_connect`] |
//! | TLS, client certificates | `Server::tls`, `Tls`, `TlsSession`, `Daemon::admin_tls` |
//! | members of your own, that live and end with the servers | [`Daemon::task`] |
//! | being ready only when something else is ready, too | [`Daemon::latch`] |
//! | answers without an end, upgraded connections, queues | [`Shutdown::draining`], [`Shutdown::at_rest`] |
//! | a load balancer in front | [`Daemon::lame_duck`], [`guide::behind_a_load_balancer`] |
//! | configuration | [`Daemon::check`], [`Daemon::warning`], [`Daemon::on_reload`], [`Reload`] |
//! | stopping when there are no requests | [`Daemon::idle_exit`] |
//! | the watchdog | [`Daemon::watchdog_check`] |
//! | the admin server | `Daemon::admin`, `Daemon::admin_routes`, `Daemon::metrics` |
//! | the log | `Daemon::log`, [`Daemon::access_log`], [`Daemon::access_file`] |
//! | asynchronous set-up before the servers | [`Daemon::run_with`] |
//! | tests of your own | [`Daemon::spawn`], [`Body::from`](Body#trait-implementations) |
//! | programs with a runtime of their own | [`Daemon::run_until`], [`Monitor`], [`Inherited`] |
//!
//! Servers and tasks are the *members* of a daemon. They start together, and the first to end, by
//! success, error or panic, ends all: its end is the [`Cause`] in the log and STATUS, and decides the exit code.
//!
//! # Phases
//!
//! ```text
//! Starting ──every latch down──► Ready ◄──reload, upgrade──► Reloading
//!     │                            ├──stop, where a time for it is set──► LameDuck
//!     │                            │                                          │
//!     └───────────── stop ─────────┴──► Draining ◄────────────────────────────┘
//!                                          └──everything at rest──► Stopped
//! ```
//!
//! | phase | systemd sees | clients |
//! |---|---|---|
//! | Starting | activating | are served as soon as there are sockets; `/ready` says 503 |
//! | Ready | active | are served |
//! | Reloading | reloading | are served |
//! | `LameDuck` | deactivating | are served as before; `/ready` says 503 |
//! | Draining | deactivating | are served until what was in flight is done; `/ready` says 503 |
//! | Stopped | inactive, or failed, with the cause in STATUS | wait in the sockets' queue |
//!
//! ## At a start
//!
//! 1. Sockets that systemd passed are taken by name, before the first thread exists.
//! 2. The log is set up, signals are registered.
//! 3. Each server has the sockets of its name, or binds its addresses.
//! 4. Connections that the process before put into systemd's file descriptor store are taken over.
//! 5. Servers and tasks run; when every latch is down, READY=1.
//!
//! Configuration or sockets that cannot be used end the start with exit code 78, and a message that
//! names the line of the unit to change. An address that does not exist yet, or is still in use, is
//! waited for under a service manager, for 30 s; then, and without a service manager at once, the exit code is 1.
//!
//! ## At a stop
//!
//! The cause is recorded, the first one wins. [`Shutdown::triggered`] completes, and `/ready` says 503. With a
//! [`Daemon::lame_duck`] time, clients are served as before until that is over, new ones too. Then
//! [`Shutdown::draining`] completes. Accepting stops; requests in flight finish, within [`Daemon::drain_timeout`]. Where no next process
//! takes them over, idle connections linger for [`Daemon::linger`] at most, and are answered once more with
//! `Connection: close`. Those of clients on the same machine end when these have been silent for 250 ms, and all end
//! 20 ms after Ctrl-C at a terminal. Then [`Shutdown::at_rest`] completes, tasks are joined, and the exit code tells: 0
//! for a clean stop, 1 for a member that failed, 3 if something was cut off. A second signal cuts off what is still in
//! flight; during the lame duck time it loses nothing, and begins the drain.
//!
//! ## At a restart
//!
//! systemd starts the next process when this one has ended. Idle connections are not closed: they are
//! held, put into systemd's file descriptor store, and taken out by the next process before it says
//! READY=1. What has been read of a request goes along. Requests in flight finish first, while
//! all other clients are served. [`Daemon::hand_over`] turns this off.
//!
//! `SIGUSR2` does the same in the same process: the program that is at its path now is
//! started for a dry run, and replaces the running one if it finds configuration and sockets usable.
//!
//! TLS changes nothing of that: a connection with TLS is its socket and some hundred bytes, and goes on in the next
//! process without a handshake; the keys of session tickets go along. Half a handshake cannot travel: its rest is waited
//! for, for 1 s.
//!
//! Connections of HTTP/2 cannot be handed over. They are told by GOAWAY, what was on its way is answered, and their
//! clients open others. Nor can upgraded connections; their handlers wait for [`Shutdown::draining`]. Those through a
//! `Proxy` can: a `WebSocket` goes on, and no byte of it is lost. A plain `systemctl stop` closes connections,
//! since there is no next process.
//!
//! # Lines of the unit that matter
//!
//! | line | without it |
//! |---|---|
//! | `FileDescriptorName=public`, in the socket unit | the start fails, and says so: names are the only safe key |
//! | `Sockets=`, in the service | `systemctl start` of the service alone does not pass it its sockets |
//! | `FileDescriptorStoreMax=16` | a restart closes idle connections, as with other servers |
//! | `Type=notify` | "active" means that there is a process, not that it serves |
//! | `TimeoutStopSec=` | a process that hangs at a stop is killed only after 90 s; one that drains is not killed, as it asks for more time |
//! | `WatchdogSec=` | a deadlock lasts until an operator comes |
//! | `Restart=on-failure`, `RestartPreventExitStatus=2 78` | a service that failed stays down, or starts that cannot succeed are repeated |
//! | `KillMode=mixed` | child processes get SIGTERM before the program can stop them itself |
//! | `LimitNOFILE=` | as many connections as the default hard limit allows; with `run_until` fewer than 1024 |
//! | `LogRateLimitIntervalSec=1s`, `LogRateLimitBurst=1000000` | journald drops some of many log lines, and does not say so |
//!
//! `packaging/app.service.in` has them all, with a sandbox around them.
//!
//! # Features
//!
//! All but `tls` are on by default, for the program `lockstepd`; a library user wants
//! `default-features = false` and picks. The counts are packages in the tree on Linux, build-time
//! ones included, this one not.
//!
//! | feature | what it adds | packages |
//! |---|---|---|
//! | none | everything but what follows | 43 |
//! | `log` | setting up a log: journal or standard error, never blocking | 54 |
//! | `admin` | the admin server; implies `log` | 70 |
//! | `metrics` | `/metrics`, and a registry of your own; implies `admin` | 77 |
//! | `http2` | HTTP/2 on the ports of HTTP/1.1, in clear text, where a client begins with its preface | 49 |
//! | `cli` | command line and configuration file of the program, nothing for a library | – |
//! | `axum` | axum's `ConnectInfo<SocketAddr>` in requests to a [`Daemon::server`] | 59 |
//! | `proxy` | `Proxy`, a service that passes requests on to an application in any language | 47 |
//! | `daemon` | all of these | 105 |
//! | `tls` | TLS 1.3 and 1.2 on s2n-tls, with connections that outlive the process; not on by default, since it needs Rust 1.91 and a C compiler | 60 |
//!
//! # Dependencies
//!
//! | package | why |
//! |---|---|
//! | tokio, hyper, hyper-util, http, http-body, httpdate, bytes | HTTP/1.1 and (`http2`) HTTP/2 on an asynchronous runtime |
//! | tower-service | the trait that routers implement |
//! | tokio-util, slab, atomic-waker, pin-project-lite | a cancellation token; the registry of connections, and how they are woken |
//! | tracing | events, for any subscriber |
//! | listenfd, sd-notify | systemd's protocols: taking its sockets, and sending it notifications and descriptors |
//! | rustix, socket2, libc | system calls: descriptors that travel, options of sockets, dispositions of signals |
//! | serde, postcard | the records of connections that are handed over |
//! | thiserror | error types |
//! | tracing-subscriber (`log`) | the log's formats and levels |
//! | tracing-journald, tracing-core (`log`) | entries in the journal, written by the log's thread |
//! | axum (`admin`, `axum`) | the admin server's routes, and yours; `ConnectInfo` |
//! | serde\_json, humantime (`admin`) | `/status` |
//! | prometheus-client (`metrics`) | the text format, and the registry in the API |
//! | h2 (`http2`) | what hyper's errors say of HTTP/2: whether an application has executed a request |
//! | ipnet (`proxy`) | networks of proxies that are trusted |
//! | s2n-tls, s2n-tls-tokio (`tls`) | TLS; the one implementation whose connections can be taken apart, and put together in another process |
//! | x509-cert, base64ct (`tls`) | when certificates expire, whom they name; those of clients for the application |
//! | zeroize (`tls`) | keys are overwritten when they are dropped |
//! | http-body-util (`proxy`, `cli`) | bodies in parts; the program asks its admin server with it |
//! | clap, strsim, toml (`cli`) | the program |
//!
//! The smallest supported Rust is 1.85, with the feature `tls` 1.91. A test checks that no dependency asks for more, `.ci/run`
//! that their licences are those in `deny.toml`, and that no package is there in two versions.
//!
//! # Versions
//!
//! Versions are [semantic](https://doc.rust-lang.org/cargo/reference/semver.html): before 1.0 the second number
//! changes with what breaks a program, and the third with everything else. A test compares the public API with
//! the one that is written down in `tests/package/api.txt`.
//!
//! Features only add: whatever compiles without one compiles with it. Enums and structs with public fields may get
//! more variants and fields, which is no breaking change; so take a default and set fields of it, see [`Limits`].
//!
//! The smallest supported Rust may rise with the second number, and only to a version that is half a year old or
//! older.
//!
//! These crates are part of the public API. Where the first number of a version is 0, a program has to have the very
//! one; so `lockstepd::axum` and `lockstepd::prometheus_client` are there for those that need it for nothing else.
//!
//! | crate | version | where | a new version of it that breaks programs |
//! |---|---|---|---|
//! | `axum` | 0.8 | `Daemon::admin_routes`; `ConnectInfo` in requests | is a breaking change here; a public server may have a router of any version of axum with the `http` and `tower_service` below |
//! | `bytes` | 1 | [`Body`]: its data, and what it is made from | is a breaking change here |
//! | `http` | 1 | requests and responses of services; what [`Server::on_connect`] answers | is a breaking change here |
//! | `http_body` | 1 | [`Body`], and the bodies of answers | is a breaking change here |
//! | `hyper` | 1 | the trait of [`Daemon::hyper_server`]; the error of [`Body`] | is a breaking change here |
//! | `prometheus_client` | 0.25 | `Daemon::metrics` | is a breaking change here, for whom the feature `metrics` is on |
//! | `tokio` | 1 | the streams of [`Accepted::stream`]; all futures run on it | is a breaking change here |
//! | `tower_service` | 0.3 | the trait of [`Daemon::server`] | is a breaking change here |
//!
//! In no signature, but needed: tracing 0.1, as events go to its subscribers.
//!
//! # Absent on purpose
//!
//! A second TLS library: a program that brings one itself has [`Server::accept_from`], and its connections end in order at
//! a restart.
//!
//! Getting certificates (ACME): certbot, lego and their kin write files and then reload or restart the service.
//! Keys of TLS that live elsewhere, in a token or an agent.
//!
//! HTTP/2 without the feature `http2`: a client hears in its own protocol that HTTP/1.1 is required. With it, still no
//! upgrade from HTTP/1.1 (`h2c`, which RFC 9113 has taken out), no CONNECT, no push, and none to an application behind a `Proxy`.
//!
//! Starting and stopping an application behind a `Proxy`: systemd does that. Choosing between several: a proxy
//! has one address, which a reload may change.
//!
//! # Map
//!
//! The source has a folder for each of these. A room uses only the rooms that its row names, all of them further
//! down. A test reads this table.
//!
//! | room | responsible for | may use |
//! |---|---|---|
//! | `daemon` | the builder, and the order of everything: start, serve, reload, stop, upgrade; watchdog; exit codes | all |
//! | `admin` | the admin routes, metrics as text, the status page | proxy, http, handover, connections, sockets, tls, lifecycle, log |
//! | `proxy` | an application behind the daemon: waiting, sending again, tunnels | http, handover, connections, sockets, tls, lifecycle, log |
//! | `http` | a connection's life and a request's: accepting, handshakes, HTTP/1.1, HTTP/2, time-outs, the access log | connections, sockets, tls, log |
//! | `handover` | what goes to the next process and what came from the one before | connections, sockets, tls, manager, lifecycle |
//! | `connections` | the connections that there are: the registry, its modes, the drain, limits, counters | sockets, lifecycle, log |
//! | `sockets` | addresses, inherited sockets, binding, listeners, streams | tls, manager, lifecycle |
//! | `tls` | certificates, handshakes, a connection's state in bytes, session tickets | – |
//! | `manager` | everything that is sent to the service manager | – |
//! | `lifecycle` | the one shutdown broadcast, phases and latches, members, signals | log |
//! | `log` | journal, standard error or a file; level; the queue; the words for errors | – |

#[cfg(feature = "admin")]
mod admin;
mod connections;
mod daemon;
#[cfg(any(doc, doctest))]
pub mod guide;
mod handover;
mod http;
mod lifecycle;
mod log;
mod manager;
#[cfg(feature = "proxy")]
mod proxy;
mod sockets;
#[cfg(feature = "tls")]
mod tls;

pub use crate::connections::limits::{Limits, LimitsError};
pub use crate::daemon::builder::Daemon;
pub use crate::daemon::error::{Error, Exit};
pub use crate::daemon::monitor::Monitor;
pub use crate::daemon::reload::Reload;
pub use crate::daemon::server::Server;
pub use crate::daemon::spawn::SpawnedDaemon;
pub use crate::handover::assignment::SocketsError;
pub use crate::http::access::{AccessFile, AccessFormat, AccessLog};
pub use crate::http::body::Body;
pub use crate::lifecycle::phase::{Latch, Phase};
pub use crate::lifecycle::shutdown::{Cause, Shutdown};
pub use crate::log::invalid_setting::InvalidSetting;
#[cfg(feature = "log")]
pub use crate::log::{Format, Level, LogError, LogSettings, Target};
#[cfg(feature = "proxy")]
pub use crate::proxy::answer::AnswerBody;
#[cfg(feature = "proxy")]
pub use crate::proxy::service::Proxy;
#[cfg(feature = "proxy")]
pub use crate::proxy::trusted::{InvalidTrustedProxy, TrustedProxy};
pub use crate::sockets::address::{Address, InvalidAddress};
pub use crate::sockets::inherit::{InheritError, Inherited};
pub use crate::sockets::listen::Listen;
pub use crate::sockets::listener::ListenError;
pub use crate::sockets::own_listener::{Accept, Accepted};
pub use crate::sockets::peer::{Connection, Credentials, Peer};
#[cfg(feature = "tls")]
pub use crate::tls::session::{ClientCertificate, TlsSession};
#[cfg(feature = "tls")]
pub use crate::tls::settings::Tls;

/// The crate of the routes that `Daemon::admin_routes` takes, and of `ConnectInfo`.
#[cfg(any(feature = "admin", feature = "axum"))]
pub use axum;
/// The crate of the registry that [`Daemon::metrics`] takes.
#[cfg(feature = "metrics")]
pub use prometheus_client;

/// Any error, as members and services return it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
