//! What the dispatcher asks of the shell.

use skep_model::Refusal;
use skep_model::pb::messages::{AssignmentsMessage, SessionMessage};

use super::driver::{FetchId, SecretRequest};

/// An open stream to a worker; the shell numbers them, never twice in one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub u64);

/// What the dispatcher asks of the shell. Streams that are already gone are ignored by the shell.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Send on a session stream.
    Session {
        /// Where.
        stream: StreamId,
        /// What.
        message: Box<SessionMessage>,
    },
    /// Send on a stream of assignments.
    Assignments {
        /// Where.
        stream: StreamId,
        /// What.
        message: AssignmentsMessage,
    },
    /// End the stream with this status. The dispatcher has already forgotten it.
    Close {
        /// Which.
        stream: StreamId,
        /// Why.
        refusal: Refusal,
    },
    /// Ask the driver of a secret for its value, on this host; then call `Dispatcher::secret_fetched`.
    FetchSecret {
        /// Quote it with the answer.
        fetch: FetchId,
        /// What to ask whom.
        request: Box<SecretRequest>,
    },
    /// Something that an operator should read in the log.
    Warn(String),
}
