//! Raft messages going out: one queue and one connection per member (interop §5.3).
//!
//! It must never know consensus: messages are bytes with a receiver and a sort. A Skep member gets one long-lived
//! stream, a Docker Engine a call per message; which of the two it is, `Hello` tells. Start reading at `transport`,
//! then `peer`.

mod message;
mod peer;
mod transport;

pub use message::{PIECE_BYTES_MAX, SNAPSHOT_BYTES_MAX};
pub(crate) use message::{join_snapshot, read_message};
pub use transport::{QUEUE_MAX, RaftEvent, RaftTransport, STRANGERS_MAX};
