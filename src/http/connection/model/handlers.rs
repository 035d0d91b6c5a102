//! Handlers of every kind of conduct.

use std::collections::VecDeque;
use std::future::pending;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use tokio::time::{Sleep, sleep};

use super::sequence::{Sent, pause};
use crate::http::body::Body as ClientBody;
use crate::http::recall::Recall;

/// What a handler does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) conduct: Conduct,
    /// How long each step takes.
    pause: Duration,
    /// How long the request waits before anything is done about it, and may be recalled.
    waits: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Conduct {
    /// Reads all, and answers.
    Reads,
    /// Reads one piece, and answers.
    ReadsPart,
    /// Drops the body in the call, before there is a future.
    Ignores,
    /// Drops the body in the future, before it waits.
    IgnoresLater,
    /// As `Ignores`, and the answer says that it is the last.
    Refuses,
    /// Another task reads all; the answer does not wait for it.
    ReadsElsewhere,
    /// Another task drops the body; the answer does not wait for it.
    DropsElsewhere,
    /// The answer's stream has the body until its end.
    DropsInAnswer,
    /// The answer's stream reads the body.
    ReadsInAnswer,
    /// Another task has the body for a long time.
    Keeps,
    PanicsInCall,
    /// Panics after a piece of the body.
    PanicsLater,
    PanicsInAnswer,
    Fails,
    /// Never answers.
    Hangs,
}

/// The handlers' plans, and what they saw.
#[derive(Debug)]
pub(super) struct Handlers {
    plans: Vec<Plan>,
    pub(super) seen: Mutex<Vec<String>>,
}

/// The answer to come.
pub(super) type Handling = Pin<Box<dyn Future<Output = Result<Response<Content>, Planned>> + Send>>;

/// An error that was planned.
#[derive(Debug, thiserror::Error)]
#[error("as planned")]
pub(super) struct Planned;

/// The body of an answer.
pub(super) struct Content {
    /// An empty piece is a pause.
    pieces: VecDeque<Bytes>,
    pause: Option<Pin<Box<Sleep>>>,
    panics: bool,
    /// The request's body, and whether it is read.
    body: Option<(Box<dyn Pieces>, bool)>,
}

/// A request's body, of whatever type.
trait Pieces: Send {
    /// Reads a piece; whether there was one.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<bool>;
}

// === impl Plan ===

impl Plan {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        let conduct = prop_oneof![
            3 => Just(Conduct::Reads),
            2 => Just(Conduct::ReadsPart),
            3 => Just(Conduct::Ignores),
            2 => Just(Conduct::IgnoresLater),
            1 => Just(Conduct::Refuses),
            2 => Just(Conduct::ReadsElsewhere),
            2 => Just(Conduct::DropsElsewhere),
            1 => Just(Conduct::DropsInAnswer),
            1 => Just(Conduct::ReadsInAnswer),
            1 => Just(Conduct::Keeps),
            4 => prop::sample::select(vec![
                Conduct::PanicsInCall,
                Conduct::PanicsLater,
                Conduct::PanicsInAnswer,
                Conduct::Fails,
                Conduct::Hangs,
            ]),
        ];
        let waits = prop::option::weighted(0.3, pause());
        (conduct, pause(), waits).prop_map(|(conduct, pause, waits)| Self { conduct, pause, waits })
    }
}

// === impl Handlers ===

impl Handlers {
    pub(super) fn new(requests: &[Sent]) -> Self {
        let plans = requests.iter().map(|sent| sent.plan).collect();
        Self { plans, seen: Mutex::default() }
    }

    pub(super) fn call<B>(self: &Arc<Self>, request: Request<B>) -> Handling
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let path = request.uri().path().to_owned();
        let plan = path[1..].parse::<usize>().ok().and_then(|id| self.plans.get(id)).copied();
        // A request that was not sent is answered, too; the test fails because it was seen.
        let plan =
            plan.unwrap_or(Plan { conduct: Conduct::Reads, pause: Duration::ZERO, waits: None });
        let body = request.into_body();
        let recall = ClientBody::recall(&body);
        if let Some(waits) = plan.waits {
            let handlers = Arc::clone(self);
            return Box::pin(async move {
                let allowed = recall.as_ref().map(Recall::allow);
                sleep(waits).await;
                drop(allowed);
                handlers.handle(plan, path, body).await
            });
        }
        self.handle(plan, path, body)
    }

    fn handle<B>(&self, plan: Plan, path: String, body: B) -> Handling
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        self.seen.lock().unwrap().push(path.clone());
        match plan.conduct {
            Conduct::PanicsInCall => resume_unwind(Box::new(Planned)),
            Conduct::Ignores | Conduct::Refuses => {
                drop(body);
                Box::pin(plan.answer_without(path))
            }
            _ => Box::pin(plan.answer(path, body)),
        }
    }
}

