//! Starting and stopping the manager's part.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use skep_consensus::{Member, Membership, Persist, Recovered};
use skep_disk::{DataKey, DiskError, LogStore as _, RaftDisk};
use skep_manager::{Genesis, Manager};
use skep_model::pb::messages as m;
use skep_model::pb::skep;
use skep_model::{Make, NodeId, RaftId, Refusal};
use skep_rpc::{Clients, Credentials, ExternalCas, RaftEvent, RaftTransport, Server};
use skep_store::Store;
use tokio::sync::{mpsc, oneshot};

use super::Trouble;
use super::ask::{Ask, Handle};
use super::authority::{Authority, ROOT_READER};
use super::backend::ManagerBackend;
use super::outside::{Outside, OutsideParts};
use crate::clock::Clock;
use crate::plugins::Plugins;
use crate::warnings::Warnings;

/// Transport's events that may wait for their reader.
const RAFT_EVENT_QUEUE: usize = 1024;
/// Tries to become a Raft member, a pause apart: the leader may be changing.
const JOIN_TRIES: u32 = 20;
const JOIN_PAUSE: Duration = Duration::from_millis(250);
/// How long a leader that stops waits for another to take over.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);

/// How the manager begins.
pub enum Beginning {
    /// The first one of a new swarm.
    Found(Box<Genesis>),
    /// One that joins through managers at these addresses.
    Join(Vec<String>),
    /// From what is on disk.
    Restart,
    /// From what is on disk, alone: the others are lost.
    ForceNew,
}

/// What a manager is started with.
pub struct ManagerParts {
    /// This node.
    pub node: NodeId,
    /// Where to listen, `host:port`.
    pub listen: String,
    /// What others call, `host:port`.
    pub advertise: String,
    /// The raft log's directory.
    pub directory: PathBuf,
    /// Keys of the raft log: the current one first.
    pub data_keys: Vec<DataKey>,
    /// What this node presents.
    pub credentials: Arc<Credentials>,
    /// Calls to other managers.
    pub clients: Arc<Clients>,
    /// Clocks.
    pub clock: Clock,
    /// What `docker info` warns of.
    pub warnings: Warnings,
    /// Drivers of secrets.
    pub plugins: Plugins,
}

