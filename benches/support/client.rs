//! A client that sends exactly as many requests as it is told to.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::{Child, Trouble};

/// What every server answers.
pub(crate) const BODY: &[u8] = b"Hello, Serve is running...\n";

const PATIENCE: Duration = Duration::from_secs(60);

/// How many connections of a crowd have the same address of their own.
const OF_ONE_ADDRESS: u32 = 8_000;

/// How connections are used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    /// How many requests are sent at once.
    pub(crate) depth: usize,
    /// A new connection for each request.
    pub(crate) close: bool,
    /// How long each request's body is; without one it is a GET, a POST otherwise.
    pub(crate) body: usize,
}

/// A connection on which something was or will be asked.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
}

/// Different ports that nobody listens on: all are taken before any is given back.
pub(crate) fn free_ports<const COUNT: usize>() -> io::Result<[u16; COUNT]> {
    let mut ports = [0; COUNT];
    let mut taken = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        taken.push(listener);
    }
    Ok(ports)
}

/// What is at `path`, head and body.
pub(crate) fn get(port: u16, path: &str) -> io::Result<String> {
    let mut client = Client::connect(port)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client.send(request.as_bytes())?;
    let mut answer = String::new();
    client.stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Waits until `server` has answered a request on `port`.
pub(crate) fn answer(server: &mut Child, port: u16) -> Result<(), Trouble> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Client::connect(port).and_then(|mut client| client.ask(1)) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() != ErrorKind::ConnectionRefused => return Err(error.into()),
            Err(_) if server.has_ended() => return Err("a server ended at its start".into()),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_micros(50)),
        }
    }
}

// === impl Load ===

impl Load {
    /// Asks for `requests` answers of the server on `port`; all connections are busy at the same time.
    pub(crate) fn run(self, port: u16, requests: usize) -> io::Result<()> {
        let rounds = requests / (self.connections * self.depth);
        if self.close {
            for _ in 0..rounds {
                let mut clients = self.connect(port)?;
                for client in &mut clients {
                    client.send(&request(true, 0))?;
                }
                for mut client in clients {
                    client.receive_all()?;
                }
            }
            return Ok(());
        }
        let mut clients = self.connect(port)?;
        let batch = request(false, self.body).repeat(self.depth);
        let Some(first) = clients.first_mut() else { return Ok(()) };
        let length = first.ask(1)?;
        for _ in 0..rounds {
            for client in &mut clients {
                client.send(&batch)?;
            }
            for client in &mut clients {
                client.receive(length * self.depth)?;
            }
        }
        Ok(())
    }

    fn connect(self, port: u16) -> io::Result<Vec<Client>> {
        (0..self.connections).map(|_| Client::connect(port)).collect()
    }
}

// === impl Client ===

impl Client {
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        Self::on(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)
    }

    fn on(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// One of many: each few thousand have an address of their own, as the ports of one do not suffice, and those of
    /// connections that have ended are not free at once.
    pub(crate) fn of_crowd(port: u16) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let address = NUMBER.fetch_add(1, Ordering::Relaxed) / OF_ONE_ADDRESS;
        let source = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + address);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddrV4::new(source, 0).into())?;
        socket.connect(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
        Self::on(socket.into())
    }

    /// Asks so many times at once; answers the length of one answer, head and body.
    pub(crate) fn ask(&mut self, times: usize) -> io::Result<usize> {
        self.send(&request(false, 0).repeat(times))?;
        let mut answers = Vec::new();
        let mut bytes = [0; 4096];
        while answers.windows(BODY.len()).filter(|window| *window == BODY).count() < times {
            match self.stream.read(&mut bytes)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                length => answers.extend_from_slice(&bytes[..length]),
            }
        }
        if answers.starts_with(b"HTTP/1.1 200 ") {
            Ok(answers.len() / times)
        } else {
            Err(io::Error::other(String::from_utf8_lossy(&answers)))
        }
    }

    fn send(&mut self, requests: &[u8]) -> io::Result<()> {
        self.stream.write_all(requests)
    }

    fn receive(&mut self, length: usize) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        let mut left = length;
        while left > 0 {
            match self.stream.read(&mut bytes)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => left = left.checked_sub(read).ok_or(ErrorKind::InvalidData)?,
            }
        }
        Ok(())
    }

    fn receive_all(&mut self) -> io::Result<()> {
        let mut answer = Vec::new();
        self.stream.read_to_end(&mut answer)?;
        if answer.ends_with(BODY) { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}

fn request(close: bool, body: usize) -> Vec<u8> {
    let close = if close { "Connection: close\r\n" } else { "" };
    let host = "Host: 127.0.0.1:9090\r\n";
    if body == 0 {
        return format!("GET / HTTP/1.1\r\n{host}{close}\r\n").into_bytes();
    }
    let head = format!("POST / HTTP/1.1\r\n{host}{close}Content-Length: {body}\r\n\r\n");
    let mut request = head.into_bytes();
    request.resize(request.len() + body, b'x');
    request
}
