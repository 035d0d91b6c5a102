//! A chat over `WebSocket`s, which are told when the process ends.

use std::{net::SocketAddr, thread};

use axum::extract::ws::close_code;
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::{
    examples::{PUBLIC, keeps_its_promises, load, machine, stop},
    support::{PATIENCE, message},
};

#[test]
fn websocket_keeps_its_promises_beside_its_sockets() {
    let Some(machine) = machine("websocket", &["public=8080"]) else { return };
    keeps_its_promises(&machine, "websocket", &load("/"), 5);
}

#[test]
fn websockets_are_told_of_a_restart_an_upgrade_and_a_stop_and_have_time_to_answer() {
    let Some(machine) = machine("websocket", &["public=8080"]) else { return };
    let orders: [&[&str]; 3] = [
        &["restart", "websocket"],
        &["kill", "--kill-who=main", "--signal=USR2", "websocket"],
        &["stop", "websocket"],
    ];
    machine.in_network(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for order in orders {
            let mut socket = runtime.block_on(connect());
            runtime.block_on(say(&mut socket, "still there"));
            assert_eq!(runtime.block_on(hear(&mut socket)), "still there");
            let mark = machine.journal_mark();
            thread::scope(|scope| {
                let ordered = scope.spawn(|| machine.systemctl(order).ok());
                let code = runtime.block_on(goodbye(&mut socket));
                assert_eq!(code, close_code::RESTART, "{order:?}");
                ordered.join().expect("the order is carried out");
            });
            if order[0] != "stop" {
                let ready = |entry: &serde_json::Value| message(entry).starts_with("ready");
                machine.wait_for_journal("the next program", &["-u", "websocket", &mark], ready);
            }
        }
    });
    stop(&machine, "websocket");
}

#[test]
fn what_one_says_all_hear_in_each_process_anew() {
    let Some(machine) = machine("websocket", &["public=8080"]) else { return };
    machine.in_network(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for _ in 0..2 {
            runtime.block_on(async {
                let (mut first, mut second) = (connect().await, connect().await);
                // Whoever has heard itself is in the room; by then the second may have heard the first.
                for (socket, name) in [(&mut first, "Ada"), (&mut second, "Bob")] {
                    say(socket, name).await;
                    while hear(socket).await != name {}
                }
                assert_eq!(hear(&mut first).await, "Bob");
                say(&mut second, "tea?").await;
                for socket in [&mut first, &mut second] {
                    assert_eq!(hear(socket).await, "tea?");
                }
            });
            machine.systemctl(&["restart", "websocket"]).ok();
        }
    });
    stop(&machine, "websocket");
}

type Socket = WebSocketStream<tokio::net::TcpStream>;

async fn connect() -> Socket {
    let stream = tokio::net::TcpStream::connect(SocketAddr::from(PUBLIC)).await;
    let stream = stream.expect("its socket is open");
    client_async("ws://localhost:8080/chat", stream).await.expect("it upgrades").0
}

async fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.expect("the server reads");
}

async fn hear(socket: &mut Socket) -> String {
    let heard = timeout(PATIENCE, socket.next()).await.expect("somebody says something");
    let heard = heard.expect("it is open").expect("it is not cut off");
    heard.into_text().expect("it is text").to_string()
}

/// Waits for the server's goodbye and the end of the connection; answers its code.
async fn goodbye(socket: &mut Socket) -> u16 {
    let last = socket.next().await.expect("it is open").expect("it says goodbye");
    let Message::Close(Some(frame)) = last else { panic!("{last:?}") };
    // Reading on sends our own goodbye, and finds that the server has closed after it; or before, if
    // that comes late.
    let after = socket.next().await;
    assert!(!matches!(after, Some(Ok(_))), "after its goodbye comes {after:?}");
    frame.code.into()
}
