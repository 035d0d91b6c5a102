use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use proptest::prelude::*;

use super::{
    contents::{CarrierError, next_frame, open_records, receive},
    *,
};
use crate::connections::parked::Idle;
use crate::connections::registry::Registration;
use crate::handover::drain_history::LastDrain;
use crate::handover::shut_door::{Away, Hold};
use crate::sockets::stream::Stream;

/// A carrier of one branch with one message, made of any `header`, `records` and descriptors.
struct Forged<'f> {
    header: &'f [u8],
    records: &'f [u8],
    has_records: bool,
    fds: Vec<BorrowedFd<'f>>,
}

impl Forged<'_> {
    fn take(&self) -> (CarrierContents, Option<CarrierError>) {
        let (carrier, read_end) = pair(BUFFER).unwrap();
        let (branch, branch_read_end) = pair(BUFFER).unwrap();
        let records = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
        records.write_all_at(self.records, 0).unwrap();
        if self.has_records {
            send_as(&carrier, self.header, &[records.as_fd()]);
        }
        send_as(&carrier, self.header, &[branch_read_end.as_fd()]);
        send_as(&branch, self.header, &self.fds);
        drop((carrier, branch, branch_read_end));
        CarrierContents::take(&read_end, &|_| usize::MAX)
    }
}

fn send_as(end: &OwnedFd, header: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(end, &[IoSlice::new(header)], &mut ancillary, SendFlags::empty()).unwrap();
}

/// What is taken from a carrier with one connection, and the other end of that.
fn take(header: &[u8], records: &[u8]) -> (CarrierContents, Option<CarrierError>, UnixStream) {
    let (client, server) = UnixStream::pair().unwrap();
    let forged = Forged { header, records, has_records: true, fds: vec![server.as_fd()] };
    let (taken, error) = forged.take();
    (taken, error, client)
}

/// The records of one connection.
fn record(unread: &[u8]) -> Vec<u8> {
    let record = Record::Connection {
        server: "public".to_owned(),
        peer: "unix".to_owned(),
        unread: unread.to_vec(),
        skip: Some(Remainder::Counted(3)),
        fresh: false,
    };
    let frames = [Frame::Batch(vec![record]), Frame::End(DrainHistory::default())];
    frames.iter().flat_map(framed).collect()
}

fn framed(frame: &Frame) -> Vec<u8> {
    let bytes = postcard::to_stdvec(frame).unwrap();
    [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), &bytes[..]].concat()
}

#[tokio::test]
async fn a_connection_arrives_with_its_server_and_what_was_read_of_it() {
    let (taken, error, _client) = take(&HEADER, &record(b"GET / HT"));
    assert!(error.is_none());
    let [(server, idle)] = &taken.connections[..] else { panic!("{taken:?}") };
    assert_eq!(
        (&**server, &*idle.unread, idle.skip),
        ("public", &b"GET / HT"[..], Some(Remainder::Counted(3)))
    );
}

#[tokio::test]
async fn what_another_version_wrote_is_closed() {
    let mut header = HEADER;
    header[9] = CARRIER_VERSION + 1;
    let (taken, error, mut client) = take(&header, &record(b""));
    assert!(matches!(error, Some(CarrierError::Format)));
    assert!(taken.connections.is_empty());
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "the client sees an orderly end");
}

