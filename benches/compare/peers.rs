//! What is compared: each server's program, and how it is started.

use std::{fmt, fs, path::PathBuf, process::Command};

use crate::{
    server::Server,
    support::{BODY, Trouble, answer, cargo, daemon, free_ports, require, source, target},
};

/// A server that gives the same answer as the others.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Peer {
    Lockstepd,
    Go,
    Nginx,
    Caddy,
    Axum,
    Epoll,
}

/// A peer that can be started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) peer: Peer,
    pub(crate) path: PathBuf,
}

/// In the table's order.
pub(crate) const PEERS: [Peer; 6] =
    [Peer::Lockstepd, Peer::Go, Peer::Nginx, Peer::Caddy, Peer::Axum, Peer::Epoll];

// === impl Peer ===

impl Peer {
    /// Builds it, or finds it.
    pub(crate) fn program(self) -> Result<Program, Trouble> {
        let directory = target().join("peers");
        fs::create_dir_all(&directory)?;
        let path = match self {
            Self::Lockstepd => daemon()?,
            Self::Go => build_go("benches/peers/go", "go")?,
            Self::Nginx => require("nginx", "nginx-light")?,
            Self::Caddy => require("caddy", "caddy")?,
            Self::Axum | Self::Epoll => {
                let directory = directory.join("rust");
                cargo("benches/peers/rust", &[], &directory, &[])?;
                let name = if self == Self::Axum { "axum" } else { "epoll" };
                directory.join("release").join(name)
            }
        };
        Ok(Program { peer: self, path })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lockstepd => "lockstepd",
            Self::Go => "Go net/http",
            Self::Nginx => "nginx",
            Self::Caddy => "Caddy",
            Self::Axum => "axum::serve",
            Self::Epoll => "epoll floor",
        })
    }
}

// === impl Program ===

impl Program {
    /// Starts it on a free port, and waits for its first answer.
    pub(crate) fn start(&self) -> Result<Server, Trouble> {
        let (command, port) = self.command()?;
        let mut server = Server::start(command, port)?;
        answer(&mut server.child, port).map_err(|error| format!("{}: {error}", self.peer))?;
        Ok(server)
    }

    /// What starts it on a free port, and that port.
    pub(crate) fn command(&self) -> Result<(Command, u16), Trouble> {
        let [port, admin] = free_ports()?;
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(&self.path);
        match self.peer {
            Peer::Lockstepd => {
                let admin = format!("127.0.0.1:{admin}");
                command.args(["--config", "/dev/null", "--public", &address, "--admin", &admin]);
            }
            Peer::Go | Peer::Axum | Peer::Epoll => {
                command.arg(&address);
            }
            Peer::Nginx => {
                let directory = target().join("tmp/nginx");
                fs::create_dir_all(&directory)?;
                let file = directory.join("nginx.conf");
                fs::write(&file, nginx(&address, &directory.to_string_lossy()))?;
                command.arg("-p").arg(&directory).arg("-c").arg(&file);
            }
            Peer::Caddy => {
                let directory = target().join("tmp/caddy");
                fs::create_dir_all(&directory)?;
                let file = directory.join("Caddyfile");
                fs::write(&file, caddy(&address))?;
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
                command.env("XDG_CONFIG_HOME", &directory).env("XDG_DATA_HOME", &directory);
            }
        }
        Ok((command, port))
    }
}

/// Builds a program in Go; answers where it is.
pub(crate) fn build_go(source_directory: &str, name: &str) -> Result<PathBuf, Trouble> {
    let directory = target().join("peers");
    fs::create_dir_all(&directory)?;
    let program = directory.join(name);
    let status = Command::new(require("go", "golang-go")?)
        .args(["build", "-o"])
        .arg(&program)
        .arg("main.go")
        .current_dir(source(source_directory))
        .env("GO111MODULE", "off")
        .env("GOCACHE", directory.join("go-cache"))
        .status()?;
    if status.success() { Ok(program) } else { Err(format!("go build: {status}").into()) }
}

/// What keeps nginx's temporary files in a directory.
pub(crate) fn nginx_paths(directory: &str) -> String {
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {directory}/{name};\n"))
        .concat()
}

fn nginx(address: &str, directory: &str) -> String {
    let body = String::from_utf8_lossy(BODY).replace('\n', "\\n");
    let paths = nginx_paths(directory);
    format!(
        "daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/pid;
error_log /dev/null;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
{paths}    server {{
        listen {address};
        default_type \"text/plain; charset=utf-8\";
        location / {{ return 200 \"{body}\"; }}
    }}
}}
"
    )
}

fn caddy(address: &str) -> String {
    let body = String::from_utf8_lossy(BODY);
    format!(
        "{{
    admin off
    auto_https off
}}
http://{address} {{
    header Content-Type \"text/plain; charset=utf-8\"
    respond `{body}` 200
}}
"
    )
}
