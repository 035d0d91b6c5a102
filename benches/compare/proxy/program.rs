//! The proxies' programs, and how they are started.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{PROXIES, Proxy, configuration};
use crate::{
    peers::build_go,
    server::Server,
    support::{Application, LOAD, Trouble, answer, daemon, free_ports, require},
};

/// A proxy that can be started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) proxy: Proxy,
    pub(crate) path: PathBuf,
}

/// Debian has it in no directory of the path.
const SOCKET_PROXYD: &str = "/lib/systemd/systemd-socket-proxyd";

// === impl Program ===

impl Program {
    /// All that are there and answer for the application, and why others do not.
    pub(crate) fn all(application: &Path) -> Result<(Vec<Self>, Vec<String>), Trouble> {
        let application = Application::start(application, LOAD)?;
        let (mut programs, mut missing) = (Vec::new(), Vec::new());
        for proxy in PROXIES {
            let tried = Self::find(proxy).and_then(|program| {
                program.start(&application)?;
                Ok(program)
            });
            match tried {
                Ok(program) => programs.push(program),
                Err(trouble) => missing.push(format!("without {proxy} as a proxy: {trouble}")),
            }
        }
        Ok((programs, missing))
    }

    /// Builds it, or finds it.
    fn find(proxy: Proxy) -> Result<Self, Trouble> {
        let path = match proxy {
            Proxy::Lockstepd | Proxy::Nothing => daemon()?,
            Proxy::Nginx => require("nginx", "nginx-light")?,
            Proxy::Haproxy => require("haproxy", "haproxy")?,
            Proxy::Caddy => require("caddy", "caddy")?,
            Proxy::Go => build_go("benches/peers/go/proxy", "go-proxy")?,
            // Of the same package as the application.
            Proxy::Hyper => Application::program()?.with_file_name("relay"),
            Proxy::SocketProxyd => {
                require("systemd-socket-activate", "systemd")?;
                let path = PathBuf::from(SOCKET_PROXYD);
                path.is_file().then_some(path).ok_or_else(|| format!("no {SOCKET_PROXYD}"))?
            }
        };
        Ok(Self { proxy, path })
    }

    /// Starts it before the application on a free port, and waits for the first answer.
    pub(super) fn start(&self, application: &Application) -> Result<Server, Trouble> {
        let [port, admin] = free_ports()?;
        let mut server = Server::start(self.command(application, port, admin)?, port)?;
        answer(&mut server.child, port).map_err(|error| format!("{}: {error}", self.proxy))?;
        Ok(server)
    }

    fn command(
        &self,
        application: &Application,
        port: u16,
        admin: u16,
    ) -> Result<Command, Trouble> {
        let address = format!("127.0.0.1:{port}");
        let socket = application.socket().display().to_string();
        let directory = application.directory();
        let mut command = Command::new(&self.path);
        match self.proxy {
            Proxy::Lockstepd | Proxy::Nothing => {
                let admin = format!("127.0.0.1:{admin}");
                command.args(["--config", "/dev/null", "--public", &address, "--admin", &admin]);
                if self.proxy == Proxy::Lockstepd {
                    command.arg("--public-proxy").arg(format!("unix:{socket}"));
                }
            }
            Proxy::Nginx => {
                let file = directory.join("nginx.conf");
                fs::write(&file, configuration::nginx(&address, &socket, directory))?;
                command.arg("-p").arg(directory).arg("-c").arg(&file);
            }
            Proxy::Haproxy => {
                let file = directory.join("haproxy.cfg");
                fs::write(&file, configuration::haproxy(&address, &socket))?;
                command.args(["-db", "-q", "-f"]).arg(&file);
            }
            Proxy::Caddy => {
                let file = directory.join("Caddyfile");
                fs::write(&file, configuration::caddy(&address, &socket))?;
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
                command.env("XDG_CONFIG_HOME", directory).env("XDG_DATA_HOME", directory);
            }
            Proxy::Go | Proxy::Hyper => {
                command.args([&address, &socket]);
            }
            Proxy::SocketProxyd => {
                // It becomes the proxy when the first client comes.
                command = Command::new("systemd-socket-activate");
                command.args(["--listen", &address]).arg(&self.path);
                command.args(["--connections-max", "100000", &socket]);
            }
        }
        Ok(command)
    }
}
