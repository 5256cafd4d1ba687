//! Docker's JSON shapes, each once for both directions: borrowed when we write, owned when we read.
//!
//! A field marked `if "empty"` has `omitempty` in Go. `null` reads as the zero value everywhere, as in Go. Shapes know
//! nothing of protobuf; `convert` joins the two.

mod container;
mod network;
mod node;
mod read;
mod scalar;
mod secret;
mod service;
mod swarm;
mod task;

pub(crate) use container::*;
pub(crate) use network::*;
pub(crate) use node::*;
pub(crate) use read::*;
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
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
        pub(crate) struct $name $(<$life>)? {
            $(
                #[serde(rename = $json)]
                $(#[serde(skip_serializing_if = $omit)])?
                pub(crate) $field: $type,
            )*
        }

        crate::json::reads!($name $(<$life>)? { $($field: $type => $json),* });
    };
}
pub(crate) use shape;

/// Reads a structure's fields as Go does: names in any case, the last of several counts, unknown ones are passed over.
macro_rules! reads {
    ($name:ident $(<$life:lifetime>)? { $($field:ident: $type:ty => $json:literal),* $(,)? }) => {
        impl<'de $(, $life)?> serde::Deserialize<'de> for $name $(<$life>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_map(crate::json::Reader::<Self>::default())
            }
        }

        impl $(<$life>)? crate::json::Fields for $name $(<$life>)? {
            #[allow(unused_variables, reason = "a shape may have no fields")]
            fn read<'de, A: serde::de::MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
                $(
                    if name.eq_ignore_ascii_case($json) {
                        self.$field = map.next_value::<Option<$type>>()?.unwrap_or_default();
                        return Ok(true);
                    }
                )*
                Ok(false)
            }
        }
    };
}
pub(crate) use reads;
