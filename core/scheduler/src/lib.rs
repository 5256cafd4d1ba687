//! Chooses the node for each pending task, and says why when there is none.
//!
//! It must never know why a task exists (the orchestrator's), nor what an address is (the network's), nor a clock.
//! Flow: events mark tasks and nodes dirty ([`Scheduler::observe`]); a turn first brings its picture of the nodes (what
//! runs where, what is left) in line with the facts in the transaction, then places what is pending, group by group: a
//! group is one service at one version, whose tasks all ask for the same. Nodes, services and tasks are known inside
//! by small numbers. Cost is bound to what changed, not to what exists. Start reading at `scheduler`, then `group`.

#![warn(missing_docs)]

mod assign;
mod candidates;
mod classes;
mod counts;
mod explain;
mod filter;
mod generic;
mod group;
mod loads;
mod node;
mod picture;
mod queue;
mod requirements;
mod scheduler;
mod spread;
mod stuck;
mod tasks;
mod volumes;

pub use scheduler::Scheduler;

#[cfg(test)]
mod tests;
