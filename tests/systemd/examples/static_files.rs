//! Files, whole and in parts.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
};

use crate::{
    examples::{PUBLIC, keeps_its_promises, load, machine, stop},
    support::{Answer, Machine, PATIENCE, exchange},
};

/// More than the buffers between two sockets hold.
const LARGE: usize = 32 << 20;

/// A machine with a site: a page, and a large file whose bytes tell where they belong.
fn machine_with_site() -> Option<Machine> {
    let machine = machine("static_files", &["public=8080"])?;
    machine.write("/srv/site/page.html", "<p>Hello\n");
    machine.write("/srv/site/large", large());
    let site = "[Service]\nEnvironment=SITE=/srv/site\n";
    machine.write("/etc/systemd/system/static_files.service.d/site.conf", site);
    machine.systemctl(&["daemon-reload"]).ok();
    Some(machine)
}

fn large() -> Vec<u8> {
    (0..LARGE as u64 / 8).flat_map(u64::to_be_bytes).collect()
}

/// One request with `fields` on a connection of its own.
fn ask(machine: &Machine, path: &str, fields: &str) -> Answer {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n");
    let mut heard = machine.in_network(|| exchange("127.0.0.1:8080", request.as_bytes(), false));
    assert_eq!(heard.answers.len(), 1, "{path}: {}", heard.summary());
    heard.answers.remove(0)
}

#[test]
fn static_files_keeps_its_promises() {
    let Some(machine) = machine_with_site() else { return };
    keeps_its_promises(&machine, "static_files", &load("/page.html"), 5);
}

#[test]
fn static_files_come_whole_and_in_the_part_that_was_asked_for() {
    let Some(machine) = machine_with_site() else { return };
    let page = ask(&machine, "/page.html", "");
    assert_eq!((page.status, page.text()), (200, "<p>Hello\n".to_owned()));
    assert_eq!(page.header("content-type"), Some("text/html"));
    assert_eq!(ask(&machine, "/large", "").body, large());

    let part = ask(&machine, "/large", "Range: bytes=800000-800015\r\n");
    assert_eq!(part.status, 206);
    let range = format!("bytes 800000-800015/{LARGE}");
    assert_eq!(part.header("content-range"), Some(&*range));
    assert_eq!(part.body, large()[800_000..=800_015]);

    assert_eq!(ask(&machine, "/missing", "").status, 404);
    assert_eq!(ask(&machine, "/../etc/passwd", "").status, 404);
    stop(&machine, "static_files");
}

#[test]
fn a_download_comes_whole_although_the_service_is_restarted_meanwhile() {
    let Some(machine) = machine_with_site() else { return };
    machine.in_network(|| {
        let mut stream = TcpStream::connect(SocketAddr::from(PUBLIC)).expect("its socket is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
        let request = b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("the server reads");
        let mut came = vec![0; 1024];
        stream.read_exact(&mut came).expect("it has begun");
        thread::scope(|scope| {
            let restarted = scope.spawn(|| machine.systemctl(&["restart", "static_files"]).ok());
            machine.wait_for_state("static_files", "deactivating");
            stream.read_to_end(&mut came).expect("it is not cut off");
            restarted.join().expect("it is restarted");
        });
        assert!(came.ends_with(&large()), "{} bytes came", came.len());
    });
    stop(&machine, "static_files");
}

#[test]
fn a_site_that_is_missing_is_told_in_status() {
    let Some(machine) = machine("static_files", &["public=8080"]) else { return };
    let start = machine.systemctl(&["start", "static_files"]);
    assert_ne!(start.code, 0, "{start}");
    machine.assert_properties("static_files", &[("ExecMainStatus", "78"), ("NRestarts", "0")]);
    let status = machine.property("static_files", "StatusText");
    assert!(status.contains("there is no directory examples (set SITE)"), "{status}");
}