#[tokio::test]
async fn records_that_make_no_sense_are_closed() {
    for records in [
        &b""[..],
        b"\xff\xff\xff\xff\xff",
        &record(b"x")[..7],
        b"\x00",
        b"\x00\x00\x00\x00",
        b"\x02\x00\x00\x00\x00\x00",
        &framed(&Frame::End(DrainHistory::default())),
    ] {
        let (taken, error, mut client) = take(&HEADER, records);
        assert!(matches!(error, Some(CarrierError::Format)), "{records:?}");
        assert!(taken.connections.is_empty() && taken.listeners.is_empty());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn an_empty_carrier_holds_nothing() {
    let (carrier, read_end) = pair(BUFFER).unwrap();
    drop(carrier);
    let (taken, error) = CarrierContents::take(&read_end, &|_| usize::MAX);
    assert!(error.is_none() && taken.connections.is_empty() && taken.gone == 0);
    let (carrier, read_end) = Carrier::new().unwrap();
    carrier.finish(DrainHistory::default()).unwrap();
    let (taken, error) = CarrierContents::take(&read_end, &|_| usize::MAX);
    assert!(error.is_none() && taken.connections.is_empty() && taken.gone == 0);
    assert_eq!(taken.history, Some(DrainHistory::default()));
}

/// Idle connections of a server, deposited as in a drain, each with its client.
fn held(count: usize) -> (Arc<Registry>, Vec<UnixStream>, Vec<Registration>) {
    let registry = Arc::new(Registry::new("public".to_owned()));
    let (mut clients, mut members) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (client, server) = UnixStream::pair().unwrap();
        let idle = Idle::fresh(Stream::adopt(server.into()).unwrap());
        let member = registry.join_connection(idle.stream.socket());
        member.deposit(Deposit::Connection(idle));
        clients.push(client);
        members.push(member);
    }
    (registry, clients, members)
}

#[tokio::test]
async fn connections_that_fill_a_branch_go_on_in_others() {
    let (server, _clients, _members) = held(5000);
    // The smallest buffer that the kernel allows holds two or three messages.
    let (mut carrier, read_end) = Carrier::with_buffer(0).unwrap();
    let loaded = carrier.load([&server], false, Instant::now()).await;
    assert!(loaded.shortage.is_none(), "{loaded:?}");
    let loaded = carrier.finish(DrainHistory::default()).unwrap();
    assert_eq!((loaded.handed_over(), loaded.not_handed_over()), (5000, 0));
    let (taken, error) = CarrierContents::take(&read_end, &|_| usize::MAX);
    assert!(error.is_none(), "{error:?}");
    assert_eq!((taken.connections.len(), taken.surplus.len()), (5000, 0));
    assert_eq!(taken.history.unwrap().handed_over["public"], 5000);
}

#[tokio::test]
async fn a_connection_is_given_once_however_often_it_is_tried() {
    let (server, _clients, _members) = held(300);
    let (mut carrier, read_end) = Carrier::new().unwrap();
    for _ in 0..3 {
        carrier.load([&server], false, Instant::now()).await;
    }
    assert_eq!(carrier.finish(DrainHistory::default()).unwrap().handed_over(), 300);
    let (taken, _) = CarrierContents::take(&read_end, &|_| usize::MAX);
    assert_eq!(taken.connections.len(), 300);
}

#[tokio::test]
async fn what_has_no_room_is_closed_and_counted_and_the_rest_taken() {
    let (server, _clients, _members) = held(600);
    let (mut carrier, read_end) = Carrier::new().unwrap();
    carrier.load([&server], false, Instant::now()).await;
    carrier.finish(DrainHistory::default()).unwrap();
    let (taken, error) = CarrierContents::take(&read_end, &|_| 400);
    assert!(error.is_none(), "{error:?}");
    assert_eq!((taken.connections.len(), taken.surplus["public"]), (400, 200));
    assert!(taken.history.is_some());
}

/// The number by which the kernel knows a socket, in every process that has it.
fn inode(fd: impl AsFd) -> u64 {
    rustix::fs::fstat(fd).unwrap().st_ino
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_a_carrier_nothing_of_it_stays_open(
        header in prop_oneof![Just(HEADER.to_vec()), prop::collection::vec(any::<u8>(), 1..24)],
        mut records in prop_oneof![Just(record(b"GET")), prop::collection::vec(any::<u8>(), 0..64)],
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        sockets in 0..4_usize,
        has_records: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        if let (Some((at, byte)), false) = (change, records.is_empty()) {
            let at = at.index(records.len());
            records[at] = byte;
        }
        let (clients, servers): (Vec<_>, Vec<_>) =
            (0..sockets).map(|_| UnixStream::pair().unwrap()).unzip();
        let fds = servers.iter().map(AsFd::as_fd).collect();
        let forged = Forged { header: &header, records: &records, has_records, fds };
        let (taken, _) = forged.take();
        drop(servers);
        prop_assert!(taken.connections.len() + taken.listeners.len() <= sockets);
        drop(taken);
        for mut client in clients {
            prop_assert_eq!(client.read(&mut [0]).unwrap(), 0, "the client sees an end");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_put_into_a_carrier_arrives_in_order_and_unchanged(
        deposits in prop::collection::vec(
            (
                "[a-z]{1,9}",
                prop::collection::vec(any::<u8>(), 0..99),
                any::<Option<u64>>().prop_map(|count| count.map(Remainder::Counted)),
                any::<bool>(),
                any::<Option<bool>>(),
            ),
            0..600,
        ),
        duration: Duration,
        requests: u64,
        size in 1..=DESCRIPTORS_MAX,
        buffer in prop_oneof![Just(0), Just(20_000), Just(BUFFER)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        // Small, so that a few messages fill a branch.
        let (mut carrier, read_end) = Carrier::with_buffer(buffer).unwrap();
        let pairs: Vec<_> = deposits.iter().map(|_| UnixStream::pair().unwrap()).collect();
        let (mut connections, mut listeners) = (Vec::new(), Vec::new());
        let mut records = Vec::new();
        for ((server, unread, skip, fresh, listener), (_, socket)) in deposits.into_iter().zip(&pairs) {
            records.push(if let Some(managers) = listener {
                listeners.push((server.clone(), managers, inode(socket)));
                Record::Listener { server, managers }
            } else {
                connections.push((server.clone(), unread.clone(), skip, fresh, inode(socket)));
                Record::Connection { server, peer: String::new(), unread, skip, fresh }
            });
        }
        let mut fds = pairs.iter().map(|(_, socket)| socket.as_fd());
        while !records.is_empty() {
            let rest = records.split_off(records.len().min(size));
            let fds: Vec<_> = fds.by_ref().take(size).collect();
            carrier.send(std::mem::replace(&mut records, rest), &fds).unwrap();
        }
        let history = DrainHistory::default().with(LastDrain { duration, requests });
        carrier.finish(history.clone()).unwrap();
        let (taken, error) = CarrierContents::take(&read_end, &|_| usize::MAX);
        prop_assert!(error.is_none() && taken.gone == 0, "{:?}", error);
        prop_assert_eq!(taken.history, Some(history));
        let came: Vec<_> = taken.connections.iter().map(|(server, idle)| {
            let fresh = idle.waiting == Timeout::FirstByte;
            (server.clone(), idle.unread.to_vec(), idle.skip, fresh, inode(idle.stream.socket().unwrap()))
        }).collect();
        prop_assert_eq!(came, connections);
        let came: Vec<_> = taken.listeners.iter().map(|left| {
            (left.server.clone(), left.managers, inode(&left.fd))
        }).collect();
        prop_assert_eq!(came, listeners);
    }
}

#[tokio::test]
async fn a_connection_with_unread_bytes_is_taken_even_beyond_the_limit() {
    let (server, mut clients, _members) = held(9);
    for asking in clients.iter_mut().step_by(2) {
        asking.write_all(b"GET / HT").unwrap();
    }
    let (mut carrier, read_end) = Carrier::new().unwrap();
    carrier.load([&server], false, Instant::now()).await;
    carrier.finish(DrainHistory::default()).unwrap();
    let (mut taken, error) = CarrierContents::take(&read_end, &|_| 2);
    assert!(error.is_none(), "{error:?}");
    let all = taken.connections.iter_mut();
    let asking = all.filter_map(|(_, idle)| idle.stream.has_unread().then_some(())).count();
    assert_eq!(asking, 5);
    assert_eq!(taken.connections.len() + taken.surplus["public"], 9);
    assert!(taken.connections.len() <= 7, "idle ones beyond the limit are left out");
}

#[tokio::test]
async fn shut_doors_come_along_and_earlier_versions_do_not_look_for_them() {
    let hold = Some(Hold { left: Duration::from_secs(7), was_away: true });
    let away = Some(Away { time: Duration::from_secs(1), trouble: "refused".to_owned() });
    let (server, address) = ("public".to_owned(), "unix:/run/app.sock".to_owned());
    let door = ShutDoor { server, address, hold, away };
    let (mut carrier, read_end) = Carrier::new().unwrap();
    carrier.add_doors([door.clone()]);
    carrier.finish(DrainHistory::default()).unwrap();
    // What comes behind it nobody reads who does not know of it.
    let mut records =
        receive(&read_end, &HEADER).map(|first| open_records(first.unwrap())).unwrap().unwrap();
    assert!(matches!(next_frame(&mut records).unwrap(), Some(Frame::End(_))));

    let (mut carrier, read_end) = Carrier::new().unwrap();
    carrier.add_doors([door.clone()]);
    carrier.finish(DrainHistory::default()).unwrap();
    let (taken, error) = CarrierContents::take(&read_end, &|_| usize::MAX);
    assert!(error.is_none(), "{error:?}");
    assert_eq!((taken.doors, taken.history), (vec![door], Some(DrainHistory::default())));
}
