//! Passing a call on to the leader, byte for byte, with word of who really asks (interop §2).

use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Incoming;
use skep_model::{Code, NodeId, Refusal};
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::ServiceExt;

use super::authorise::{
    CONNECTION, FORWARDED, FORWARDED_CN, FORWARDED_O, FORWARDED_OU, Origin, REDIRECT, REMOTE_ADDRESS,
};
use super::until::{DISCONNECT, until};
use crate::backend::Leader;
use crate::identity::read_unit;

/// How the refusal begins when a manager cannot pass a call on.
pub(crate) const LEADER_UNREACHABLE: &str = "the leader of the swarm cannot be reached";

/// Sends the request to the leader and its answer back; both end when the leader changes.
pub(super) async fn forward(
    channel: Channel,
    mut request: Request<Incoming>,
    origin: &Origin,
    leader: watch::Receiver<Leader>,
    sent_to: &NodeId,
) -> Result<Response<Body>, Refusal> {
    mark(request.headers_mut(), origin)?;
    let mut leader = leader;
    let sent_to = sent_to.clone();
    let mut changed = Box::pin(async move {
        // An error: the node behind us is gone, and with it its word on who leads.
        drop(leader.wait_for(|now| !matches!(now, Leader::Other { node, .. } if *node == sent_to)).await);
        Status::aborted(DISCONNECT)
    });
    let response = tokio::select! {
        response = channel.oneshot(request.map(Body::new)) => response.map_err(|error| {
            Refusal::new(Code::Unavailable, format!("{LEADER_UNREACHABLE}: {}", skep_model::with_causes(&error)))
        })?,
        _ = &mut changed => return Err(Refusal::new(Code::Aborted, DISCONNECT)),
    };
    Ok(until(response, changed))
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
