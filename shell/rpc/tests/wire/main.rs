//! The cluster's port over loopback with real TLS: a fake node behind real servers and clients.

mod access;
mod alpn;
mod fake;
mod hostile;
mod join;
mod proxy;
mod raft;
mod relay;
mod rotation;
mod swarm;
