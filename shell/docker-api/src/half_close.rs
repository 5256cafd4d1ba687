//! A client may close its side after a whole request and still wait for the answer, as with Docker. The HTTP library
//! takes the end of what it reads for the end of the client; so while an answer is under way that end is kept from it.
//! Streams without an end of their own stop all the same: most who close their side while they follow one have gone.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::limits::{MAX_UNREAD_BYTES, UNREAD_PATIENCE};
use crate::reply;

/// What the two sides of one connection know of each other.
#[derive(Default)]
pub(crate) struct Line {
    state: Mutex<State>,
    /// Set when the client has closed its side.
    closed: CancellationToken,
    /// The body of a request that was answered without a look at it.
    unread: Mutex<Option<Incoming>>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// No request is under way.
    #[default]
    Idle,
    /// A request's head has come, and not yet all of its body.
    Receiving,
    /// The same, and the client has closed its side: what it wrote before waits to be taken by who reads the body.
    Ending,
    /// The same, and who reads the body has found that some of it is missing.
    CutOff,
    /// A whole request has come, and its answer is not yet sent.
    Answering,
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more of this request will be read.
    pub(crate) fn request_is_whole(&self) {
        self.state().phase = Phase::Answering;
    }

    fn request_begins(&self) {
        self.state().phase = Phase::Receiving;
    }

    /// The next piece of a request's body. By the time that the end of the connection is seen, all that came before
    /// it is here to be polled: only when nothing more is, the request was cut off.
    fn poll_body(&self, body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let ending = self.state().phase == Phase::Ending;
        let frame = Pin::new(&mut *body).poll_frame(cx);
        match &frame {
            Poll::Pending if ending => self.go_on(Phase::CutOff),
            Poll::Pending => {}
            Poll::Ready(frame) => {
                if frame.is_none() || body.is_end_stream() {
                    self.request_is_whole();
                }
            }
        }
        frame
    }

    fn go_on(&self, phase: Phase) {
        let waker = {
            let mut state = self.state();
            state.phase = phase;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes in what a client still writes of a request that is refused already: many take a connection that closes
    /// under their writing for a failure of it, and never read the answer.
    pub(crate) async fn pass_over_unread(&self) {
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut body) = unread else { return };
        let mut left = MAX_UNREAD_BYTES;
        let mut next =
            async || tokio::time::timeout(UNREAD_PATIENCE, poll_fn(|cx| self.poll_body(&mut body, cx))).await;
        while let Ok(Some(Ok(frame))) = next().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    }

    fn answered(&self) {
        self.go_on(Phase::Idle);
    }

    /// Ready when the end of the connection may be told: no answer is under way, and no request that may be whole.
    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        match state.phase {
            Phase::Idle | Phase::CutOff => return Poll::Ready(()),
            Phase::Receiving => state.phase = Phase::Ending,
            Phase::Ending | Phase::Answering => {}
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A connection whose end is told only between answers.
pub(crate) struct HalfClosing<S> {
    stream: S,
    line: Arc<Line>,
}

impl<S> HalfClosing<S> {
    pub(crate) fn new(stream: S, line: Arc<Line>) -> Self {
        Self { stream, line }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HalfClosing<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if !self.line.closed.is_cancelled() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            self.line.closed.cancel();
        }
        self.line.poll_end(cx).map(Ok)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HalfClosing<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A request's body that says when all of it has come.
pub(crate) struct RequestBody {
    /// There until it is dropped.
    body: Option<Incoming>,
    line: Arc<Line>,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming, line: Arc<Line>) -> Self {
        if body.is_end_stream() {
            line.request_is_whole();
        } else {
            line.request_begins();
        }
        Self { body: Some(body), line }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        *self.line.unread.lock().unwrap_or_else(PoisonError::into_inner) = unread;
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, line } = &mut *self;
        let Some(body) = body else { return Poll::Ready(None) };
        line.poll_body(body, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

/// Marks, as an extension of an answer, that it has no end of its own.
#[derive(Clone, Copy)]
pub(crate) struct Endless;

/// An answer's body; the connection hears when it is sent.
pub(crate) struct AnswerBody {
    body: reply::Body,
    line: Arc<Line>,
    /// For an endless one: when to end it.
    closed: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl AnswerBody {
    pub(crate) fn new(body: reply::Body, line: Arc<Line>, endless: bool) -> Self {
        line.request_is_whole();
        let closed = endless.then(|| Box::pin(line.closed.clone().cancelled_owned()));
        Self { body, line, closed }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(closed) = &mut self.closed
            && closed.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.line.answered();
    }
}
