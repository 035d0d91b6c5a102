//! The set by itself, and a model of it: generated sequences, beside a reference of what each connection waits for.

use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::task::Waker;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use tokio::time::{advance, timeout};

use super::*;
use crate::connections::registry::Room;

/// When a connection of these tests is to be looked at.
const LIMIT: Duration = Duration::from_secs(10);

/// A server with one connection: its client, and what is to be parked.
fn connection(registry: &Arc<Registry>) -> (UnixStream, Idle, Registration) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let idle = Idle::fresh(Stream::unix(ours.into()));
    let registration = registry.join_connection(idle.stream.socket());
    (theirs, idle, registration)
}

fn park(idle: Idle, registration: Registration) {
    let now = Instant::now();
    assert!(registration.park(idle, now, now + LIMIT).is_none());
}

fn server() -> (Arc<Registry>, Attendant) {
    let registry = Arc::new(Registry::new("test".to_owned()));
    let attendant = registry.attend().unwrap().unwrap();
    (registry, attendant)
}

/// Those that are woken now, in no particular order; none of the server's end.
async fn woken(attendant: &mut Attendant) -> Option<Vec<Woken>> {
    let mut all = Vec::new();
    // The runtime learns of what has come between two tasks' turns.
    for _ in 0..4 {
        tokio::task::yield_now().await;
        while let Poll::Ready(some) = attendant.poll_woken(&mut Context::from_waker(Waker::noop()))
        {
            all.extend(some?);
        }
    }
    Some(all)
}

#[tokio::test(start_paused = true)]
async fn a_parked_connection_is_woken_by_a_byte_and_has_been_idle_since_it_was() {
    let (registry, mut attendant) = server();
    let (mut client, idle, registration) = connection(&registry);
    let since = Instant::now();
    park(idle, registration);
    advance(Duration::from_secs(1)).await;
    assert!(woken(&mut attendant).await.unwrap().is_empty());
    client.write_all(b"x").unwrap();
    let woken = woken(&mut attendant).await.unwrap();
    assert_eq!(woken.len(), 1);
    assert_eq!(woken[0].since, since);
    assert_eq!(woken[0].idle.stream.read_first().unwrap().unwrap(), "x");
}

#[tokio::test(start_paused = true)]
async fn a_parked_connection_whose_client_hangs_up_is_woken() {
    let (registry, mut attendant) = server();
    let (client, idle, registration) = connection(&registry);
    park(idle, registration);
    // Another test's child may have a copy of the socket for a moment.
    client.shutdown(Shutdown::Both).unwrap();
    assert_eq!(woken(&mut attendant).await.unwrap().len(), 1);
    assert_eq!(registry.connections(), 0, "nobody has it any more");
}

