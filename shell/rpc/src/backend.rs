//! What the gRPC server asks of the node it serves: one trait, in the model's words, without a certificate in sight.

use async_trait::async_trait;
use bytes::Bytes;
use skep_model::pb::messages as m;
use skep_model::pb::skep;
use skep_model::pb::types::NodeRole;
use skep_model::{Caller, ControlRequest, ControlResponse, Make, NodeId, RaftId, Refusal};
use tokio::sync::{mpsc, watch};

/// Messages that a stream may hold between the node and the wire before its producer waits.
pub const FEED_CAPACITY: usize = 16;

/// A stream of messages. A producer sees the other side go away as `Sender::closed`.
pub type Feed<T> = mpsc::Receiver<Result<T, Refusal>>;

/// Who leads, as this manager knows it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Leader {
    /// Nobody, or nobody known.
    #[default]
    None,
    /// This manager.
    Me,
    /// Another manager.
    Other {
        /// Its node id.
        node: NodeId,
        /// Where its cluster port listens, `host:port`.
        address: String,
    },
}

/// Names one TCP connection of a caller. A connection to another manager, which forwards what comes over it, is named
/// by that manager and its number there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConnectionId {
    /// The forwarding manager; `None` for a connection to this manager.
    pub manager: Option<NodeId>,
    /// Unique within the manager's process, and unlikely to be used again by its next one. 0: unknown, which is what
    /// a Docker manager's forwarding leaves.
    pub number: u64,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Closed with TLS's farewell, or given up by us (also after long silence).
    Orderly,
    /// Reset, or cut without farewell: what a killed process leaves behind.
    Reset,
}

/// An authenticated call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Who asks.
    pub caller: Caller,
    /// Over which connection.
    pub connection: ConnectionId,
}

/// A call that needs no certificate: a newcomer, or a member that renews.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Visitor {
    /// Set when a valid certificate of this swarm was shown.
    pub caller: Option<Caller>,
    /// Address (without port) from which the visitor connected.
    pub address: String,
    /// What the visitor says it is; one that does not say is a Docker Engine.
    pub make: Make,
}

/// What the store says of a caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// No such node in the store (yet): its certificate alone counts.
    Unknown,
    /// The role that the store gives it, whatever its certificate says.
    Member(NodeRole),
    /// Removed from the swarm and blacklisted.
    Removed,
}

/// What consensus knows of a Raft member number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RaftStanding {
    /// Never heard of.
    Unknown,
    /// A member, and the node behind it.
    Member(NodeId),
    /// Was removed; its number is never used again.
    Removed,
}

/// One Raft message with what may be known of it outside consensus.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RaftMessage {
    /// Receiver.
    pub to: RaftId,
    /// Sender.
    pub from: RaftId,
    /// What sort of message it is.
    pub kind: RaftKind,
    /// Index that the message carries.
    pub index: u64,
    /// The encoded `eraftpb.Message`.
    pub bytes: Bytes,
}

/// The sorts of Raft message that transport treats apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RaftKind {
    /// A proposal: dropped when it comes from a peer.
    Proposal,
    /// A request for a vote or a pre-vote.
    Vote,
    /// A snapshot: split when large, its outcome reported.
    Snapshot,
    /// Everything else.
    Other,
}

