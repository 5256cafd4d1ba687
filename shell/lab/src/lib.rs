//! Several hosts on one machine: network namespaces with their own addresses, joined by a bridge.
//!
//! The playground, the end-to-end tests and the benchmarks stand on it. It must never know what runs on a host
//! (Skep or a Docker Engine): it makes hosts and runs commands on them. Flow: `Lab::new` → `Lab::add_host` →
//! `Host::command`. Dropping a `Lab` ends every process of its hosts and removes every namespace, link and mount;
//! the next `Lab` sweeps what a killed one left. Needs root, iproute2 and util-linux. Start reading at `lab`.

#![warn(missing_docs)]

mod host;
mod lab;
mod shell;

pub use host::Host;
pub use lab::Lab;
pub use shell::LabError;
