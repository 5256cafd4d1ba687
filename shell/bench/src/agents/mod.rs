//! `skep bench agents`: many simulated workers on one manager, Skep's or Docker's, over the real protocol.
//!
//! Every agent joins with the token and keeps a session of its own; a service is then created through the manager's
//! API, and the time until the manager says that all replicas run is what counts, with what it cost the manager.

mod agent;
mod process;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use hyper::Method;
use serde_json::{Value, json};
use skep_pki::token;
use skep_rpc::client::fetch_root;
use tokio::sync::watch;

use crate::client::Client;
use crate::swarm;
use agent::Agent;
use process::Cost;

/// Agents that join at the same time.
const JOINING_MAX: usize = 32;
/// Longest wait for sessions or replicas before the figures are given up.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How often the manager is asked how many replicas run.
const LOOK: Duration = Duration::from_millis(50);
/// Open files that are no agent's connection.
const OTHER_FILES: u64 = 64;

/// `skep bench agents`.
#[derive(Args, Debug)]
pub struct AgentFlags {
    /// The manager's cluster address
    #[arg(long, value_name = "HOST:PORT")]
    manager: String,
    /// The swarm's token for workers
    #[arg(long)]
    token: String,
    /// Simulated workers
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    agents: u32,
    /// Replicas of the measured service
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    replicas: u32,
    /// The manager's API socket: the service is created there, and the nodes are removed there at the end
    #[arg(long, value_name = "FILE", default_value = "/run/skep/skep.sock")]
    socket: PathBuf,
    /// The manager's process, to tell its processor time and memory
    #[arg(long)]
    pid: Option<i32>,
}

/// Joins, measures, cleans up.
pub(crate) async fn run(flags: &AgentFlags) -> anyhow::Result<()> {
    check_files(u64::from(flags.agents))?;
    let digest = token::parse(&flags.token).context("the token")?.root;
    let root = fetch_root(&flags.manager, &digest, agent::now()).await?;
    let mut client = Client::new(&flags.socket);
    client.get("/info").await.with_context(|| format!("{}: no manager", flags.socket.display()))?;
    println!("{} agents, {} replicas, manager {}", flags.agents, flags.replicas, flags.manager);
    let before = Cost::of(flags.pid)?;
    let start = Instant::now();
    let joining = (0..flags.agents as usize).map(|number| Agent::join(number, &flags.manager, &flags.token, &root));
    let agents: Vec<Agent> = stream::iter(joining).buffer_unordered(JOINING_MAX).try_collect().await?;
    let nodes: Vec<String> = agents.iter().map(|agent| agent.node_id().to_owned()).collect();
    report("joined", start, flags.pid, &before)?;
    let measured = measure(flags, &mut client, agents).await;
    let removed = remove_nodes(&mut client, &nodes).await;
    measured.and(removed)
}

async fn measure(flags: &AgentFlags, client: &mut Client, agents: Vec<Agent>) -> anyhow::Result<()> {
    let before = Cost::of(flags.pid)?;
    let start = Instant::now();
    let mut sessions = Vec::with_capacity(agents.len());
    for agent in agents {
        let (sender, receiver) = watch::channel(false);
        // They end with the runtime.
        sessions.push((tokio::spawn(agent.serve(sender)), receiver));
    }
    for (_, registered) in &mut sessions {
        tokio::time::timeout(PATIENCE, registered.wait_for(|registered| *registered)).await??;
    }
    report("all sessions begun", start, flags.pid, &before)?;
    let before = Cost::of(flags.pid)?;
    let start = Instant::now();
    let name = format!("bench-agents-{}", std::process::id());
    let service = create(client, &name, flags.replicas).await?;
    let answered = start.elapsed();
    let ran = await_running(client, &name, flags.replicas).await;
    println!("service created in {:.3} s", answered.as_secs_f64());
    let told = ran.and_then(|()| report("all replicas running", start, flags.pid, &before));
    swarm::remove_service(client, &service).await?;
    for (session, _) in &sessions {
        session.abort();
    }
    told
}

async fn create(client: &mut Client, name: &str, replicas: u32) -> anyhow::Result<String> {
    let body = json!({
        "Name": name,
        "Mode": {"Replicated": {"Replicas": replicas}},
        "TaskTemplate": {
            "ContainerSpec": {"Image": "busybox:latest", "Command": ["sleep", "100000"]},
            "Placement": {"Constraints": [format!("engine.labels.{}==agent", agent::LABEL)]},
        },
    });
    let answer: Value = serde_json::from_slice(&client.post("/services/create", &body).await?)?;
    Ok(answer["ID"].as_str().context("the service has no id")?.to_owned())
}

async fn await_running(client: &mut Client, name: &str, replicas: u32) -> anyhow::Result<()> {
    let start = Instant::now();
    // {"name":{"…":true}}
    let path = format!("/services?status=true&filters=%7B%22name%22%3A%7B%22{name}%22%3Atrue%7D%7D");
    loop {
        let services = client.get(&path).await?;
        let running = services[0]["ServiceStatus"]["RunningTasks"].as_u64().unwrap_or(0);
        if running >= u64::from(replicas) {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            bail!("{running} of {replicas} replicas run after {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn remove_nodes(client: &mut Client, nodes: &[String]) -> anyhow::Result<()> {
    for node in nodes {
        let path = format!("/nodes/{node}?force=true");
        client.call(Method::DELETE, &path, bytes::Bytes::new()).await?;
    }
    Ok(())
}

fn report(what: &str, start: Instant, pid: Option<i32>, before: &Cost) -> anyhow::Result<()> {
    let took = start.elapsed().as_secs_f64();
    println!("{what} in {took:.3} s{}", Cost::of(pid)?.since(before));
    Ok(())
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
