//! `skep bench agents`: many simulated workers on one manager, Skep's or Docker's, over the real protocol.
//!
//! Every agent joins with the token and keeps a session of its own; a service is then created through the manager's
//! API, and the time until the manager says that all replicas run is what counts, with what it cost the manager.
//! `measure` does that to any manager; `beside` makes one of each product, and gives the ratio.

mod agent;
mod beside;
mod measure;
mod process;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::client::Client;
use measure::{Load, Target};

/// Open files that are no agent's connection.
const OTHER_FILES: u64 = 64;

/// `skep bench agents`.
#[derive(Args, Debug)]
pub struct AgentFlags {
    /// The manager's cluster address. Without it, a manager of Skep and a Docker Engine are started and compared
    /// (needs root)
    #[arg(long, value_name = "HOST:PORT", requires = "token")]
    manager: Option<String>,
    /// The swarm's token for workers
    #[arg(long, requires = "manager")]
    token: Option<String>,
    /// Simulated workers
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    agents: u32,
    /// Replicas of the measured service
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    replicas: u32,
    /// Longest wait for the sessions, and for the replicas
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    patience: u64,
    /// The manager's API socket: the service is created there, and the nodes are removed there at the end
    #[arg(long, value_name = "FILE", default_value = "/run/skep/skep.sock", requires = "manager")]
    socket: PathBuf,
    /// The manager's process, to tell its processor time and memory
    #[arg(long, requires = "manager")]
    pid: Option<i32>,
    /// Compare with nothing
    #[arg(long, conflicts_with = "manager")]
    skip_docker: bool,
    /// The Docker Engine to compare with
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/dockerd", conflicts_with = "manager")]
    dockerd: PathBuf,
    /// Where the hosts keep their files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", conflicts_with = "manager")]
    directory: PathBuf,
}

impl AgentFlags {
    fn load(&self) -> Load {
        Load { agents: self.agents, replicas: self.replicas, patience: Duration::from_secs(self.patience) }
    }
}

/// Joins, measures, cleans up.
pub(crate) async fn run(flags: &AgentFlags) -> anyhow::Result<()> {
    check_files(u64::from(flags.agents))?;
    let (Some(manager), Some(token)) = (&flags.manager, &flags.token) else { return beside::run(flags).await };
    let mut target = Target {
        manager: manager.clone(),
        token: token.clone(),
        client: Client::new(&flags.socket),
        pids: flags.pid.into_iter().collect(),
    };
    let info = target.client.get("/info").await;
    info.with_context(|| format!("{}: no manager", flags.socket.display()))?;
    let agents = measure::join(&flags.load(), &target).await?;
    let nodes = agents.nodes();
    let measured = agents.run(&flags.load(), &mut target).await;
    let removed = measure::remove_nodes(&mut target.client, &nodes).await;
    measured.map(drop).and(removed)
}

/// Every agent has a connection.
fn check_files(agents: u64) -> anyhow::Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let most: u64 = line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(u64::MAX);
    let needed = agents + OTHER_FILES;
    if most < needed {
        bail!("{agents} agents need {needed} open files, and {most} are allowed: run `ulimit -n {needed}` first");
    }
    Ok(())
}
