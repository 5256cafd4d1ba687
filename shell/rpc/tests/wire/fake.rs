//! A node behind the port: certificates are real, everything else is written down.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use skep_model::pb::messages as m;
use skep_model::pb::skep;
use skep_model::{Code, ControlRequest, ControlResponse, NodeId, Now, RaftId, Refusal};
use skep_pki::{ClusterSettings, default_cluster, default_cluster_spec};
use skep_rpc::backend::{RaftStanding, Standing};
use skep_rpc::identity::{Signer, Subject};
use skep_rpc::{Backend, Call, ConnectionId, Ending, Feed, Leader, RaftMessage, Visitor};
use skep_store::{Ledger, Read};
use tokio::sync::{mpsc, watch};

use crate::swarm::{Swarm, now, rng};

/// How far the fake leader's log is.
pub const READ_POINT: u64 = 41;

type Closed = (ConnectionId, Option<NodeId>, Ending);
type Standings = Box<dyn Fn(&NodeId) -> Standing + Send>;
type Members = Box<dyn Fn(RaftId) -> RaftStanding + Send>;

pub struct Fake {
    leader: watch::Sender<Leader>,
    ledger: Mutex<Ledger>,
    signer: Signer,
    pub root: Mutex<Bytes>,
    pub docker: Mutex<bool>,
    pub reachable: Mutex<bool>,
    pub mute: Mutex<bool>,
    pub standing: Mutex<Standings>,
    pub members: Mutex<Members>,
    pub calls: Mutex<Vec<(&'static str, Call)>>,
    pub visitors: Mutex<Vec<Visitor>>,
    pub closed: Mutex<Vec<Closed>>,
    pub raft: Mutex<Vec<RaftMessage>>,
    pub sessions: Mutex<Vec<mpsc::Sender<Result<m::SessionMessage, Refusal>>>>,
    pub subscriptions: Mutex<Vec<mpsc::Sender<Result<m::SubscriptionMessage, Refusal>>>>,
    pub assignments: Mutex<Vec<mpsc::Sender<Result<m::AssignmentsMessage, Refusal>>>>,
    pub logs: Mutex<Vec<m::PublishLogsMessage>>,
}

impl Fake {
    pub fn new(swarm: &Swarm) -> Arc<Self> {
        let settings = ClusterSettings {
            id: swarm.cluster.clone(),
            spec: default_cluster_spec(),
            root_certificate: swarm.root.pem().clone(),
            root_key: Bytes::copy_from_slice(swarm.key.to_pem().as_bytes()),
            unlock_key: None,
            address_pools: Vec::new(),
            subnet_size: 0,
            vxlan_udp_port: 0,
        };
        let mut ledger = Ledger::default();
        let created = ledger.transact(Now::default(), 1, 1, |tx| tx.create(default_cluster(settings, &mut rng())));
        let (_, entry): ((), _) = created.map_err(|refusal: Refusal| refusal).expect("an empty store takes it");
        ledger.commit(&entry.expect("something was written")).expect("fits");
        Arc::new(Self {
            leader: watch::channel(Leader::Me).0,
            ledger: Mutex::new(ledger),
            signer: swarm.signer(),
            root: Mutex::new(swarm.root.pem().clone()),
            docker: Mutex::new(false),
            reachable: Mutex::new(true),
            mute: Mutex::new(false),
            standing: Mutex::new(Box::new(|_| Standing::Unknown)),
            members: Mutex::new(Box::new(|_| RaftStanding::Unknown)),
            calls: Mutex::default(),
            visitors: Mutex::default(),
            closed: Mutex::default(),
            raft: Mutex::default(),
            sessions: Mutex::default(),
            subscriptions: Mutex::default(),
            assignments: Mutex::default(),
            logs: Mutex::default(),
        })
    }

    pub fn lead(&self, leader: Leader) {
        self.leader.send_replace(leader);
    }

    pub fn tokens(&self) -> skep_model::pb::types::JoinTokens {
        let cluster = self.ledger.lock().unwrap().committed().cluster().expect("made at the start");
        cluster.root_ca.join_tokens.clone().expect("with tokens")
    }

    pub fn nodes(&self) -> usize {
        self.ledger.lock().unwrap().committed().nodes().len()
    }

