//! Streams of events that go on in the next process.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    thread,
};

use crate::{
    examples::{PUBLIC, keeps_its_promises, load, machine, stop},
    support::{Machine, PATIENCE},
};

#[test]
fn sse_keeps_its_promises_beside_its_streams() {
    let Some(machine) = machine("sse", &["public=8080"]) else { return };
    keeps_its_promises(&machine, "sse", &load("/"), 5);
}

#[test]
fn sse_streams_end_with_the_drain_and_go_on_in_the_next_process() {
    let Some(machine) = machine("sse", &["public=8080"]) else { return };
    machine.in_network(|| {
        let mut last = 0;
        let pid = |machine: &Machine| machine.property("sse", "MainPID");
        for order in ["restart", "upgrade", "restart"] {
            let mut events = Events::after(last);
            last = events.next().expect("an event comes");
            let before = pid(&machine);
            match order {
                "restart" => machine.systemctl(&["restart", "sse"]).ok(),
                _ => machine.systemctl(&["kill", "--kill-who=main", "--signal=USR2", "sse"]).ok(),
            };
            let ordered_at = last;
            while let Some(number) = events.next() {
                assert_eq!(number, last + 1, "after {order}");
                // Five seconds' worth, where the drain time-out is twenty.
                assert!(number < ordered_at + 50, "the stream does not end at the {order}");
                last = number;
            }
            // The stream came whole: whoever reads it knows that this was its end.
            assert_eq!(pid(&machine) == before, order == "upgrade", "{order}");
        }
        let mut events = Events::after(last);
        assert_eq!(events.next(), Some(last + 1));
        thread::scope(|scope| {
            let stopped = scope.spawn(|| stop(&machine, "sse"));
            while events.next().is_some() {}
            stopped.join().expect("it stops cleanly");
        });
    });
    let taken = machine.journal(&["MESSAGE_ID=ff493ff0e52c43ab9ad1076ec36cce44"]);
    assert_eq!(taken.len(), 3, "each process but the first took connections over: {taken:?}");
}

/// The numbers of a stream of events.
struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    /// Asks as a browser does that has seen the event `last`.
    fn after(last: u64) -> Self {
        let mut stream = TcpStream::connect(SocketAddr::from(PUBLIC)).expect("its socket is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
        let head =
            format!("GET /events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {last}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("the server reads");
        Self { lines: BufReader::new(stream) }
    }

    /// The next number; none if the stream has ended, which it has to do with its last chunk.
    fn next(&mut self) -> Option<u64> {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("the stream is not cut off");
            assert!(read > 0, "the connection ended before its stream");
            match line.trim_end() {
                "0" => return None,
                line => {
                    if let Some(number) = line.strip_prefix("data: beat ") {
                        return Some(number.parse().expect("events are numbered"));
                    }
                }
            }
        }
    }
}
