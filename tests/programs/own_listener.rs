//! A server whose clients come through a listener of its own, on TCP so that any client can be used.
//!
//! ```text
//! cargo run --example own_listener socket|stream|block ADDRESS PUBLIC ADMIN DRAIN_TIMEOUT
//! ```
//!
//! The library is given sockets, which are handed over, or streams of bytes, which are not; or the listener makes the
//! mistake to block its thread. `POST /` tells how long its body is.

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use axum::{Router, routing::get};
use lockstepd::{Accept, Accepted, Daemon, Format, Listen, LogSettings, Peer, Server};
use tokio::net::TcpListener;

struct Own {
    address: String,
    kind: String,
    listener: Option<TcpListener>,
}

impl Accept for Own {
    async fn listen(&mut self) -> io::Result<()> {
        self.listener = Some(TcpListener::bind(&*self.address).await?);
        Ok(())
    }

    async fn accept(&mut self) -> io::Result<Accepted> {
        if self.kind == "block" {
            thread::sleep(Duration::from_secs(3600));
        }
        let listener = self.listener.as_ref().expect("it listens");
        let (socket, peer) = listener.accept().await?;
        Ok(if self.kind == "stream" {
            Accepted::stream(socket).peer(Peer::Tcp(peer))
        } else {
            Accepted::socket(socket.into_std()?)
        })
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [kind, address, public, admin, drain_timeout] = &arguments[..] else {
        panic!("say socket, stream or block, three addresses and a time");
    };
    let own = Own { address: address.clone(), kind: kind.clone(), listener: None };
    let mut log = LogSettings::default();
    log.format = Format::Json;
    let length = async |body: String| format!("{}\n", body.len());
    let router = Router::new().route("/", get(length).post(length));
    let server = Server::new("own", Listen::none(), router.clone()).accept_from(own);
    Daemon::new("own_listener")
        .log(log)
        .drain_timeout(humantime::parse_duration(drain_timeout).expect("a time such as 2s"))
        .server("public", &**public, router)
        .add_server(server)
        .admin(&**admin)
        .run()
}
