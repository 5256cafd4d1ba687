//! Flags that `service create` and `service update` share. What was not given stays `None`: an update changes only
//! what was asked for.

use clap::Args;

use crate::arguments::{GoDuration, MemoryBytes, NanoCpus};

#[derive(Debug, Args)]
pub struct ServiceFlags {
    /// Add Linux capabilities
    #[arg(long)]
    pub cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long)]
    pub cap_drop: Vec<String>,
    /// Credential spec for managed service account (Windows only)
    #[arg(long)]
    pub credential_spec: Option<String>,
    /// Endpoint mode (vip or dnsrr)
    #[arg(long)]
    pub endpoint_mode: Option<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long)]
    pub entrypoint: Option<String>,
    /// Command to run to check health
    #[arg(long)]
    pub health_cmd: Option<String>,
    /// Time between running the check (ms|s|m|h)
    #[arg(long)]
    pub health_interval: Option<GoDuration>,
    /// Consecutive failures needed to report unhealthy
    #[arg(long)]
    pub health_retries: Option<u64>,
    /// Time between running the check during the start period (ms|s|m|h)
    #[arg(long)]
    pub health_start_interval: Option<GoDuration>,
    /// Start period for the container to initialize before counting retries towards unstable (ms|s|m|h)
    #[arg(long)]
    pub health_start_period: Option<GoDuration>,
    /// Maximum time to allow one check to run (ms|s|m|h)
    #[arg(long)]
    pub health_timeout: Option<GoDuration>,
    /// Container hostname
    #[arg(long)]
    pub hostname: Option<String>,
    /// Use an init inside each service container to forward signals and reap processes
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub init: Option<bool>,
    /// Service container isolation mode
    #[arg(long)]
    pub isolation: Option<String>,
    /// Limit CPUs
    #[arg(long)]
    pub limit_cpu: Option<NanoCpus>,
    /// Limit Memory
    #[arg(long)]
    pub limit_memory: Option<MemoryBytes>,
    /// Limit maximum number of processes (default 0 = unlimited)
    #[arg(long)]
    pub limit_pids: Option<i64>,
    /// Logging driver for service
    #[arg(long)]
    pub log_driver: Option<String>,
    /// Logging driver options
    #[arg(long)]
    pub log_opt: Vec<String>,
    /// Number of job tasks to run concurrently (default equal to --replicas)
    #[arg(long)]
    pub max_concurrent: Option<u64>,
    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    pub no_healthcheck: bool,
    /// Do not query the registry to resolve image digest and supported platforms
    #[arg(long)]
    pub no_resolve_image: bool,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, allow_hyphen_values = true)]
    pub oom_score_adj: Option<i64>,
    /// Mount the container's root filesystem as read only
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub read_only: Option<bool>,
    /// Number of tasks
    #[arg(long)]
    pub replicas: Option<u64>,
    /// Maximum number of tasks per node (default 0 = unlimited)
    #[arg(long)]
    pub replicas_max_per_node: Option<u64>,
    /// Reserve CPUs
    #[arg(long)]
    pub reserve_cpu: Option<NanoCpus>,
    /// Reserve Memory
    #[arg(long)]
    pub reserve_memory: Option<MemoryBytes>,
    /// Restart when condition is met ("none", "on-failure", "any")
    #[arg(long)]
    pub restart_condition: Option<String>,
    /// Delay between restart attempts (ns|us|ms|s|m|h)
    #[arg(long)]
    pub restart_delay: Option<GoDuration>,
    /// Maximum number of restarts before giving up
    #[arg(long)]
    pub restart_max_attempts: Option<u64>,
    /// Window used to evaluate the restart policy (ns|us|ms|s|m|h)
    #[arg(long)]
    pub restart_window: Option<GoDuration>,
    /// Delay between task rollbacks (ns|us|ms|s|m|h)
    #[arg(long)]
    pub rollback_delay: Option<GoDuration>,
    /// Action on rollback failure ("pause", "continue")
    #[arg(long)]
    pub rollback_failure_action: Option<String>,
    /// Failure rate to tolerate during a rollback
    #[arg(long)]
    pub rollback_max_failure_ratio: Option<f64>,
    /// Duration after each task rollback to monitor for failure (ns|us|ms|s|m|h)
    #[arg(long)]
    pub rollback_monitor: Option<GoDuration>,
    /// Rollback order ("start-first", "stop-first")
    #[arg(long)]
    pub rollback_order: Option<String>,
    /// Maximum number of tasks rolled back simultaneously (0 to roll back all at once)
    #[arg(long)]
    pub rollback_parallelism: Option<u64>,
    /// Time to wait before force killing a container (ns|us|ms|s|m|h)
    #[arg(long)]
    pub stop_grace_period: Option<GoDuration>,
    /// Signal to stop the container
    #[arg(long)]
    pub stop_signal: Option<String>,
    /// Allocate a pseudo-TTY
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tty: Option<bool>,
    /// Delay between updates (ns|us|ms|s|m|h)
    #[arg(long)]
    pub update_delay: Option<GoDuration>,
    /// Action on update failure ("pause", "continue", "rollback")
    #[arg(long)]
    pub update_failure_action: Option<String>,
    /// Failure rate to tolerate during an update
    #[arg(long)]
    pub update_max_failure_ratio: Option<f64>,
    /// Duration after each task update to monitor for failure (ns|us|ms|s|m|h)
    #[arg(long)]
    pub update_monitor: Option<GoDuration>,
    /// Update order ("start-first", "stop-first")
    #[arg(long)]
    pub update_order: Option<String>,
    /// Maximum number of tasks updated simultaneously (0 to update all at once)
    #[arg(long)]
    pub update_parallelism: Option<u64>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long)]
    pub user: Option<String>,
    /// Send registry authentication details to swarm agents
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false",
          action = clap::ArgAction::Set)]
    pub with_registry_auth: bool,
    /// Working directory inside the container
    #[arg(short, long)]
    pub workdir: Option<String>,
}
