//! State on disk: the raft log and snapshots (encrypted), the node's key file, settings, and the tasks of a worker.
//!
//! It must never know what an entry or a task means, nor decide anything: it keeps bytes, durably and atomically, and
//! refuses loudly what it cannot trust. Everything is 0600 in directories of 0700.
//! Flow: [`RaftDisk::open`] → [`LogStore::recover`] → `skep_consensus` → [`LogStore::write`] with one fsync a batch.
//! Start reading at [`raft`], then [`key_file`].

#![warn(missing_docs)]

mod atomic;
mod database;
pub mod error;
pub mod key_file;
pub mod raft;
pub mod record;
pub mod seal;
pub mod settings;
pub mod tasks;

pub use atomic::{create_private_dir, read_file, remove_dir, remove_file, write_file, write_public_file};
pub use error::DiskError;
pub use key_file::{KeyFile, KeyHeaders, UnlockKey};
pub use raft::{LogStore, PreparedSnapshot, RaftDisk, RecoveredLog, SnapshotReader, SnapshotWriter};
pub use seal::DataKey;
pub use settings::{NodeSettings, Remote};
pub use tasks::{StoredTask, TaskStore};

#[cfg(test)]
mod tests;
