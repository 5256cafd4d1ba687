//! The generated wire schema in layers. Messages of a lower layer stand in the upper ones as
//! `Verbatim<T>` (specs), `Shared<T>` (networks in attachments) or `Kept<T>` (stored objects).

#![allow(clippy::all, missing_docs, rustdoc::all)]

/// `types.proto` and `specs.proto`.
pub mod types {
    include!(concat!(env!("OUT_DIR"), "/types/docker.swarmkit.v1.rs"));
}

/// What `objects.proto` says of networks: they stand inside of other objects, shared.
pub mod networks {
    include!(concat!(env!("OUT_DIR"), "/networks/docker.swarmkit.v1.rs"));
}

/// `objects.proto`.
pub mod objects {
    pub use super::networks::{Meta, Network};
    include!(concat!(env!("OUT_DIR"), "/objects/docker.swarmkit.v1.rs"));
}

/// Requests, responses, log entries and snapshots.
pub mod messages {
    include!(concat!(env!("OUT_DIR"), "/messages/docker.swarmkit.v1.rs"));
}

/// `skep.v1`: what Skep nodes say to each other beyond SwarmKit's wire.
pub mod skep {
    include!(concat!(env!("OUT_DIR"), "/skep.v1.rs"));
}

include!(concat!(env!("OUT_DIR"), "/known_tags.rs"));
