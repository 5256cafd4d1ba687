//! Facts and their integrity: what the swarm knows, who may change it in which way, and how it is written down.
//!
//! It must never know Raft, a clock, a disk or a network: entries and snapshots are bytes that somebody else
//! replicates and keeps. Flow: a request → [`commands`] → [`Tx`] → [`Entry`] (proposed elsewhere) → [`Ledger::commit`]
//! → [`Event`]s. Followers only commit. Start reading at [`object`], then `store`, `ledger`, `commands`.

#![warn(missing_docs)]

mod change;
mod codec;
pub mod commands;
mod entry;
#[cfg(test)]
mod fixture;
mod handles;
mod index;
mod ledger;
mod members;
pub mod object;
mod overlay;
mod read;
mod reader;
mod rules;
mod snapshot;
mod store;
mod table;
mod tx;
pub mod versions;

pub use change::{Action, Change, Event};
pub use codec::CodecError;
pub use entry::{ENTRY_BYTES_MAX, Entry, TURN_BYTES_MAX, TURN_CHANGES_MAX};
pub use handles::{Handle, Handles};
pub use ledger::{CommitError, Ledger};
pub use object::{AnyObject, Key, Kind, Stored};
pub use overlay::View;
pub use read::{Find, Read};
pub use reader::Reader;
pub use rules::ApplyError;
pub use snapshot::{RestoreError, Snapshot};
pub use store::Store;
pub use tx::Tx;
