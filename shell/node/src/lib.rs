//! The daemon's wiring: configuration, sockets, loops, disks; every part that decides is the core's.
//!
//! It must never decide: loops feed the core's machines and perform what they ask. Flow: `config` → [`daemon::run`] →
//! `swarm` (membership) → `agent` (the worker's loop) and `manager` (the manager's loop and port); `control` and
//! `engine` answer the HTTP API. Start reading at `daemon`, then `swarm::node`.

#![warn(missing_docs)]

mod advertise;
mod agent;
mod clock;
pub mod config;
mod control;
pub mod daemon;
mod engine;
mod host;
mod lazy_tls;
mod listen;
mod manager;
mod plugins;
mod swarm;
mod tasks;
mod warnings;

pub use config::{Config, ConfigError, Flags, LogFormat};
pub use host::VERSION;
