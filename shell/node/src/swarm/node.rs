//! The node: what the HTTP API asks about membership, and the state that answers.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use skep_disk::{NodeSettings, UnlockKey};
use skep_docker_api as api;
use skep_docker_api::{HostFacts, LocalState, Standing, SwarmInfo};
use skep_executor::Runtime;
use skep_model::{Code, NodeId, Refusal};

use super::files::{Files, Found};
use super::member::{Member, Start};
use crate::clock::Clock;
use crate::config::Config;
use crate::manager::Handle;
use crate::plugins::Plugins;
use crate::warnings::Warnings;

/// First pause before a membership that could not be resumed is tried again; it doubles.
const RESUME_PAUSE: Duration = Duration::from_secs(1);
const RESUME_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a daemon that stops waits for a command that changes the membership.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// What the node stands on.
pub struct Deps {
    /// The daemon's settings.
    pub config: Config,
    /// Clocks.
    pub clock: Clock,
    /// The embedded runtime.
    pub runtime: Arc<Runtime>,
    /// Facts about the host.
    pub host: HostFacts,
    /// Drivers of secrets.
    pub plugins: Plugins,
}

/// Where the node stands. Cheap to read.
#[derive(Clone, Default)]
pub(super) enum State {
    /// In no swarm.
    #[default]
    Inactive,
    /// A key is needed.
    Locked,
    /// Joining, starting.
    Pending,
    /// A member.
    Active(Arc<Member>),
    /// A member that could not be started.
    Failed(String),
}

/// This node.
pub struct SwarmNode {
    pub(super) deps: Deps,
    pub(super) files: Files,
    pub(super) warnings: Warnings,
    pub(super) state: RwLock<State>,
    /// Held while membership changes: one command at a time.
    pub(super) lifecycle: tokio::sync::Mutex<()>,
}

impl SwarmNode {
    /// A node that has not looked at its files yet.
    pub fn new(deps: Deps) -> Arc<Self> {
        let files = Files::new(&deps.config.data_root);
        Arc::new(Self {
            deps,
            files,
            warnings: Warnings::default(),
            state: RwLock::default(),
            lifecycle: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The member that runs, if one does.
    pub fn member(&self) -> Option<Arc<Member>> {
        match self.state() {
            State::Active(member) => Some(member),
            _ => None,
        }
    }

    /// The manager's loop, if this node is a manager.
    pub fn manager(&self) -> Option<Handle> {
        self.member().and_then(|member| member.manager_handle())
    }

    /// Takes up what lay on disk when the daemon started. What fails (the managers to join may still be starting) is
    /// tried again in the background.
    pub async fn resume(self: Arc<Self>) {
        let _one = self.lifecycle.lock().await;
        let left = match self.files.was_leaving() {
            Ok(Some(remove)) => self.resume_leaving(remove).await,
            Ok(None) => Err(Refusal::new(Code::NotFound, "")),
            Err(error) => Err(internal(error)),
        };
        match left {
            Ok(()) => return,
            Err(refusal) if refusal.code == Code::NotFound => {}
            Err(refusal) => tracing::error!("leaving the swarm could not be finished: {refusal}"),
        }
        if !self.try_resume().await {
            tokio::spawn(Arc::clone(&self).retry_resume());
        }
    }

    async fn try_resume(self: &Arc<Self>) -> bool {
        match self.open(None, Start::Restart).await {
            Ok(()) => true,
            Err(refusal) => {
                tracing::error!("this node's membership could not be resumed: {refusal}");
                self.set(State::Failed(refusal.message));
                false
            }
        }
    }

    async fn retry_resume(self: Arc<Self>) {
        let mut pause = RESUME_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RESUME_PAUSE_MAX);
            let _one = self.lifecycle.lock().await;
            // Anything else: a command has decided what becomes of this node.
            if !matches!(self.state(), State::Failed(_)) || self.try_resume().await {
                return;
            }
        }
    }

    /// The member's manager met something that it must not go on with: the node stands still and says so. Its
    /// containers run on.
    pub(super) async fn fail(self: Arc<Self>, member: &Arc<Member>, reason: String) {
        let _one = self.lifecycle.lock().await;
        if self.member().is_some_and(|present| Arc::ptr_eq(&present, member)) {
            self.set(State::Failed(reason));
            member.stop_for_restart().await;
        }
    }

    /// Starts a member from the files; stays inactive without them.
    pub(super) async fn open(self: &Arc<Self>, unlock: Option<&UnlockKey>, start: Start) -> Result<(), Refusal> {
        if matches!(start, Start::Restart) && self.files.is_half_made() {
            tracing::warn!("making a swarm was interrupted before there was one: this node is in none");
            self.files.wipe().map_err(internal)?;
        }
        match self.files.load(unlock).map_err(internal)? {
            Found::Nothing => {
                self.files.wipe().map_err(internal)?;
                self.set(State::Inactive);
            }
            Found::Locked => self.set(State::Locked),
            Found::Identity(found) => {
                let (identity, key_file) = *found;
                if identity.not_after() < self.deps.clock.now().wall {
                    tracing::warn!("this node's certificate has expired");
                }
                let settings = self.files.settings().map_err(internal)?.unwrap_or_default();
                self.set(State::Pending);
                let member = Member::start(self, identity, key_file, settings, start).await?;
                self.set(State::Active(member));
            }
        }
        Ok(())
    }

    /// Ends the member's loops in good order; containers go on. For a daemon that stops.
    pub async fn stop(&self) {
        let Ok(_one) = tokio::time::timeout(STOP_PATIENCE, self.lifecycle.lock()).await else {
            // It can be taken up at the next start, whatever point it had reached.
            return tracing::warn!("a change of this node's membership was cut off");
        };
        if let Some(member) = self.member() {
            self.set(State::Pending);
            member.stop_for_restart().await;
        }
    }

    pub(super) fn task_directory(&self) -> PathBuf {
        self.files.worker()
    }
}

pub(super) fn internal(error: impl std::error::Error) -> Refusal {
    Refusal::new(Code::Internal, skep_model::with_causes(&error))
}

/// Docker's text for a node that is in a swarm already.
pub(super) fn already_member() -> Refusal {
    Refusal::new(
        Code::Unavailable,
        "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.",
    )
}

#[async_trait]
impl api::Swarm for Shared {
    fn standing(&self) -> Standing {
        match self.0.state() {
            State::Inactive => Standing::Inactive,
            State::Locked => Standing::Locked,
            State::Pending => Standing::Pending,
            State::Failed(_) => Standing::Error,
            State::Active(member) => member.standing(self.0.deps.clock.now().wall),
        }
    }

