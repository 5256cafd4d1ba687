//! Raft as step in, effects out: a replicated log of opaque bytes, and who belongs to the group.
//!
//! It must never know what an entry means, a clock, a socket or a disk; and raftpb never leaves it.
//! Flow: an input (`tick`, `step`, `propose`, …) → `take_effects` → the shell sends, the manager applies, the disk
//! writes → `persisted` → `take_effects`. Start reading at [`Consensus`], then [`Effects`].
//!
//! Reads are linearizable by Raft's ReadIndex with a round of heartbeats (raft's `Safe`), not by the leader's lease: a
//! follower whose connection breaks ends its own lease early (`leader_connection_lost`), so a lease proves nothing here.

#![warn(missing_docs)]

mod consensus;
mod durable;
pub mod effect;
pub mod error;
mod intake;
mod log;
pub mod member;
mod membership_entry;
mod pace;
mod propose;
mod recovery;
mod removal;
mod screen;
pub mod state;
mod timing;
mod turn;
pub mod wire;

#[cfg(test)]
mod tests;

pub use consensus::{Config, Consensus, PeerStatus};
pub use effect::{
    Committed, Effects, InstalledSnapshot, LogRange, MessageKind, Payload, PeerMessage, Persist, ReadReady, Role,
    SnapshotPoint, SnapshotToSave,
};
pub use error::{ProposeError, ReadError, RecoverError, StepError, TransferError};
pub use log::{LOG_CACHE_BYTES_MAX, LOG_FETCH_BYTES_MAX};
pub use member::{Member, MemberError, Membership, MembershipChange, removal_keeps_quorum};
pub use propose::ENTRY_BYTES_MAX;
pub use recovery::{bootstrap, change_bytes, force_new_cluster};
pub use state::{ConfState, EntryKind, HardState, LogEntry, Recovered, SnapshotMeta};
pub use timing::{HINT_DELAY_MAX, Mode};
