//! Passing a call on to the leader, byte for byte, with word of who really asks (interop §2).

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use hyper::body::Incoming;
use skep_model::{Code, NodeId, Refusal};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::ServiceExt;

use super::authorise::{
    CONNECTION, FORWARDED, FORWARDED_CN, FORWARDED_O, FORWARDED_OU, Origin, REDIRECT, REMOTE_ADDRESS,
};
use crate::backend::Leader;
use crate::identity::read_unit;

/// What SwarmKit says when a dispatcher stops.
const LEADER_CHANGED: &str = "node must disconnect";

/// Sends the request to the leader and its answer back; both end when the leader changes.
pub(super) async fn forward(
    channel: Channel,
    mut request: Request<Incoming>,
    origin: &Origin,
    leader: watch::Receiver<Leader>,
    sent_to: &NodeId,
) -> Result<Response<Body>, Refusal> {
    mark(request.headers_mut(), origin)?;
    let sent_to = sent_to.clone();
    let changed =
        WatchStream::new(leader).filter(move |now| !matches!(now, Leader::Other { node, .. } if *node == sent_to));
    let mut changed: Pin<Box<dyn Stream<Item = Leader> + Send>> = Box::pin(changed);
    let response = tokio::select! {
        response = channel.oneshot(request.map(Body::new)) => response.map_err(|error| {
            Refusal::new(Code::Unavailable, format!("the leader of the swarm cannot be reached: {}", causes(&error)))
        })?,
        _ = changed.next() => return Err(Refusal::new(Code::Aborted, LEADER_CHANGED)),
    };
    Ok(response.map(|body| Body::new(UntilLeaderChanges { body, changed, over: false })))
}

/// Replaces whatever the caller claimed by what its certificate says.
fn mark(headers: &mut HeaderMap, origin: &Origin) -> Result<(), Refusal> {
    if headers.contains_key(REDIRECT) {
        let message = format!("more than one redirect to leader from: {}", origin.address);
        return Err(Refusal::new(Code::ResourceExhausted, message));
    }
    for name in [FORWARDED, FORWARDED_CN, FORWARDED_O, FORWARDED_OU, REMOTE_ADDRESS, CONNECTION] {
        headers.remove(name);
    }
    headers.insert(FORWARDED, HeaderValue::from_static("true"));
    let (name, organisation) = match &origin.peer {
        Some(peer) => (peer.node.as_str(), peer.cluster.as_str()),
        None => ("", ""),
    };
    headers.insert(FORWARDED_CN, text(name)?);
    headers.insert(FORWARDED_O, text(organisation)?);
    if let Some(peer) = &origin.peer {
        headers.insert(FORWARDED_OU, HeaderValue::from_static(read_unit(peer.role)));
    }
    headers.insert(REMOTE_ADDRESS, text(&origin.address.to_string())?);
    headers.insert(REDIRECT, text(&origin.address.to_string())?);
    headers.insert(CONNECTION, HeaderValue::from(origin.connection));
    Ok(())
}

fn text(value: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_str(value).map_err(|_| Refusal::new(Code::Internal, "an identity that no header can carry"))
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        sentence = format!("{sentence}: {error}");
        next = error.source();
    }
    sentence
}

/// The leader's answer, cut with a status when somebody else leads: its streams would go on for nobody.
struct UntilLeaderChanges {
    body: Body,
    changed: Pin<Box<dyn Stream<Item = Leader> + Send>>,
    over: bool,
}

impl http_body::Body for UntilLeaderChanges {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let failure = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Err(status))) => {
                Status::unavailable(format!("the leader went away: {}", status.message()))
            }
            Poll::Ready(other) => return Poll::Ready(other),
            Poll::Pending => match this.changed.as_mut().poll_next(cx) {
                Poll::Ready(_) => Status::aborted(LEADER_CHANGED),
                Poll::Pending => return Poll::Pending,
            },
        };
        this.over = true;
        let mut trailers = HeaderMap::new();
        failure.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }
}
