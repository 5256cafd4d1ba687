//! Raft messages coming in: one at a time, or as a Skep peer's long-lived stream (interop §5.3).

use bytes::{Bytes, BytesMut};
use skep_model::pb::messages as m;
use skep_model::pb::skep;
use skep_model::{Code, NodeId, RaftId, Refusal};
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status, Streaming};

use super::services::{Services, open};
use crate::backend::{Call, ConnectionId, Ending, RaftKind, RaftMessage, RaftStanding};
use crate::raft::{SNAPSHOT_BYTES_MAX, join_snapshot, read_message};
use crate::status;
use crate::wire::skep::peer_server::Peer;
use crate::wire::swarmkit::raft_server::Raft;

/// What a removed member hears; it then shuts its manager down.
pub(crate) const REMOVED: &str = "raft: member was removed from the cluster";

impl Services {
    async fn take_raft_message(&self, call: &Call, bytes: Bytes) -> Result<(), Refusal> {
        let message = read_message(bytes)?;
        match self.backend.raft_standing(message.from) {
            RaftStanding::Removed => return Err(Refusal::new(Code::NotFound, REMOVED)),
            RaftStanding::Member(node) if node != call.caller.node => {
                let sentence = format!("raft member {} is node {node}, not {}", message.from, call.caller.node);
                return Err(Refusal::new(Code::PermissionDenied, sentence));
            }
            // A candidate that joined while we were away introduced itself, or cannot be reached.
            RaftStanding::Member(_) | RaftStanding::Unknown => {}
        }
        match message.kind {
            RaftKind::Proposal => Ok(()),
            RaftKind::Vote => self.take_vote_request(message).await,
            RaftKind::Snapshot | RaftKind::Other => self.backend.raft_message(message).await,
        }
    }

    /// A candidate that we could not reach must not become our leader: its request is swallowed.
    async fn take_vote_request(&self, message: RaftMessage) -> Result<(), Refusal> {
        if self.backend.candidate_reachable(message.from).await {
            return self.backend.raft_message(message).await;
        }
        tracing::debug!(candidate = %message.from, "swallowed a request for a vote: no answer to our health check");
        Ok(())
    }
}

#[tonic::async_trait]
impl Raft for Services {
    async fn process_raft_message(
        &self,
        request: Request<m::ProcessRaftMessageRequest>,
    ) -> Result<Response<m::ProcessRaftMessageResponse>, Status> {
        let (call, request) = open(request)?;
        self.take_raft_message(&call, request.message).await.map_err(status)?;
        Ok(Response::new(m::ProcessRaftMessageResponse {}))
    }

    async fn stream_raft_message(
        &self,
        request: Request<Streaming<m::StreamRaftMessageRequest>>,
    ) -> Result<Response<m::StreamRaftMessageResponse>, Status> {
        let (call, mut pieces) = open(request)?;
        let first = pieces.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("a raft message stream without a message"))?;
        let mut whole = first.message;
        let mut rest = Vec::new();
        let mut length = whole.len();
        while let Some(piece) = pieces.message().await? {
            length += piece.message.len();
            if length > SNAPSHOT_BYTES_MAX {
                return Err(status(too_large()));
            }
            rest.push(piece.message);
        }
        if !rest.is_empty() {
            whole = join_snapshot(whole, rest).map_err(status)?;
        }
        self.take_raft_message(&call, whole).await.map_err(status)?;
        Ok(Response::new(m::StreamRaftMessageResponse {}))
    }

    async fn resolve_address(
        &self,
        request: Request<m::ResolveAddressRequest>,
    ) -> Result<Response<m::ResolveAddressResponse>, Status> {
        let (_, request) = open(request)?;
        let addr = self.backend.resolve_address(RaftId(request.raft_id)).await.map_err(status)?;
        Ok(Response::new(m::ResolveAddressResponse { addr }))
    }
}

fn too_large() -> Refusal {
    Refusal::new(Code::ResourceExhausted, format!("a raft message of more than {SNAPSHOT_BYTES_MAX} bytes"))
}

#[tonic::async_trait]
impl Peer for Services {
    async fn hello(&self, request: Request<skep::HelloRequest>) -> Result<Response<skep::HelloResponse>, Status> {
        let (call, request) = open(request)?;
        self.backend.hello(call, request).await.map(Response::new).map_err(status)
    }

    async fn raft_stream(
        &self,
        request: Request<Streaming<skep::RaftFrame>>,
    ) -> Result<Response<skep::RaftStreamSummary>, Status> {
        let (call, mut frames) = open(request)?;
        let mut parts = BytesMut::new();
        while let Some(frame) = frames.next().await {
            let frame = frame?;
            if parts.len() + frame.message.len() > SNAPSHOT_BYTES_MAX {
                return Err(status(too_large()));
            }
            if frame.more {
                parts.extend_from_slice(&frame.message);
                continue;
            }
            let message = if parts.is_empty() {
                frame.message
            } else {
                parts.extend_from_slice(&frame.message);
                parts.split().freeze()
            };
            self.take_raft_message(&call, message).await.map_err(status)?;
        }
        if parts.is_empty() {
            Ok(Response::new(skep::RaftStreamSummary {}))
        } else {
            Err(Status::invalid_argument("the stream ended in the middle of a raft message"))
        }
    }

    async fn leave(&self, request: Request<skep::LeaveRequest>) -> Result<Response<skep::LeaveResponse>, Status> {
        let (call, request) = open(request)?;
        self.backend.leave(call, request).await.map(|()| Response::new(skep::LeaveResponse {})).map_err(status)
    }

    async fn pace(&self, request: Request<skep::PaceRequest>) -> Result<Response<skep::PaceResponse>, Status> {
        let (_, request) = open(request)?;
        self.backend.pace(request).await.map(Response::new).map_err(status)
    }

    async fn read_point(
        &self,
        request: Request<skep::ReadPointRequest>,
    ) -> Result<Response<skep::ReadPointResponse>, Status> {
        open(request)?;
        self.backend.read_point().await.map(Response::new).map_err(status)
    }

    async fn connection_closed(
        &self,
        request: Request<skep::ConnectionClosedRequest>,
    ) -> Result<Response<skep::ConnectionClosedResponse>, Status> {
        let (call, request) = open(request)?;
        let connection = ConnectionId { manager: Some(call.caller.node), number: request.connection };
        let ending = if request.reset { Ending::Reset } else { Ending::Orderly };
        self.backend.connection_closed(connection, NodeId::optional(&request.node_id), ending).await;
        Ok(Response::new(skep::ConnectionClosedResponse {}))
    }
}
