//! Who gets which subnet, address, VXLAN number and port: the allocator of networks, services, tasks and nodes.
//!
//! It must never know a kernel, a packet or a clock: it writes plans into objects, and others carry them out. All
//! allocations live in the objects alone; what the allocator remembers (`book`) is rebuilt from them by every new
//! leader. Flow: events mark objects dirty ([`Allocator::observe`]); a turn gives back what nobody holds any more and
//! gives out what is asked for. Rules and formats are SwarmKit's (interop §8), because Docker managers and workers
//! read them. Start reading at `allocator.rs`, then `book.rs`, `tasks.rs`.

#![warn(missing_docs)]

mod allocator;
mod book;
mod error;
mod networks;
mod nodes;
mod numbers;
mod pool;
mod ports;
mod prefix;
mod services;
mod subnet;
mod tasks;

#[cfg(test)]
mod tests;

pub use allocator::{Allocator, NetworkTrouble, RETRY_INTERVAL};
pub use networks::{is_ingress, is_node_local};
pub use services::needs_ingress;
