use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::connections::parked::Idle;
use crate::connections::registry::{Deposit, Registration};
use crate::handover::carrier::{CARRIER_VERSION, Frame, HEADER, pair};
use crate::handover::drain_history::{DrainHistory, LastDrain};

/// The far ends of what a server has deposited.
struct Held {
    registry: Arc<Registry>,
    /// Clients and applications.
    tunnels: Vec<(UnixStream, UnixStream)>,
    _idle: Vec<UnixStream>,
    registrations: Vec<Registration>,
}

fn stream() -> (UnixStream, Stream) {
    let (far, near) = UnixStream::pair().unwrap();
    (far, Stream::adopt(near.into()).unwrap())
}

/// So many tunnels and idle connections, deposited as in a drain.
fn held(tunnels: usize, idle: usize) -> Held {
    let registry = Arc::new(Registry::new("public".to_owned()));
    let (mut registrations, mut held) = (Vec::new(), (Vec::new(), Vec::new()));
    for number in 0..tunnels {
        let ((client, client_stream), (upstream, upstream_stream)) = (stream(), stream());
        let registration = registry.join_tunnel(client_stream.socket().unwrap());
        let (up, down) = (format!("up {number}"), format!("down {number}"));
        let tunnel = Tunnel::new(client_stream, upstream_stream, up.into(), down.into());
        registration.deposit(Deposit::Tunnel(Box::new(tunnel)));
        held.0.push((client, upstream));
        registrations.push(registration);
    }
    for _ in 0..idle {
        let (client, stream) = stream();
        let registration = registry.join_connection(stream.socket());
        registration.deposit(Deposit::Connection(Idle::fresh(stream)));
        held.1.push(client);
        registrations.push(registration);
    }
    Held { registry, tunnels: held.0, _idle: held.1, registrations }
}

fn history() -> DrainHistory {
    DrainHistory::default().with(LastDrain { requests: 7, ..LastDrain::default() })
}

async fn carried(held: &Held, buffer: usize) -> OwnedFd {
    let (mut carrier, read_end) = Carrier::with_buffer(buffer).unwrap();
    let loaded = carrier.load([&held.registry], false, Instant::now()).await;
    assert!(loaded.shortage.is_none(), "{loaded:?}");
    carrier.finish(history()).unwrap();
    read_end
}

#[tokio::test]
async fn tunnels_that_fill_an_annex_go_on_in_others_before_idle_connections() {
    let held = held(1500, 300);
    // The smallest buffer that the kernel allows holds two or three messages.
    let carrier = carried(&held, 0).await;
    let (taken, error) = CarrierContents::take(&carrier, &|_| 1600);
    assert!(error.is_none(), "{error:?}");
    assert_eq!((taken.tunnels.len(), taken.connections.len()), (1500, 100));
    assert_eq!(taken.surplus["public"], 200, "idle ones are left out");
    let history = taken.history.unwrap();
    assert_eq!((history.handed_over["public"], history.last.unwrap().requests), (1800, 7));
    for (number, (server, tunnel)) in taken.tunnels.iter().enumerate() {
        let flow = |unsent: String| Flow { unsent: unsent.into(), state: FlowState::Open };
        assert_eq!(server, "public");
        assert_eq!(tunnel.to_upstream, flow(format!("up {number}")));
        assert_eq!(tunnel.to_client, flow(format!("down {number}")));
    }
}

#[tokio::test]
async fn a_tunnel_is_given_once_however_often_it_is_tried() {
    let held = held(3, 0);
    let (mut carrier, read_end) = Carrier::new().unwrap();
    for _ in 0..3 {
        carrier.load([&held.registry], false, Instant::now()).await;
    }
    assert_eq!(carrier.finish(history()).unwrap().handed_over(), 3);
    let (taken, error) = CarrierContents::take(&read_end, &|_| usize::MAX);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(taken.tunnels.len(), 3);
}

#[tokio::test]
async fn an_end_that_came_meanwhile_takes_no_byte_along() {
    let mut held = held(1, 0);
    held.tunnels[0].0.write_all(b"last words").unwrap();
    held.tunnels[0].0.shutdown(std::net::Shutdown::Both).unwrap();
    let carrier = carried(&held, 1 << 20).await;
    let (mut taken, _) = CarrierContents::take(&carrier, &|_| usize::MAX);
    assert!(taken.tunnels[0].1.client.has_unread());
}

