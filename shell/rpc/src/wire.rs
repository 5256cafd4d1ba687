//! The generated service code; its messages live in `skep_model::pb`.

#![allow(clippy::all, missing_docs, rustdoc::all)]

/// SwarmKit's services.
pub mod swarmkit {
    tonic::include_proto!("docker.swarmkit.v1");
}

/// What Skep nodes say to each other beyond them.
pub mod skep {
    tonic::include_proto!("skep.v1");
}
