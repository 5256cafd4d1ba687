//! Runs tasks on this node: the `Controller` verbs over an embedded OCI runtime, and what the HTTP API asks of containers.
//!
//! It must never know the store, a manager or the wire: a task comes as a `TaskOrder`, facts included, and goes back
//! as a status. Containers outlive the daemon: each has a shim (this binary, re-executed) that holds its output, waits
//! for it and writes its status; at start the daemon takes over whatever it finds.
//! Flow: `TaskOrder` → `spec` (OCI document) → `shim` (creates, watches) → `Controller::wait`.
//! Start reading at `controller` (the verbs), then `runtime` (who does them), then `shim`.

#![warn(missing_docs)]

pub mod allocator;
mod apparmor;
pub mod config;
pub mod controller;
pub mod error;
pub mod fake;
mod host;
pub mod images;
mod network;
pub mod runtime;
pub mod shim;
mod spec;

pub use config::{BridgeConfig, LogLimits, RuntimeConfig};
pub use controller::{Controller, Executor, NodeFacts, TaskOrder, TaskReport};
pub use error::{ControllerError, RuntimeError};
pub use fake::{FakeExecutor, FakeScript};
pub use host::abilities as host_abilities;
pub use runtime::{ContainerEvent, ExecSession, LogFollower, ProcessTable, Runtime};
pub use shim::{SHIM_ARGUMENT, shim_main};
