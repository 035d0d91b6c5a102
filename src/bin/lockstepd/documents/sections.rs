//! The sections of the configuration file.

/// What is said of a section before its settings.
pub(super) const SECTIONS: [(&str, &str); 7] = [
    ("", "Stops and restarts."),
    ("log", "The log."),
    (
        "limits",
        "What a client may take. Times begin anew where something comes, but for a head's, which has to come whole.",
    ),
    ("public", "The public server."),
    (
        "proxy",
        "How the application behind the public server is treated; without public.proxy nothing of this counts.",
    ),
    (
        "tls",
        "TLS, of a lockstepd that is built with it (cargo build --features tls). Under the units a drop-in passes the \
         files: drop-ins/tls.conf. A reload reads their content anew, and a restart as well; neither costs anybody a \
         connection. Without certificates there is no TLS, and nothing else may be said of it.",
    ),
    ("admin", "The admin server: status, metrics, probes. Whoever reaches it can stop the daemon."),
];
