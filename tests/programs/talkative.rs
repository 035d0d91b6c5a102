//! A server that logs what it is asked for, in ways that a daemon does not and an application may.
//!
//! ```text
//! cargo run --example talkative [PUBLIC]    (127.0.0.1:8080)
//! ```
//!
//! | request | what is logged |
//! |---|---|
//! | `/span` | an event in two spans, one of which learns a value later |
//! | `/kinds` | an event with a value of each kind |
//! | `/names` | events and a span whose fields have names that the journal does not accept, and no message |
//! | `/long/BYTES` | an event with a value of so many bytes, made of the alphabet |
//! | `/many/COUNT` | so many events, each with its `number`, in a second or so |

use std::{error::Error, io, process::ExitCode, time::Duration};

use axum::{Router, extract::Path, routing::get};
use lockstepd::{Daemon, LogSettings};
use tokio::time::sleep;
use tracing::{debug_span, field, info, info_span, warn};

fn main() -> ExitCode {
    let public = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let router = Router::new()
        .route("/", get(|| async { "Hello\n" }))
        .route("/span", get(|| async { span() }))
        .route("/kinds", get(|| async { kinds() }))
        .route("/names", get(|| async { names() }))
        .route("/long/{bytes}", get(|Path(bytes): Path<usize>| async move { long(bytes) }))
        .route("/many/{count}", get(|Path(count)| many(count)));
    Daemon::new("talkative").server("public", public, router).log(LogSettings::default()).run()
}

fn span() {
    let outer = info_span!("outer", order.number = 7, customer = field::Empty);
    outer.record("customer", "Ada\nPRIORITY=0");
    let _outer = outer.enter();
    let inner = info_span!("inner", attempt = 2_u8, cause = %io::Error::other("no paper"));
    let _unseen = debug_span!("unseen", secret = 1).entered();
    info!(parent: &inner, sheet = "blue", "printed");
}

fn kinds() {
    let error = io::Error::other("an error");
    let error: &(dyn Error + 'static) = &error;
    warn!(
        text = "two\nPRIORITY=0",
        bytes = &b"\x01\xff"[..],
        integer = -3,
        natural = u64::MAX,
        large = i128::MIN,
        larger = u128::MAX,
        real = 1.0,
        truth = true,
        error,
        debug = ?Some("x"),
        display = %"a=b",
        message_id = "f1d0c1a5d15e4cd4b5e9ae0d9b9b1f3e",
        absent = None::<&str>,
        "a value of each kind"
    );
}

fn names() {
    const LONG: &str =
        "this.name.is.longer.than.the.sixty.four.characters.that.the.journal.accepts";
    let _span =
        info_span!("odd", "in-span" = "kept", "é" = "x\nPRIORITY=0\nMESSAGE=forged\n\n").entered();
    info!(
        "with-dash" = 1,
        "_PID" = "not ours",
        "é" = "x\n\nPRIORITY=0\nMESSAGE=forged\n\n",
        "1st" = 2,
        { LONG } = 3,
        plain = "yes"
    );
}

fn long(bytes: usize) {
    let value: String = ('a'..='z').cycle().take(bytes).collect();
    info!(value, bytes, "a long value");
}

async fn many(count: u64) {
    for number in 0..count {
        info!(number, "one of many");
        if number % 32 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
}
