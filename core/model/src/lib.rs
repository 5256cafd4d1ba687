//! The words and laws of the swarm: typed ids, stored objects, task states and their owners, time, refusals.
//!
//! It must never know a store, a network, a clock or a disk. The wire schema is compiled here (`pb`), because the
//! specs inside our objects are its messages, kept verbatim. Flow: bytes → `pb` → `objects` (typed, trusted) → bytes.
//! Start reading at `objects`, then `task_state`.

#![warn(missing_docs)]

pub mod ability;
pub mod caller;
pub mod causes;
pub mod constraint;
pub mod control;
pub mod defaults;
pub mod engine;
pub mod ids;
pub mod kept;
pub mod labels;
pub mod objects;
pub mod pb;
pub mod refusal;
pub mod shared;
pub mod task_state;
pub mod template;
pub mod time;
pub mod upkeep;
pub mod verbatim;
pub mod warnings;

pub use ability::{Ability, AbilitySet};
pub use caller::Caller;
pub use causes::with_causes;
pub use control::{ControlCall, ControlKind, ControlRequest, ControlResponse};
pub use ids::{
    ClusterId, ConfigId, ExtensionId, NetworkId, NodeId, RaftId, ResourceId, SecretId, ServiceId, SessionId, TaskId,
    VolumeId,
};
pub use kept::Kept;
pub use objects::{
    Cluster, Config, Extension, Make, Meta, Network, Node, Object, Resource, Secret, Service, Task, Volume,
};
pub use pb::types::TaskState;
pub use refusal::{Code, Refusal};
pub use shared::Shared;
pub use time::{Now, Time, WallTime};
pub use verbatim::Verbatim;
