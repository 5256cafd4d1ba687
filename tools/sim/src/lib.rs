//! The whole swarm in one thread: the production core under a virtual clock, with everything around it pretended and
//! made to fail.
//!
//! It must never know a socket, a thread, a real clock or a real disk. Flow: a seed → a plan (`scenario`) → a world
//! (`world`) that takes events off one queue, hands them to managers and workers, and performs their effects on
//! pretended networks, disks and containers → an `oracle` that checks every invariant as it goes. A run has two phases:
//! safety under faults, then everything is mended and the swarm must come to what was asked for within a bound.
//! Start reading at `run`, then `world/mod.rs`, `oracle`, and `docs/design/simulation.md`.

#![warn(missing_docs)]

pub mod clock;
mod codec;
pub mod dice;
mod disk;
mod encode_once;
mod engine;
mod host;
pub mod invariants;
pub mod issuers;
mod journal;
pub mod network;
mod oracle;
pub mod plant;
mod queue;
mod read_once;
pub mod run;
pub mod scenario;
mod world;

pub use codec::Codec;
pub use plant::Plant;
pub use run::{Failure, Options, Outcome, run, shrink};
pub use scenario::{Kind, Plan};
