//! The manager's part of a node: its loop, its port, its transport; started when the node is a manager, stopped when
//! it is one no more.
//!
//! Decisions are `core/manager`'s; here is only the carrying out. Start reading at `start`, then `run`.

mod ask;
mod authority;
mod backend;
mod board;
mod feeds;
mod log_broker;
mod outside;
mod queue;
mod run;
mod start;

pub use ask::{Ask, Handle};
pub(crate) use authority::{Authority, ROOT_READER};
pub use log_broker::LogBroker;
pub use start::{Beginning, ManagerParts, ManagerRole, StartError};

/// Why a manager does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The others took it out of the quorum.
    Removed,
    /// Something that it must not go on with; for the operator.
    Fatal(String),
}
