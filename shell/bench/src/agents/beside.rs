//! The same for a manager of each product on a host of its own, one after the other, and the ratio.

use anyhow::bail;

use super::AgentFlags;
use super::measure::{self, Figures, Target};
use crate::fleet::{Fleet, Product};
use crate::swarm;
use crate::table::{Figure, Table};

/// Measures and prints the table. What one product cannot do is said, and the other's figures are shown.
pub async fn run(flags: &AgentFlags) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("without --manager a host is made for each (network namespaces, mounts), which needs root: use sudo");
    }
    if !flags.skip_docker && !flags.dockerd.exists() {
        bail!("{} does not exist: install docker.io, or give --skip-docker", flags.dockerd.display());
    }
    let mut table = Table::default();
    for product in [Product::Skep, Product::Docker] {
        if product == Product::Docker && flags.skip_docker {
            continue;
        }
        println!("{product:?}:");
        match one(flags, product, &mut table).await {
            Ok(figures) => add(&mut table, product, &figures),
            Err(error) => eprintln!("  not measured: {error:#}"),
        }
    }
    print!("{}", table.markdown());
    Ok(())
}

async fn one(flags: &AgentFlags, product: Product, table: &mut Table) -> anyhow::Result<Figures> {
    let fleet = Fleet::start(product, 1, &flags.dockerd, &flags.directory).await?;
    let mut client = fleet.client(0);
    if product == Product::Docker {
        let version = client.get("/version").await?;
        table.set_docker_version(version["Version"].as_str().unwrap_or_default().to_owned());
    }
    let address = fleet.host(0).address();
    swarm::init(&mut client, address).await?;
    let token = swarm::token(&mut client, "Worker").await?;
    let processes = fleet.processes(0)?;
    let pids = processes.iter().filter(|process| !process.is_shim()).map(|process| process.pid).collect();
    let mut target = Target { manager: format!("{address}:{}", swarm::PORT), token, client, pids };
    let agents = measure::join(&flags.load(), &target).await?;
    agents.run(&flags.load(), &mut target).await
}

fn add(table: &mut Table, product: Product, figures: &Figures) {
    table.add(product, Figure::AgentsJoined, figures.joined.seconds);
    table.add(product, Figure::AgentsSessions, figures.sessions.seconds);
    table.add(product, Figure::AgentsReplicas, figures.replicas.seconds);
    table.add(product, Figure::AgentsProcessors, figures.replicas.cost.processors);
    table.add(product, Figure::AgentsMemory, figures.replicas.cost.mib);
}
