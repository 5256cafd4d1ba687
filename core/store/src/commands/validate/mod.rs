//! What a spec alone can tell: no facts needed. Texts are SwarmKit's (interop §7.8).

mod image;
mod names;
mod service;
mod task;

pub(super) use names::{annotations, dependency_annotations};
pub(super) use service::service;

use std::time::Duration;

/// A protobuf duration below zero.
pub(super) fn is_negative(duration: &prost_types::Duration) -> bool {
    duration.seconds < 0 || duration.nanos < 0
}

/// Below a limit; a negative one always is.
pub(super) fn shorter_than(duration: &prost_types::Duration, limit: Duration) -> bool {
    is_negative(duration) || skep_model::time::duration(duration) < limit
}
