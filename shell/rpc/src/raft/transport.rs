//! The set of members to which messages go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use skep_model::pb::skep::{HelloRequest, HelloResponse};
use skep_model::{NodeId, RaftId, Refusal};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::peer::{Member, Peer};
use crate::backend::RaftMessage;
use crate::client::check_health;
use crate::tls::Credentials;

/// Messages that wait for one member; more means that it is unreachable.
pub const QUEUE_MAX: usize = 4096;
/// Managers that introduced themselves and are not known as members: more than a group gets while one of it is away.
pub const STRANGERS_MAX: usize = 8;
/// How long a member may take to say that it is well.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// What transport tells consensus and its node.
#[derive(Clone, PartialEq, Debug)]
pub enum RaftEvent {
    /// Messages to this member were lost.
    Unreachable(RaftId),
    /// A snapshot arrived, or did not.
    Snapshot {
        /// Receiver.
        to: RaftId,
        /// Whether all of it was taken.
        delivered: bool,
    },
    /// A connection to this member was cut without farewell: its process is likely gone.
    ConnectionReset(RaftId),
    /// A member answered `Hello` on a new connection.
    Met {
        /// Who.
        member: RaftId,
        /// Its answer; `None` for a Docker Engine.
        hello: Option<HelloResponse>,
        /// How long the answer took: bounds the error in its clock.
        round_trip: Duration,
    },
    /// A member says that this one was removed from the cluster.
    Removed,
}

/// Says who we are at the moment of a new connection.
pub type Greeting = Arc<dyn Fn() -> HelloRequest + Send + Sync>;

/// Sends Raft messages. Made within a Tokio runtime; its methods may be called from any thread.
pub struct RaftTransport {
    credentials: Arc<Credentials>,
    greeting: Greeting,
    events: mpsc::Sender<RaftEvent>,
    runtime: tokio::runtime::Handle,
    peers: Mutex<BTreeMap<RaftId, Peer>>,
    /// Peers that introduced themselves and are no members that we know, the latest last.
    strangers: Mutex<Vec<RaftId>>,
}

impl RaftTransport {
    /// `events` must be read: a full queue holds transport up.
    pub fn new(credentials: Arc<Credentials>, greeting: Greeting, events: mpsc::Sender<RaftEvent>) -> Arc<Self> {
        let runtime = tokio::runtime::Handle::current();
        let (peers, strangers) = Default::default();
        Arc::new(Self { credentials, greeting, events, runtime, peers, strangers })
    }

    fn peers(&self) -> std::sync::MutexGuard<'_, BTreeMap<RaftId, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strangers(&self) -> std::sync::MutexGuard<'_, Vec<RaftId>> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a member, or moves it to another address. Its queue starts empty.
    pub fn set_peer(&self, id: RaftId, node: NodeId, address: &str) -> Result<(), Refusal> {
        self.strangers().retain(|known| *known != id);
        self.put_peer(id, node, address)
    }

    fn put_peer(&self, id: RaftId, node: NodeId, address: &str) -> Result<(), Refusal> {
        let mut peers = self.peers();
        if peers.get(&id).is_some_and(|peer| peer.member.address == address && peer.member.node == node) {
            return Ok(());
        }
        let member = Member { id, node, address: address.to_owned() };
        let credentials = Arc::clone(&self.credentials);
        let _entered = self.runtime.enter();
        let peer = Peer::start(member, credentials, Arc::clone(&self.greeting), self.events.clone())?;
        peers.insert(id, peer);
        Ok(())
    }

    /// Adds somebody who says that it is a manager, so that it can be answered. A member stays what it is; of strangers
    /// the latest few are kept.
    pub fn set_stranger(&self, id: RaftId, node: NodeId, address: &str) -> Result<(), Refusal> {
        let mut strangers = self.strangers();
        if !strangers.contains(&id) && self.peers().contains_key(&id) {
            return Ok(());
        }
        self.put_peer(id, node, address)?;
        strangers.retain(|known| *known != id);
        strangers.push(id);
        if strangers.len() > STRANGERS_MAX {
            let oldest = strangers.remove(0);
            self.peers().remove(&oldest);
        }
        Ok(())
    }

    /// Forgets a member and what waits for it.
    pub fn remove_peer(&self, id: RaftId) {
        self.peers().remove(&id);
    }

    /// Members that are known, with their addresses.
    pub fn members(&self) -> Vec<(RaftId, NodeId, String)> {
        let peers = self.peers();
        peers.values().map(|peer| (peer.member.id, peer.member.node.clone(), peer.member.address.clone())).collect()
    }

    /// Queues a message; never waits. False when its receiver is unknown or its queue is full.
    pub fn send(&self, message: RaftMessage) -> bool {
        let peers = self.peers();
        let Some(peer) = peers.get(&message.to) else { return false };
        match peer.queue.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                peer.lost_some();
                false
            }
        }
    }

    /// Whether a member answers over our connection to it and takes Raft messages.
    pub async fn health(&self, id: RaftId) -> bool {
        let Some(channel) = self.peers().get(&id).map(|peer| peer.channel.clone()) else { return false };
        match check_health(channel, HEALTH_TIMEOUT).await {
            Ok(serving) => serving,
            Err(refusal) => {
                tracing::debug!(member = %id, %refusal, "health check failed");
                false
            }
        }
    }

    /// Whether a member is Skep; `None` until it answered once.
    pub fn is_skep(&self, id: RaftId) -> Option<bool> {
        self.peers().get(&id).and_then(|peer| peer.state().skep)
    }

    /// Since when messages arrive without a loss; `None` while they do not.
    pub fn active_since(&self, id: RaftId) -> Option<Instant> {
        self.peers().get(&id).and_then(|peer| peer.state().active_since)
    }

    /// Closes all connections; they are made again when needed. For a change of root.
    pub fn reconnect(&self) -> Result<(), Refusal> {
        let members = self.members();
        self.peers().clear();
        members.into_iter().try_for_each(|(id, node, address)| self.put_peer(id, node, &address))
    }
}

impl std::fmt::Debug for RaftTransport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RaftTransport").field("members", &self.members()).finish_non_exhaustive()
    }
}
