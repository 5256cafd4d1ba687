//! Real daemons on hosts of their own, driven as a user would: one binary, so that all share its support.
//!
//! `cargo test -p skep --test e2e` runs all of it, `… --test e2e membership::` one file. Needs root.

mod authority;
mod bench;
mod clients;
mod containers;
mod daemon;
mod dependencies;
mod docker_engine;
mod drivers;
mod engine;
mod failures;
mod faults;
mod global;
mod membership;
mod mesh;
mod operator;
mod plugin;
mod reads;
mod rebalance;
mod registry;
mod services;
mod stacks;
mod stuck;
mod support;
mod updates;
mod upkeep;
