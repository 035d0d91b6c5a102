//! Applications of HTTP/2 that take no request, or answer before it has ended.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{iter, pending};
use http::{Method, Version};
use http_body::Frame;
use http_body_util::StreamBody;

use super::{Case, request, text};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200`, of the table that both have (RFC 7541, appendix A).
const OK: &[u8] = &[0x88];

fn case(serve: impl Fn(UnixStream) -> io::Result<()> + Send + 'static) -> Case {
    let case = Case::new(move |stream, _| serve(stream));
    Case { proxy: case.proxy.clone().http2(true), ..case }
}

fn write(stream: &mut UnixStream, kind: u8, flags: u8, of: u8, payload: &[u8]) -> io::Result<()> {
    let length = u8::try_from(payload.len()).unwrap();
    stream.write_all(&[&[0, 0, length, kind, flags, 0, 0, 0, of], payload].concat())
}

/// Reads up to the head of a request.
fn read_head(stream: &mut UnixStream) -> io::Result<()> {
    stream.read_exact(&mut [0; 24])?;
    let mut head = [0; 9];
    while head[3] != HEADERS {
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize])?;
    }
    Ok(())
}

#[tokio::test]
async fn a_request_behind_the_last_stream_of_a_goaway_is_sent_again_whatever_its_method() {
    let connections = AtomicUsize::new(0);
    let case = case(move |mut stream| {
        read_head(&mut stream)?;
        write(&mut stream, SETTINGS, 0, 0, &[])?;
        if connections.fetch_add(1, Ordering::Relaxed) == 0 {
            write(&mut stream, GOAWAY, 0, 0, &[0; 8])?;
        } else {
            write(&mut stream, HEADERS, END_HEADERS | END_STREAM, 1, OK)?;
        }
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    let answer = case.ask(request(Method::POST)).await;
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_11));
}

#[tokio::test]
async fn a_connection_on_which_a_body_is_on_its_way_is_not_kept_and_the_answer_is_whole() {
    let case = case(|mut stream| {
        read_head(&mut stream)?;
        write(&mut stream, SETTINGS, 0, 0, &[])?;
        write(&mut stream, HEADERS, END_HEADERS, 1, OK)?;
        write(&mut stream, DATA, END_STREAM, 1, b"ok")?;
        stream.read_to_end(&mut Vec::new()).map(drop)
    });
    let begun = iter([Ok(Frame::data(Bytes::from_static(b"x")))]);
    let body = StreamBody::new(begun.chain(pending()));
    let answer = case.ask(request(Method::POST).map(|_| body)).await;
    assert_eq!(text(answer).await, "ok");
    assert_eq!(case.proxy.state().upstream().kept(), 0);
}
