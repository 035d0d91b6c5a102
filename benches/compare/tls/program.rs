//! The servers' programs with TLS, and how they are started.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{
    SPEAKERS, Speaker,
    clients::{Clients, Dialect, USUAL},
};
use crate::{
    peers::{build_go, nginx_paths},
    server::Server,
    support::{BODY, Trouble, cargo, daemon_with_tls, free_ports, require, target},
};

/// A server that can be started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) speaker: Speaker,
    pub(crate) path: PathBuf,
    clients: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

const PATIENCE: Duration = Duration::from_secs(10);

// === impl Program ===

impl Program {
    /// All that are there and answer, and why others do not.
    pub(crate) fn all() -> Result<(Vec<Self>, Vec<String>), Trouble> {
        let directory = target().join("peers/rust");
        cargo("benches/peers/rust", &[], &directory, &[])?;
        let (certificate, key) = certificate()?;
        let (mut programs, mut missing) = (Vec::new(), Vec::new());
        for speaker in SPEAKERS {
            let release = directory.join("release");
            let tried = find(speaker, &release).and_then(|path| {
                let clients = release.join("tls_clients");
                let (certificate, key) = (certificate.clone(), key.clone());
                let program = Self { speaker, path, clients, certificate, key };
                program.start()?;
                Ok(program)
            });
            match tried {
                Ok(program) => programs.push(program),
                Err(trouble) => missing.push(format!("without TLS of {speaker}: {trouble}")),
            }
        }
        Ok((programs, missing))
    }

    /// Clients of the server on a port.
    pub(super) fn clients(&self, port: u16, dialect: Dialect) -> Result<Clients, Trouble> {
        Clients::start(&self.clients, port, dialect)
    }

    /// Starts it on a free port, and waits for the first answer.
    pub(super) fn start(&self) -> Result<Server, Trouble> {
        let [plain, admin, port] = free_ports()?;
        let mut server = Server::start(self.command(plain, admin, port)?, port)?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if server.child.has_ended() || Instant::now() > deadline {
                return Err(format!("{} cannot be reached", self.speaker).into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.clients(port, USUAL)?.hold(1)?;
        Ok(server)
    }

    fn command(&self, plain: u16, admin: u16, port: u16) -> Result<Command, Trouble> {
        let [plain, admin, address] = [plain, admin, port].map(|port| format!("127.0.0.1:{port}"));
        let directory = target().join("tmp/tls");
        let mut command = Command::new(&self.path);
        match self.speaker {
            Speaker::Lockstepd => {
                command.args(["--config", "/dev/null", "--public", &plain, "--admin", &admin]);
                command.args(["--tls-listen", &address, "--tls-alpn", "h2,http/1.1"]);
                command.arg("--tls-certificates").arg(&self.certificate);
                command.arg("--tls-keys").arg(&self.key);
            }
            Speaker::Go | Speaker::AxumServer => {
                command.arg(&address).args([&self.certificate, &self.key]);
            }
            Speaker::Nginx => {
                let file = directory.join("nginx.conf");
                fs::write(&file, self.nginx(&address, &directory.to_string_lossy()))?;
                command.arg("-p").arg(&directory).arg("-c").arg(&file);
            }
            Speaker::Caddy => {
                let file = directory.join("Caddyfile");
                fs::write(&file, self.caddy(&address))?;
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
                command.env("XDG_CONFIG_HOME", &directory).env("XDG_DATA_HOME", &directory);
            }
        }
        Ok(command)
    }

    fn nginx(&self, address: &str, directory: &str) -> String {
        let body = String::from_utf8_lossy(BODY).replace('\n', "\\n");
        let (paths, certificate, key) =
            (nginx_paths(directory), self.certificate.display(), self.key.display());
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
        listen {address} ssl http2;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        default_type \"text/plain; charset=utf-8\";
        location / {{ return 200 \"{body}\"; }}
    }}
}}
"
        )
    }

    fn caddy(&self, address: &str) -> String {
        let body = String::from_utf8_lossy(BODY);
        let (certificate, key) = (self.certificate.display(), self.key.display());
        format!(
            "{{
    admin off
    auto_https off
}}
https://{address} {{
    tls {certificate} {key}
    header Content-Type \"text/plain; charset=utf-8\"
    respond `{body}` 200
}}
"
        )
    }
}

/// Builds it, or finds it; `release` has those in Rust.
fn find(speaker: Speaker, release: &Path) -> Result<PathBuf, Trouble> {
    match speaker {
        Speaker::Lockstepd => daemon_with_tls(),
        Speaker::Go => build_go("benches/peers/go", "go"),
        Speaker::Nginx => require("nginx", "nginx-light"),
        Speaker::Caddy => require("caddy", "caddy"),
        Speaker::AxumServer => Ok(release.join("axum_tls")),
    }
}

/// Makes a certificate and its key.
fn certificate() -> Result<(PathBuf, PathBuf), Trouble> {
    let directory = target().join("tmp/tls");
    fs::create_dir_all(&directory)?;
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    let made = Command::new(require("openssl", "openssl")?)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "30", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()?;
    if made.status.success() {
        Ok((certificate, key))
    } else {
        Err(format!("openssl: {}", String::from_utf8_lossy(&made.stderr)).into())
    }
}
