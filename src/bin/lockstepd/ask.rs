//! Questions to the admin server of a running daemon.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lockstepd::Address;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime;
use tokio::time::timeout;

use crate::command::{Hold, Release};

/// The longest answer that is shown.
const ANSWER_MAX: usize = 64 << 10;

/// How the daemon says that nothing is with the application, or that something is.
const HELD: &str = ": held, nothing is in flight";
const BUSY: &str = ": held, requests are still in flight";

/// How much longer than the daemon the question takes at most.
const MARGIN: Duration = Duration::from_secs(5);

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(
        "cannot ask the admin server on {0}: {1} (is the daemon running, and --admin its address?)"
    )]
    Connect(Address, io::Error),
    #[error("the admin server on {0} gave no answer: {1}")]
    Answer(Address, lockstepd::BoxError),
    #[error("the admin server on {0} says {1}: {2}")]
    Refused(Address, http::StatusCode, String),
    #[error("what listens on {0} is no admin server of lockstepd (is --admin its address?)")]
    Foreign(Address),
    #[error("the admin server on {0} did not answer in time")]
    Timeout(Address),
}

/// Asks for a hold, and shows the answer.
pub(crate) fn hold(admin: &Address, hold: &Hold) -> ExitCode {
    let times = [hold.timeout, hold.longest].map(|time| format!("{}ms", time.as_millis()));
    let [limit, longest] = times;
    let server = encoded(&hold.server);
    let path = format!("/hold?server={server}&timeout={limit}&longest={longest}");
    let answer = ask(admin, &path, hold.timeout).and_then(|answer| {
        expect(admin, answer, |line| line.ends_with(HELD) || line.ends_with(BUSY))
    });
    let is_at_rest = answer.as_ref().is_ok_and(|answer| !answer.contains(BUSY));
    let shown = show(answer, hold.strict);
    if hold.strict && !is_at_rest { ExitCode::FAILURE } else { shown }
}

/// Asks for its end.
pub(crate) fn release(admin: &Address, release: &Release) -> ExitCode {
    let path = format!("/release?server={}", encoded(&release.server));
    let answer = ask(admin, &path, Duration::ZERO).and_then(|answer| {
        expect(admin, answer, |line| line.ends_with(": released") || line.ends_with("not held"))
    });
    show(answer, release.strict)
}

/// Sees to it that the answer is a daemon's: another server answers any request in its own way.
fn expect(
    admin: &Address,
    answer: String,
    is_ours: impl Fn(&str) -> bool,
) -> Result<String, AskError> {
    let is_ours = !answer.is_empty() && answer.lines().all(is_ours);
    if is_ours { Ok(answer) } else { Err(AskError::Foreign(admin.clone())) }
}

/// A name as it stands in a query.
fn encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn show(answer: Result<String, AskError>, strict: bool) -> ExitCode {
    match answer {
        Ok(answer) => {
            print!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            if strict { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}

fn ask(admin: &Address, path: &str, time: Duration) -> Result<String, AskError> {
    let refused = |error| AskError::Connect(admin.clone(), error);
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    runtime.block_on(async {
        let asked = async {
            match (admin, admin.tcp()) {
                (Address::Unix(socket), _) => {
                    let stream = UnixStream::connect(socket).await.map_err(refused)?;
                    ask_on(stream, admin, path).await
                }
                (_, Some(tcp)) => {
                    let stream = TcpStream::connect(tcp).await.map_err(refused)?;
                    ask_on(stream, admin, path).await
                }
                (_, None) => Err(refused(io::ErrorKind::Unsupported.into())),
            }
        };
        let asked = timeout(time.saturating_add(MARGIN), asked).await;
        asked.unwrap_or_else(|_| Err(AskError::Timeout(admin.clone())))
    })
}

async fn ask_on<S>(stream: S, admin: &Address, path: &str) -> Result<String, AskError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: lockstepd::BoxError| AskError::Answer(admin.clone(), error);
    let request = Request::post(path)
        .header(header::HOST, "localhost")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(error.into()))?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed(error.into()))?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(|error| failed(error.into()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(failed)?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    // Its error, if any, is the answer's as well.
    tokio::spawn(connection);
    let (status, text) = answered.await?;
    if status.is_success() {
        Ok(text)
    } else {
        Err(AskError::Refused(admin.clone(), status, text.trim_end().to_owned()))
    }
}
