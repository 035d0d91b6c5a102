//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use lockstepd::{AccessLog, Address, Format, Level, Target};

use crate::command::Command;
use crate::config::{Mode, ProxySettings, Settings, TlsSettings};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) command: Command,
    pub(crate) config: Option<PathBuf>,
    pub(crate) settings: Settings,
}

/// A systemd-native HTTP daemon: two servers, one lifecycle, restarts that no client notices.
///
/// A setting is taken from its flag, else from its variable, else from the configuration file, else
/// it has its default. Sockets that systemd passes under the names "public" and "admin" take the
/// place of the addresses.
#[expect(clippy::doc_markdown, reason = "clap shows these comments to operators as they are")]
#[derive(Debug, Parser)]
#[command(name = "lockstepd", version, args_conflicts_with_subcommands = false, after_help = AFTER)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,

    /// Configuration file [env: LOCKSTEPD_CONFIG] [default: /etc/lockstepd/lockstepd.toml, if it
    /// exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where the public server listens: IP:PORT or unix:/PATH, several separated by commas
    /// [env: LOCKSTEPD_PUBLIC] [default: 0.0.0.0:9090]
    #[arg(long, global = true, value_name = "ADDRESS", value_delimiter = ',')]
    public: Option<Vec<Address>>,

    /// Permissions of Unix sockets that the public server binds, in octal
    /// [env: LOCKSTEPD_PUBLIC_SOCKET_MODE] [default: 0660]
    #[arg(long, global = true, value_name = "MODE")]
    public_socket_mode: Option<Mode>,

    /// Where the admin server listens; who reaches it can stop the daemon
    /// [env: LOCKSTEPD_ADMIN] [default: 127.0.0.1:9091]
    #[arg(long, global = true, value_name = "ADDRESS", value_delimiter = ',')]
    admin: Option<Vec<Address>>,

    /// Permissions of Unix sockets that the admin server binds, in octal
    /// [env: LOCKSTEPD_ADMIN_SOCKET_MODE] [default: 0660]
    #[arg(long, global = true, value_name = "MODE")]
    admin_socket_mode: Option<Mode>,

    /// Host names, besides localhost and its own addresses, under which the admin server may be
    /// asked [env: LOCKSTEPD_ADMIN_HOSTS] [default: none]
    #[arg(long, global = true, value_name = "NAME", value_delimiter = ',')]
    admin_hosts: Option<Vec<String>>,

    /// Users, by number, besides root who may use the admin server's Unix sockets
    /// [env: LOCKSTEPD_ADMIN_USERS] [default: whoever can open the socket]
    #[arg(long, global = true, value_name = "UID", value_delimiter = ',')]
    admin_users: Option<Vec<u32>>,

    /// How long clients are served as before, at a stop, while /ready says 503 already; for load
    /// balancers, which need a time to see that. 0s for not at all
    /// [env: LOCKSTEPD_LAME_DUCK] [default: 0s]
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    lame_duck: Option<Duration>,

    /// How long requests in flight may take to finish at a stop, such as 20s or 1m; keep it below
    /// TimeoutStopSec= [env: LOCKSTEPD_DRAIN_TIMEOUT] [default: 20s]
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    drain_timeout: Option<Duration>,

    /// How long idle connections may wait for a last request where no other process takes them
    /// over [env: LOCKSTEPD_LINGER] [default: 1s]
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    linger: Option<Duration>,

    /// Whether a restart hands idle connections to the next process: true or false
    /// [env: LOCKSTEPD_HAND_OVER] [default: true]
    #[arg(long, global = true, value_name = "BOOL")]
    hand_over: Option<bool>,

    /// After how long without a request the daemon stops, to be started again by the next client;
    /// 0s for never. Only where systemd opened every socket
    /// [env: LOCKSTEPD_IDLE_EXIT] [default: 0s]
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    idle_exit: Option<Duration>,

    /// What is logged: off, error, warn, info, debug or trace, also by module (info,hyper=warn)
    /// [env: LOCKSTEPD_LOG_LEVEL] [default: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<Level>,

    /// Where the log goes: auto (the journal if stderr is, or was to be, connected to it), journal or stderr
    /// [env: LOCKSTEPD_LOG_TARGET] [default: auto]
    #[arg(long, global = true, value_name = "TARGET")]
    log_target: Option<Target>,

    /// How the log looks on stderr: human or json [env: LOCKSTEPD_LOG_FORMAT] [default: human]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<Format>,

    /// Which requests are logged: off, errors (status 400 and above, or cut short) or all
    /// [env: LOCKSTEPD_ACCESS_LOG] [default: errors]
    #[arg(long, global = true, value_name = "WHICH")]
    access_log: Option<AccessLog>,

    /// Open connections of each server; at the limit the one that has been idle longest is closed for a new one [env: LOCKSTEPD_MAX_CONNECTIONS] [default: what the limit of descriptors allows]
    #[arg(long, global = true, value_name = "NUMBER")]
    max_connections: Option<usize>,

    /// Bytes of a request's head, 8192 at least; more is answered with 431 [env: LOCKSTEPD_MAX_HEAD_SIZE] [default: 65536]
    #[arg(long, global = true, value_name = "NUMBER")]
    max_head_size: Option<usize>,

    /// Headers of a request; more is answered with 431 [env: LOCKSTEPD_MAX_HEADERS] [default: 100]
    #[arg(long, global = true, value_name = "NUMBER")]
    max_headers: Option<usize>,

    /// Requests that a connection of HTTP/2 may have in flight at the same time; one more is refused [env: LOCKSTEPD_MAX_STREAMS] [default: 100]
    #[arg(long, global = true, value_name = "NUMBER")]
    max_streams: Option<u32>,

    /// Bytes of a request's body to the admin server, which needs none; more is answered with 413 [env: LOCKSTEPD_MAX_ADMIN_BODY_SIZE] [default: 65536]
    #[arg(long, global = true, value_name = "NUMBER")]
    max_admin_body_size: Option<usize>,

    /// Time for the first byte of a new connection [env: LOCKSTEPD_FIRST_BYTE_TIMEOUT] [default: 30s]
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    first_byte_timeout: Option<Duration>,

    /// Time for a request's head from its first byte; then 408 [env: LOCKSTEPD_HEAD_TIMEOUT] [default: 10s]
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    head_timeout: Option<Duration>,

    /// Time without a byte of a request's body; then 408 [env: LOCKSTEPD_BODY_TIMEOUT] [default: 30s]
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    body_timeout: Option<Duration>,

    /// Time that a connection may stay without a request [env: LOCKSTEPD_IDLE_TIMEOUT] [default: 10m 20s]
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    idle_timeout: Option<Duration>,

    /// Time in which a client has to take more of an answer, in steps of some 64 KiB [env: LOCKSTEPD_WRITE_TIMEOUT] [default: 30s]
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    write_timeout: Option<Duration>,

    /// Time without a word from a TCP client after which it is asked whether it is still there, nine times at most; 0s for never [env: LOCKSTEPD_TCP_KEEPALIVE] [default: 15s]
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    tcp_keepalive: Option<Duration>,

    #[command(flatten)]
    proxy: ProxySettings,

    #[command(flatten)]
    tls: TlsSettings,
}

