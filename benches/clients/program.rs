//! The programs: how each is built, and told whom to ask.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use crate::{
    CLIENTS, CONNECTING, PACE, ROUNDS, SETTLING, calls, curl,
    launched::Certificate,
    report::Report,
    server::Server,
    support::{Trouble, cargo, require, source, target},
};

/// A client of somebody else's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// The mode and the method of `go/main.go`.
    Go(&'static str, &'static str),
    GrpcGo,
    /// The library of `client.mjs`.
    Node(&'static str),
    /// The library of `client.py`.
    Python(&'static str),
    /// The version of HTTP of `Client.java`.
    Java(&'static str),
    /// The version of HTTP, and the method.
    Curl(&'static str, &'static str),
    H2load,
    Tonic,
}

/// A program that asks.
#[derive(Debug)]
pub(crate) struct Asking {
    program: Program,
    child: Child,
    begin: Instant,
    said: PathBuf,
}

/// Where libraries are installed, and what all programs need.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) certificate: Certificate,
}

const OF_PYTHON: [&str; 3] = ["grpcio==1.85.3", "httpx[http2]==0.28.1", "requests==2.34.2"];
const OF_NODE: [&str; 2] = ["@grpc/grpc-js@1.14.7", "undici@7.30.2"];

// === impl Program ===

impl Program {
    /// Lets it ask this server until it is to end.
    pub(crate) fn start(self, server: &Server, place: &Place) -> Result<Asking, Trouble> {
        let mut command = self.command(server, place)?;
        let said = place.directory.join("said");
        command.stdin(Stdio::piped()).stdout(File::create(&said)?);
        let begin = Instant::now();
        Ok(Asking { program: self, child: command.spawn()?, begin, said })
    }

    fn command(self, server: &Server, place: &Place) -> Result<Command, Trouble> {
        let (url, certificate, clients) =
            (server.url(), &place.certificate.file, CLIENTS.to_string());
        let mut command = match self {
            Self::Go(mode, method) => {
                let clients = if mode.starts_with('h') { CLIENTS } else { CONNECTING };
                let mut command = Command::new(place.go("go")?);
                command.arg(url).arg(certificate).args([mode, method, &clients.to_string()]);
                command
            }
            Self::GrpcGo => {
                let mut command = Command::new(place.go("grpc_go")?);
                command.args([server.address(), &clients]);
                command
            }
            Self::Node(library) => {
                let mut command = Command::new(require("node", "nodejs")?);
                command.arg(source("benches/clients/client.mjs")).arg(url).arg(certificate);
                command.args([library, &clients]).current_dir(place.node(library)?);
                command
            }
            Self::Python(library) => {
                let mut command = Command::new(place.python()?);
                command.arg(source("benches/clients/client.py")).arg(url).arg(certificate);
                command.args([library, &clients]);
                command
            }
            Self::Java(version) => {
                let mut command = Command::new(require("java", "default-jdk-headless")?);
                command.arg(source("benches/clients/Client.java")).arg(url).arg(certificate);
                command.args([version, &clients]);
                command
            }
            Self::Curl(version, method) => {
                let mut command = Command::new(require("curl", "curl")?);
                command.args(["--silent", "--parallel", "--parallel-max", &clients, version]);
                command.arg("--cacert").arg(certificate).args(["--output", "/dev/null"]);
                command.args(["--write-out", curl::FORMAT]);
                // How far it is, which it says with --silent too.
                command.stderr(Stdio::null());
                if method == "POST" {
                    command.args(["--data", "hello"]);
                }
                // More than it comes to.
                command.arg(format!("{url}[1-100000000]"));
                command
            }
            Self::H2load => {
                let mut command = Command::new(require("h2load", "nghttp2-client")?);
                command.args(["--clients", "8", "--max-concurrent-streams", "4"]);
                let duration = 2 * SETTLING + PACE * ROUNDS;
                command.args(["--duration", &duration.as_secs().to_string(), &url]);
                command
            }
            Self::Tonic => {
                let mut command = Command::new(env::current_exe()?);
                command.args([calls::ARGUMENT, &url]);
                command
            }
        };
        command.env_remove("NODE_OPTIONS").env_remove("JAVA_TOOL_OPTIONS");
        Ok(command)
    }
}

// === impl Asking ===

impl Asking {
    /// Ends it; answers what became of its requests.
    pub(crate) fn end(mut self) -> Result<Report, Trouble> {
        let took = self.begin.elapsed();
        drop(self.child.stdin.take());
        if let Program::Curl(..) = self.program {
            // It would go on for hours.
            self.child.kill()?;
        }
        let status = self.child.wait()?;
        let said = fs::read_to_string(&self.said)?;
        match self.program {
            Program::Curl(..) => Ok(curl::of_curl(&said, took)),
            Program::H2load => curl::of_h2load(&said, took),
            _ if status.success() => Report::parse(&said, took),
            _ => Err(format!("it ended with {status}").into()),
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        // After its end there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Place ===

impl Place {
    pub(crate) fn new() -> Result<Self, Trouble> {
        let directory = target().join("clients");
        fs::create_dir_all(&directory)?;
        require("openssl", "openssl")?;
        // As an address too: not everybody looks names up in the same order.
        let names = ["localhost", "localhost,IP:127.0.0.1"];
        let certificate = Certificate::make(&directory, "localhost", &names, 30);
        // The server of gRPC is built with the features that this program is built with.
        cargo(".", &["--example", "grpc", "--features", "tls"], target(), &[])?;
        Ok(Self { directory, certificate })
    }

    /// Builds a program in Go; what it imports has to be where Debian installs it.
    fn go(&self, name: &str) -> Result<PathBuf, Trouble> {
        let program = self.directory.join(format!("{name}.program"));
        let mut command = Command::new(require("go", "golang-go")?);
        command.args(["build", "-o"]).arg(&program).arg("main.go");
        command.current_dir(source("benches/clients").join(name));
        command.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode");
        command.env("GOCACHE", self.directory.join("go-cache"));
        done(&mut command, "apt-get install golang-google-grpc-dev")?;
        Ok(program)
    }

    fn node(&self, library: &str) -> Result<PathBuf, Trouble> {
        let directory = self.directory.join("node");
        fs::create_dir_all(&directory)?;
        let is_of_node = ["http2", "https"].contains(&library);
        if !is_of_node && !directory.join("node_modules/undici").exists() {
            fs::write(directory.join("package.json"), "{}")?;
            let mut command = Command::new(require("npm", "npm")?);
            command.args(["install", "--silent", "--ignore-scripts"]).args(OF_NODE);
            done(command.current_dir(&directory), "needs the registry of npm")?;
        }
        Ok(directory)
    }

    fn python(&self) -> Result<PathBuf, Trouble> {
        let directory = self.directory.join("python");
        let python = directory.join("bin/python3");
        if !python_has_all(&python) {
            let mut command = Command::new(require("python3", "python3")?);
            command.args(["-m", "venv"]).arg(&directory);
            done(&mut command, "apt-get install python3-venv")?;
            let mut command = Command::new(&python);
            command.args(["-m", "pip", "install", "--quiet"]).args(OF_PYTHON);
            done(&mut command, "needs PyPI")?;
        }
        Ok(python)
    }
}

fn python_has_all(python: &Path) -> bool {
    let imported = Command::new(python).args(["-c", "import grpc, h2, httpx, requests"]).output();
    imported.is_ok_and(|output| output.status.success())
}

/// Runs something to its end; `remedy` is what helps if that is not a good one.
fn done(command: &mut Command, remedy: &str) -> Result<(), Trouble> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    let program = command.get_program().to_string_lossy().into_owned();
    Err(format!("{program} failed ({remedy})").into())
}
