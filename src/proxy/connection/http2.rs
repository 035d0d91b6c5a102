//! HTTP/2 towards the application: hyper's connection, and what hyper would give to tasks of their own.
//!
//! hyper has a future for the connection, and for each request one that sends the body and one that waits for the
//! answer. Here all of them are polled by whoever polls the connection, so that it is driven by the client's task, as one
//! of HTTP/1.1 is.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;

use crate::proxy::connection::Attempted;
use crate::proxy::request_body::AttemptBody;
use crate::proxy::wire::{UpstreamIo, Wire};

/// The longest head of an answer, in bytes, as hyper counts them.
const HEAD_MAX: u32 = 64 << 10;

/// How much of an answer may come before the client has taken it, and how much of a body waits to be sent: more than
/// fits into a socket's buffer.
const WINDOW: u32 = 256 << 10;
const SEND_BUFFER_MAX: usize = 64 << 10;

pin_project! {
    /// A request that was given to hyper, and the answer to come.
    #[project = SentProjected]
    pub(super) enum Sent<A, B> {
        Http1 { #[pin] answer: A },
        Http2 { #[pin] answer: B },
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// hyper's connection, and its tasks.
pub(super) struct Http2 {
    /// None: it takes no more requests; those that it has taken go on.
    hyper: Option<http2::Connection<TokioIo<UpstreamIo>, AttemptBody, Tasks>>,
    /// The connection's own is the first.
    tasks: Vec<Task>,
    new: Tasks,
}

/// Takes what hyper wants to have spawned.
#[derive(Clone)]
struct Tasks {
    new: Arc<Mutex<Vec<Task>>>,
    wire: Arc<Wire>,
}

// === impl Http2 ===

impl Http2 {
    pub(super) async fn handshake(
        io: UpstreamIo,
        wire: &Arc<Wire>,
    ) -> hyper::Result<(SendRequest<AttemptBody>, Self)> {
        let new = Tasks { new: Arc::default(), wire: Arc::clone(wire) };
        let mut builder = http2::Builder::new(new.clone());
        builder
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(HEAD_MAX)
            .max_send_buf_size(SEND_BUFFER_MAX);
        let (sender, hyper) = builder.handshake(TokioIo::new(io)).await?;
        let tasks = new.take();
        Ok((sender, Self { hyper: Some(hyper), tasks, new }))
    }

    /// Reads and writes; ready when hyper is done with the connection and all that was asked on it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // The connection reads first: what the application has said may be that it takes no more requests.
            self.tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
            self.hyper.take_if(|hyper| Pin::new(hyper).poll(cx).is_ready());
            let new = self.new.take();
            if new.is_empty() {
                let is_done = self.hyper.is_none() && self.tasks.is_empty();
                return if is_done { Poll::Ready(()) } else { Poll::Pending };
            }
            // A request has begun, and waits for the connection to write it.
            self.tasks.extend(new);
        }
    }

    /// Tells whether no request is on its way.
    pub(super) fn is_at_rest(&self) -> bool {
        self.hyper.is_some() && self.tasks.len() == 1
    }
}

// === impl Tasks ===

impl Tasks {
    fn take(&self) -> Vec<Task> {
        std::mem::take(&mut *self.new.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        // But for the first, they are a request's, which is among what is to be written from now on.
        self.wire.has_head();
        self.new.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(task));
    }
}

// === impl Sent ===

impl<A, B> Future for Sent<A, B>
where
    A: Future<Output = Attempted>,
    B: Future<Output = Attempted>,
{
    type Output = Attempted;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Attempted> {
        match self.project() {
            SentProjected::Http1 { answer } => answer.poll(cx),
            SentProjected::Http2 { answer } => answer.poll(cx),
        }
    }
}