/// Why a manager could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port.
    #[error("cannot listen on {address} for the swarm's other nodes")]
    Listen {
        /// Where.
        address: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The log.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is nothing to restart from.
    #[error("there is no raft log in {}: let this node leave and join again", path.display())]
    NoLog {
        /// Where it should be.
        path: PathBuf,
    },
    /// The snapshot.
    #[error(transparent)]
    Snapshot(#[from] skep_manager::SnapshotError),
    /// The state does not fit together.
    #[error(transparent)]
    Recover(#[from] skep_consensus::RecoverError),
    /// The other managers.
    #[error("could not become a member of the managers' quorum: {0}")]
    Join(Refusal),
    /// A member in the answer to a join.
    #[error(transparent)]
    Member(#[from] skep_consensus::MemberError),
    /// The thread.
    #[error("cannot start the manager's thread")]
    Thread(#[source] std::io::Error),
}

/// A manager that runs.
pub struct ManagerRole {
    /// Asks its loop.
    pub handle: Handle,
    /// Its port's other side.
    pub backend: Arc<ManagerBackend>,
    server: Arc<Server>,
    thread: Option<std::thread::JoinHandle<()>>,
    events: tokio::task::JoinHandle<()>,
}

/// What a manager is started into.
struct World {
    /// This member, once it is known.
    own: Arc<OnceLock<Member>>,
    transport: Arc<RaftTransport>,
    skep_nodes: Arc<Mutex<BTreeSet<NodeId>>>,
    server: Arc<Server>,
    pending: mpsc::Receiver<RaftEvent>,
    troubles: mpsc::Sender<Trouble>,
}

/// A log that is open, and what was in it.
struct Opened {
    disk: RaftDisk,
    recovered: Recovered,
    facts: Store,
}

impl ManagerRole {
    /// Starts a manager. `troubles` hears why it cannot go on.
    pub async fn start(
        parts: ManagerParts,
        beginning: Beginning,
        troubles: mpsc::Sender<Trouble>,
    ) -> Result<Self, StartError> {
        let listener = crate::listen::bind(&parts.listen)
            .await
            .map_err(|source| StartError::Listen { address: parts.listen.clone(), source })?;
        let skep_nodes = Arc::new(Mutex::new(BTreeSet::new()));
        let (events, pending) = mpsc::channel(RAFT_EVENT_QUEUE);
        let own = Arc::new(OnceLock::new());
        let transport =
            RaftTransport::new(Arc::clone(&parts.credentials), greeting(&parts.node, Arc::clone(&own)), events);
        let backend = Arc::new(ManagerBackend::new(
            parts.node.clone(),
            Arc::clone(&transport),
            Arc::clone(&parts.clients),
            Arc::clone(&skep_nodes),
            parts.warnings.clone(),
        ));
        let server = Server::start(
            listener,
            Arc::clone(&parts.credentials),
            Arc::clone(&parts.clients),
            Arc::clone(&backend) as Arc<dyn skep_rpc::Backend>,
        )
        .map_err(|source| StartError::Listen { address: parts.listen.clone(), source })?;
        let server = Arc::new(server);
        let world = World { own, transport, skep_nodes, server: Arc::clone(&server), pending, troubles };
        match Self::run(&parts, beginning, &backend, world).await {
            Ok((handle, thread, events)) => Ok(Self { handle, backend, server, thread: Some(thread), events }),
            Err(error) => {
                backend.stop();
                server.shutdown().await;
                Err(error)
            }
        }
    }

    async fn run(
        parts: &ManagerParts,
        beginning: Beginning,
        backend: &Arc<ManagerBackend>,
        world: World,
    ) -> Result<(Handle, std::thread::JoinHandle<()>, tokio::task::JoinHandle<()>), StartError> {
        let mut rng = parts.clock.rng();
        let mut genesis = None;
        let Opened { disk, recovered, facts } = match beginning {
            Beginning::Found(first) => {
                genesis = Some(*first);
                found(parts, &mut rng)?
            }
            Beginning::Join(addresses) => join(parts, &addresses).await?,
            Beginning::Restart => restart(parts)?,
            Beginning::ForceNew => force_new(parts, &mut rng)?,
        };
        let config = skep_manager::Config {
            member: disk.member().clone(),
            genesis,
            certificate_expiry: skep_rpc::identity::certificate_expiry,
            read_issuer: skep_rpc::identity::read_issuer,
            roots: ROOT_READER,
            reader: Default::default(),
            snapshot_encoder: Default::default(),
        };
        let manager = Manager::new(config, recovered, facts, &mut rng)?;
        let World { own, transport, skep_nodes, server, pending, troubles } = world;
        own.get_or_init(|| disk.member().clone());
        let outside = Outside::new(OutsideParts {
            disk,
            transport,
            clients: Arc::clone(&parts.clients),
            skep_nodes: Arc::clone(&skep_nodes),
            server,
            troubles: troubles.clone(),
            plugins: parts.plugins.clone(),
            authority: Authority::new(ExternalCas::new(Arc::clone(&parts.credentials)), parts.clock),
        });
        let (handle, thread) = super::run::spawn(manager, outside, parts.clock).map_err(StartError::Thread)?;
        backend.run_by(handle.clone());
        let events = tokio::spawn(pump(pending, handle.clone(), skep_nodes, parts.warnings.clone(), troubles));
        Ok((handle, thread, events))
    }

    /// Hands leadership over where somebody can take it, then ends port, loop and log.
    pub async fn stop(mut self) {
        if self.handle.status().borrow().role.is_leader {
            self.hand_over().await;
        }
        self.backend.stop();
        self.handle.stop();
        self.events.abort();
        self.server.shutdown().await;
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the manager's thread failed");
            }
        }
    }

    async fn hand_over(&self) {
        let (reply, handing) = oneshot::channel();
        if self.handle.tell(Ask::HandOver(reply)).is_err() || handing.await != Ok(true) {
            return;
        }
        let mut status = self.handle.status();
        let gone = status.wait_for(|status| !status.role.is_leader);
        if tokio::time::timeout(HAND_OVER_TIMEOUT, gone).await.is_err() {
            tracing::warn!("no other manager took over in time");
        }
    }

    /// Closes the connections of nodes; all of them when the root changed.
    pub fn server(&self) -> &Server {
        &self.server
    }
}

fn greeting(node: &NodeId, own: Arc<OnceLock<Member>>) -> Arc<dyn Fn() -> skep::HelloRequest + Send + Sync> {
    let node = node.clone();
    Arc::new(move || {
        let (raft_id, raft_address) = own.get().map(|own| (own.raft_id.0, own.addr.clone())).unwrap_or_default();
        skep::HelloRequest { raft_id, raft_address, ..crate::host::greeting(&node) }
    })
}

/// Carries the transport's news to the loop.
async fn pump(
    mut events: mpsc::Receiver<RaftEvent>,
    handle: Handle,
    skep_nodes: Arc<Mutex<BTreeSet<NodeId>>>,
    warnings: Warnings,
    troubles: mpsc::Sender<Trouble>,
) {
    while let Some(event) = events.recv().await {
        let ask = match event {
            RaftEvent::Unreachable(peer) => Ask::Reachable(peer, false),
            RaftEvent::Snapshot { to, delivered } => Ask::SnapshotSent(to, delivered),
            RaftEvent::ConnectionReset(peer) => Ask::PeerLost(peer),
            RaftEvent::Met { member, hello, round_trip } => {
                let node = handle.read(|board| board.members.get(&member).map(|member| member.node_id.clone()));
                if let Some(node) = node {
                    let make = if hello.is_some() { Make::Skep } else { Make::Docker };
                    if let Err(refusal) = handle.tell(Ask::Met(node.clone(), make)) {
                        tracing::debug!("{refusal}");
                    }
                    if let Some(hello) = hello {
                        warnings.clock(&node, hello.wall_clock_ms, round_trip);
                        skep_nodes.lock().unwrap_or_else(PoisonError::into_inner).insert(node);
                    }
                }
                Ask::Reachable(member, true)
            }
            RaftEvent::Removed => {
                if troubles.send(Trouble::Removed).await.is_err() {
                    tracing::debug!("the node is stopping already");
                }
                continue;
            }
        };
        if let Err(refusal) = handle.tell(ask) {
            tracing::debug!("{refusal}");
        }
    }
}

fn data_key(parts: &ManagerParts) -> Result<DataKey, StartError> {
    match parts.data_keys.first() {
        Some(key) => Ok(key.clone()),
        None => Ok(DataKey::generate()?),
    }
}

fn found(parts: &ManagerParts, rng: &mut dyn rand_core::RngCore) -> Result<Opened, StartError> {
    let member = Member { raft_id: RaftId::random(rng), node_id: parts.node.clone(), addr: parts.advertise.clone() };
    let (recovered, persist) = skep_consensus::bootstrap(&member, rng.next_u64() | 1);
    let disk = RaftDisk::create_with(&parts.directory, data_key(parts)?, &member, &[persist])?;
    Ok(Opened { disk, recovered, facts: Store::default() })
}

async fn join(parts: &ManagerParts, addresses: &[String]) -> Result<Opened, StartError> {
    let response = ask_to_join(parts, addresses).await?;
    let members = response.members.into_iter().map(Member::try_from).collect::<Result<Vec<_>, _>>()?;
    let removed: BTreeSet<RaftId> = response.removed_members.into_iter().map(RaftId).collect();
    let member =
        Member { raft_id: RaftId(response.raft_id), node_id: parts.node.clone(), addr: parts.advertise.clone() };
    let disk = RaftDisk::create_joining(&parts.directory, data_key(parts)?, &member, &members)?;
    Ok(Opened { disk, recovered: Recovered { members, removed, ..Recovered::empty() }, facts: Store::default() })
}

async fn ask_to_join(parts: &ManagerParts, addresses: &[String]) -> Result<m::JoinResponse, StartError> {
    let mut last = Refusal::no_leader();
    for attempt in 0..JOIN_TRIES {
        if attempt > 0 {
            tokio::time::sleep(JOIN_PAUSE).await;
        }
        for address in addresses.iter().filter(|address| **address != parts.advertise) {
            let request = m::JoinRequest { addr: parts.advertise.clone() };
            match parts.clients.raft_join(address, request).await {
                Ok(response) => return Ok(response),
                Err(refusal) => last = refusal,
            }
        }
    }
    Err(StartError::Join(last))
}

fn open(parts: &ManagerParts) -> Result<(RaftDisk, Recovered, Store), StartError> {
    let missing = || StartError::NoLog { path: parts.directory.clone() };
    let mut disk = RaftDisk::open(&parts.directory, &parts.data_keys)?.ok_or_else(missing)?;
    let log = disk.recover()?;
    let (membership, facts) = match &log.snapshot {
        Some((_, data)) => Manager::facts_from_snapshot(data.clone())?,
        None => (Membership::default(), Store::default()),
    };
    Ok((disk, log.into_recovered(&membership), facts))
}

fn restart(parts: &ManagerParts) -> Result<Opened, StartError> {
    let (disk, recovered, facts) = open(parts)?;
    Ok(Opened { disk, recovered, facts })
}

fn force_new(parts: &ManagerParts, rng: &mut dyn rand_core::RngCore) -> Result<Opened, StartError> {
    let (mut disk, recovered, facts) = open(parts)?;
    let own = Member { addr: parts.advertise.clone(), ..disk.member().clone() };
    let (recovered, persist): (Recovered, Persist) =
        skep_consensus::force_new_cluster(recovered, &own, || rng.next_u64() | 1)?;
    disk.write(&[persist])?;
    disk.set_member(&own)?;
    Ok(Opened { disk, recovered, facts })
}
