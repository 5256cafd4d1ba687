//! Values that hold where a spec is silent (source: SwarmKit's `api/defaults`, interop §3.2, §4.1, §6).

use std::time::Duration;

/// How long a task may take to stop before it is killed.
pub const STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);
/// Pause before a failed task is replaced.
pub const RESTART_DELAY: Duration = Duration::from_secs(5);
/// How long an updated task is watched for failure.
pub const UPDATE_MONITOR: Duration = Duration::from_secs(5);
/// Tasks updated at once.
pub const UPDATE_PARALLELISM: u64 = 1;
/// Ended tasks kept per slot.
pub const TASK_HISTORY_RETENTION_LIMIT: i64 = 5;
/// A worker reports at least this often.
pub const HEARTBEAT_PERIOD: Duration = Duration::from_secs(5);
/// A node certificate's life.
pub const NODE_CERTIFICATE_EXPIRY: Duration = Duration::from_secs(90 * 24 * 3600);
/// Shorter lives than this fall back to the default.
pub const NODE_CERTIFICATE_EXPIRY_MIN: Duration = Duration::from_secs(3600);
/// Log entries between snapshots.
pub const SNAPSHOT_INTERVAL: u64 = 10_000;
/// Log entries kept behind a snapshot for slow followers.
pub const LOG_ENTRIES_FOR_SLOW_FOLLOWERS: u64 = 500;
/// What `ClusterSpec.raft` says; informational.
pub const HEARTBEAT_TICK: u32 = 1;
/// What `ClusterSpec.raft` says; informational.
pub const ELECTION_TICK: u32 = 10;
/// Where managers listen.
pub const CLUSTER_PORT: u16 = 2377;
/// VXLAN's port where nothing else is said.
pub const DATA_PATH_PORT: u32 = 4789;
/// From which networks get their subnets.
pub const ADDRESS_POOL: &str = "10.0.0.0/8";
/// Prefix length of those subnets.
pub const SUBNET_SIZE: u32 = 24;