/// The node behind the server.
///
/// Unless said otherwise a method is called on the leader alone: followers pass these calls on.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Who leads; streams that were passed on end when it changes.
    fn leader(&self) -> watch::Receiver<Leader>;
    /// What the store says of a node. Asked for every call, on every manager; must not block.
    fn standing(&self, node: &NodeId) -> Standing;
    /// A caller's connection is gone. `node` is who authenticated over it. For connections to this manager, and on
    /// the leader also for those that Skep followers report.
    async fn connection_closed(&self, connection: ConnectionId, node: Option<NodeId>, ending: Ending);

    /// The PEM bundle of the root certificate, exactly as the digest in the tokens was made of it.
    async fn root_certificate(&self) -> Result<Bytes, Refusal>;
    /// The unlock key of managers; empty when autolock is off.
    async fn unlock_key(&self, call: Call) -> Result<m::GetUnlockKeyResponse, Refusal>;
    /// Registers a request for a certificate: see `skep_pki::issue`.
    async fn issue_certificate(
        &self,
        visitor: Visitor,
        request: m::IssueNodeCertificateRequest,
    ) -> Result<m::IssueNodeCertificateResponse, Refusal>;
    /// Answers once the node's certificate is in a final state: see `skep_pki::certificate_status`.
    async fn certificate_status(
        &self,
        visitor: Visitor,
        request: m::NodeCertificateStatusRequest,
    ) -> Result<m::NodeCertificateStatusResponse, Refusal>;

    /// Registers a worker; the feed ends with its session.
    async fn session(&self, call: Call, request: m::SessionRequest) -> Result<Feed<m::SessionMessage>, Refusal>;
    /// A worker lives.
    async fn heartbeat(&self, call: Call, request: m::HeartbeatRequest) -> Result<m::HeartbeatResponse, Refusal>;
    /// A worker reports on its tasks.
    async fn update_task_status(&self, call: Call, request: m::UpdateTaskStatusRequest) -> Result<(), Refusal>;
    /// A worker reports on its volumes.
    async fn update_volume_status(&self, call: Call, request: m::UpdateVolumeStatusRequest) -> Result<(), Refusal>;
    /// What a worker shall run.
    async fn assignments(
        &self,
        call: Call,
        request: m::AssignmentsRequest,
    ) -> Result<Feed<m::AssignmentsMessage>, Refusal>;

    /// Attaches a container of a node to a network.
    async fn attach_network(
        &self,
        call: Call,
        request: m::AttachNetworkRequest,
    ) -> Result<m::AttachNetworkResponse, Refusal>;
    /// Undoes it.
    async fn detach_network(&self, call: Call, request: m::DetachNetworkRequest) -> Result<(), Refusal>;

    /// Which logs a worker shall send.
    async fn listen_subscriptions(&self, call: Call) -> Result<Feed<m::SubscriptionMessage>, Refusal>;
    /// A worker sends logs; returns when the feed has ended.
    async fn publish_logs(&self, call: Call, messages: Feed<m::PublishLogsMessage>) -> Result<(), Refusal>;
    /// Another manager reads logs. Local: called on whichever manager was asked.
    async fn subscribe_logs(
        &self,
        call: Call,
        request: m::SubscribeLogsRequest,
    ) -> Result<Feed<m::SubscribeLogsMessage>, Refusal>;
    /// Another manager commands. Local: a follower refuses writes.
    async fn control(&self, call: Call, request: ControlRequest) -> Result<ControlResponse, Refusal>;

    /// A manager wants to become a member. The address in the request is complete; whether it answers is checked
    /// with `Clients::health` by the node.
    async fn raft_join(&self, call: Call, request: m::JoinRequest) -> Result<m::JoinResponse, Refusal>;
    /// A manager wants to be one no more.
    async fn raft_leave(&self, call: Call, request: m::LeaveRequest) -> Result<(), Refusal>;
    /// What consensus knows of a sender. Local; must not block.
    fn raft_standing(&self, from: RaftId) -> RaftStanding;
    /// Whether a candidate answers a health check over our own connection to it (`RaftTransport::health`); without
    /// that its request for a vote is swallowed. Local.
    async fn candidate_reachable(&self, from: RaftId) -> bool;
    /// Takes a message in; returns once it is queued for consensus. Local.
    async fn raft_message(&self, message: RaftMessage) -> Result<(), Refusal>;
    /// Where a member listens. Local.
    async fn resolve_address(&self, member: RaftId) -> Result<String, Refusal>;
    /// Whether this manager takes Raft messages: true already while it joins. Local.
    fn raft_serving(&self) -> bool;

    /// Another Skep node introduces itself. Local.
    async fn hello(&self, call: Call, request: skep::HelloRequest) -> Result<skep::HelloResponse, Refusal>;
    /// At which pace this manager goes, once it has applied what the leader names. Local.
    async fn pace(&self, request: skep::PaceRequest) -> Result<skep::PaceResponse, Refusal>;
    /// How far a follower must have applied the log to answer a read itself; refused where nobody leads. Local.
    async fn read_point(&self) -> Result<skep::ReadPointResponse, Refusal>;
    /// A Skep node says goodbye.
    async fn leave(&self, call: Call, request: skep::LeaveRequest) -> Result<(), Refusal>;
}
