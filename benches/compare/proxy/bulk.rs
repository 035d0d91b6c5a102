//! 1 GiB through a proxy, in both directions.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use super::{Proxy, as_client, start};
use crate::{
    Setting,
    server::Server,
    support::{BODY, Trouble},
    table::{Row, Samples},
};

const LENGTH: usize = 1 << 30;
const BUFFER: usize = 256 * 1024;

/// How long nothing may move.
const PATIENCE: Duration = Duration::from_secs(10);

const MEBIBYTE: f64 = 1_048_576.0;

type Transfer = fn(u16) -> Result<(), Trouble>;

const DIRECTIONS: [(&str, Transfer); 2] = [("an answer", download), ("an upload", upload)];

pub(crate) fn bulk(setting: &Setting) -> Result<Vec<Row<Proxy>>, Trouble> {
    let (servers, _application) = start(setting)?;
    let columns =
        || -> Vec<_> { servers.iter().map(|(proxy, _)| (*proxy, Samples::default())).collect() };
    let mut speeds = DIRECTIONS.map(|_| columns());
    let mut peaks = DIRECTIONS.map(|_| columns());
    for _ in 0..setting.rounds {
        for (at, (proxy, server)) in servers.iter().enumerate() {
            for (direction, (_, transfer)) in DIRECTIONS.into_iter().enumerate() {
                let mut peak = None;
                speeds[direction][at].1.attempt(*proxy, || {
                    let (speed, memory) = once(server, transfer)?;
                    peak = Some(memory);
                    Ok(speed)
                });
                if let Some(peak) = peak {
                    peaks[direction][at].1.add(peak);
                }
            }
        }
    }
    let mut rows = Vec::new();
    for ((speeds, peaks), (name, _)) in speeds.into_iter().zip(peaks).zip(DIRECTIONS) {
        rows.push(Row::new(format!("MiB per CPU-second, {name} of 1 GiB"), speeds));
        rows.push(Row::new("… peak resident memory meanwhile, MiB", peaks));
    }
    Ok(rows)
}

/// MiB for each second of the proxy's processor, and the most memory that it had, in MiB.
#[expect(clippy::cast_precision_loss, reason = "bytes of a process's memory are far below 2^52")]
fn once(server: &Server, transfer: Transfer) -> Result<(f64, f64), Trouble> {
    server.forget_peak()?;
    let before = server.time();
    as_client(|| transfer(server.port))?;
    let time = server.time().saturating_sub(before);
    let peak = server.peak()? as f64;
    Ok((LENGTH as f64 / MEBIBYTE / time.as_secs_f64(), peak / MEBIBYTE))
}

fn download(port: u16) -> Result<(), Trouble> {
    let mut stream = connect(port)?;
    stream.write_all(b"GET /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut buffer = vec![0; BUFFER];
    let mut come = stream.read(&mut buffer)?;
    let end = buffer[..come].windows(4).position(|end| end == b"\r\n\r\n");
    let Some(end) = end.filter(|_| buffer.starts_with(b"HTTP/1.1 200 ")) else {
        return Err(String::from_utf8_lossy(&buffer[..come]).into());
    };
    while come < end + 4 + LENGTH {
        match stream.read(&mut buffer)? {
            0 => return Err(format!("ended after {come} bytes").into()),
            length => come += length,
        }
    }
    Ok(())
}

fn upload(port: u16) -> Result<(), Trouble> {
    let mut stream = connect(port)?;
    let head =
        format!("POST /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {LENGTH}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let zeros = vec![0; BUFFER];
    for _ in 0..LENGTH / BUFFER {
        stream.write_all(&zeros)?;
    }
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(BODY) {
        match stream.read(&mut buffer)? {
            0 => return Err(String::from_utf8_lossy(&answer).into()),
            length => answer.extend_from_slice(&buffer[..length]),
        }
    }
    if answer.starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&answer).into())
    }
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}
