//! Makes the tasks that services ask for, and unmakes the ones that nobody wants: replicas, globals and jobs, restarts,
//! rolling updates, constraints, history.
//!
//! It must never know which node suits a task (the scheduler's), nor addresses (the network's), nor a clock. Flow:
//! events mark services and nodes dirty ([`Orchestrator::observe`]); a turn reconciles the dirty ones from the facts
//! in the transaction alone, so that a new leader goes on where the old one stopped. What is kept in memory (deadlines,
//! how far an update got) is rebuilt from those facts. Start reading at `orchestrator`, then `supervise`, `update`.

#![warn(missing_docs)]

mod deadline;
mod enforce;
mod facts;
mod global;
mod job;
mod make;
mod memory;
mod orchestrator;
mod reaper;
mod rebalance;
mod replicated;
mod rest;
mod restart;
mod slot;
mod supervise;
mod turn;
mod update;
mod versions;

pub use orchestrator::Orchestrator;

#[cfg(test)]
mod tests;