    pub fn called(&self, method: &str) -> Vec<Call> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|(name, _)| *name == method).map(|(_, call)| call.clone()).collect()
    }

    fn note(&self, method: &'static str, call: Call) {
        self.calls.lock().unwrap().push((method, call));
    }

    fn change<R>(&self, f: impl FnOnce(&mut skep_store::Tx<'_>) -> Result<R, Refusal>) -> Result<R, Refusal> {
        let mut ledger = self.ledger.lock().unwrap();
        let (result, entry) = ledger.transact(Now::default(), 2, 2, f)?;
        if let Some(entry) = entry {
            ledger.commit(&entry).expect("what was proposed fits");
        }
        Ok(result)
    }

    fn sign_all(&self) {
        let waiting = skep_pki::to_sign(self.ledger.lock().unwrap().committed());
        for signing in waiting {
            let cluster = self.ledger.lock().unwrap().committed().cluster().expect("there");
            let subject = Subject { node: signing.node.clone(), role: signing.role, cluster: cluster.id.clone() };
            let chain = self.signer.sign(&signing.csr, &subject, Duration::from_secs(86400), now(), &mut rng());
            self.change(|tx| match chain {
                Ok(chain) => skep_pki::signed(tx, &signing, chain),
                Err(error) => skep_pki::sign_failed(tx, &signing, &error.to_string()),
            })
            .expect("stored");
        }
    }
}

fn nothing<T>() -> Result<T, Refusal> {
    Err(Refusal::new(Code::Unimplemented, "the fake does not do this"))
}

#[async_trait]
impl Backend for Fake {
    fn leader(&self) -> watch::Receiver<Leader> {
        self.leader.subscribe()
    }

    fn standing(&self, node: &NodeId) -> Standing {
        self.standing.lock().unwrap()(node)
    }

    async fn connection_closed(&self, connection: ConnectionId, node: Option<NodeId>, ending: Ending) {
        self.closed.lock().unwrap().push((connection, node, ending));
    }

    async fn root_certificate(&self) -> Result<Bytes, Refusal> {
        Ok(self.root.lock().unwrap().clone())
    }

    async fn unlock_key(&self, call: Call) -> Result<m::GetUnlockKeyResponse, Refusal> {
        self.note("unlock_key", call);
        Ok(m::GetUnlockKeyResponse { unlock_key: Bytes::from_static(b"key"), version: None })
    }

    async fn issue_certificate(
        &self,
        visitor: Visitor,
        request: m::IssueNodeCertificateRequest,
    ) -> Result<m::IssueNodeCertificateResponse, Refusal> {
        self.visitors.lock().unwrap().push(visitor.clone());
        let issued = self.change(|tx| skep_pki::issue(tx, visitor.caller.as_ref(), &request, &mut rng()))?;
        self.sign_all();
        Ok(issued)
    }

    async fn certificate_status(
        &self,
        _visitor: Visitor,
        request: m::NodeCertificateStatusRequest,
    ) -> Result<m::NodeCertificateStatusResponse, Refusal> {
        let ledger = self.ledger.lock().unwrap();
        let status = skep_pki::certificate_status(ledger.committed(), &request)?;
        status.ok_or_else(|| Refusal::new(Code::Aborted, "not signed yet"))
    }

    async fn session(&self, call: Call, _request: m::SessionRequest) -> Result<Feed<m::SessionMessage>, Refusal> {
        let call_node = call.caller.node.clone();
        self.note("session", call);
        let (sender, feed) = mpsc::channel(4);
        let node = self.ledger.lock().unwrap().committed().node(&call_node);
        let node = node.map(|node| skep_model::Kept::from(&*node));
        let first = m::SessionMessage { session_id: "first".to_owned(), node, ..Default::default() };
        sender.try_send(Ok(first)).expect("empty");
        self.sessions.lock().unwrap().push(sender);
        Ok(feed)
    }

    async fn heartbeat(&self, call: Call, _request: m::HeartbeatRequest) -> Result<m::HeartbeatResponse, Refusal> {
        self.note("heartbeat", call);
        if *self.mute.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        let period = skep_model::time::proto_duration(Duration::from_secs(5));
        Ok(m::HeartbeatResponse { period: Some(period) })
    }

    async fn update_task_status(&self, call: Call, _request: m::UpdateTaskStatusRequest) -> Result<(), Refusal> {
        self.note("update_task_status", call);
        Ok(())
    }

