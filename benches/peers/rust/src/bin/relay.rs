//! The floor of a proxy on hyper: what hyper's server and hyper's client cost when nothing stands between them. The
//! arguments are the address, and the path of the application's Unix socket.
//!
//! Each client has a connection to the application, which its own task drives. Heads and bodies are passed as they
//! are, and a client whose application closes is left alone.

use std::{cell::RefCell, env::args, future::poll_fn, pin::pin, task::Poll};

use hyper::{Request, body::Incoming, client, server, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream, UnixStream};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments: Vec<_> = args().skip(1).collect();
    let [address, application] = &arguments[..] else { panic!("an address, and a path") };
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let application = UnixStream::connect(application).await?;
        tokio::spawn(async move { drop(relay(stream, application).await) });
    }
}

async fn relay(stream: TcpStream, application: UnixStream) -> hyper::Result<()> {
    let (sender, upstream) = client::conn::http1::handshake(TokioIo::new(application)).await?;
    let sender = RefCell::new(sender);
    let pass = move |request: Request<Incoming>| sender.borrow_mut().send_request(request);
    let server = server::conn::http1::Builder::new();
    let mut served = pin!(server.serve_connection(TokioIo::new(stream), service_fn(pass)));
    let mut upstream = pin!(upstream);
    poll_fn(|cx| {
        // What one has for the other wakes this task again.
        match upstream.as_mut().poll(cx) {
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => served.as_mut().poll(cx),
        }
    })
    .await
}
