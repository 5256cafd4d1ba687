//! Every "no" of the core: a code with gRPC's meaning and a sentence for the user.
//!
//! Texts on which clients match are Docker's own (interop §7.8, §9.2).

/// The kind of a refusal, with gRPC's vocabulary. The mapping to HTTP lives in `docker-api`, to gRPC in `rpc`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// The input itself is wrong.
    InvalidArgument,
    /// No such object.
    NotFound,
    /// The name or id is taken.
    AlreadyExists,
    /// The caller may not do this.
    PermissionDenied,
    /// The caller did not say who it is.
    Unauthenticated,
    /// The input is right but the state of the swarm forbids it.
    FailedPrecondition,
    /// Docker knows it, we do not carry it out (yet).
    Unimplemented,
    /// Try again: not ready, not leader, shutting down.
    Unavailable,
    /// A named limit is reached.
    ResourceExhausted,
    /// Overtaken by another change or a change of leader.
    Aborted,
    /// Took too long.
    DeadlineExceeded,
    /// Errors that SwarmKit leaves without a code (`update out of sequence`, no leader).
    Unknown,
    /// A broken law of ours.
    Internal,
}

/// Why something was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of refusal.
    pub code: Code,
    /// A sentence that names the field and the way out.
    pub message: String,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// `<kind> <name> not found`, as Docker says it.
    pub fn not_found(kind: &str, name: &str) -> Self {
        Self::new(Code::NotFound, format!("{kind} {name} not found"))
    }

    /// The input is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// The version the caller saw is not the current one.
    pub fn out_of_sequence() -> Self {
        Self::new(Code::Unknown, "update out of sequence")
    }

    /// No leader, hence no writes.
    pub fn no_leader() -> Self {
        Self::new(
            Code::Unknown,
            "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than \
             half of the managers are online.",
        )
    }
}
