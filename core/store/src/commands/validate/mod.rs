//! What a spec alone can tell: no facts needed. Texts are SwarmKit's (interop §7.8).

mod image;
mod names;
mod service;
mod task;

pub(super) use names::{annotations, dependency_annotations};
pub(super) use service::service;

use std::time::Duration;

use skep_model::pb::types::Driver;
use skep_model::{Refusal, template};

/// The text of a secret or config that is a template must be one.
pub(super) fn templating(kind: &str, driver: Option<&Driver>, data: &[u8]) -> Result<(), Refusal> {
    let Some(driver) = driver else { return Ok(()) };
    if driver.name != template::DRIVER {
        let known = template::DRIVER;
        return Err(Refusal::invalid(format!("{kind}: template driver {:?} is not known: use {known}", driver.name)));
    }
    let text = std::str::from_utf8(data).map_err(|_| Refusal::invalid(format!("{kind}: a template must be UTF-8")))?;
    template::check_payload(text).map_err(|error| Refusal::invalid(format!("{kind}: {error}")))
}

/// A protobuf duration below zero.
pub(super) fn is_negative(duration: &prost_types::Duration) -> bool {
    duration.seconds < 0 || duration.nanos < 0
}

/// Below a limit; a negative one always is.
pub(super) fn shorter_than(duration: &prost_types::Duration, limit: Duration) -> bool {
    is_negative(duration) || skep_model::time::duration(duration) < limit
}
