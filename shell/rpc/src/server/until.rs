//! An answer that may be cut short, with a status rather than a torn connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;

/// What SwarmKit says when a dispatcher stops.
pub(super) const DISCONNECT: &str = "node must disconnect";

/// Why an answer must end.
pub(super) type Event = Pin<Box<dyn Future<Output = Status> + Send>>;

/// Ends a response with the status that `event` yields, unless it ends first.
pub(super) fn until(response: Response<Body>, event: impl Future<Output = Status> + Send + 'static) -> Response<Body> {
    response.map(|body| {
        if http_body::Body::is_end_stream(&body) {
            return body;
        }
        Body::new(Until { body, event: Box::pin(event), over: false })
    })
}

struct Until {
    body: Body,
    event: Event,
    over: bool,
}

impl http_body::Body for Until {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let status = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Err(status))) => {
                Status::unavailable(format!("the leader went away: {}", status.message()))
            }
            Poll::Ready(other) => return Poll::Ready(other),
            Poll::Pending => match this.event.as_mut().poll(cx) {
                Poll::Ready(status) => status,
                Poll::Pending => return Poll::Pending,
            },
        };
        this.over = true;
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }
}
