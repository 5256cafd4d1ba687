//! The orchestrator over a real ledger, with a pretended allocator, scheduler and agents.

mod chaos;
mod ghosts;
mod global;
mod halfway;
mod history;
mod jobs;
mod many;
mod rebalance;
mod replicas;
mod restarts;
mod updates;
mod versions;
mod world;
