//! The one place where a refusal becomes an HTTP status (interop §9.2).

use http::StatusCode;
use skep_model::{Code, Refusal};

use crate::swarm::Standing;

/// An error as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// What Docker knows and we do not do.
    pub(crate) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// A refused write of the swarm keeps gRPC's wrapper in its text, on which clients match.
    pub(crate) fn of_write(refusal: Refusal) -> Self {
        let wrapped = match refusal.code {
            // Not about the write, but about this node: Docker's own text, unwrapped.
            Code::Unavailable => refusal.message,
            code => format!("rpc error: code = {} desc = {}", word(code), refusal.message),
        };
        Self { status: status(refusal.code), message: wrapped }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { status: status(refusal.code), message: refusal.message }
    }
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists => StatusCode::CONFLICT,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::ResourceExhausted | Code::Aborted | Code::DeadlineExceeded | Code::Unknown | Code::Internal => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// gRPC's name of a code.
fn word(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "InvalidArgument",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::Unauthenticated => "Unauthenticated",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Unimplemented => "Unimplemented",
        Code::Unavailable => "Unavailable",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::Aborted => "Aborted",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::Unknown => "Unknown",
        Code::Internal => "Internal",
    }
}

/// Why this node cannot answer for the swarm; `None` if it can.
pub(crate) fn not_a_manager(standing: Standing) -> Option<Failure> {
    why_not_a_manager(standing).map(|text| Failure::new(StatusCode::SERVICE_UNAVAILABLE, text))
}

/// The same in Docker's words.
pub fn why_not_a_manager(standing: Standing) -> Option<&'static str> {
    let text = match standing {
        Standing::Manager => return None,
        Standing::Inactive => {
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this \
             node to swarm and try again."
        }
        Standing::Worker => {
            "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run \
             this command on a manager node or promote the current node to a manager."
        }
        Standing::Pending | Standing::Error => {
            "This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster."
        }
        Standing::Locked => {
            "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to \
             unlock it."
        }
        Standing::CertificateExpired => {
            "Swarm certificates have expired. To replace them, leave the swarm and join again."
        }
    };
    Some(text)
}
