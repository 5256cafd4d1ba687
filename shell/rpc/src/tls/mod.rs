//! TLS 1.2 and 1.3 with the swarm's own root, on both sides, with certificates and roots that change while it runs.
//!
//! It must never know gRPC. `Credentials` holds what is presented and trusted now; every new connection takes what it
//! finds there. Start reading at `credentials`.

mod connector;
mod credentials;
mod tcp;
mod unverified;
mod watched;

pub(crate) use connector::Connector;
pub use connector::{CONNECT_TIMEOUT, Trust};
pub(crate) use credentials::provider;
pub use credentials::{Credentials, TlsError};
pub(crate) use tcp::prepare;
pub(crate) use watched::{Watched, Watcher};
