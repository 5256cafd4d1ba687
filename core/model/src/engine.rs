//! Words about this node's own images and containers, shared by the runtime (which has them) and the HTTP API
//! (which shows them). Nothing here says how they are made.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::{NodeId, ServiceId, TaskId};
use crate::time::WallTime;

/// `sha256:` and 64 hexadecimal digits.
pub type Digest = String;

/// What an image wants of its containers (OCI image config, Docker's names).
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct ImageConfig {
    pub user: String,
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub working_dir: String,
    pub labels: BTreeMap<String, String>,
    /// e.g. `80/tcp`.
    pub exposed_ports: Vec<String>,
    pub volumes: Vec<String>,
    pub stop_signal: Option<String>,
    pub healthcheck: Option<HealthCheck>,
}

/// How a container's health is probed. Durations of zero mean the default.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct HealthCheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`.
    pub test: Vec<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub start_period: Duration,
    pub start_interval: Duration,
    pub retries: u32,
}

/// An image on this node.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Image {
    /// Digest of its config.
    pub id: Digest,
    /// `name:tag`, familiar form (`busybox:latest`).
    pub repo_tags: Vec<String>,
    /// `name@sha256:…`.
    pub repo_digests: Vec<String>,
    pub created_at: WallTime,
    pub size_bytes: u64,
    /// Go's names: `amd64`, `arm64`.
    pub architecture: String,
    pub os: String,
    pub author: String,
    pub config: ImageConfig,
    /// Digests of the unpacked layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

/// Where a container stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ContainerState {
    #[default]
    Created,
    Running,
    Exited,
    Dead,
}

/// Which task a container belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TaskOrigin {
    pub task_id: TaskId,
    pub task_name: String,
    pub service_id: Option<ServiceId>,
    pub service_name: String,
    pub node_id: NodeId,
}

/// A port of a container as seen from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PublishedPort {
    pub container_port: u16,
    pub host_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// What a container was asked to be, beside its limits: as `docker inspect` shows it.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct ContainerSettings {
    /// By name; empty where neither image nor spec says one.
    pub stop_signal: String,
    pub stop_grace: Duration,
    pub healthcheck: Option<HealthCheck>,
    pub read_only: bool,
    pub init: Option<bool>,
    pub capability_add: Vec<String>,
    pub capability_drop: Vec<String>,
    /// As `--security-opt` spells them.
    pub security_options: Vec<String>,
    pub sysctls: BTreeMap<String, String>,
    /// Name, soft, hard; -1 for unlimited.
    pub ulimits: Vec<(String, i64, i64)>,
    pub groups: Vec<String>,
    pub oom_score_adj: i64,
    pub memory_reservation_bytes: i64,
    /// Memory and swap together; 0 for the default, -1 for no limit.
    pub memory_swap_bytes: i64,
    /// `None` for the host's.
    pub memory_swappiness: Option<i64>,
    pub nameservers: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    pub log_driver: String,
    pub log_options: BTreeMap<String, String>,
    /// Empty for none.
    pub apparmor_profile: String,
}

/// What one probe of a container's health said.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct ProbeResult {
    pub started_at: WallTime,
    pub ended_at: WallTime,
    pub exit_code: i32,
    /// The beginning of it.
    pub output: String,
}

/// A mount as it is in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MountPoint {
    /// `bind`, `volume` or `tmpfs`.
    pub kind: String,
    pub name: String,
    pub source: String,
    pub destination: String,
    pub read_only: bool,
    /// How mounts below it travel; empty for tmpfs.
    pub propagation: String,
}

/// Result of the health probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Health {
    Starting,
    Healthy,
    Unhealthy,
}

/// A container on this node.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// `<service>.<slot or node>.<task>`, without a slash.
    pub name: String,
    pub image: String,
    pub image_id: Digest,
    pub origin: Option<TaskOrigin>,
    pub labels: BTreeMap<String, String>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub hostname: String,
    pub tty: bool,
    pub open_stdin: bool,
    pub created_at: WallTime,
    pub started_at: Option<WallTime>,
    pub finished_at: Option<WallTime>,
    pub state: ContainerState,
    /// 0 when not running.
    pub pid: i32,
    pub exit_code: i32,
    pub oom_killed: bool,
    pub error: String,
    pub health: Option<Health>,
    /// Probes in a row that failed.
    pub failing_streak: u32,
    /// The last few probes, oldest first.
    pub probes: Vec<ProbeResult>,
    pub settings: ContainerSettings,
    pub ip_address: Option<String>,
    pub network_name: String,
    pub ports: Vec<PublishedPort>,
    pub mounts: Vec<MountPoint>,
    pub memory_limit_bytes: i64,
    pub nano_cpus: i64,
    pub pids_limit: i64,
    pub log_path: String,
}

/// Where a line of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// A line (or raw piece, with a terminal) of output.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LogLine {
    pub stream: LogStream,
    pub at: WallTime,
    /// With its line end.
    pub data: bytes::Bytes,
    /// What log options had added (`labels`, `env`, `tag`), by name.
    pub attributes: BTreeMap<String, String>,
}

/// Which lines to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LogQuery {
    pub stdout: bool,
    pub stderr: bool,
    pub follow: bool,
    /// The last so many lines; `None` for all.
    pub tail: Option<u64>,
    pub since: Option<WallTime>,
    pub until: Option<WallTime>,
}

/// A further process in a running container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ExecSpec {
    pub container_id: String,
    pub command: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub tty: bool,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    pub privileged: bool,
}

/// State of an exec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ExecState {
    pub id: String,
    pub spec: ExecSpec,
    pub running: bool,
    pub pid: i32,
    pub exit_code: Option<i32>,
}

/// One reading of a container's cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ContainerStats {
    pub read_at: WallTime,
    pub cpu_total_nanos: u64,
    pub cpu_user_nanos: u64,
    pub cpu_system_nanos: u64,
    /// All processors' time of the host, for the client's percentage.
    pub host_cpu_nanos: u64,
    pub online_cpus: u32,
    pub memory_usage_bytes: u64,
    pub memory_limit_bytes: u64,
    pub memory_cache_bytes: u64,
    pub pids: u64,
    pub pids_limit: u64,
    /// Interface name → (received bytes, received packets, sent bytes, sent packets).
    pub networks: BTreeMap<String, [u64; 4]>,
    pub block_read_bytes: u64,
    pub block_write_bytes: u64,
}

/// Credentials for a registry, from `X-Registry-Auth`.
#[derive(Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RegistryAuth {
    pub username: String,
    pub password: String,
    pub identity_token: String,
    pub registry_token: String,
    pub server_address: String,
}

/// Says only whether there are any.
impl std::fmt::Debug for RegistryAuth {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let some = !(self.username.is_empty() && self.identity_token.is_empty() && self.registry_token.is_empty());
        write!(formatter, "RegistryAuth({})", if some { "given" } else { "none" })
    }
}

/// What a registry says of an image (`/distribution/{name}/json`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Distribution {
    pub media_type: String,
    pub digest: Digest,
    pub size_bytes: i64,
    /// (architecture, os, variant).
    pub platforms: Vec<(String, String, String)>,
}

/// A step of a pull, as the CLI draws it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PullProgress {
    /// Short layer id, or empty.
    pub id: String,
    pub status: String,
    pub current_bytes: u64,
    pub total_bytes: u64,
}
