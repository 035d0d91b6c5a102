//! What a request tells of a connection that another program has accepted.

use std::net::TcpStream;
use std::process::Command;

use super::{Daemon, ask, support::example};

#[test]
fn the_next_program_knows_a_connections_ends_and_makes_its_extensions_anew() {
    let binary = example("peers");
    let mut daemon = Daemon::of(Command::new(&binary), binary, tempfile::tempdir().unwrap());
    let mut client = TcpStream::connect(daemon.public).unwrap();
    let (ours, theirs) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let mut tells = |requests: u64| {
        let answer = ask(&mut client);
        assert!(answer.ends_with(&format!("{ours} to {theirs}: {requests}")), "{answer}");
    };
    tells(1);
    tells(2);
    daemon.upgrade();
    tells(1);
    tells(2);
}
