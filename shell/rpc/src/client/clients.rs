//! A member's calls to managers, over connections that are kept.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skep_model::pb::messages as m;
use skep_model::pb::messages::health_check_response::ServingStatus;
use skep_model::pb::skep;
use skep_model::{Code, ControlRequest, ControlResponse, NodeId, Refusal};
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::{DispatcherClient, Home, Incoming, control, failure, open};
use crate::tls::{Credentials, Trust};
use crate::wire::skep::peer_client::PeerClient;
use crate::wire::swarmkit::health_client::HealthClient;
use crate::wire::swarmkit::logs_client::LogsClient;
use crate::wire::swarmkit::raft_client::RaftClient;
use crate::wire::swarmkit::raft_membership_client::RaftMembershipClient;
use crate::wire::swarmkit::resource_allocator_client::ResourceAllocatorClient;

/// Managers to which connections are kept; beyond it all are dropped and made anew as needed.
pub const POOL_MAX: usize = 64;
/// Largest message accepted from a manager: lists of everything.
pub(crate) const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;
/// A call that only asks.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A command that must be committed; the leader gives up sooner.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(60);
/// Becoming a Raft member: two round trips and an election may lie in between (interop §2).
const RAFT_JOIN_TIMEOUT: Duration = Duration::from_secs(25);

/// A member's clients. Cheap to share; addresses are `host:port`.
#[derive(Debug)]
pub struct Clients {
    credentials: Arc<Credentials>,
    home: Option<Home>,
    pool: Mutex<BTreeMap<String, Channel>>,
}

impl Clients {
    /// Calls with the identity that `credentials` holds at the time of each connection.
    pub fn new(credentials: Arc<Credentials>) -> Arc<Self> {
        Arc::new(Self { credentials, home: None, pool: Mutex::new(BTreeMap::new()) })
    }

    /// The same for one that may be a manager, and may have to call itself.
    pub fn at_home(credentials: Arc<Credentials>, home: Home) -> Arc<Self> {
        Arc::new(Self { credentials, home: Some(home), pool: Mutex::new(BTreeMap::new()) })
    }

    /// What to dial for an address: this node reaches itself by its own socket.
    pub fn way_to<'a>(&'a self, address: &'a str) -> &'a str {
        self.home.as_ref().map_or(address, |home| home.way_to(address))
    }

    pub(crate) fn home(&self) -> Option<&Home> {
        self.home.as_ref()
    }

