//! Machines: each boots a real systemd, PID 1 of namespaces of its own, for one test.
//!
//! A machine is the host's own system (or the one below `$LOCKSTEPD_SYSTEMD_ROOT`) under an overlay in
//! memory, with its own processes, network, cgroups and journal. It boots in a fifth of a second, sees
//! nothing but loopback, and leaves nothing behind, not even when the test process is killed.
//!
//! ```ignore
//! let Some(machine) = Machine::boot() else { return };
//! machine.install();
//! machine.run("systemctl", &["start", "lockstepd"]).ok();
//! ```
//!
//! | variable | effect |
//! |---|---|
//! | `LOCKSTEPD_REQUIRE_SYSTEMD=1` | a test that cannot have a machine fails instead of being skipped |
//! | `LOCKSTEPD_SYSTEMD_ROOT=DIR` | boots the systemd of another root, such as one made by debootstrap |
//!
//! What needs no machine runs the daemon as a child of the test: a [`Launch`] starts it, on addresses of its
//! own, a [`Daemon`] is asked and told, [`Ended`] tells how it went; a [`Manager`] hears what it says to the
//! service manager. An [`Application`] is what a proxy has behind it; a [`Played`] one is
//! the test itself.
//!
//! All waiting has a deadline and ends in a panic that says what was waited for. There is nothing here
//! for a machine that outlives its test, or that several tests share.

// Every test crate includes all of it and uses its part.
#![allow(dead_code, unused_imports)]

mod application;
mod daemon;
mod files;
mod haproxy;
mod host;
mod http;
pub(crate) mod http2;
mod http2_load;
mod journal;
mod keeper;
mod load;
mod machine;
mod notify;
mod openssl;
mod output;
mod package;
mod peer;
mod played;
mod promtool;
mod service;
#[cfg(feature = "tls")]
mod tls_relay;
mod tunnel;
mod unit;
mod wait;
mod webdriver;
mod wire;

pub(crate) use application::{Application, Executed, executed, executed_twice};
pub(crate) use daemon::{Daemon, Ended, Launch, example};
pub(crate) use haproxy::Haproxy;
pub(crate) use host::{BINARY, CHECKOUT, has_strace, skip};
pub(crate) use http::{Client, Response, get};
pub(crate) use http2::Http2;
pub(crate) use http2_load::Http2Load;
pub(crate) use journal::message;
pub(crate) use load::{Control, Load, Report, Server};
pub(crate) use machine::Machine;
pub(crate) use notify::Manager;
pub(crate) use openssl::{Certificate, SClient, has_openssl};
pub(crate) use output::Output;
pub(crate) use package::{Debs, build_packages, has_packagers, run};
pub(crate) use peer::{Options, options};
pub(crate) use played::{End, Head, Played};
pub(crate) use promtool::{has_promtool, promtool};
#[cfg(feature = "tls")]
pub(crate) use tls_relay::TlsRelay;
pub(crate) use tunnel::{Talk, Tunnel};
pub(crate) use unit::Memory;
pub(crate) use wait::{Deadline, Lines, PATIENCE, pidfd, wait_until};
pub(crate) use webdriver::Browser;
pub(crate) use wire::{Answer, Heard, ask, exchange, hear};
