//! The cluster port's `Backend`: every call becomes an ask of the manager's loop, or a look at its board.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use skep_consensus::{Mode, PeerMessage};
use skep_manager::Answer;
use skep_model::pb::messages as m;
use skep_model::pb::skep;
use skep_model::pb::skep::pace_response::Pace;
use skep_model::pb::types::NodeRole;
use skep_model::{Code, ControlRequest, ControlResponse, Make, NodeId, RaftId, Refusal};
use skep_rpc::backend::{RaftStanding, Standing};
use skep_rpc::{Backend, Call, Clients, ConnectionId, Ending, Feed, Leader, RaftMessage, RaftTransport, Visitor};
use tokio::sync::{mpsc, watch};

use super::ask::{Ask, Handle, Request};
use super::log_broker::LogBroker;
use crate::host;
use crate::warnings::Warnings;

/// Messages that may wait for a worker; a worker that is further behind opens its stream anew.
const FEED_QUEUE: usize = 1024;
/// How long a manager that joins may take to answer the health check.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a raft message waits for a manager that is being prepared.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(1);

/// The node behind the cluster port.
pub struct ManagerBackend {
    own: NodeId,
    handle: RwLock<Option<(Handle, LogBroker)>>,
    /// Whether there is a loop, or was one.
    runs: watch::Sender<bool>,
    leader: watch::Sender<Leader>,
    transport: Arc<RaftTransport>,
    clients: Arc<Clients>,
    skep_nodes: Arc<Mutex<BTreeSet<NodeId>>>,
    warnings: Warnings,
    serving: AtomicBool,
}

impl ManagerBackend {
    /// A backend whose loop does not run yet: it joins.
    pub fn new(
        own: NodeId,
        transport: Arc<RaftTransport>,
        clients: Arc<Clients>,
        skep_nodes: Arc<Mutex<BTreeSet<NodeId>>>,
        warnings: Warnings,
    ) -> Self {
        Self {
            own,
            handle: RwLock::new(None),
            runs: watch::Sender::new(false),
            leader: watch::Sender::new(Leader::None),
            transport,
            clients,
            skep_nodes,
            warnings,
            serving: AtomicBool::new(true),
        }
    }

