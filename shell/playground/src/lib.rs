//! `skep playground`: a small real cluster on one machine, and the tour of what it survives.
//!
//! It must never know the daemon's insides: it makes hosts, starts the binary on them and runs the commands that an
//! operator would. Flow: `cluster` (hosts, daemons) → `tour` (the steps) → wait for Ctrl-C. Start reading at `tour`.

#![warn(missing_docs)]

mod cluster;
mod image;
mod tour;
pub mod web;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};

/// How often Ctrl-C is looked for while the playground stays up.
const SIGNAL_POLL: Duration = Duration::from_millis(100);

/// `skep playground`.
#[derive(Parser, Debug)]
#[command(about = "Several hosts on this machine, a swarm, a service, a lost leader (needs root)")]
pub struct Flags {
    /// Managers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub managers: u8,
    /// Workers
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(0..=40))]
    pub workers: u8,
    /// End after the tour, with an exit status for scripts
    #[arg(long)]
    pub once: bool,
    /// Where the hosts keep their files
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub directory: PathBuf,
}

/// Runs the tour; then stays up until Ctrl-C unless `--once`.
pub fn run(flags: &Flags) -> anyhow::Result<()> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let mut cluster = cluster::Cluster::start(flags, &interrupted)?;
    tour::run(&mut cluster)?;
    if !flags.once {
        cluster.say_how_to_play();
        while !interrupted.load(Ordering::Relaxed) {
            std::thread::sleep(SIGNAL_POLL);
        }
        println!("\nTaking the hosts down.");
    }
    Ok(())
}
