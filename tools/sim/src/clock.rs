//! Clocks of hosts: each has an origin, a pace and a wall of its own; the world's time is nobody's.

use skep_model::{Now, Time, WallTime};

/// Where the wall clocks start: 2026-01-01.
const EPOCH_NANOS: i64 = 1_767_225_600_000_000_000;
const MILLION: i64 = 1_000_000;

/// The world's time at which a clock that is never off shows `wall`.
pub(crate) fn world_time_of(wall: WallTime) -> Time {
    Time(u64::try_from(wall.0.saturating_sub(EPOCH_NANOS) / 1000).unwrap_or(0))
}

/// The clock of one host.
#[derive(Clone, Copy, Debug)]
pub struct HostClock {
    /// Since when it runs at its present pace, in the world's time.
    since: Time,
    /// What the monotonic clock showed then, in microseconds.
    monotonic_us: u64,
    /// How far the host's clocks had run then, in microseconds.
    ran_us: u64,
    /// How much faster than the world's it runs, in millionths.
    pace_ppm: i64,
    /// How far the wall clock is off.
    pub wall_offset_ns: i64,
    /// A fault of the shell: the monotonic clock counts this many times too fast.
    unit: u64,
}

impl HostClock {
    /// A clock that shows `origin_us` when the world begins.
    pub fn new(origin_us: u64, pace_ppm: i64, wall_offset_ns: i64, unit: u64) -> Self {
        Self { since: Time(0), monotonic_us: origin_us, ran_us: 0, pace_ppm, wall_offset_ns, unit }
    }

    fn ran(&self, time: Time) -> u64 {
        let passed = time.0.saturating_sub(self.since.0);
        let gained = i64::try_from(passed).unwrap_or(i64::MAX / MILLION) * self.pace_ppm / MILLION;
        passed.saturating_add_signed(gained)
    }

    /// What the host is told at the world's `time`.
    pub fn now(&self, time: Time) -> Now {
        let ran = self.ran(time);
        let wall_ns = i64::try_from(self.ran_us + ran).unwrap_or(i64::MAX / 4000) * 1000;
        Now {
            monotonic: Time((self.monotonic_us + ran) * self.unit),
            wall: WallTime(EPOCH_NANOS + self.wall_offset_ns + wall_ns),
        }
    }

    /// From now on the clocks run at another pace.
    pub fn set_pace(&mut self, time: Time, pace_ppm: i64) {
        let ran = self.ran(time);
        self.since = time;
        self.monotonic_us += ran;
        self.ran_us += ran;
        self.pace_ppm = pace_ppm;
    }

    /// The first time of the world at which the host's clock shows at least `at`, as long as its pace stays.
    pub fn world_time(&self, at: Time) -> Time {
        let missing = at.0.div_ceil(self.unit).saturating_sub(self.monotonic_us);
        // A microsecond early, then step by step: the division rounds.
        let pace = 1_000_000u64.saturating_add_signed(self.pace_ppm);
        let scaled = match missing.checked_mul(1_000_000) {
            Some(product) => product / pace,
            None => u64::try_from(u128::from(missing) * 1_000_000 / u128::from(pace)).unwrap_or(u64::MAX / 2),
        };
        let mut time = Time(self.since.0 + scaled.saturating_sub(2));
        while self.now(time).monotonic < at {
            time.0 += 1;
        }
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_finds_the_first_moment() {
        for pace_ppm in [0, 3, 200, 50_000, -50_000, -7] {
            let mut clock = HostClock::new(77, pace_ppm, 0, 1);
            clock.set_pace(Time(40), pace_ppm);
            for at in [200, 277, 278, 1_000_077, 60_000_001, 599_999_999] {
                let time = clock.world_time(Time(at));
                assert!(clock.now(time).monotonic >= Time(at), "{pace_ppm} {at}");
                assert!(clock.now(Time(time.0 - 3)).monotonic < Time(at), "{pace_ppm} {at}");
            }
        }
    }

    #[test]
    fn a_change_of_pace_is_no_jump() {
        let mut clock = HostClock::new(1_000, 40_000, 5, 1);
        let before = clock.now(Time(9_000_000));
        clock.set_pace(Time(9_000_000), -40_000);
        assert_eq!(clock.now(Time(9_000_000)), before);
        assert!(clock.now(Time(9_000_100)).monotonic > before.monotonic);
    }
}
