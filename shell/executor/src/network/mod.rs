//! The node-local network: a bridge, a namespace with a pair of interfaces per container, NAT, published ports.
//!
//! It must never know tasks or overlays. All kernel state is either taken over or removed at start, so that nothing of
//! a former daemon lingers: interfaces and namespaces by the list of live containers, the packet filter's table as a
//! whole, in one transaction. Interfaces are made in a thread of its own, which may enter other namespaces; rules are
//! applied only when published ports change, several containers in one go. What comes to a published port over IPv6 is
//! passed on by tasks of the daemon (`forward`).
//! Start reading at `bridge`, then `namespace` and `filter`.

mod addresses;
mod bridge;
mod datagrams;
mod filter;
mod flows;
mod forward;
mod mesh;
mod namespace;
mod netlink;
mod netlink_socket;
mod ports;

pub use bridge::{Endpoint, Network, Surviving, Wanted};
pub use mesh::MeshPorts;
pub use ports::Published;

use std::path::{Path, PathBuf};

/// Where a container's network namespace is bound, below the runtime directory.
pub fn namespace_path(exec_root: &Path, container: &str) -> PathBuf {
    exec_root.join("netns").join(container)
}
