//! A stop under load: the last request of each client is answered, and says so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    program::FOR_EVER,
    support::{Launch, PATIENCE, wait_until},
};

const CLIENTS: usize = 32;

/// A client that was held up for so long itself is a silent one, of which nobody waits for the next request.
const HELD_UP: Duration = Duration::from_millis(200);

#[test]
fn each_client_that_asks_at_once_again_gets_all_its_answers_and_is_told_of_the_last() {
    let mut daemon =
        Launch::daemon().args(["--drain-timeout", FOR_EVER, "--linger", FOR_EVER]).start();
    let (address, answers) = (daemon.public(), Arc::new(AtomicUsize::new(0)));
    let crowd = {
        let answers = Arc::clone(&answers);
        // One thread, so that clients are not held up by each other.
        thread::spawn(move || run_crowd(&address, &answers))
    };
    wait_until("the clients are served", PATIENCE, || {
        answers.load(Ordering::Relaxed) >= CLIENTS * 10
    });
    daemon.signal(Signal::TERM);
    let told = crowd.join().unwrap();
    daemon.end().assert(0, &[]);
    assert!(told > 0, "all were held up");
}

/// Runs the clients to their end; answers how many were told that an answer was their last.
fn run_crowd(address: &str, answers: &Arc<AtomicUsize>) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let stream = TcpStream::connect(address).await.unwrap();
            clients.spawn(ask_until_told(stream, Arc::clone(answers)));
        }
        clients.join_all().await.into_iter().filter(|is_told| *is_told).count()
    })
}

/// Asks until an answer says that it is the last; answers whether one did.
async fn ask_until_told(mut stream: TcpStream, answers: Arc<AtomicUsize>) -> bool {
    let mut asked = None::<Instant>;
    loop {
        if asked.is_some_and(|asked| asked.elapsed() > HELD_UP) {
            return false;
        }
        asked = Some(Instant::now());
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"running...\n") {
            let read = stream.read_buf(&mut answer).await.unwrap();
            assert!(read > 0, "closed instead of an answer, after {} bytes", answer.len());
        }
        answers.fetch_add(1, Ordering::Relaxed);
        let head = String::from_utf8(answer).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        if head.contains("\r\nconnection: close\r\n") {
            return true;
        }
    }
}
