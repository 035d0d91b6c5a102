//! What the program can do.
#![expect(clippy::doc_markdown, reason = "clap shows these comments to operators as they are")]

use std::time::Duration;

use clap::{Args, Subcommand};

/// What to do.
#[derive(Clone, Debug, Default, Subcommand)]
pub(crate) enum Command {
    /// Serve until told to stop (the default)
    #[default]
    Run,
    /// Validate configuration and environment as a start would, without binding; exit 0 or 78
    Check,
    /// Print the configuration that a start in this environment would have, and where each setting comes from
    Config,
    /// Look at an installed unit, and tell what will not work and why; exit 1 if something does not
    Doctor(Doctor),
    /// Have a running daemon's requests wait, until none is with the application: for its ExecStop=
    Hold(Hold),
    /// Let the requests go on that wait since `hold`: for the application's ExecStartPost=
    Release(Release),
}

/// A look at an installed unit: its file, its drop-ins, its sockets, and the configuration that it has there.
#[derive(Args, Clone, Debug)]
pub(crate) struct Doctor {
    /// Unit of lockstepd, or of another program that is made with its library
    #[arg(value_name = "UNIT", default_value = "lockstepd.service")]
    pub(crate) unit: String,

    /// Look among the units of the user, not among those of the system
    #[arg(long)]
    pub(crate) user: bool,
}

/// A hold of the application behind a running daemon, which is asked on its admin server (--admin).
#[derive(Args, Clone, Debug)]
pub(crate) struct Hold {
    /// Server whose application is meant
    #[arg(long, value_name = "NAME", default_value = "public")]
    pub(crate) server: String,

    /// How long to wait for the requests that the application has; keep it below its TimeoutStopSec=
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "20s")]
    pub(crate) timeout: Duration,

    /// After how long the hold ends by itself; requests wait for --proxy-wait of the daemon at most
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "60s")]
    pub(crate) longest: Duration,

    /// Exit with 1 where nothing is held, or requests are still in flight after --timeout. Without, the exit code is 0
    /// in any case: a daemon that is away must not keep the application from stopping
    #[arg(long)]
    pub(crate) strict: bool,
}

/// The end of a hold.
#[derive(Args, Clone, Debug)]
pub(crate) struct Release {
    /// Server whose application is meant
    #[arg(long, value_name = "NAME", default_value = "public")]
    pub(crate) server: String,

    /// Exit with 1 where it did not work. Without, the exit code is 0 in any case: a daemon that is away must not
    /// keep the application from starting
    #[arg(long)]
    pub(crate) strict: bool,
}
