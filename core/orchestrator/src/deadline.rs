//! Deadlines out of durable stamps.
//!
//! Stamps are wall-clock times, perhaps another leader's; deadlines are monotonic. A deadline is therefore worked out
//! once, when it is first needed, and lies at most the whole delay ahead, however the clocks differ.

use std::time::Duration;

use skep_model::{Now, Time, WallTime};

/// When `delay` after `since` is over. Unknown stamps count as now.
pub(crate) fn deadline(now: Now, since: Option<WallTime>, delay: Duration) -> Time {
    let passed = since.map_or(0, |since| now.wall.0.saturating_sub(since.0)).max(0);
    let passed = Duration::from_nanos(u64::try_from(passed).unwrap_or(0));
    now.monotonic.after(delay.saturating_sub(passed))
}

/// The earlier of two, where there are any.
pub(crate) fn earliest(left: Option<Time>, right: Option<Time>) -> Option<Time> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (left, right) => left.or(right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(monotonic: u64, wall_seconds: i64) -> Now {
        Now { monotonic: Time(monotonic), wall: WallTime(wall_seconds * SECOND) }
    }

    #[test]
    fn lies_between_now_and_the_whole_delay() {
        let table = [
            (Some(100), 5_000_000),
            (Some(98), 3_000_000),
            (Some(95), 0),
            (Some(1), 0),
            (Some(200), 5_000_000),
            (None, 5_000_000),
        ];
        for (since, left) in table {
            let since = since.map(|seconds: i64| WallTime(seconds * SECOND));
            assert_eq!(deadline(at(7, 100), since, Duration::from_secs(5)), Time(7 + left), "{since:?}");
        }
        assert_eq!(earliest(Some(Time(3)), Some(Time(2))), Some(Time(2)));
        assert_eq!(earliest(None, Some(Time(2))), Some(Time(2)));
    }
}
