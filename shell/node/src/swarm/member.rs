//! A member that runs: its credentials, its agent, and its manager while it is one.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use skep_disk::{DataKey, KeyFile, NodeSettings, RaftDisk};
use skep_docker_api::{LocalState, Standing, SwarmInfo};
use skep_executor::NodeFacts;
use skep_manager::Genesis;
use skep_model::pb::skep::{LeaveRequest, leave_request::Reason};
use skep_model::pb::types::{NodeRole, Peer};
use skep_model::{NodeId, Refusal, Verbatim, WallTime};
use skep_rpc::client::Home;
use skep_rpc::{Clients, Credentials, NodeIdentity};
use tokio::sync::mpsc;

use super::files::Files;
use super::node::{SwarmNode, internal};
use crate::agent;
use crate::manager::{Beginning, Handle, ManagerParts, ManagerRole, Trouble};
use crate::tasks::TaskRecords;

/// A daemon that stops for a restart asks for its tasks to be kept so long.
const RESTART_HOLD_MS: u64 = 60_000;
/// A new swarm stands within a few writes to disk.
const FOUNDED_TIMEOUT: Duration = Duration::from_secs(5);
/// Reasons for a manager's end that may wait to be heard.
const TROUBLES_QUEUE: usize = 4;
/// A farewell that takes longer is not waited for.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// What to do about a refusal that will not pass by itself.
const DENIED_HINT: &str =
    ": if this node was removed from the swarm, let it leave (swarm leave --force) and join again";

/// How a member begins.
pub(crate) enum Start {
    /// The first manager of a new swarm.
    Found(Box<Genesis>),
    /// Just joined, through managers at these addresses.
    Joined(Vec<String>),
    /// From what is on disk.
    Restart,
    /// From what is on disk, as the only manager.
    ForceNew,
}

