//! What one manager needs for many workers.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use hyper::Method;
use serde_json::{Value, json};
use skep_pki::token;
use skep_rpc::client::fetch_root;
use tokio::sync::watch;

use super::agent::{self, Agent};
use super::process::Cost;
use crate::client::Client;
use crate::swarm;

/// Agents that join at the same time.
const JOINING_MAX: usize = 32;
/// The manager is asked how many replicas run after this long, or after as long as its last answer took.
const LOOK: Duration = Duration::from_millis(50);

/// How much.
pub struct Load {
    /// Simulated workers.
    pub agents: u32,
    /// Of the measured service.
    pub replicas: u32,
    /// Longest wait for the sessions, and for the replicas.
    pub patience: Duration,
}

/// The manager that is measured.
pub struct Target {
    /// Its cluster address.
    pub manager: String,
    /// For workers.
    pub token: String,
    /// Of its API.
    pub client: Client,
    /// Of which costs are told.
    pub pids: Vec<i32>,
}

/// What a step took.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub seconds: f64,
    pub cost: Cost,
}

impl Step {
    /// Ends now, and is said.
    fn end(what: &str, start: Instant, target: &Target, before: &Cost) -> anyhow::Result<Self> {
        let seconds = start.elapsed().as_secs_f64();
        let cost = Cost::of(&target.pids)?.since(before);
        println!("{what} in {seconds:.3} s{cost}");
        Ok(Self { seconds, cost })
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub joined: Step,
    pub sessions: Step,
    pub replicas: Step,
}

/// Agents that are members and have no session yet.
pub struct Joined {
    agents: Vec<Agent>,
    step: Step,
}

/// All agents become members.
pub async fn join(load: &Load, target: &Target) -> anyhow::Result<Joined> {
    let digest = token::parse(&target.token).context("the token")?.root;
    let root = fetch_root(&target.manager, &digest, agent::now()).await?;
    println!("{} agents, {} replicas, manager {}", load.agents, load.replicas, target.manager);
    let before = Cost::of(&target.pids)?;
    let start = Instant::now();
    let joining = (0..load.agents as usize).map(|number| Agent::join(number, &target.manager, &target.token, &root));
    let agents: Vec<Agent> = stream::iter(joining).buffer_unordered(JOINING_MAX).try_collect().await?;
    let step = Step::end("joined", start, target, &before)?;
    Ok(Joined { agents, step })
}

impl Joined {
    /// The ids of their nodes.
    pub fn nodes(&self) -> Vec<String> {
        self.agents.iter().map(|agent| agent.node_id().to_owned()).collect()
    }

    /// Begins their sessions, lets them run a service, and ends them.
    pub async fn run(self, load: &Load, target: &mut Target) -> anyhow::Result<Figures> {
        let before = Cost::of(&target.pids)?;
        let start = Instant::now();
        let mut sessions = Vec::with_capacity(self.agents.len());
        for agent in self.agents {
            let (sender, receiver) = watch::channel(false);
            // They end with the runtime.
            sessions.push((tokio::spawn(agent.serve(sender)), receiver));
        }
        for (_, registered) in &mut sessions {
            let wait = tokio::time::timeout(load.patience, registered.wait_for(|registered| *registered));
            wait.await.context("not all sessions were begun")??;
        }
        let begun = Step::end("all sessions begun", start, target, &before)?;
        let replicas = replicas(load, target).await;
        for (session, _) in &sessions {
            session.abort();
        }
        Ok(Figures { joined: self.step, sessions: begun, replicas: replicas? })
    }
}

/// A service from its creation until all replicas run; it is gone afterwards.
async fn replicas(load: &Load, target: &mut Target) -> anyhow::Result<Step> {
    let before = Cost::of(&target.pids)?;
    let start = Instant::now();
    let name = format!("bench-agents-{}", std::process::id());
    let service = create(&mut target.client, &name, load.replicas).await?;
    let answered = start.elapsed();
    let ran = await_running(&mut target.client, &name, load).await;
    println!("service created in {:.3} s", answered.as_secs_f64());
    let what = if ran.is_ok() { "all replicas running" } else { "given up" };
    let step = Step::end(what, start, target, &before)?;
    let removed = swarm::remove_service(&mut target.client, &service).await;
    ran.and(removed).map(|()| step)
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

async fn await_running(client: &mut Client, name: &str, load: &Load) -> anyhow::Result<()> {
    let start = Instant::now();
    // {"name":{"…":true}}
    let path = format!("/services?status=true&filters=%7B%22name%22%3A%7B%22{name}%22%3Atrue%7D%7D");
    let mut running = 0;
    while start.elapsed() < load.patience {
        let asked = Instant::now();
        // A manager with much to do may not answer in time; it is asked again.
        match client.get(&path).await {
            Ok(services) => running = services[0]["ServiceStatus"]["RunningTasks"].as_u64().unwrap_or(0),
            Err(error) => eprintln!("  {error:#}"),
        }
        if running >= u64::from(load.replicas) {
            return Ok(());
        }
        tokio::time::sleep(LOOK.max(asked.elapsed())).await;
    }
    bail!("{running} of {} replicas run after {} s", load.replicas, start.elapsed().as_secs())
}

/// Takes the agents' nodes out of the swarm.
pub async fn remove_nodes(client: &mut Client, nodes: &[String]) -> anyhow::Result<()> {
    for node in nodes {
        let path = format!("/nodes/{node}?force=true");
        client.call(Method::DELETE, &path, bytes::Bytes::new()).await?;
    }
    Ok(())
}
