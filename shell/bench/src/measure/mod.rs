//! All figures of one product, in the order that lets each stand on what was there before.
//!
//! It must never judge: it adds samples to the table. A figure that fails is said and left out, the others go on.

mod failover;
mod form;
mod services;
mod tasks;
mod weight;

use crate::fleet::{Fleet, MANAGERS, Product, WORKERS};
use crate::swarm;
use crate::table::Table;
use crate::{Flags, Part};

/// Forms a swarm of the product and measures what the flags ask for.
pub async fn measure(flags: &Flags, product: Product, table: &mut Table) -> anyhow::Result<()> {
    eprintln!("{product:?}:");
    let mut fleet = Fleet::start(product, MANAGERS + WORKERS, &flags.dockerd, &flags.directory).await?;
    if product == Product::Docker {
        let version = fleet.client(0).get("/version").await?;
        table.set_docker_version(version["Version"].as_str().unwrap_or_default().to_owned());
    }
    let fleet = &mut fleet;
    form::bring_image(fleet).await?;
    form::init(fleet, table).await?;
    form::join(fleet, table).await?;
    if flags.wants(Part::Memory) {
        tell(weight::idle(fleet, table).await);
    }
    if flags.wants(Part::Creations) || flags.wants(Part::List) || flags.wants(Part::Memory) {
        tell(services::measure(flags, fleet, table).await);
    }
    if flags.wants(Part::Replicas) || flags.wants(Part::Memory) {
        tell(tasks::replicas(flags, fleet, table).await);
    }
    if flags.wants(Part::Worker) {
        tell(tasks::worker(fleet, table).await);
    }
    if flags.wants(Part::Leader) {
        tell(failover::killed(flags.rounds, fleet, table).await);
    }
    if flags.wants(Part::Cable) {
        tell(failover::cut(flags.rounds, fleet, table).await);
    }
    Ok(())
}

fn tell(done: anyhow::Result<()>) {
    if let Err(error) = done {
        eprintln!("  not measured: {error:#}");
    }
}

/// Index of the host whose node leads.
async fn leader(fleet: &Fleet, asked: usize) -> anyhow::Result<usize> {
    let name = swarm::leader(&mut fleet.client(asked)).await?;
    name.and_then(|name| fleet.index_of(&name)).ok_or_else(|| anyhow::anyhow!("no leader is known"))
}
