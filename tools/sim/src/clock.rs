//! Clocks of hosts: each has an origin, a pace and a wall of its own; the world's time is nobody's.

use skep_model::{Now, Time, WallTime};

/// Where the wall clocks start: 2026-01-01.
const EPOCH_NANOS: i64 = 1_767_225_600_000_000_000;
const MILLION: u64 = 1_000_000;

/// The clock of one host.
#[derive(Clone, Copy, Debug)]
pub struct HostClock {
    /// What the monotonic clock says when the world begins, in microseconds.
    pub origin_us: u64,
    /// How much faster than the world's, in millionths.
    pub drift_ppm: u64,
    /// How far the wall clock is off.
    pub wall_offset_ns: i64,
    /// A fault of the shell: the clock counts this many times too fast.
    pub unit: u64,
}

impl HostClock {
    /// What the host is told at the world's `time`.
    pub fn now(&self, time: Time) -> Now {
        let monotonic = (self.origin_us + time.0 + time.0 * self.drift_ppm / MILLION) * self.unit;
        let wall = EPOCH_NANOS + self.wall_offset_ns + i64::try_from(time.0).unwrap_or(i64::MAX / 4) * 1000;
        Now { monotonic: Time(monotonic), wall: WallTime(wall) }
    }

    /// The first time of the world at which the host's clock shows at least `at`.
    pub fn world_time(&self, at: Time) -> Time {
        let passed = at.0.div_ceil(self.unit).saturating_sub(self.origin_us);
        let mut time = passed.saturating_sub(passed / MILLION * self.drift_ppm + self.drift_ppm);
        while self.now(Time(time)).monotonic < at {
            let missing = (at.0 - self.now(Time(time)).monotonic.0) / self.unit;
            time += (missing - missing / 1000).max(1);
        }
        Time(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_finds_the_first_moment() {
        for drift_ppm in [0, 3, 200] {
            let clock = HostClock { origin_us: 77, drift_ppm, wall_offset_ns: 0, unit: 1 };
            for at in [0, 77, 78, 1_000_077, 60_000_001, 599_999_999] {
                let time = clock.world_time(Time(at));
                assert!(clock.now(time).monotonic >= Time(at), "{drift_ppm} {at}");
                assert!(time.0 == 0 || clock.now(Time(time.0 - 1)).monotonic <= Time(at), "{drift_ppm} {at}");
            }
        }
    }
}
