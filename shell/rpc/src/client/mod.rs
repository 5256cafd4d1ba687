//! Calling managers: joining, a worker's session, membership, commands for the leader.
//!
//! It must never decide: whom to ask and what to do with a refusal is the caller's. Every failure is a `Refusal`; one
//! that never reached the other side is `Unavailable`. Start reading at `clients`.

mod channel;
mod clients;
mod control;
mod dispatcher;
mod home;
mod join;

pub use channel::channel;
pub(crate) use channel::{failure, open};
pub use clients::{Clients, POOL_MAX};
pub(crate) use clients::{check_health, skep_only, within};
pub use dispatcher::DispatcherClient;
pub use home::Home;
pub use join::{JoinError, ROOT_BYTES_MAX, fetch_root, request_certificate, unlock_key};

use skep_model::Refusal;

/// A stream of messages from a manager.
#[derive(Debug)]
pub struct Incoming<T>(tonic::Streaming<T>);

impl<T> Incoming<T> {
    /// The next message; `None` when the manager ended the stream without an error.
    pub async fn next(&mut self) -> Option<Result<T, Refusal>> {
        match self.0.message().await {
            Ok(message) => message.map(Ok),
            Err(status) => Some(Err(failure(&status))),
        }
    }
}
