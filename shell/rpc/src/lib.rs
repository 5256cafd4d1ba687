//! The cluster's port: SwarmKit's gRPC services and `skep.v1` over mutual TLS, as server and as client.
//!
//! It must never know the store or consensus: it checks who calls, builds a `Caller` and asks the `Backend`.
//! Flow: connection → TLS (`tls`) → who is it and may it (`server`) → here or to the leader (`server::proxy`) →
//! `Backend`; outwards: `client` and `raft`. Start reading at `backend`, then `server`.

#![warn(missing_docs)]

pub mod backend;
pub mod client;
pub mod external;
pub mod identity;
pub mod question;
pub mod raft;
pub mod server;
mod status;
pub mod tls;
#[doc(hidden)]
pub mod wire;

pub use backend::{Backend, Call, ConnectionId, Ending, Feed, Leader, RaftKind, RaftMessage, Visitor};
pub use client::{Clients, DispatcherClient, Incoming, JoinError};
pub use external::ExternalCas;
pub use identity::{Membership, NodeIdentity, PrivateKey, TrustRoot};
pub use raft::{RaftEvent, RaftTransport};
pub use server::Server;
pub use status::{refusal, status};
pub use tls::{Credentials, Trust};