    async fn update_volume_status(&self, _call: Call, _request: m::UpdateVolumeStatusRequest) -> Result<(), Refusal> {
        nothing()
    }

    async fn assignments(
        &self,
        call: Call,
        _request: m::AssignmentsRequest,
    ) -> Result<Feed<m::AssignmentsMessage>, Refusal> {
        self.note("assignments", call);
        let (sender, feed) = mpsc::channel(4);
        let complete = m::AssignmentsMessage { results_in: "1".to_owned(), ..Default::default() };
        sender.try_send(Ok(complete)).expect("empty");
        self.assignments.lock().unwrap().push(sender);
        Ok(feed)
    }

    async fn attach_network(
        &self,
        _call: Call,
        _request: m::AttachNetworkRequest,
    ) -> Result<m::AttachNetworkResponse, Refusal> {
        nothing()
    }

    async fn detach_network(&self, _call: Call, _request: m::DetachNetworkRequest) -> Result<(), Refusal> {
        nothing()
    }

    async fn listen_subscriptions(&self, call: Call) -> Result<Feed<m::SubscriptionMessage>, Refusal> {
        self.note("listen_subscriptions", call);
        let (sender, feed) = mpsc::channel(4);
        self.subscriptions.lock().unwrap().push(sender);
        Ok(feed)
    }

    async fn publish_logs(&self, call: Call, mut messages: Feed<m::PublishLogsMessage>) -> Result<(), Refusal> {
        self.note("publish_logs", call);
        while let Some(message) = messages.recv().await {
            self.logs.lock().unwrap().push(message?);
        }
        Ok(())
    }

    async fn subscribe_logs(
        &self,
        _call: Call,
        _request: m::SubscribeLogsRequest,
    ) -> Result<Feed<m::SubscribeLogsMessage>, Refusal> {
        nothing()
    }

    async fn control(&self, call: Call, request: ControlRequest) -> Result<ControlResponse, Refusal> {
        self.note("control", call);
        match request {
            ControlRequest::GetNode(request) => Err(Refusal::not_found("node", &request.node_id)),
            ControlRequest::ListServices(_) => Ok(m::ListServicesResponse::default().into()),
            _ => nothing(),
        }
    }

    async fn raft_join(&self, call: Call, request: m::JoinRequest) -> Result<m::JoinResponse, Refusal> {
        self.note("raft_join", call);
        let member = m::RaftMember { raft_id: 9, addr: request.addr, ..Default::default() };
        Ok(m::JoinResponse { raft_id: 9, members: vec![member], removed_members: Vec::new() })
    }

    async fn raft_leave(&self, _call: Call, _request: m::LeaveRequest) -> Result<(), Refusal> {
        nothing()
    }

    fn raft_standing(&self, from: RaftId) -> RaftStanding {
        self.members.lock().unwrap()(from)
    }

    async fn candidate_reachable(&self, _from: RaftId) -> bool {
        *self.reachable.lock().unwrap()
    }

    async fn raft_message(&self, message: RaftMessage) -> Result<(), Refusal> {
        self.raft.lock().unwrap().push(message);
        Ok(())
    }

    async fn resolve_address(&self, member: RaftId) -> Result<String, Refusal> {
        Ok(format!("192.0.2.{}:2377", member.0))
    }

    fn raft_serving(&self) -> bool {
        true
    }

    async fn hello(&self, call: Call, request: skep::HelloRequest) -> Result<skep::HelloResponse, Refusal> {
        if *self.docker.lock().unwrap() {
            return nothing();
        }
        self.note("hello", call);
        Ok(skep::HelloResponse { version: request.version, revision: 1, ..Default::default() })
    }

    async fn pace(&self, _request: skep::PaceRequest) -> Result<skep::PaceResponse, Refusal> {
        nothing()
    }

    async fn read_point(&self) -> Result<skep::ReadPointResponse, Refusal> {
        if *self.docker.lock().unwrap() {
            return nothing();
        }
        let leads = *self.leader.borrow() == Leader::Me;
        if leads { Ok(skep::ReadPointResponse { applied: READ_POINT }) } else { Err(Refusal::no_leader()) }
    }

    async fn leave(&self, call: Call, _request: skep::LeaveRequest) -> Result<(), Refusal> {
        self.note("leave", call);
        Ok(())
    }
}
