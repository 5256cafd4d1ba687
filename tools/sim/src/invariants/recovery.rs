//! Whatever a crash leaves on a disk, a manager starts from it. Source: the store's and Raft's recovery (docs/design/
//! consensus.md); a disk that loses or tears the last unsynced write is an ordinary one.

use std::fmt::Display;

use super::Violation;
use crate::network::HostId;

/// A manager cannot start.
pub fn fails(host: HostId, error: impl Display) -> Violation {
    Violation::new("recovery", format!("h{host}: {error}"))
}
