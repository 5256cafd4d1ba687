//! What the daemon tells the runtime once, at start.

use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Size at which a container's log is rotated, where its spec is silent.
pub const LOG_MAX_SIZE_BYTES: u64 = 10 * 1024 * 1024;
/// Log files kept per container, the current one included, where its spec is silent.
pub const LOG_MAX_FILES: u32 = 3;
/// Parent of the containers' cgroups.
pub const CGROUP_PARENT: &str = "/skep";
/// Name of the node-local bridge.
pub const BRIDGE_NAME: &str = "skep0";
/// Subnet of the node-local bridge. Never inside 10.0.0.0/8, where swarm networks get theirs.
pub const BRIDGE_SUBNET: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 30, 0, 0), 24);
/// Containers that may be started at the same time; more only compete for processors.
pub const CONCURRENT_STARTS: usize = 8;

/// Everything that differs between two daemons on one machine.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Durable files: containers, images, volumes (`/var/lib/skep`).
    pub data_root: PathBuf,
    /// Files that do not outlive a boot: sockets, namespaces (`/run/skep`).
    pub exec_root: PathBuf,
    /// Absolute path below each cgroup hierarchy.
    pub cgroup_parent: String,
    /// The node-local network.
    pub bridge: BridgeConfig,
    /// Where a spec is silent about its log.
    pub log: LogLimits,
    /// Program that understands `shim` as its first argument; `None` for the running one.
    pub shim_program: Option<PathBuf>,
}

impl RuntimeConfig {
    /// Defaults below the two roots.
    pub fn new(data_root: impl Into<PathBuf>, exec_root: impl Into<PathBuf>) -> Self {
        Self {
            data_root: data_root.into(),
            exec_root: exec_root.into(),
            cgroup_parent: CGROUP_PARENT.to_owned(),
            bridge: BridgeConfig::default(),
            log: LogLimits::default(),
            shim_program: None,
        }
    }
}

/// The node-local bridge: containers reach the outside through it, by NAT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeConfig {
    /// Name of the interface (at most 15 bytes) and of the packet filter's table. One per daemon.
    pub name: String,
    /// First address of the subnet; the bridge gets the next one.
    pub subnet: Ipv4Addr,
    /// Length of the subnet's prefix, 16 to 28.
    pub prefix_length: u8,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self { name: BRIDGE_NAME.to_owned(), subnet: BRIDGE_SUBNET.0, prefix_length: BRIDGE_SUBNET.1 }
    }
}

/// When a container's log is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes in one file before the next is begun.
    pub max_size_bytes: u64,
    /// Files kept, the current one included.
    pub max_files: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { max_size_bytes: LOG_MAX_SIZE_BYTES, max_files: LOG_MAX_FILES }
    }
}
