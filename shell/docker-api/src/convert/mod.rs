//! SwarmKit's messages ↔ Docker's JSON shapes, a file per object.
//!
//! Outwards: borrowed, nothing is invented that Docker would not show. Inwards: exactly what Docker's own conversion
//! sets is set, because another engine compares stored specs deeply (interop §6, §13 trap 5). It knows no route.

pub(crate) mod cluster;
pub(crate) mod container;
pub(crate) mod engine;
pub(crate) mod event;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod node;
mod pool;
pub(crate) mod privileges;
pub(crate) mod resources;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod task;
pub(crate) mod words;

use std::borrow::Cow;
use std::collections::BTreeMap;

use skep_model::pb::objects as pb;
use skep_model::pb::types;

use crate::json;

/// Borrows a string.
pub(crate) fn text(value: &str) -> json::Text<'_> {
    Cow::Borrowed(value)
}

/// Borrows strings.
pub(crate) fn texts(values: &[String]) -> json::Texts<'_> {
    Cow::Borrowed(values)
}

/// Borrows a map.
pub(crate) fn map(values: &BTreeMap<String, String>) -> json::Map<'_> {
    Cow::Borrowed(values)
}

/// A map that Go holds as nil when there is nothing in it.
pub(crate) fn nil_map(values: &BTreeMap<String, String>) -> Option<json::Map<'_>> {
    (!values.is_empty()).then_some(Cow::Borrowed(values))
}

/// Nanoseconds, as Go counts durations.
pub(crate) fn nanos(value: &prost_types::Duration) -> i64 {
    value.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(value.nanos))
}

/// A duration out of Go's nanoseconds, with Go's sign rule: both parts carry the same sign.
pub(crate) fn duration(nanos: i64) -> prost_types::Duration {
    prost_types::Duration { seconds: nanos / 1_000_000_000, nanos: i32::try_from(nanos % 1_000_000_000).unwrap_or(0) }
}

/// Name and labels; labels are never null.
pub(crate) fn annotations(value: Option<&types::Annotations>) -> (json::Text<'_>, json::Map<'_>) {
    match value {
        Some(value) => (text(&value.name), map(&value.labels)),
        None => Default::default(),
    }
}

/// Version and stamps.
pub(crate) fn meta(value: Option<&pb::Meta>) -> (json::Version, json::Stamp, json::Stamp) {
    let Some(value) = value else { return Default::default() };
    (
        version(value.version.as_ref()),
        json::Stamp::from(value.created_at.as_ref()),
        json::Stamp::from(value.updated_at.as_ref()),
    )
}

/// A version.
pub(crate) fn version(value: Option<&types::Version>) -> json::Version {
    json::Version { index: value.map_or(0, |version| version.index) }
}

/// A driver.
pub(crate) fn driver(value: &types::Driver) -> json::Driver<'_> {
    json::Driver { name: text(&value.name), options: map(&value.options) }
}

/// A driver, inwards.
pub(crate) fn driver_in(value: json::Driver<'_>) -> types::Driver {
    types::Driver { name: value.name.into_owned(), options: value.options.into_owned() }
}