#[tokio::test(start_paused = true)]
async fn a_hold_does_not_wait_for_parked_connections_and_wakes_none() {
    let (registry, mut attendant) = server();
    let (mut client, idle, registration) = connection(&registry);
    park(idle, registration);
    registry.hold();
    timeout(Duration::ZERO, registry.held()).await.expect("it is a deposit");
    client.write_all(b"x").unwrap();
    advance(LIMIT).await;
    assert!(woken(&mut attendant).await.unwrap().is_empty());
    assert_eq!(registry.release(), 0, "it is no straggler");
    assert_eq!(woken(&mut attendant).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_evicted_connection_is_woken_to_end() {
    let (registry, mut attendant) = server();
    let (_client, idle, registration) = connection(&registry);
    park(idle, registration);
    assert_eq!(registry.make_room(0, Duration::ZERO), (1, Room::Made));
    let woken = woken(&mut attendant).await.unwrap();
    assert!(woken[0].registration.handle().is_evicted());
    drop(woken);
    assert_eq!(registry.connections(), 0);
    assert_eq!(registry.lock().evicted, 0);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_all_are_woken_and_none_is_parked() {
    let (registry, mut attendant) = server();
    let connections: Vec<_> = (0..3).map(|_| connection(&registry)).collect();
    let _clients: Vec<_> = connections
        .into_iter()
        .map(|(client, idle, registration)| {
            park(idle, registration);
            client
        })
        .collect();
    registry.linger();
    let all = attendant.woken().await.unwrap();
    assert_eq!(all.len(), 3);
    for Woken { idle, registration, since } in all {
        assert!(registration.park(idle, since, since + LIMIT).is_some());
    }
    assert!(attendant.woken().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_over_stays_and_is_not_woken_at_the_end() {
    let (registry, mut attendant) = server();
    let (mut client, idle, registration) = connection(&registry);
    park(idle, registration);
    registry.hold();
    registry.with_unsent_deposits(|deposits| deposits.for_each(|(_, is_sent)| *is_sent = true));
    registry.set_handed_over();
    registry.linger();
    client.write_all(b"x").unwrap();
    assert!(attendant.woken().await.is_none(), "another process reads from it");
}

#[tokio::test(start_paused = true)]
async fn time_outs_that_concern_nobody_any_more_take_no_memory() {
    let (registry, mut attendant) = server();
    let (mut client, mut idle, mut registration) = connection(&registry);
    for _ in 0..1000 {
        park(idle, registration);
        advance(Duration::from_millis(1)).await;
        client.write_all(b"x").unwrap();
        let Woken { idle: back, registration: again, .. } =
            woken(&mut attendant).await.unwrap().remove(0);
        again.handle().busy();
        assert_eq!(back.stream.read_first().unwrap().unwrap(), "x");
        (idle, registration) = (back, again);
    }
    assert!(registry.lock().parked.deadlines.len() <= STALE_MIN + 3);
}

#[tokio::test(start_paused = true)]
async fn a_straggler_is_none_any_more_whatever_becomes_of_it() {
    let (registry, _attendant) = server();
    let ends: [fn(Idle, Registration); 4] = [
        park,
        |_, registration| drop(registration),
        |idle, registration| {
            registration.deposit(Deposit::Connection(idle));
            std::mem::forget(registration);
        },
        |_, registration| {
            registration.handle().upgraded();
            std::mem::forget(registration);
        },
    ];
    for end in ends {
        let (_client, idle, registration) = connection(&registry);
        registry.hold();
        assert_eq!(registry.release(), 1);
        end(idle, registration);
        timeout(Duration::ZERO, registry.stragglers_finished()).await.expect("it has finished");
    }
}

/// How many connections a sequence has.
const CONNECTIONS: usize = 3;

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    Park(usize),
    /// The client sends a byte.
    Send(usize),
    Hold,
    Release,
    Evict,
    Pass(Duration),
    /// The attendant has its turn.
    Attend,
}

/// A connection, as it should be.
struct Expected {
    client: UnixStream,
    /// With the task; none: it is parked.
    tasks: Option<(Idle, Registration)>,
    has_sent: bool,
    end: Instant,
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0..CONNECTIONS;
    prop_oneof![
        3 => number().prop_map(Step::Park),
        2 => number().prop_map(Step::Send),
        1 => Just(Step::Hold),
        1 => Just(Step::Release),
        1 => Just(Step::Evict),
        1 => (1..8_u64).prop_map(|seconds| Step::Pass(Duration::from_secs(seconds))),
        4 => Just(Step::Attend),
    ]
}

/// Runs a sequence; tells what does not hold.
async fn run(steps: &[Step]) -> Result<(), String> {
    let (registry, mut attendant) = server();
    let mut all: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (client, idle, registration) = connection(&registry);
            let tasks = Some((idle, registration));
            Expected { client, tasks, has_sent: false, end: Instant::now() }
        })
        .collect();
    let mut is_held = false;
    let end = [Step::Release, Step::Attend, Step::Pass(LIMIT), Step::Attend];
    for step in steps.iter().chain(&end) {
        match *step {
            Step::Park(number) => {
                let Some((mut idle, registration)) = all[number].tasks.take() else { continue };
                // As its task does.
                registration.handle().busy();
                while let Ok(true) = idle.read_first() {
                    idle.unread.clear();
                    all[number].has_sent = false;
                }
                all[number].end = Instant::now() + LIMIT;
                park(idle, registration);
            }
            Step::Send(number) => {
                all[number].client.write_all(b"x").unwrap();
                all[number].has_sent = true;
            }
            Step::Hold if !is_held => {
                registry.hold();
                is_held = true;
            }
            Step::Release if is_held => {
                registry.release();
                is_held = false;
            }
            Step::Hold | Step::Release => {}
            Step::Evict if is_held => {}
            Step::Evict => {
                let most = registry.connections() - 1;
                registry.make_room(most, Duration::ZERO);
            }
            Step::Pass(time) => advance(time).await,
            Step::Attend => {
                let now = Instant::now();
                for Woken { idle, registration, .. } in woken(&mut attendant).await.unwrap() {
                    let key = registration.handle().key;
                    let it = &mut all[key];
                    let is_evicted = registration.handle().is_evicted();
                    if is_held {
                        return Err(format!("{key} was woken while it was held"));
                    }
                    if !it.has_sent && !is_evicted && now < it.end {
                        return Err(format!("{key} was woken for nothing"));
                    }
                    if it.tasks.replace((idle, registration)).is_some() {
                        return Err(format!("{key} was woken twice"));
                    }
                }
                let is_due = |it: &Expected| it.has_sent || now >= it.end;
                let is_left = |it: &&Expected| it.tasks.is_none() && is_due(it);
                if !is_held && all.iter().any(|it| is_left(&it)) {
                    return Err("one was forgotten".to_owned());
                }
            }
        }
    }
    if all.iter().any(|it| it.tasks.is_none()) {
        return Err("one is still parked".to_owned());
    }
    drop(all);
    let state = registry.lock();
    let counts = (state.entries.len(), state.deposited, state.parked.count, state.evicted);
    if counts == (0, 0, 0, 0) { Ok(()) } else { Err(format!("not at rest: {counts:?}")) }
}

fn run_cases() -> Result<(), TestError<Vec<Step>>> {
    let config = Config { failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&prop::collection::vec(step(), 0..24), |steps| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(&steps)).map_err(TestCaseError::fail)
    })
}

#[test]
fn each_is_woken_once_when_there_is_something_to_do_and_not_while_it_is_held() {
    if let Err(error) = run_cases() {
        panic!("{error}");
    }
}

#[test]
fn one_that_is_forgotten_while_it_is_held_is_found() {
    FORGETS.set(true);
    let error = run_cases().expect_err("the model does not find what it is made for").to_string();
    assert!(error.contains("forgotten") || error.contains("still parked"), "{error}");
}
