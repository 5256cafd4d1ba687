//! What each route does, a file per kind of object. Routes know traits, conversions and replies; never HTTP framing.

pub(crate) mod containers;
pub(crate) mod dependencies;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod log_query;
pub(crate) mod networks;
pub(crate) mod nodes;
mod service_cache;
mod service_version;
pub(crate) mod services;
pub(crate) mod swarm;
pub(crate) mod swarm_logs;
pub(crate) mod system;
pub(crate) mod tasks;

pub(crate) use service_cache::ServiceCache;

use std::time::{SystemTime, UNIX_EPOCH};

use skep_model::WallTime;

/// The wall clock, for what people read.
pub(crate) fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
