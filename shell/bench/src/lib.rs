//! `skep bench`: the same figures of Skep and of a Docker Engine, in one run, on the same hosts, with the same image.
//!
//! It must never know a daemon's insides: it speaks the Engine API over unix sockets and, as simulated workers, the
//! cluster's protocol; it kills processes and reads what the kernel says of their memory. It reports and asserts nothing: a missed target is a line of the table. Flow:
//! `fleet` (hosts and daemons of one product) → `measure` (one module per figure) → `table`. Products run one after the
//! other, so that neither takes the other's processors. Start reading at `measure`.

#![warn(missing_docs)]

mod agents;
mod client;
mod fleet;
mod image;
mod measure;
mod memory;
mod swarm;
mod table;

use std::path::PathBuf;

use anyhow::bail;
use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::agents::AgentFlags;
use crate::fleet::Product;
use crate::table::Table;

/// `skep bench`.
#[derive(Parser, Debug)]
#[command(
    about = "Measure Skep beside a Docker Engine on hosts of their own (needs root)",
    args_conflicts_with_subcommands = true
)]
pub struct Flags {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only this figure, besides the forming of the swarm that all others need (repeatable)
    #[arg(long, value_name = "NAME", value_enum)]
    pub only: Vec<Part>,
    /// Measure Skep alone
    #[arg(long)]
    pub skip_docker: bool,
    /// How often a leader is killed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Print JSON, with every sample, instead of a table
    #[arg(long)]
    pub json: bool,
    /// The Docker Engine to compare with
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/dockerd")]
    pub dockerd: PathBuf,
    /// Where the hosts keep their files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub directory: PathBuf,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Measure one manager, Skep's or Docker's, with many simulated workers over the real protocol
    Agents(AgentFlags),
}

/// What can be measured by itself.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Making a swarm
    Init,
    /// Joining it
    Join,
    /// Creating services, one at a time and many at once
    Creations,
    /// Listing services
    List,
    /// Replicas of a local image
    Replicas,
    /// A worker's daemon killed
    Worker,
    /// The leader's daemon killed
    Leader,
    /// The leader's network cable cut
    Cable,
    /// Memory of managers and shims
    Memory,
}

impl Flags {
    /// Whether a part was asked for.
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// Measures and prints; progress goes to standard error. INT and TERM take the hosts down first.
pub fn run(flags: &Flags) -> anyhow::Result<()> {
    if let Some(Command::Agents(flags)) = &flags.command {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(agents::run(flags));
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("bench makes hosts (network namespaces, mounts) and so needs root: run this with sudo");
    }
    // One thread: the hosts' first processes end with the thread that made them, and the daemons get the processors.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let table = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            table = measure_all(flags) => table,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("interrupted"),
        }
    })?;
    if flags.json {
        println!("{}", table.json());
    } else {
        print!("{}", table.markdown());
    }
    Ok(())
}

async fn measure_all(flags: &Flags) -> anyhow::Result<Table> {
    let mut table = Table::default();
    measure::measure(flags, Product::Skep, &mut table).await?;
    if flags.skip_docker {
        return Ok(table);
    }
    if !flags.dockerd.exists() {
        bail!("{} does not exist: install docker.io, or give --skip-docker", flags.dockerd.display());
    }
    measure::measure(flags, Product::Docker, &mut table).await?;
    Ok(table)
}
