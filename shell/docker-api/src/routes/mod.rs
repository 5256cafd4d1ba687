//! What each route does, a file per kind of object. Routes know traits, conversions and replies; never HTTP framing.

pub(crate) mod containers;
pub(crate) mod dependencies;
mod event_log;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod log_query;
pub(crate) mod network_use;
pub(crate) mod networks;
pub(crate) mod nodes;
mod service_cache;
mod service_version;
pub(crate) mod services;
pub(crate) mod swarm;
pub(crate) mod swarm_logs;
pub(crate) mod system;
pub(crate) mod tasks;

pub(crate) use event_log::EventLog;
pub(crate) use service_cache::ServiceCache;

use std::time::{SystemTime, UNIX_EPOCH};

use skep_model::WallTime;

use crate::status::Failure;

/// The wall clock, for what people read.
pub(crate) fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// A Unix time, or how long ago (`24h`, `1h30m`).
pub(crate) fn moment(text: &str) -> Result<WallTime, Failure> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(WallTime(seconds.saturating_mul(1_000_000_000)));
    }
    let invalid = || Failure::bad_request(format!("until {text:?} is neither a Unix time nor a duration such as 24h"));
    let mut rest = text;
    let mut seconds = 0i64;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(invalid)?;
        let count: i64 = rest[..digits].parse().map_err(|_| invalid())?;
        let unit = match rest.as_bytes()[digits] {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return Err(invalid()),
        };
        seconds = seconds.saturating_add(count.saturating_mul(unit));
        rest = &rest[digits + 1..];
    }
    Ok(WallTime(now().0.saturating_sub(seconds.saturating_mul(1_000_000_000))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_spans() {
        assert_eq!(moment("5").unwrap(), WallTime(5_000_000_000));
        let hour_ago = moment("59m60s").unwrap();
        assert!(now().0 - hour_ago.0 >= 3_600_000_000_000);
        assert!(moment("1d").is_err() && moment("h").is_err() && moment("yesterday").is_err());
    }
}
