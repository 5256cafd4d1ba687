//! The objects that the store holds: our own structs with typed ids around SwarmKit's messages.
//!
//! Specs (and node descriptions) stay `Verbatim`; fields of newer versions stay in `unknown`. Conversion from the
//! wire happens here and nowhere else; inside, types are trusted.

mod cluster;
mod dependency;
mod extras;
mod network;
mod node;
mod opaque;
mod service;
mod task;
mod task_bytes;

pub use cluster::{Cluster, DEFAULT_CLUSTER_NAME, DOCKERS_PACE, PACE_LABEL};
pub use dependency::{Config, SECRET_DATA_BYTES_LIMIT, Secret};
pub use extras::{Extras, TaskExtras};
pub use network::Network;
pub use node::{Make, NODE_LEFT, Node, SKEP_ENGINE_LABEL};
pub use opaque::{Extension, Resource, Volume};
pub use service::Service;
pub use task::{Task, TaskAnnotations, task_name};

use crate::ids::{Identifier, InvalidId};
use crate::pb::objects as pb;
use crate::time::WallTime;

/// Version and stamps of a stored object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// Index of the last log entry when the change was proposed: what an update must quote.
    pub version: u64,
    /// Set by the leader.
    pub created_at: Option<WallTime>,
    /// Set by the leader.
    pub updated_at: Option<WallTime>,
}

impl From<Option<&pb::Meta>> for Meta {
    fn from(meta: Option<&pb::Meta>) -> Self {
        let Some(meta) = meta else { return Self::default() };
        Self {
            version: meta.version.as_ref().map_or(0, |version| version.index),
            created_at: meta.created_at.as_ref().map(WallTime::from),
            updated_at: meta.updated_at.as_ref().map(WallTime::from),
        }
    }
}

impl From<Meta> for pb::Meta {
    fn from(meta: Meta) -> Self {
        Self {
            version: Some(version(meta.version)),
            created_at: meta.created_at.map(Into::into),
            updated_at: meta.updated_at.map(Into::into),
        }
    }
}

/// A version message.
pub fn version(index: u64) -> crate::pb::types::Version {
    crate::pb::types::Version { index }
}

/// An object that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ObjectError {
    /// Its own id is not an id.
    #[error("{kind} carries no usable id")]
    Id {
        /// Which kind of object.
        kind: &'static str,
        /// What was found.
        #[source]
        source: InvalidId,
    },
}

/// What the store needs of every kind of object.
pub trait Object: Clone + PartialEq + std::fmt::Debug {
    /// Its typed id.
    type Id: Identifier;

    /// Lower-case word used in messages, e.g. `service`.
    const KIND: &'static str;

    /// Its id.
    fn id(&self) -> &Self::Id;
    /// Version and stamps.
    fn meta(&self) -> &Meta;
    /// Version and stamps, to be changed.
    fn meta_mut(&mut self) -> &mut Meta;
    /// The unique name, or the empty string where names are not unique or absent.
    fn unique_name(&self) -> &str;
}

macro_rules! object {
    ($name:ident, $id:ty, $kind:literal, |$object:ident| $unique:expr) => {
        impl crate::objects::Object for $name {
            type Id = $id;
            const KIND: &'static str = $kind;

            fn id(&self) -> &$id {
                &self.id
            }
            fn meta(&self) -> &crate::objects::Meta {
                &self.meta
            }
            fn meta_mut(&mut self) -> &mut crate::objects::Meta {
                &mut self.meta
            }
            fn unique_name(&self) -> &str {
                let $object = self;
                $unique
            }
        }
    };
}
pub(crate) use object;

/// The name in annotations that may be absent.
pub(crate) fn name_of(annotations: Option<&crate::pb::types::Annotations>) -> &str {
    annotations.map_or("", |annotations| annotations.name.as_str())
}

#[cfg(test)]
mod tests;
