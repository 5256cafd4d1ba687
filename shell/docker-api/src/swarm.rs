//! What the API asks about this node itself: its membership, and facts about the host.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use skep_model::pb::types;
use skep_model::{NodeId, Refusal};

pub use skep_model::pb::types::node_spec::Availability;

/// This node's membership of a swarm.
#[async_trait]
pub trait Swarm: Send + Sync + 'static {
    /// What this node may answer now. Cheap: asked on every request.
    fn standing(&self) -> Standing;
    /// What `docker info` tells of this node.
    async fn info(&self) -> SwarmInfo;
    /// Makes a new swarm (or takes over what is left of one) with this node as its manager.
    async fn init(&self, request: InitRequest) -> Result<NodeId, Refusal>;
    /// Joins a swarm; returns when this node is a member.
    async fn join(&self, request: JoinRequest) -> Result<(), Refusal>;
    /// Leaves. Refuses a manager without force, with Docker's warning.
    async fn leave(&self, request: LeaveRequest) -> Result<(), Refusal>;
    /// Opens a locked manager's state.
    async fn unlock(&self, key: String) -> Result<(), Refusal>;
    /// The key that opens managers after a restart; empty when they do not lock.
    async fn unlock_key(&self) -> Result<String, Refusal>;
    /// Facts about the host and this daemon.
    async fn host(&self) -> HostFacts;
}

/// What this node may answer (interop §9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In no swarm.
    Inactive,
    /// Joining, or a manager that is not ready yet.
    Pending,
    /// A member that manages nothing.
    Worker,
    /// A manager that answers.
    Manager,
    /// A manager whose state is locked.
    Locked,
    /// Its certificate has expired.
    CertificateExpired,
    /// A member that could not be started; `SwarmInfo.error` says why.
    Error,
}

/// Docker's `LocalNodeState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LocalState {
    #[default]
    Inactive,
    Pending,
    Active,
    Error,
    Locked,
}

impl LocalState {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Error => "error",
            Self::Locked => "locked",
        }
    }
}

/// This node's side of `docker info`; cluster and counts are asked of `Control`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwarmInfo {
    /// Where the node stands.
    pub state: LocalState,
    /// Empty when inactive.
    pub node_id: String,
    /// Address without port under which others know it.
    pub node_addr: String,
    /// Whether it is a manager that answers.
    pub control_available: bool,
    /// Known managers: node id and `host:port`.
    pub managers: Vec<(String, String)>,
    /// Why the state is `Error`, or what is wrong now.
    pub error: String,
    /// Advice, e.g. clocks that differ.
    pub warnings: Vec<String>,
}

/// `POST /swarm/init`. Addresses are as the user gave them: not yet resolved, empty for the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InitRequest {
    /// `host:port` or interface; Docker's CLI sends `0.0.0.0:2377`.
    pub listen_addr: String,
    /// Address or interface that others use.
    pub advertise_addr: String,
    /// Address or interface for the overlays.
    pub data_path_addr: String,
    /// 0 for the default.
    pub data_path_port: u32,
    /// Make a swarm of one manager out of the state that is left.
    pub force_new_cluster: bool,
    /// Managers ask for a key after a restart (also in `settings`).
    pub auto_lock_managers: bool,
    /// What tasks this node takes.
    pub availability: Availability,
    /// CIDRs from which networks get their subnets; empty for the default.
    pub default_addr_pool: Vec<String>,
    /// Prefix length of those subnets; 0 for the default.
    pub subnet_size: u32,
    /// What the user set of the swarm's own settings.
    pub settings: ClusterSettings,
}

/// `POST /swarm/join`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct JoinRequest {
    /// `host:port` or interface.
    pub listen_addr: String,
    /// Address or interface that others use.
    pub advertise_addr: String,
    /// Address or interface for the overlays.
    pub data_path_addr: String,
    /// Managers to ask, `host:port`; at least one.
    pub remote_addrs: Vec<String>,
    /// `SWMTKN-1-…`.
    pub join_token: String,
    /// What tasks this node takes.
    pub availability: Availability,
}

/// Leaves the token out.
impl fmt::Debug for JoinRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("JoinRequest")
            .field("listen_addr", &self.listen_addr)
            .field("advertise_addr", &self.advertise_addr)
            .field("remote_addrs", &self.remote_addrs)
            .finish_non_exhaustive()
    }
}

/// `POST /swarm/leave`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaveRequest {
    /// Also when this node is a manager, or its managers do not answer.
    pub force: bool,
    /// Beyond Docker (`?remove=1`): also take this node off the list.
    pub remove: bool,
}

/// What a user set of `Spec` in `POST /swarm/init` and `/swarm/update`; `None` leaves a value as it is.
#[derive(Clone, Default, PartialEq)]
#[allow(missing_docs)]
pub struct ClusterSettings {
    /// Empty leaves it; else it must be `default`.
    pub name: String,
    pub labels: Option<std::collections::BTreeMap<String, String>>,
    pub task_history_retention_limit: Option<i64>,
    pub snapshot_interval: Option<u64>,
    pub keep_old_snapshots: Option<u64>,
    pub log_entries_for_slow_followers: Option<u64>,
    pub heartbeat_tick: Option<u32>,
    pub election_tick: Option<u32>,
    pub heartbeat_period: Option<Duration>,
    pub node_cert_expiry: Option<Duration>,
    pub signing_ca_cert: Option<bytes::Bytes>,
    pub signing_ca_key: Option<bytes::Bytes>,
    pub force_rotate: u64,
    pub external_cas: Vec<types::ExternalCa>,
    pub log_driver: Option<types::Driver>,
    pub auto_lock_managers: bool,
}

/// Leaves the CA's key out.
impl fmt::Debug for ClusterSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClusterSettings")
            .field("name", &self.name)
            .field("auto_lock_managers", &self.auto_lock_managers)
            .finish_non_exhaustive()
    }
}

/// What `/info` and `/version` tell of the host and the daemon.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct HostFacts {
    /// Stable id of this daemon.
    pub id: String,
    pub hostname: String,
    /// Skep's own semantic version.
    pub version: String,
    pub git_commit: String,
    /// RFC 3339, or empty.
    pub built_at: String,
    /// e.g. `rustc 1.90.0`.
    pub compiler: String,
    pub kernel_version: String,
    /// e.g. `Debian GNU/Linux 12 (bookworm)`.
    pub operating_system: String,
    pub os_version: String,
    /// As `uname -m` says (`x86_64`); `/version` translates it.
    pub architecture: String,
    pub cpus: u32,
    pub memory_bytes: i64,
    pub root_dir: String,
    /// `key=value`.
    pub labels: Vec<String>,
    /// Storage driver, e.g. `overlay2`.
    pub storage_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    pub cgroup_driver: String,
    /// e.g. `name=seccomp,profile=builtin`.
    pub security_options: Vec<String>,
    pub generic_resources: Vec<types::GenericResource>,
    pub default_runtime: String,
    pub debug: bool,
    pub open_files: u32,
    pub http_proxy: String,
    pub https_proxy: String,
    pub no_proxy: String,
    /// Whether the kernel can hold containers to these.
    pub memory_limit: bool,
    pub swap_limit: bool,
    pub cpu_quota: bool,
    pub pids_limit: bool,
    pub ipv4_forwarding: bool,
    /// About the host and daemon, e.g. an open TCP socket.
    pub warnings: Vec<String>,
}
