//! The cluster's port: accepts connections, finds out who calls, and answers or passes on.
//!
//! It must never decide what the swarm does: that is the `Backend`'s. Flow of a request: `connection` → `methods` (who
//! may, and where) → `authorise` (who is it) → `services`, `control`, `raft`, or `proxy` to the leader.

mod authorise;
mod connection;
mod control;
mod methods;
mod proxy;
mod raft;
mod services;
mod until;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand_core::{OsRng, TryRngCore};
use skep_model::NodeId;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::backend::Backend;
use crate::client::Clients;
use crate::identity::Membership;
use crate::tls::Credentials;
use crate::wire::skep::peer_server::PeerServer;
use crate::wire::swarmkit as wire;
pub(crate) use authorise::REVISION;
pub(crate) use methods::control_methods;
pub(crate) use proxy::LEADER_UNREACHABLE;
pub(crate) use raft::REMOVED;
use services::Services;

/// Connections at a time; further ones wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Requests in flight on one connection of a worker or a newcomer.
pub const STREAMS_MAX: u32 = 1000;
/// The same for a manager, which passes on the streams of all workers that it serves: four each, for 10,000.
pub const MANAGER_STREAMS_MAX: u32 = 40_000;
/// Largest request, as SwarmKit's managers have it.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
/// All headers of a request.
const HEADER_BYTES_MAX: u32 = 64 << 10;
/// How long TLS may take to be agreed.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls that are under way may go on when their connection is to end.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);
/// How long a connection may take to end in good order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A silent connection is asked whether it lives this often.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// And closed when it does not answer.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Sent bytes that nobody acknowledged for so long end a connection.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);
/// How long a request for a certificate waits for a leader: less than its caller waits for an answer (5 s).
const LEADER_PATIENCE: Duration = Duration::from_secs(4);
/// Pause after the kernel refused a connection (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running server.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

pub(crate) struct Shared {
    credentials: Arc<Credentials>,
    clients: Arc<Clients>,
    backend: Arc<dyn Backend>,
    routes: Routes,
    open: Mutex<BTreeMap<u64, Open>>,
}

struct Open {
    peer: Option<Membership>,
    close: CancellationToken,
}

impl Server {
    /// Serves on `listener` until `shutdown`. Calls for the leader go over `clients`' kept connections.
    pub fn start(
        listener: TcpListener,
        credentials: Arc<Credentials>,
        clients: Arc<Clients>,
        backend: Arc<dyn Backend>,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let routes = routes(&Services { backend: Arc::clone(&backend) });
        let open = Mutex::new(BTreeMap::new());
        let shared = Arc::new(Shared { credentials, clients, backend, routes, open });
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        // Numbers start at random so that those of an earlier process do not come again; 0 stays free.
        let first = OsRng.try_next_u64().map_err(std::io::Error::other)? >> 1 | 1;
        tasks.spawn(accept(listener, Arc::clone(&shared), stop.clone(), tasks.clone(), first));
        Ok(Self { shared, address, stop, tasks })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Closes the connections of a node: it was removed, or its role changed.
    pub fn disconnect(&self, node: &NodeId) {
        self.disconnect_where(|peer| peer.is_some_and(|peer| peer.node == *node));
    }

    /// Closes every connection whose certificate `chosen` names (`None`: none was shown); all of them when an old root
    /// is dropped.
    pub fn disconnect_where(&self, chosen: impl Fn(Option<&Membership>) -> bool) {
        let open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().filter(|open| chosen(open.peer.as_ref())).for_each(|open| open.close.cancel());
    }

    /// Stops listening, closes all connections in good order and returns when they are gone.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Shared {
    fn authenticated(&self, number: u64, peer: Option<&Membership>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = open.get_mut(&number) {
            open.peer = peer.cloned();
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken, tasks: TaskTracker, first: u64) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut number = first;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = async {
                let permit = Arc::clone(&permits).acquire_owned().await.map_err(std::io::Error::other)?;
                listener.accept().await.map(|(tcp, address)| (permit, tcp, address))
            } => accepted,
        };
        let (permit, tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the cluster port");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        number = number.wrapping_add(1);
        let close = stop.child_token();
        let open = Open { peer: None, close: close.clone() };
        shared.open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, open);
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            connection::serve(Arc::clone(&shared), tcp, address, number, close).await;
            shared.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            drop(permit);
        });
    }
}

fn routes(services: &Services) -> Routes {
    Routes::new(wire::ca_server::CaServer::new(services.clone()))
        .add_service(wire::node_ca_server::NodeCaServer::new(services.clone()))
        .add_service(wire::dispatcher_server::DispatcherServer::new(services.clone()))
        .add_service(wire::resource_allocator_server::ResourceAllocatorServer::new(services.clone()))
        .add_service(wire::log_broker_server::LogBrokerServer::new(services.clone()))
        .add_service(wire::logs_server::LogsServer::new(services.clone()))
        .add_service(wire::raft_membership_server::RaftMembershipServer::new(services.clone()))
        .add_service(wire::raft_server::RaftServer::new(services.clone()).max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(wire::health_server::HealthServer::new(services.clone()))
        .add_service(wire::control_server::ControlServer::new(services.clone()))
        .add_service(PeerServer::new(services.clone()).max_decoding_message_size(REQUEST_BYTES_MAX))
        .prepare()
}
