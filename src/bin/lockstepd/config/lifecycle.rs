//! Settings of stops, restarts and the log.

use std::path::PathBuf;
use std::time::Duration;

use lockstepd::{AccessFormat, AccessLog, Format, Level, Target};

use super::setting::settings;

settings! { LifecycleSettings {
    lame_duck: Duration = "lame_duck" {
        variable: "LOCKSTEPD_LAME_DUCK",
        value: "TIME",
        default: Default::To("0s"),
        reload: true,
        help: "How long clients are served as before, at a stop, while /ready says 503 already; for load balancers, \
               which need a time to see that. 0s for not at all",
        more: "Longer than the load balancer takes to see it (HAProxy: inter times fall). A stop always takes that much \
               longer, a restart too, at which systemd's sockets and the hand-over lose no client anyway. A second \
               signal ends it.",
    }
    drain_timeout: Duration = "drain_timeout" {
        variable: "LOCKSTEPD_DRAIN_TIMEOUT",
        value: "TIME",
        default: Default::To("20s"),
        reload: true,
        help: "How long requests in flight may take to finish at a stop, such as 20s or 1m; keep it below \
               TimeoutStopSec=",
        more: "A ceiling, never a sleep. The unit has TimeoutStopSec=30s.",
    }
    linger: Duration = "linger" {
        variable: "LOCKSTEPD_LINGER",
        value: "TIME",
        default: Default::To("1s"),
        reload: true,
        help: "How long idle connections may wait for a last request where no other process takes them over",
        more: "Then they are closed. One from the same machine is closed before, once its client has been silent for \
               250 ms; after Ctrl-C at a terminal all are, after 20 ms.",
    }
    hand_over: bool = "hand_over" {
        variable: "LOCKSTEPD_HAND_OVER",
        value: "BOOL",
        default: Default::To("true"),
        reload: false,
        help: "Whether a restart hands idle connections to the next process: true or false",
        more: "Without, they are closed as if nobody took them over.",
    }
    idle_exit: Duration = "idle_exit" {
        variable: "LOCKSTEPD_IDLE_EXIT",
        value: "TIME",
        default: Default::To("0s"),
        reload: true,
        help: "After how long without a request the daemon stops, to be started again by the next client; 0s for \
               never. Only where systemd opened every socket",
        more: "See drop-ins/idle-exit.conf.",
    }
}}

settings! { LogSettings {
    level: Level = "log.level" {
        variable: "LOCKSTEPD_LOG_LEVEL",
        value: "LEVEL",
        default: Default::To("info"),
        reload: true,
        help: "What is logged: off, error, warn, info, debug or trace, also by module (info,hyper=warn)",
        more: "Where no source says it, the variable RUST_LOG counts. What the h2 crate says below error has to be \
               asked for: \"debug,h2=debug\".",
    }
    target: Target = "log.target" {
        variable: "LOCKSTEPD_LOG_TARGET",
        value: "TARGET",
        default: Default::To("auto"),
        reload: false,
        help: "Where the log goes: auto (the journal if stderr is, or was to be, connected to it), journal or stderr",
        more: "With auto it goes to stderr unless systemd connected that to the journal, or could not since journald \
               was down.",
    }
    format: Format = "log.format" {
        variable: "LOCKSTEPD_LOG_FORMAT",
        value: "FORMAT",
        default: Default::To("human"),
        reload: false,
        help: "How the log looks on stderr: human or json",
        more: "",
    }
    access: AccessLog = "log.access" {
        variable: "LOCKSTEPD_ACCESS_LOG",
        value: "WHICH",
        default: Default::To("errors"),
        reload: true,
        help: "Which requests are logged: off, errors (status 400 and above, or cut short) or all",
        more: "With errors, 100 a second at most. Where log.access_file is set and this is not, all are written to it.",
    }
    access_file: PathBuf = "log.access_file" {
        variable: "LOCKSTEPD_LOG_ACCESS_FILE",
        value: "PATH",
        default: Default::None("none, requests are logged as all else", "/var/log/lockstepd/access.log"),
        reload: true,
        help: "A file that the requests which are logged are written to, and not to the log; /dev/stdout or a FIFO will \
               do. Empty for none",
        more: "No line is lost while the file takes them, and there is no limit of errors. A file that was renamed or \
               removed is made anew when the next requests come, and at a reload. Under the unit drop-ins/access-file.conf lets the \
               daemon write to /var/log/lockstepd.",
    }
    access_format: AccessFormat = "log.access_format" {
        variable: "LOCKSTEPD_LOG_ACCESS_FORMAT",
        value: "FORMAT",
        default: Default::To("combined"),
        reload: true,
        help: "How lines look in log.access_file: combined (as Apache has it, in UTC, paths without their query) or json",
        more: "",
    }
}}