impl Plan {
    async fn answer_without(self, path: String) -> Result<Response<Content>, Planned> {
        sleep(self.pause).await;
        let mut response = Response::new(Content::new(path));
        if self.conduct == Conduct::Refuses {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    async fn answer<B>(self, path: String, mut body: B) -> Result<Response<Content>, Planned>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let Self { conduct, pause, .. } = self;
        let mut content = Content::new(path);
        match conduct {
            Conduct::Reads => while let Some(Ok(_)) = body.frame().await {},
            Conduct::ReadsPart => drop(body.frame().await),
            Conduct::IgnoresLater => drop(body),
            Conduct::ReadsElsewhere => {
                tokio::spawn(async move {
                    sleep(pause).await;
                    while let Some(Ok(_)) = body.frame().await {}
                });
                return Ok(Response::new(content));
            }
            Conduct::DropsElsewhere | Conduct::Keeps => {
                let time = if conduct == Conduct::Keeps { Duration::from_secs(50) } else { pause };
                tokio::spawn(async move {
                    sleep(time).await;
                    drop(body);
                });
                return Ok(Response::new(content));
            }
            Conduct::DropsInAnswer => content = content.slow(pause).with(body, false),
            Conduct::ReadsInAnswer => content = content.slow(pause).with(body, true),
            Conduct::PanicsLater => {
                let _ = body.frame().await;
                resume_unwind(Box::new(Planned));
            }
            Conduct::PanicsInAnswer => {
                content = content.slow(pause);
                content.panics = true;
            }
            Conduct::Fails => return Err(Planned),
            Conduct::Hangs => pending().await,
            Conduct::Ignores | Conduct::Refuses | Conduct::PanicsInCall => {
                unreachable!("they have no body here")
            }
        }
        sleep(pause).await;
        Ok(Response::new(content))
    }
}

// === impl Content ===

impl Content {
    /// The request's path, whose length it tells.
    fn new(path: String) -> Self {
        Self { pieces: [Bytes::from(path)].into(), pause: None, panics: false, body: None }
    }

    /// With a pause behind the path, and without a length.
    fn slow(mut self, pause: Duration) -> Self {
        self.pieces.push_back(Bytes::new());
        self.pause = Some(Box::pin(sleep(pause)));
        self
    }

    fn with<B>(mut self, body: B, is_read: bool) -> Self
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        self.body = Some((Box::new(body), is_read));
        self
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Planned;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Planned>>> {
        match self.pieces.pop_front() {
            Some(piece) if !piece.is_empty() => return Poll::Ready(Some(Ok(Frame::data(piece)))),
            Some(pause) => {
                let is_over =
                    self.pause.as_mut().is_none_or(|pause| pause.as_mut().poll(cx).is_ready());
                if !is_over {
                    self.pieces.push_front(pause);
                    return Poll::Pending;
                }
            }
            None => {}
        }
        if self.panics {
            resume_unwind(Box::new(Planned));
        }
        while let Some((body, true)) = &mut self.body {
            if !ready!(body.poll_piece(cx)) {
                self.body = None;
            }
        }
        Poll::Ready(None)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.pause {
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum()),
        }
    }
}

impl<B: Body<Data = Bytes> + Send + Unpin> Pieces for B {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        Pin::new(self).poll_frame(cx).map(|frame| matches!(frame, Some(Ok(_))))
    }
}

// === impl Conduct ===

impl Conduct {
    /// Whether a task may still have the body when the answer is out.
    pub(super) fn reads_late(self) -> bool {
        matches!(
            self,
            Self::ReadsElsewhere | Self::DropsElsewhere | Self::ReadsInAnswer | Self::Keeps
        )
    }

    /// Whether the server has to answer in the handler's place.
    pub(super) fn fails(self) -> bool {
        matches!(self, Self::PanicsInCall | Self::PanicsLater | Self::Fails)
    }
}