/// Reads a carrier as version 5 did before there were annexes: how many connections came, and the history.
fn read_without_annexes(carrier: &OwnedFd) -> (usize, Option<DrainHistory>) {
    assert_eq!(CARRIER_VERSION, 5, "another version has another reader");
    let mut records = open_records(receive(carrier, &HEADER).unwrap().unwrap()).unwrap();
    let mut connections = 0;
    while let Some(branches) = receive(carrier, &HEADER).unwrap() {
        for branch in branches.fds {
            while let Some(message) = receive(&branch, &HEADER).unwrap() {
                let frame = next_frame(&mut records).unwrap();
                let Some(Frame::Batch(batch)) = frame else { panic!("{frame:?}") };
                assert_eq!(batch.len(), message.fds.len());
                connections += batch.len();
            }
        }
    }
    match next_frame(&mut records).unwrap() {
        Some(Frame::End(history)) => (connections, Some(history)),
        _ => (connections, None),
    }
}

#[tokio::test]
async fn a_reader_that_knows_no_tunnels_closes_them_and_takes_everything_else() {
    let held = held(300, 300);
    let carrier = carried(&held, 0).await;
    let (connections, history) = read_without_annexes(&carrier);
    assert_eq!(connections, 300);
    assert_eq!(history.unwrap().last.unwrap().requests, 7);
    drop(carrier);
    let Held { tunnels, registrations, .. } = held;
    // The process before has ended.
    drop(registrations);
    for (mut client, mut upstream) in tunnels {
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "the client sees an orderly end");
        assert_eq!(upstream.read(&mut [0]).unwrap(), 0);
    }
}

#[tokio::test]
async fn an_annex_of_another_version_is_closed_and_everything_else_taken() {
    let held = held(0, 3);
    let (mut carrier, read_end) = Carrier::new().unwrap();
    let annex = Annex::new(&carrier.write_end, 1 << 20).unwrap();
    let (mut client, socket) = UnixStream::pair().unwrap();
    let mut header = ANNEX_HEADER.to_vec();
    *header.last_mut().unwrap() += 1;
    send_with(&annex.write_end, &header, &[socket.as_fd(), socket.as_fd()]).unwrap();
    drop((annex, socket));
    carrier.load([&held.registry], false, Instant::now()).await;
    carrier.finish(history()).unwrap();
    let (taken, error) = CarrierContents::take(&read_end, &|_| usize::MAX);
    assert!(matches!(error, Some(CarrierError::Format)), "{error:?}");
    assert_eq!((taken.tunnels.len(), taken.connections.len()), (0, 3));
    assert!(taken.history.is_some());
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "the client sees an orderly end");
}

/// The records of one message with one tunnel.
fn records() -> Vec<u8> {
    let flow = || FlowRecord { unsent: b"xyz".to_vec(), state: FlowState::Ending };
    let server = "public".to_owned();
    let batch =
        vec![TunnelRecord { server, to_upstream: flow(), to_client: flow(), tls: Vec::new() }];
    let bytes = postcard::to_stdvec(&batch).unwrap();
    [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), &bytes[..]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_an_annex_nothing_of_it_stays_open(
        header in prop_oneof![Just(ANNEX_HEADER.to_vec()), prop::collection::vec(any::<u8>(), 0..40)],
        mut bytes in prop_oneof![Just(records()), prop::collection::vec(any::<u8>(), 0..64)],
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        sockets in 0..4_usize,
        first_fds in 0..3_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        if let (Some((at, byte)), false) = (change, bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (clients, servers): (Vec<_>, Vec<_>) =
            (0..sockets).map(|_| UnixStream::pair().unwrap()).unzip();
        let (carrier, read_end) = Carrier::new().unwrap();
        let (annex, annex_read_end) = pair_of(SocketType::SEQPACKET, 1 << 20).unwrap();
        let memfd = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
        (&memfd).write_all(&bytes).unwrap();
        let first = vec![memfd.as_fd(); first_fds];
        let fds: Vec<_> = servers.iter().map(AsFd::as_fd).collect();
        send_some(&annex, &[], &first);
        send_some(&annex, &header, &fds);
        send(&carrier.write_end, &[annex_read_end.as_fd()]).unwrap();
        carrier.finish(history()).unwrap();
        drop((annex, annex_read_end));
        let (taken, _) = CarrierContents::take(&read_end, &|_| usize::MAX);
        drop(servers);
        prop_assert!(2 * taken.tunnels.len() <= sockets);
        prop_assert_eq!(taken.history, Some(history()), "what is behind an annex is taken");
        drop(taken.tunnels);
        drop(read_end);
        for mut client in clients {
            prop_assert_eq!(client.read(&mut [0]).unwrap(), 0, "the client sees an end");
        }
    }
}

/// As `send_with`, also without descriptors.
fn send_some(end: &OwnedFd, header: &[u8], fds: &[BorrowedFd<'_>]) {
    if fds.is_empty() {
        rustix::net::send(end, header, rustix::net::SendFlags::empty()).unwrap();
    } else {
        send_with(end, header, fds).unwrap();
    }
}

#[test]
fn a_branch_is_no_annex() {
    let (_write_end, read_end) = pair(1 << 20).unwrap();
    assert!(!is_annex(&read_end));
}
