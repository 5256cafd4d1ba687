//! The two clocks that the core is handed: one that only moves forward, one that people read.

use std::time::Duration;

/// Monotonic time: microseconds since an arbitrary origin of this process (or of the simulation).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

impl Time {
    /// Later by `duration`, saturating.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Wall-clock time: nanoseconds since 1970-01-01T00:00:00Z. For people and stamps, never for deadlines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WallTime(pub i64);

/// What the shell or the simulator hands to every step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// For deadlines.
    pub monotonic: Time,
    /// For stamps.
    pub wall: WallTime,
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;

impl From<WallTime> for prost_types::Timestamp {
    fn from(time: WallTime) -> Self {
        Self {
            seconds: time.0.div_euclid(NANOS_PER_SECOND),
            nanos: i32::try_from(time.0.rem_euclid(NANOS_PER_SECOND)).unwrap_or(0),
        }
    }
}

impl From<&prost_types::Timestamp> for WallTime {
    fn from(stamp: &prost_types::Timestamp) -> Self {
        Self(stamp.seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(i64::from(stamp.nanos)))
    }
}

/// A protobuf duration as ours; negative ones count as zero.
pub fn duration(value: &prost_types::Duration) -> Duration {
    let nanos = i128::from(value.seconds) * i128::from(NANOS_PER_SECOND) + i128::from(value.nanos);
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

/// Our duration as protobuf's.
pub fn proto_duration(value: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or(0),
    }
}