    /// Drops the kept connections: after a change of root, or of this node's role.
    pub fn forget(&self) {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn channel(&self, address: &str) -> Result<Channel, Refusal> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = pool.get(address) {
            return Ok(channel.clone());
        }
        if pool.len() >= POOL_MAX {
            pool.clear();
        }
        let channel = open(self.way_to(address), Trust::Member(Arc::clone(&self.credentials)), |_| ())?;
        pool.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    /// A worker's half of the dispatcher's protocol, over a connection of its own.
    pub fn dispatcher(&self, address: &str) -> Result<DispatcherClient, Refusal> {
        DispatcherClient::open(self.way_to(address), Arc::clone(&self.credentials))
    }

    /// Whether a manager answers and takes Raft messages.
    pub async fn health(&self, address: &str, timeout: Duration) -> Result<bool, Refusal> {
        check_health(self.channel(address)?, timeout).await
    }

    /// Passes a command on to the leader, as this manager's own.
    pub async fn control(&self, address: &str, request: ControlRequest) -> Result<ControlResponse, Refusal> {
        let channel = self.channel(address)?;
        within(CONTROL_TIMEOUT, control::call(channel, request)).await
    }

    /// Reads logs through the leader.
    pub async fn subscribe_logs(
        &self,
        address: &str,
        request: m::SubscribeLogsRequest,
    ) -> Result<Incoming<m::SubscribeLogsMessage>, Refusal> {
        let mut client = LogsClient::new(self.channel(address)?).max_decoding_message_size(MESSAGE_BYTES_MAX);
        within(CALL_TIMEOUT, client.subscribe_logs(request)).await.map(Incoming)
    }

    /// Asks to become a Raft member that listens at `request.addr`.
    pub async fn raft_join(&self, address: &str, request: m::JoinRequest) -> Result<m::JoinResponse, Refusal> {
        let mut client = RaftMembershipClient::new(self.channel(address)?);
        within(RAFT_JOIN_TIMEOUT, client.join(request)).await
    }

    /// Asks to be no Raft member any more.
    pub async fn raft_leave(&self, address: &str, request: m::LeaveRequest) -> Result<(), Refusal> {
        let mut client = RaftMembershipClient::new(self.channel(address)?);
        within(RAFT_JOIN_TIMEOUT, client.leave(request)).await.map(|_| ())
    }

    /// Where a Raft member listens, as another one knows it.
    pub async fn resolve_address(&self, address: &str, raft_id: u64) -> Result<String, Refusal> {
        let mut client = RaftClient::new(self.channel(address)?);
        let request = m::ResolveAddressRequest { raft_id };
        within(CALL_TIMEOUT, client.resolve_address(request)).await.map(|response| response.addr)
    }

    /// Attaches a container to a network.
    pub async fn attach_network(
        &self,
        address: &str,
        request: m::AttachNetworkRequest,
    ) -> Result<m::AttachNetworkResponse, Refusal> {
        let mut client = ResourceAllocatorClient::new(self.channel(address)?);
        within(CALL_TIMEOUT, client.attach_network(request)).await
    }

    /// Undoes it.
    pub async fn detach_network(&self, address: &str, request: m::DetachNetworkRequest) -> Result<(), Refusal> {
        let mut client = ResourceAllocatorClient::new(self.channel(address)?);
        within(CALL_TIMEOUT, client.detach_network(request)).await.map(|_| ())
    }

    /// Introduces this node; `None` when the other is a Docker Engine.
    pub async fn hello(
        &self,
        address: &str,
        request: skep::HelloRequest,
    ) -> Result<Option<skep::HelloResponse>, Refusal> {
        let mut client = PeerClient::new(self.channel(address)?);
        skep_only(within(CALL_TIMEOUT, client.hello(request)).await)
    }

    /// Says goodbye; false when the managers are Docker Engines, which do not listen.
    pub async fn leave(&self, address: &str, request: skep::LeaveRequest) -> Result<bool, Refusal> {
        let mut client = PeerClient::new(self.channel(address)?);
        Ok(skep_only(within(CALL_TIMEOUT, client.leave(request)).await)?.is_some())
    }

    /// At which pace a manager goes, once it has applied everything up to `applied`; `None` when it is a Docker Engine.
    pub async fn pace(&self, address: &str, applied: u64) -> Result<Option<skep::pace_response::Pace>, Refusal> {
        let mut client = PeerClient::new(self.channel(address)?);
        let answer = skep_only(within(CALL_TIMEOUT, client.pace(skep::PaceRequest { applied })).await)?;
        Ok(answer.map(|answer| answer.pace()))
    }

    /// How far the log must be applied here to answer a read as the leader would; `None` when a Docker Engine leads.
    pub async fn read_point(&self, address: &str) -> Result<Option<u64>, Refusal> {
        let mut client = PeerClient::new(self.channel(address)?);
        let answer = skep_only(within(CALL_TIMEOUT, client.read_point(skep::ReadPointRequest {})).await)?;
        Ok(answer.map(|answer| answer.applied))
    }

    /// Tells the leader that a node's connection to this manager is gone.
    pub(crate) async fn connection_closed(
        &self,
        address: &str,
        connection: u64,
        node: &NodeId,
        reset: bool,
    ) -> Result<(), Refusal> {
        let mut client = PeerClient::new(self.channel(address)?);
        let request = skep::ConnectionClosedRequest { connection, node_id: node.to_string(), reset };
        skep_only(within(CALL_TIMEOUT, client.connection_closed(request)).await).map(|_| ())
    }
}

/// Whether the manager at the other end takes Raft messages.
pub(crate) async fn check_health(channel: Channel, timeout: Duration) -> Result<bool, Refusal> {
    let mut client = HealthClient::new(channel);
    let request = m::HealthCheckRequest { service: "Raft".to_owned() };
    let response = within(timeout, client.check(request)).await?;
    Ok(response.status() == ServingStatus::Serving)
}

/// Gives a call its deadline and its failure its words.
pub(crate) async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Refusal> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(failure(&status)),
        Err(_) => Err(Refusal::new(Code::DeadlineExceeded, "the manager did not answer in time")),
    }
}

/// `None` instead of "no such method".
pub(crate) fn skep_only<T>(answer: Result<T, Refusal>) -> Result<Option<T>, Refusal> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(refusal) if refusal.code == Code::Unimplemented => Ok(None),
        Err(refusal) => Err(refusal),
    }
}