const AFTER: &str = "\
Signals:
  SIGTERM, SIGINT  stop cleanly; another, half a second later or more, ends at once,
                   or during --lame-duck begins the drain
  SIGHUP           reload the configuration; a bad one changes nothing
  SIGUSR2          replace the program in place, keeping every connection

Exit codes:
  0   clean stop
  1   a member failed, or an address could not be bound yet
  2   the command line could not be understood
  3   the drain time-out, or a second signal, cut requests off
  78  configuration or sockets are unusable (the unit does not restart on it)";

/// Reads the command line; exits with 2 and an explanation if it cannot be understood.
pub(crate) fn parse() -> Arguments {
    let line = Line::parse();
    let settings = Settings {
        public: line.public,
        public_socket_mode: line.public_socket_mode,
        admin: line.admin,
        admin_socket_mode: line.admin_socket_mode,
        admin_hosts: line.admin_hosts,
        admin_users: line.admin_users,
        lame_duck: line.lame_duck,
        drain_timeout: line.drain_timeout,
        linger: line.linger,
        hand_over: line.hand_over,
        idle_exit: line.idle_exit,
        log_level: line.log_level,
        log_target: line.log_target,
        log_format: line.log_format,
        access_log: line.access_log,
        max_connections: line.max_connections,
        max_head_size: line.max_head_size,
        max_headers: line.max_headers,
        max_streams: line.max_streams,
        max_admin_body_size: line.max_admin_body_size,
        first_byte_timeout: line.first_byte_timeout,
        head_timeout: line.head_timeout,
        body_timeout: line.body_timeout,
        idle_timeout: line.idle_timeout,
        write_timeout: line.write_timeout,
        tcp_keepalive: line.tcp_keepalive,
        proxy: line.proxy,
        tls: line.tls,
    };
    Arguments { command: line.command.unwrap_or_default(), config: line.config, settings }
}
