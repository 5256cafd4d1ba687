//! The cluster's port: SwarmKit's gRPC services and `skep.v1` over mutual TLS, as server and as client.
//!
//! It must never know the store or consensus: it checks who calls, builds a `Caller` and asks the `Backend`.
//! Flow: connection → TLS (`tls`) → who is it and may it (`server`) → here or to the leader (`server::proxy`) →
//! `Backend`; outwards: `client` and `raft`. Start reading at `backend`, then `server`.

#![warn(missing_docs)]

pub mod backend;
pub mod identity;
mod status;
mod wire;

pub use status::{refusal, status};
