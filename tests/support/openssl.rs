//! OpenSSL's program: it makes certificates, and is a client that others wrote.

use std::{
    env,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use super::{
    host::skip,
    wait::{PATIENCE, wait_until},
};

/// A certificate with its key, in files.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) file: PathBuf,
    pub(crate) key: PathBuf,
}

/// `openssl s_client`, which keeps its connection and never makes another; it ends with the test.
pub(crate) struct SClient {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    answers: usize,
}

/// Whether there is an openssl on this machine; if not, the test is skipped, loudly.
pub(crate) fn has_openssl() -> bool {
    let is_there = Command::new("openssl").arg("version").output().is_ok();
    if !is_there {
        assert!(env::var_os("LOCKSTEPD_REQUIRE_OPENSSL").is_none(), "there is no openssl");
        skip("no openssl (apt-get install -y --no-install-recommends openssl)");
    }
    is_there
}

// === impl Certificate ===

impl Certificate {
    /// One that has signed itself, for these DNS names, and is an authority as well.
    #[track_caller]
    pub(crate) fn make(directory: &Path, name: &str, names: &[&str], days: u32) -> Self {
        let this = Self::at(directory, name);
        let alternatives: Vec<_> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let (subject, days) = (format!("/CN={name}/O=Example"), days.to_string());
        let alternatives = format!("subjectAltName={}", alternatives.join(","));
        run(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            &text(&this.key),
            "-out",
            &text(&this.file),
            "-days",
            &days,
            "-subj",
            &subject,
            "-addext",
            &alternatives,
        ]);
        this
    }

    /// One that `authority` has signed.
    #[track_caller]
    pub(crate) fn signed(directory: &Path, name: &str, authority: &Self) -> Self {
        let this = Self::at(directory, name);
        let request = directory.join(format!("{name}.csr"));
        let extensions = directory.join(format!("{name}.ext"));
        let alternatives = format!("subjectAltName=DNS:{name}.example,email:{name}@example.org\n");
        std::fs::write(&extensions, alternatives).expect("the directory is there");
        run(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            &text(&this.key),
            "-out",
            &text(&request),
            "-subj",
            &format!("/O=Example/CN={name}"),
        ]);
        run(&[
            "x509",
            "-req",
            "-in",
            &text(&request),
            "-CA",
            &text(&authority.file),
            "-CAkey",
            &text(&authority.key),
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            &text(&extensions),
            "-out",
            &text(&this.file),
        ]);
        this
    }

    fn at(directory: &Path, name: &str) -> Self {
        let file = |end: &str| directory.join(format!("{name}.{end}"));
        Self { file: file("pem"), key: file("key") }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[track_caller]
fn run(arguments: &[&str]) {
    let done = Command::new("openssl").args(arguments).output().expect("openssl is there");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

// === impl SClient ===

impl SClient {
    /// Connects to `address` as `localhost`, whose certificate `authority` has signed, with more of its arguments.
    pub(crate) fn connect(address: &str, authority: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", address, "-servername", "localhost", "-CAfile"]);
        command.arg(authority).args(["-verify_return_error"]).args(arguments);
        Self::spawn(command)
    }

    /// Connects to `address` as `name`, whatever certificate is shown.
    pub(crate) fn connect_as(name: &str, address: &str) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", address, "-servername", name]);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl is there");
        let mut stdout = child.stdout.take().expect("nobody else has taken it");
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let heard = Arc::clone(&said);
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut bytes) {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.extend_from_slice(&bytes[..length]);
            }
        });
        Self { child, said, reader: Some(reader), answers: 0 }
    }

    /// Sends a request and waits for its answer, the greeting.
    #[track_caller]
    pub(crate) fn greet(&mut self) {
        self.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.greeted();
    }

    /// Waits for one more answer, the greeting.
    #[track_caller]
    pub(crate) fn greeted(&mut self) {
        self.answers += 1;
        let wanted = self.answers;
        self.wait_for(&format!("{wanted} answers"), |said| {
            said.matches("Hello, Serve is running...\n").count() == wanted
        });
    }

    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("it has an input");
        stdin.write_all(text.as_bytes()).expect("it reads");
        stdin.flush().expect("it reads");
    }

    /// Waits until `is_it` holds for what it has said so far.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, is_it: impl Fn(&str) -> bool) {
        wait_until(what, PATIENCE, || is_it(&self.said()));
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Says that nothing more is sent, and waits for its end; answers whether it was content, and what it has said.
    #[track_caller]
    pub(crate) fn end(mut self) -> (bool, String) {
        drop(self.child.stdin.take());
        self.ended()
    }

    /// Waits for its end, which the daemon has brought about.
    #[track_caller]
    pub(crate) fn ended(mut self) -> (bool, String) {
        let mut status = None;
        wait_until("openssl has ended", PATIENCE, || {
            status = self.child.try_wait().expect("it is a child");
            status.is_some()
        });
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it only reads");
        }
        (status.is_some_and(|status| status.success()), self.said())
    }
}

impl Drop for SClient {
    fn drop(&mut self) {
        // After its end there is nothing to kill, and nothing more to reap.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
