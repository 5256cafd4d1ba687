//! Real containers: how soon they run, and how soon they run elsewhere.

use std::time::{Duration, Instant};

use super::{form, weight};
use crate::fleet::{Fleet, MANAGERS, WORKERS};
use crate::swarm;
use crate::table::{Figure, Table};
use crate::{Flags, Part};

/// Replicas of the service whose start is timed.
const REPLICAS: usize = 12;
/// Starts timed.
const STARTS: usize = 5;
/// Replicas of the service that loses a worker: two on each host.
const SPREAD: usize = 10;
/// Workers killed.
const KILLS: usize = 3;
/// How often tasks are looked at: a look costs processor time that the start itself wants.
const TASK_POLL: Duration = Duration::from_millis(5);
/// How often a node is looked at.
const NODE_POLL: Duration = Duration::from_millis(10);

/// From the creation's request until all replicas run; then the memory of their shims.
pub async fn replicas(flags: &Flags, fleet: &Fleet, table: &mut Table) -> anyhow::Result<()> {
    let mut client = fleet.client(super::leader(fleet, 0).await?);
    let starts = if flags.wants(Part::Replicas) { STARTS } else { 1 };
    for round in 1..=starts {
        let start = Instant::now();
        let id = swarm::create_service(&mut client, &format!("replicas-{round}"), REPLICAS).await?;
        let look = async || Ok(swarm::running(&mut client, &id).await?.len() == REPLICAS);
        let done = swarm::until("the replicas to run", TASK_POLL, look).await?;
        if flags.wants(Part::Replicas) {
            table.add(fleet.product, Figure::Replicas, (done - start).as_secs_f64());
        }
        if round == starts && flags.wants(Part::Memory) {
            weight::shims(fleet, table).await?;
        }
        swarm::clear_service(&mut client, &id).await?;
    }
    Ok(())
}

/// KILL of a worker's daemon: until the leader says that the node is down, and until all its tasks run elsewhere.
pub async fn worker(fleet: &mut Fleet, table: &mut Table) -> anyhow::Result<()> {
    for round in 0..KILLS {
        let mut client = fleet.client(super::leader(fleet, 0).await?);
        let id = swarm::create_service(&mut client, &format!("spread-{round}"), SPREAD).await?;
        let look = async || Ok(swarm::running(&mut client, &id).await?.len() == SPREAD);
        swarm::until("the replicas to run", TASK_POLL, look).await?;
        let victim = MANAGERS + round % WORKERS;
        let node = swarm::node_id(&mut client, fleet.host(victim).hostname()).await?;
        anyhow::ensure!(
            swarm::running(&mut client, &id).await?.contains(&node),
            "the worker to be killed runs nothing of the service"
        );
        let killed = fleet.kill_daemon(victim)?;
        let path = format!("/nodes/{node}");
        let look = async || Ok(client.get(&path).await?["Status"]["State"] == "down");
        let noticed = swarm::until("the killed worker to be down", NODE_POLL, look).await?;
        table.add(fleet.product, Figure::WorkerNoticed, (noticed - killed).as_secs_f64());
        let look = async || {
            let nodes = swarm::running(&mut client, &id).await?;
            Ok(nodes.iter().filter(|place| **place != node).count() == SPREAD)
        };
        let replaced = swarm::until("its tasks to run elsewhere", NODE_POLL, look).await?;
        table.add(fleet.product, Figure::WorkerReplaced, (replaced - killed).as_secs_f64());
        fleet.start_daemon(victim)?;
        fleet.answers(victim).await?;
        form::whole(fleet, 0).await?;
        swarm::clear_service(&mut client, &id).await?;
    }
    Ok(())
}