    /// The loop runs; who leads is followed from now on.
    pub fn run_by(self: &Arc<Self>, handle: Handle) {
        let broker = LogBroker::new(handle.clone());
        let mut status = handle.status();
        *self.handle.write().unwrap_or_else(PoisonError::into_inner) = Some((handle, broker));
        self.runs.send_replace(true);
        let backend = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let now = status.borrow_and_update().clone();
                let leader = match now.leader {
                    Some(leader) if leader.node_id == backend.own && now.role.is_ready => Leader::Me,
                    Some(leader) if leader.node_id != backend.own => {
                        Leader::Other { node: leader.node_id, address: leader.addr }
                    }
                    _ => Leader::None,
                };
                backend.leader.send_if_modified(|current| {
                    let changed = *current != leader;
                    *current = leader;
                    changed
                });
                if status.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// The manager stops.
    pub fn stop(&self) {
        self.serving.store(false, Ordering::Relaxed);
        self.leader.send_replace(Leader::None);
        *self.handle.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Who leads, as watched by others.
    pub fn watch_leader(&self) -> watch::Receiver<Leader> {
        self.leader.subscribe()
    }

    /// The loop's handle, once it runs.
    pub fn handle(&self) -> Result<Handle, Refusal> {
        self.parts().map(|(handle, _)| handle)
    }

    /// The log broker, once the loop runs.
    pub fn broker(&self) -> Result<LogBroker, Refusal> {
        self.parts().map(|(_, broker)| broker)
    }

    fn parts(&self) -> Result<(Handle, LogBroker), Refusal> {
        let parts = self.handle.read().unwrap_or_else(PoisonError::into_inner).clone();
        parts.ok_or_else(|| Refusal::new(Code::Unavailable, "the manager is being prepared; try again"))
    }
}

impl ManagerBackend {
    /// Somebody is Skep, and this is what its clock shows. The leader has to know it of every node: whoever serves a
    /// node passes its word on, in the node's name.
    fn meet(&self, call: &Call, request: skep::HelloRequest) {
        let named = NodeId::optional(&request.node_id).filter(|named| *named != call.caller.node);
        let on_behalf = named.filter(|_| call.caller.role == NodeRole::Manager);
        let passed_on = on_behalf.is_some();
        let node = on_behalf.unwrap_or_else(|| call.caller.node.clone());
        self.warnings.clock(&node, request.wall_clock_ms, Duration::ZERO);
        self.skep_nodes.lock().unwrap_or_else(PoisonError::into_inner).insert(node.clone());
        let leader = self.leader.borrow().clone();
        if let (Leader::Other { node: leads, address }, false) = (leader, passed_on)
            && leads != node
        {
            let clients = Arc::clone(&self.clients);
            let request = skep::HelloRequest { node_id: node.to_string(), ..request };
            tokio::spawn(async move {
                if let Err(refusal) = clients.hello(&address, request).await {
                    tracing::debug!(%node, "the leader was not told that this node is Skep: {refusal}");
                }
            });
        }
    }

    /// A manager that joined while this one was away, as far as this one can know: it may need our vote, so that we
    /// must be able to answer it. Its certificate says that it is a manager.
    fn meet_stranger(&self, call: &Call, request: &skep::HelloRequest) {
        let (id, node) = (RaftId(request.raft_id), &call.caller.node);
        let by_itself = call.caller.role == NodeRole::Manager && request.node_id == node.as_str();
        let unknown = || matches!(self.raft_standing(id), RaftStanding::Unknown);
        if id.0 == 0 || request.raft_address.is_empty() || !by_itself || !unknown() {
            return;
        }
        if let Err(refusal) = self.transport.set_stranger(id, node.clone(), &request.raft_address) {
            tracing::warn!("manager {node} cannot be answered at {:?}: {refusal}", request.raft_address);
        }
    }

    /// Finds out what wants to be a member: before a Docker Engine can be one, everybody goes over to its pace
    /// (decision 12).
    async fn meet_joiner(&self, node: &NodeId, address: &str) -> Result<(), Refusal> {
        let hello = self.clients.hello(address, host::greeting(&self.own)).await?;
        let make = if hello.is_some() { Make::Skep } else { Make::Docker };
        self.handle()?.tell(Ask::Met(node.clone(), make))
    }
}

fn unexpected(answer: &Answer) -> Refusal {
    Refusal::new(Code::Internal, format!("a request was answered with {answer:?}"))
}

#[async_trait]
impl Backend for ManagerBackend {
    fn leader(&self) -> watch::Receiver<Leader> {
        self.leader.subscribe()
    }

    fn standing(&self, node: &NodeId) -> Standing {
        let Ok(handle) = self.handle() else { return Standing::Unknown };
        handle.read(|board| match board.roles.get(node) {
            _ if board.blacklisted.contains(node) => Standing::Removed,
            Some(role) => Standing::Member(*role),
            None => Standing::Unknown,
        })
    }

    async fn connection_closed(&self, connection: ConnectionId, _node: Option<NodeId>, ending: Ending) {
        if let Ok(handle) = self.handle()
            && let Err(refusal) = handle.tell(Ask::ConnectionClosed(connection, ending))
        {
            tracing::debug!("{refusal}");
        }
    }

    async fn root_certificate(&self) -> Result<Bytes, Refusal> {
        let root = self.handle()?.read(|board| board.root_certificate.clone());
        if root.is_empty() {
            return Err(Refusal::new(
                Code::Unavailable,
                "the swarm's root certificate is not known here yet; try again",
            ));
        }
        Ok(root)
    }

    async fn unlock_key(&self, _call: Call) -> Result<m::GetUnlockKeyResponse, Refusal> {
        let (unlock_key, version) = self.handle()?.read(|board| board.unlock_key.clone());
        Ok(m::GetUnlockKeyResponse { unlock_key, version: Some(skep_model::objects::version(version)) })
    }

    async fn issue_certificate(
        &self,
        visitor: Visitor,
        request: m::IssueNodeCertificateRequest,
    ) -> Result<m::IssueNodeCertificateResponse, Refusal> {
        skep_rpc::identity::check_csr(&request.csr).map_err(|error| Refusal::invalid(error.to_string()))?;
        match self.handle()?.request(Request::Issue(visitor.caller, visitor.make, request)).await? {
            Answer::Issued(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn certificate_status(
        &self,
        _visitor: Visitor,
        request: m::NodeCertificateStatusRequest,
    ) -> Result<m::NodeCertificateStatusResponse, Refusal> {
        match self.handle()?.request(Request::CertificateStatus(request)).await? {
            Answer::Certificate(response) => Ok(*response),
            other => Err(unexpected(&other)),
        }
    }

    async fn session(&self, call: Call, request: m::SessionRequest) -> Result<Feed<m::SessionMessage>, Refusal> {
        let (sender, feed) = mpsc::channel(FEED_QUEUE);
        let handle = self.handle()?;
        handle.ask(|reply| Ask::Session(call.caller, call.connection, request, sender, reply)).await?;
        Ok(feed)
    }

    async fn heartbeat(&self, call: Call, request: m::HeartbeatRequest) -> Result<m::HeartbeatResponse, Refusal> {
        self.handle()?.ask(|reply| Ask::Heartbeat(call.caller, request, reply)).await
    }

    async fn update_task_status(&self, call: Call, request: m::UpdateTaskStatusRequest) -> Result<(), Refusal> {
        self.handle()?.ask(|reply| Ask::TaskStatus(call.caller, request, reply)).await
    }

    async fn update_volume_status(&self, _call: Call, _request: m::UpdateVolumeStatusRequest) -> Result<(), Refusal> {
        Ok(())
    }

    async fn assignments(
        &self,
        call: Call,
        request: m::AssignmentsRequest,
    ) -> Result<Feed<m::AssignmentsMessage>, Refusal> {
        let (sender, feed) = mpsc::channel(FEED_QUEUE);
        let handle = self.handle()?;
        handle.ask(|reply| Ask::Assignments(call.caller, call.connection, request, sender, reply)).await?;
        Ok(feed)
    }

    async fn attach_network(
        &self,
        _call: Call,
        _request: m::AttachNetworkRequest,
    ) -> Result<m::AttachNetworkResponse, Refusal> {
        Err(Refusal::new(Code::Unimplemented, "attaching containers to swarm networks is not available yet"))
    }

    async fn detach_network(&self, _call: Call, _request: m::DetachNetworkRequest) -> Result<(), Refusal> {
        Err(Refusal::new(Code::Unimplemented, "attaching containers to swarm networks is not available yet"))
    }

    async fn listen_subscriptions(&self, call: Call) -> Result<Feed<m::SubscriptionMessage>, Refusal> {
        Ok(self.broker()?.listen(call.caller.node))
    }

    async fn publish_logs(&self, call: Call, messages: Feed<m::PublishLogsMessage>) -> Result<(), Refusal> {
        self.broker()?.publish(&call.caller.node, messages).await
    }

    async fn subscribe_logs(
        &self,
        _call: Call,
        request: m::SubscribeLogsRequest,
    ) -> Result<Feed<m::SubscribeLogsMessage>, Refusal> {
        self.broker()?.subscribe(request).await
    }

    async fn control(&self, _call: Call, request: ControlRequest) -> Result<ControlResponse, Refusal> {
        if *self.leader.borrow() != Leader::Me {
            return Err(Refusal::no_leader());
        }
        self.handle()?.control(request).await.map(|(response, _)| response)
    }

    async fn raft_join(&self, call: Call, request: m::JoinRequest) -> Result<m::JoinResponse, Refusal> {
        if !self.clients.health(&request.addr, HEALTH_TIMEOUT).await? {
            return Err(Refusal::new(
                Code::FailedPrecondition,
                format!("the manager at {} does not take part yet; can it be reached from here?", request.addr),
            ));
        }
        self.meet_joiner(&call.caller.node, &request.addr).await?;
        match self.handle()?.request(Request::Join(call.caller.node, request.addr)).await? {
            Answer::Joined(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn raft_leave(&self, call: Call, _request: m::LeaveRequest) -> Result<(), Refusal> {
        match self.handle()?.request(Request::Leave(call.caller.node)).await? {
            Answer::Left => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn raft_standing(&self, from: RaftId) -> RaftStanding {
        let Ok(handle) = self.handle() else { return RaftStanding::Unknown };
        handle.read(|board| match board.members.get(&from) {
            Some(member) => RaftStanding::Member(member.node_id.clone()),
            None if board.removed.contains(&from) => RaftStanding::Removed,
            None => RaftStanding::Unknown,
        })
    }

    async fn candidate_reachable(&self, from: RaftId) -> bool {
        self.transport.health(from).await
    }

    async fn raft_message(&self, message: RaftMessage) -> Result<(), Refusal> {
        if !*self.runs.borrow() {
            // The leader writes as soon as it has added us, which is before we know it: refused, its first words would
            // come again no sooner than with its next heartbeat.
            let mut runs = self.runs.subscribe();
            let prepared = runs.wait_for(|runs| *runs);
            if tokio::time::timeout(PREPARE_TIMEOUT, prepared).await.is_err() {
                tracing::debug!("a raft message came long before this manager was prepared");
            }
        }
        let message = PeerMessage::decode(&message.bytes)?;
        self.handle()?.tell(Ask::Peer(Box::new(message)))
    }

    async fn resolve_address(&self, member: RaftId) -> Result<String, Refusal> {
        let address = self.handle()?.read(|board| board.members.get(&member).map(|member| member.addr.clone()));
        address.ok_or_else(|| Refusal::new(Code::NotFound, format!("raft member {member} is not known")))
    }

    fn raft_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    async fn hello(&self, call: Call, request: skep::HelloRequest) -> Result<skep::HelloResponse, Refusal> {
        self.meet_stranger(&call, &request);
        self.meet(&call, request);
        let skep::HelloRequest { version, revision, node_id, wall_clock_ms, .. } = host::greeting(&self.own);
        Ok(skep::HelloResponse { version, revision, node_id, wall_clock_ms })
    }

    async fn pace(&self, request: skep::PaceRequest) -> Result<skep::PaceResponse, Refusal> {
        let pace = match self.handle()?.request(Request::Pace(request.applied)).await? {
            Answer::Pace(Mode::Docker) => Pace::Docker,
            Answer::Pace(Mode::Skep) => Pace::Skep,
            other => return Err(unexpected(&other)),
        };
        Ok(skep::PaceResponse { pace: pace.into() })
    }

    async fn read_point(&self) -> Result<skep::ReadPointResponse, Refusal> {
        if *self.leader.borrow() != Leader::Me {
            return Err(Refusal::no_leader());
        }
        match self.handle()?.request(Request::ReadPoint).await? {
            Answer::ReadPoint(applied) => Ok(skep::ReadPointResponse { applied }),
            other => Err(unexpected(&other)),
        }
    }

    async fn leave(&self, call: Call, request: skep::LeaveRequest) -> Result<(), Refusal> {
        self.handle()?.ask(|reply| Ask::Leave(call.caller, request, reply)).await
    }
}