    async fn info(&self) -> SwarmInfo {
        self.0.info()
    }

    async fn init(&self, request: api::InitRequest) -> Result<NodeId, Refusal> {
        self.0.init(request).await
    }

    async fn join(&self, request: api::JoinRequest) -> Result<(), Refusal> {
        self.0.join(request).await
    }

    async fn leave(&self, request: api::LeaveRequest) -> Result<(), Refusal> {
        self.0.leave(request).await
    }

    async fn unlock(&self, key: String) -> Result<(), Refusal> {
        self.0.unlock(&key).await
    }

    async fn unlock_key(&self) -> Result<String, Refusal> {
        let handle = self.0.manager().ok_or_else(crate::engine::not_a_manager)?;
        let (key, _) = handle.read(|board| board.unlock_key.clone());
        Ok(skep_pki::UnlockKey::from_bytes(&key).map(|key| key.to_text()).unwrap_or_default())
    }

    async fn host(&self) -> HostFacts {
        HostFacts { open_files: crate::host::open_files(), ..self.0.deps.host.clone() }
    }
}

/// The node as the API holds it.
#[derive(Clone)]
pub struct Shared(pub Arc<SwarmNode>);

impl SwarmNode {
    fn info(&self) -> SwarmInfo {
        let warnings = self.warnings.sentences();
        match self.state() {
            State::Inactive => SwarmInfo { warnings, ..SwarmInfo::default() },
            State::Locked => SwarmInfo {
                state: LocalState::Locked,
                error: "Swarm is encrypted and needs to be unlocked before it can be used.".to_owned(),
                warnings,
                ..SwarmInfo::default()
            },
            State::Pending => SwarmInfo { state: LocalState::Pending, warnings, ..SwarmInfo::default() },
            State::Failed(error) => SwarmInfo { state: LocalState::Error, error, warnings, ..SwarmInfo::default() },
            State::Active(member) => member.info(warnings),
        }
    }

    async fn unlock(self: &Arc<Self>, key: &str) -> Result<(), Refusal> {
        let _one = self.lifecycle.lock().await;
        if !matches!(self.state(), State::Locked) {
            let text = match self.state() {
                State::Active(_) => "swarm is not locked",
                _ => "This node is not part of a swarm",
            };
            return Err(Refusal::new(Code::AlreadyExists, text));
        }
        let wrong = || Refusal::new(Code::Unauthenticated, "swarm could not be unlocked: invalid key provided");
        let parsed = skep_pki::UnlockKey::parse(key).ok_or_else(wrong)?;
        let unlock = UnlockKey::from_bytes(parsed.bytes()).ok_or_else(wrong)?;
        let opened = self.open(Some(&unlock), Start::Restart).await;
        match (opened, self.state()) {
            (Ok(()), State::Locked) => Err(wrong()),
            (Err(refusal), _) => {
                self.set(State::Failed(refusal.message.clone()));
                Err(refusal)
            }
            _ => Ok(()),
        }
    }

    /// How the node was told to listen, with what a later command changes.
    pub(super) fn settings(&self) -> Result<NodeSettings, Refusal> {
        Ok(self.files.settings().map_err(internal)?.unwrap_or_default())
    }
}