/// Why a member cannot run.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// TLS with the identity on disk.
    #[error(transparent)]
    Tls(#[from] skep_rpc::tls::TlsError),
    /// The worker's tasks on disk.
    #[error(transparent)]
    Disk(#[from] skep_disk::DiskError),
    /// The manager.
    #[error(transparent)]
    Manager(#[from] crate::manager::StartError),
    /// The files.
    #[error(transparent)]
    Files(#[from] super::files::FilesError),
}

/// A member that runs.
pub struct Member {
    pub(super) node_id: NodeId,
    pub(super) credentials: Arc<Credentials>,
    pub(super) clients: Arc<Clients>,
    pub(super) settings: NodeSettings,
    pub(super) files: Files,
    pub(super) key_file: Mutex<KeyFile>,
    pub(super) agent: tokio::sync::Mutex<Option<agent::Handle>>,
    pub(super) session: tokio::sync::watch::Receiver<agent::SessionState>,
    pub(super) manager: tokio::sync::Mutex<Option<ManagerRole>>,
    pub(super) manager_handle: RwLock<Option<Handle>>,
    pub(super) leader: RwLock<Option<tokio::sync::watch::Receiver<skep_rpc::Leader>>>,
    pub(super) broker: RwLock<Option<crate::manager::LogBroker>>,
    /// Told why this manager cannot go on.
    pub(super) troubles: mpsc::Sender<Trouble>,
    pub(super) follower: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Member {
    pub(super) async fn start(
        node: &Arc<SwarmNode>,
        identity: NodeIdentity,
        key_file: KeyFile,
        settings: NodeSettings,
        start: Start,
    ) -> Result<Arc<Self>, Refusal> {
        let (troubles, told) = mpsc::channel(TROUBLES_QUEUE);
        let node_id = identity.membership().node.clone();
        let is_manager = identity.membership().role == NodeRole::Manager;
        let root = identity.root().pem().clone();
        let tls_info = identity.tls_info();
        let credentials = Credentials::new(identity).map_err(|error| internal(MemberError::from(error)))?;
        let home = Home::new(&settings.advertise_addr, &settings.listen_addr);
        let clients = Clients::at_home(Arc::clone(&credentials), home);
        let records = TaskRecords::open(&node.task_directory()).map_err(internal)?;
        // A crash between a manager's certificate and its log, or between the end of its log and its next certificate:
        // the managers say what this node is now. `follow` asks them first of all.
        let is_undecided = is_manager && matches!(start, Start::Restart) && !RaftDisk::exists(&node.files.raft());
        let own = Peer { node_id: node_id.to_string(), addr: settings.advertise_addr.clone() };
        let mut remotes = node.files.remotes().map_err(internal)?;
        remotes.retain(|peer| peer.addr != own.addr);
        if matches!(start, Start::ForceNew) {
            remotes.clear();
        }
        if is_manager && !is_undecided {
            remotes.insert(0, own);
        }
        let description = super::renew::described(node, tls_info);
        let facts = Arc::new(NodeFacts {
            id: node_id.clone(),
            hostname: description.hostname.clone(),
            os: "linux".to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
        });
        let begin = skep_dispatch::worker::Start {
            remotes,
            description: Verbatim::new(description),
            root,
            tasks: records.all().map_err(internal)?,
        };
        let mut member = Self {
            node_id,
            credentials,
            clients: Arc::clone(&clients),
            settings,
            files: node.files.clone(),
            key_file: Mutex::new(key_file),
            agent: tokio::sync::Mutex::new(None),
            session: tokio::sync::watch::Sender::new(agent::SessionState::default()).subscribe(),
            manager: tokio::sync::Mutex::new(None),
            manager_handle: RwLock::new(None),
            leader: RwLock::new(None),
            broker: RwLock::new(None),
            troubles,
            follower: Mutex::new(None),
        };
        if is_manager && !is_undecided {
            let founds = matches!(start, Start::Found(_));
            member.start_manager(node, Self::beginning(start)).await.map_err(internal)?;
            if founds {
                member.wait_founded().await;
            }
        }
        let parts = agent::Parts {
            clients,
            executor: Arc::clone(&node.deps.runtime) as Arc<dyn skep_executor::Executor>,
            runtime: Arc::clone(&node.deps.runtime),
            records,
            facts,
            clock: node.deps.clock,
            warnings: node.warnings.clone(),
        };
        let (handle, news) = agent::spawn(parts, begin);
        member.session = handle.state();
        *member.agent.lock().await = Some(handle);
        let member = Arc::new(member);
        let follower = tokio::spawn(super::follow::follow(Arc::clone(node), Arc::clone(&member), news, told));
        *member.follower.lock().unwrap_or_else(PoisonError::into_inner) = Some(follower);
        Ok(member)
    }

    fn beginning(start: Start) -> Beginning {
        match start {
            Start::Found(genesis) => Beginning::Found(genesis),
            Start::Joined(addresses) => Beginning::Join(addresses),
            Start::ForceNew => Beginning::ForceNew,
            Start::Restart => Beginning::Restart,
        }
    }

    /// Starts the manager's part. The log's key is on disk before the log is.
    pub(super) async fn start_manager(&self, node: &SwarmNode, beginning: Beginning) -> Result<(), MemberError> {
        let parts = ManagerParts {
            node: self.node_id.clone(),
            listen: self.settings.listen_addr.clone(),
            advertise: self.settings.advertise_addr.clone(),
            directory: self.files.raft(),
            data_keys: self.data_keys()?,
            credentials: Arc::clone(&self.credentials),
            clients: Arc::clone(&self.clients),
            clock: node.deps.clock,
            warnings: node.warnings.clone(),
            plugins: node.deps.plugins.clone(),
        };
        let role = ManagerRole::start(parts, beginning, self.troubles.clone()).await?;
        write(&self.leader, Some(role.backend.watch_leader()));
        write(&self.broker, role.backend.broker().ok());
        write(&self.manager_handle, Some(role.handle.clone()));
        *self.manager.lock().await = Some(role);
        Ok(())
    }

    /// Waits until a new swarm knows its first node: a session that is opened earlier fails, and is tried again only
    /// after a pause. After the timeout that pause is the worse evil, and nothing else.
    async fn wait_founded(&self) {
        let Some(handle) = self.manager_handle() else { return };
        let mut status = handle.status();
        let founded = status
            .wait_for(|status| status.role.is_ready && handle.read(|board| board.roles.contains_key(&self.node_id)));
        if tokio::time::timeout(FOUNDED_TIMEOUT, founded).await.is_err() {
            tracing::warn!("the new swarm does not know its first node yet");
        }
    }

    fn data_keys(&self) -> Result<Vec<DataKey>, MemberError> {
        let mut key_file = self.key_file.lock().unwrap_or_else(PoisonError::into_inner);
        if key_file.headers.data_key.is_none() {
            key_file.headers.data_key = Some(DataKey::generate()?);
            key_file.save()?;
        }
        let keys = [&key_file.headers.data_key, &key_file.headers.data_key_pending];
        Ok(keys.into_iter().flatten().cloned().collect())
    }

    /// Ends the manager's part.
    pub(super) async fn stop_manager(&self) {
        write(&self.manager_handle, None);
        write(&self.leader, None);
        write(&self.broker, None);
        if let Some(role) = self.manager.lock().await.take() {
            role.stop().await;
        }
    }

    /// The manager's loop, while this node is a manager.
    pub fn manager_handle(&self) -> Option<Handle> {
        self.manager_handle.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who leads, while this node is a manager.
    pub fn leader(&self) -> Option<tokio::sync::watch::Receiver<skep_rpc::Leader>> {
        self.leader.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The log broker, while this node is a manager.
    pub fn broker(&self) -> Option<crate::manager::LogBroker> {
        self.broker.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls to managers.
    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    pub(super) fn standing(&self, now: WallTime) -> Standing {
        if self.manager_handle().is_some() {
            return Standing::Manager;
        }
        let identity = self.credentials.identity();
        if identity.not_after() < now {
            Standing::CertificateExpired
        } else if identity.membership().role == NodeRole::Manager {
            Standing::Pending
        } else {
            Standing::Worker
        }
    }

    pub(super) fn info(&self, mut warnings: Vec<String>) -> SwarmInfo {
        let held_up = self.manager_handle().and_then(|handle| handle.read(|board| board.root_held_up.clone()));
        warnings.extend(held_up.map(|held_up| format!("WARNING: {held_up}")));
        let state = self.session.borrow().clone();
        let denied = state.denied;
        let managers = match self.manager_handle() {
            Some(handle) => handle.read(|board| {
                board.members.values().map(|member| (member.node_id.to_string(), member.addr.clone())).collect()
            }),
            None => state.remotes.into_iter().map(|peer| (peer.node_id, peer.addr)).collect(),
        };
        let node_addr = match crate::advertise::split_port(&self.settings.advertise_addr, 0) {
            Ok((host, _)) => host,
            Err(_) => self.settings.advertise_addr.clone(),
        };
        SwarmInfo {
            state: LocalState::Active,
            node_id: self.node_id.to_string(),
            node_addr,
            control_available: self.manager_handle().is_some(),
            managers,
            error: denied.map(|reason| format!("{reason}{DENIED_HINT}")).unwrap_or_default(),
            warnings,
        }
    }

    /// Ends everything for a daemon that will come back: managers hold the node's tasks where they are.
    pub(super) async fn stop_for_restart(&self) {
        self.farewell(Reason::Restart, false).await;
        self.stop_loops().await;
    }

    /// Tells a manager why this node goes. Best effort: a manager that does not hear it finds out by itself.
    pub(super) async fn farewell(&self, reason: Reason, remove: bool) {
        let Some((peer, session_id)) = self.session.borrow().session.clone() else { return };
        let request = LeaveRequest { reason: reason.into(), session_id, remove, hold_ms: RESTART_HOLD_MS };
        match tokio::time::timeout(FAREWELL_TIMEOUT, self.clients.leave(&peer.addr, request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(refusal)) => tracing::warn!("the managers were not told that this node goes: {refusal}"),
            Err(_) => tracing::warn!("the managers were not told in time that this node goes"),
        }
    }

    pub(super) async fn stop_loops(&self) {
        let follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(follower) = follower {
            follower.abort();
            // It may be about to start a manager, which then is ours to stop.
            if let Err(error) = follower.await
                && !error.is_cancelled()
            {
                tracing::error!("following the member's news failed: {error}");
            }
        }
        if let Some(agent) = self.agent.lock().await.take() {
            agent.stop().await;
        }
        self.stop_manager().await;
    }
}

fn write<T>(place: &RwLock<T>, value: T) {
    *place.write().unwrap_or_else(PoisonError::into_inner) = value;
}
