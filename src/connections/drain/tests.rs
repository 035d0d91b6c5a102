//! Drains on a clock that is not waited for.

use std::future::poll_fn;
use std::os::unix::net::UnixStream;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::connections::parked::Idle;
use crate::connections::registry::{Deposit, Registration};
use crate::sockets::stream::Stream;

/// A drain of one server.
fn drain(server: &Arc<Registry>, timeout: Duration) -> Drain {
    let (servers, linger) = (vec![Arc::clone(server)], Duration::from_secs(1));
    Drain::new(servers, None, timeout, linger, Shutdown::default())
}

/// A client that sends one request after the other, each of which takes `time`, the first `before` it.
fn client(server: &Arc<Registry>, before: Duration, time: Duration) -> JoinHandle<()> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let idle = Idle::fresh(Stream::unix(ours.into()));
    let registration = server.join_connection(idle.stream.socket());
    tokio::spawn(async move {
        let _theirs = theirs;
        let mut idle = Some(idle);
        sleep(before).await;
        loop {
            sleep(time).await;
            idle = Some(between_requests(idle.take().unwrap(), &registration).await);
        }
    })
}

/// Deposits the connection if it is to be held; gives it back for the next request.
async fn between_requests(idle: Idle, registration: &Registration) -> Idle {
    registration.handle().finished();
    if registration.handle().mode() != Mode::Hold {
        return idle;
    }
    registration.deposit(Deposit::Connection(idle));
    match poll_fn(|cx| registration.poll_released(cx)).await {
        Deposit::Connection(idle) => idle,
        Deposit::Listener(_) | Deposit::Tunnel(_) => {
            unreachable!("it has deposited a connection")
        }
    }
}

/// Clients that never pause, and begin at different times.
fn crowd(server: &Arc<Registry>, time: Duration) -> Vec<JoinHandle<()>> {
    (0..8).map(|number| client(server, time * number / 8, time)).collect()
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_third_of_the_time_out_are_not_cut_off_however_many_follow() {
    for millis in [1, 150, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 6_600] {
        let server = Arc::new(Registry::new("test".to_owned()));
        let clients = crowd(&server, Duration::from_millis(millis));
        sleep(Duration::from_secs(60)).await;
        let drain = drain(&server, Duration::from_secs(20));
        assert_eq!(drain.hold().await, Unfinished::default(), "{millis} ms");
        assert!(drain.started.elapsed() <= drain.timeout);
        clients.iter().for_each(JoinHandle::abort);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_ends_costs_no_other() {
    let server = Arc::new(Registry::new("test".to_owned()));
    let endless = client(&server, Duration::ZERO, Duration::from_secs(1 << 20));
    let clients = crowd(&server, Duration::from_secs(5));
    sleep(Duration::from_secs(60)).await;
    let drain = drain(&server, Duration::from_secs(20));
    assert_eq!(drain.hold().await.connections, 1);
    assert_eq!(drain.started.elapsed(), drain.timeout);
    clients.iter().chain([&endless]).for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn short_requests_are_held_back_for_a_second_at_most_behind_one_that_never_ends() {
    let server = Arc::new(Registry::new("test".to_owned()));
    // An upgrade that came to nothing does not count.
    let clients = crowd(&server, Duration::from_secs(5));
    sleep(Duration::from_secs(60)).await;
    let earlier = drain(&server, Duration::from_secs(20));
    assert_eq!(earlier.hold().await, Unfinished::default());
    earlier.release();
    clients.iter().for_each(JoinHandle::abort);
    let endless = client(&server, Duration::ZERO, Duration::from_secs(1 << 20));
    let clients = crowd(&server, Duration::from_millis(10));
    sleep(Duration::from_secs(1)).await;
    let drain = drain(&server, Duration::from_secs(20));
    let held = async {
        let mut held = Duration::ZERO;
        loop {
            sleep(Duration::from_millis(1)).await;
            // All but the one that never ends.
            held += Duration::from_millis(u64::from(server.unheld() == 1));
            if drain.started.elapsed() + Duration::from_millis(10) >= drain.timeout {
                return held;
            }
        }
    };
    let (unfinished, held) = tokio::join!(drain.hold(), held);
    assert_eq!(unfinished.connections, 1);
    // The first hold, and the last.
    assert!(held <= GRACE + FIRM, "{held:?}");
    clients.iter().chain([&endless]).for_each(JoinHandle::abort);
}
