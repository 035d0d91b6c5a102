//! Many bytes: an answer of 100 MiB, which is a file, and requests of 1 MiB.
//!
//! What each server does with them is not the same. With the file: lockstepd has tower-http's `ServeDir`, as in the
//! example `static_files`, which reads it in a thread for blocking calls and writes it from memory; Go and nginx use
//! sendfile(2), and never see it. With the request: lockstepd's and Go's handlers read the body piece by piece and keep
//! nothing; nginx, which has no handler, answers and discards what comes.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    Setting,
    peers::{Peer, nginx_paths},
    proxy::as_client,
    server::Server,
    support::{BODY, Trouble, answer, cargo, free_ports, target},
    table::{Row, Samples},
};

const SERVERS: [Peer; 3] = [Peer::Lockstepd, Peer::Go, Peer::Nginx];

const MEBIBYTE: usize = 1 << 20;
const FILE: usize = 100 * MEBIBYTE;

/// How many there are in a turn.
const ANSWERS: usize = 5;
const REQUESTS: usize = 500;

const BUFFER: usize = 256 * 1024;

/// How long nothing may move.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection and what has come of an answer.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

pub(crate) fn bulk(setting: &Setting) -> Result<Vec<Row>, Trouble> {
    let files = files()?;
    let mut servers = Vec::new();
    for peer in SERVERS {
        servers.push((peer, start(peer, &files, setting)?));
    }
    let columns = || -> Vec<_> { SERVERS.map(|peer| (peer, Samples::default())).into() };
    let (mut answers, mut requests) = (columns(), columns());
    for round in 0..=setting.rounds {
        for (at, (peer, server)) in servers.iter().enumerate() {
            let (mut down, mut up) = (Samples::default(), Samples::default());
            let (down, up) = match round {
                // Memory is fetched and grown before it counts.
                0 => (&mut down, &mut up),
                _ => (&mut answers[at].1, &mut requests[at].1),
            };
            down.attempt(*peer, || once(server, ANSWERS * FILE, Client::download));
            up.attempt(*peer, || once(server, REQUESTS * MEBIBYTE, Client::upload));
        }
    }
    Ok(vec![
        Row::new("MiB per CPU-second, answers of 100 MiB from a file", answers),
        Row::new("MiB per CPU-second, requests of 1 MiB", requests),
    ])
}

/// MiB for each second of the server's processor, of so many bytes.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn once(
    server: &Server,
    length: usize,
    transfer: fn(&mut Client) -> Result<(), Trouble>,
) -> Result<f64, Trouble> {
    let before = server.time();
    as_client(|| transfer(&mut Client::connect(server.port)?))?;
    let time = server.time().saturating_sub(before);
    Ok(length as f64 / MEBIBYTE as f64 / time.as_secs_f64())
}

/// The directory that is served: the file, and a first page to see that a server is there.
fn files() -> Result<PathBuf, Trouble> {
    let directory = target().join("tmp/bulk");
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("index.html"), BODY)?;
    fs::write(directory.join("file"), vec![b'x'; FILE])?;
    Ok(directory)
}

/// Starts a server of these files, to which bodies can be sent as well.
fn start(peer: Peer, files: &Path, setting: &Setting) -> Result<Server, Trouble> {
    let [port] = free_ports()?;
    let address = format!("127.0.0.1:{port}");
    let command = match peer {
        Peer::Nginx => {
            let file = target().join("tmp/bulk.conf");
            fs::write(&file, nginx(&address, files))?;
            let mut command = Command::new(&setting.program(peer)?.path);
            command.arg("-p").arg(target().join("tmp")).arg("-c").arg(file);
            command
        }
        Peer::Go => {
            let mut command = Command::new(&setting.program(peer)?.path);
            command.arg(&address).env("FILES", files);
            command
        }
        _ => {
            cargo(".", &["--example", "bulk"], target(), &[])?;
            let mut command = Command::new(target().join("release/examples/bulk"));
            command.arg(&address).arg(files);
            command
        }
    };
    let mut server = Server::start(command, port)?;
    answer(&mut server.child, port).map_err(|error| format!("{peer}: {error}"))?;
    Ok(server)
}

fn nginx(address: &str, files: &Path) -> String {
    let body = String::from_utf8_lossy(BODY).replace('\n', "\\n");
    let (directory, files) = (target().join("tmp"), files.display());
    let directory = directory.display();
    let paths = nginx_paths(&directory.to_string());
    format!(
        "daemon off;
# It may read what this program has written.
user root;
worker_processes 1;
pid {directory}/bulk.pid;
error_log /dev/null;
events {{ }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    client_max_body_size 2m;
{paths}    server {{
        listen {address};
        root {files};
        location = /upload {{ return 200 \"{body}\"; }}
    }}
}}
"
    )
}

// === impl Client ===

impl Client {
    fn connect(port: u16) -> Result<Self, Trouble> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: vec![0; BUFFER] })
    }

    fn download(&mut self) -> Result<(), Trouble> {
        for _ in 0..ANSWERS {
            self.stream.write_all(b"GET /file HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")?;
            self.receive(FILE)?;
        }
        Ok(())
    }

    fn upload(&mut self) -> Result<(), Trouble> {
        let fields = format!("Host: 127.0.0.1\r\nContent-Length: {MEBIBYTE}\r\n");
        let mut request = format!("POST /upload HTTP/1.1\r\n{fields}\r\n").into_bytes();
        request.resize(request.len() + MEBIBYTE, b'x');
        for _ in 0..REQUESTS {
            self.stream.write_all(&request)?;
            self.receive(BODY.len())?;
        }
        Ok(())
    }

    /// Receives an answer with so many bytes.
    fn receive(&mut self, length: usize) -> Result<(), Trouble> {
        let mut come = 0;
        let end = loop {
            let read = self.stream.read(&mut self.buffer[come..])?;
            come += read;
            let head = &self.buffer[..come];
            match head.windows(4).position(|end| end == b"\r\n\r\n") {
                Some(end) if head.starts_with(b"HTTP/1.1 200 ") => break end + 4,
                None if read > 0 => {}
                _ => return Err(String::from_utf8_lossy(head).into()),
            }
        };
        while come < end + length {
            match self.stream.read(&mut self.buffer)? {
                0 => return Err(format!("ended after {come} bytes").into()),
                read => come += read,
            }
        }
        if come == end + length { Ok(()) } else { Err("more came than was asked for".into()) }
    }
}
