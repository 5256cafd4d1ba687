//! Docker's JSON shapes, each once for both directions: borrowed when we write, owned when we read.
//!
//! A field marked `if "empty"` has `omitempty` in Go. `null` reads as the zero value everywhere, as in Go. Shapes know
//! nothing of protobuf; `convert` joins the two.

mod container;
mod network;
mod node;
mod scalar;
mod secret;
mod service;
mod swarm;
mod task;

pub(crate) use container::*;
pub(crate) use network::*;
pub(crate) use node::*;
pub(crate) use scalar::*;
pub(crate) use secret::*;
pub(crate) use service::*;
pub(crate) use swarm::*;
pub(crate) use task::*;

/// Declares a shape: Rust name and type of each field, its JSON name, and whether it is left out when empty.
macro_rules! shape {
    ($(#[$meta:meta])* $name:ident $(<$life:lifetime>)? {
        $($field:ident: $type:ty => $json:literal $(if $omit:literal)?),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub(crate) struct $name $(<$life>)? {
            $(
                #[serde(rename = $json, deserialize_with = "crate::json::nullable")]
                $(#[serde(skip_serializing_if = $omit)])?
                pub(crate) $field: $type,
            )*
        }
    };
}
pub(crate) use shape;
