//! The daemon's two clocks and its source of randomness, handed to the core as arguments.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use skep_model::{Now, Time, WallTime};

/// Monotonic time counts from the daemon's start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts counting.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// What the core is handed.
    pub fn now(&self) -> Now {
        let monotonic = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { monotonic: Time(monotonic), wall: wall() }
    }

    /// The core's deadline as the runtime's.
    pub fn instant(&self, at: Time) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.origin + Duration::from_micros(at.0))
    }

    /// A generator seeded by the operating system.
    pub fn rng(&self) -> ChaCha20Rng {
        ChaCha20Rng::from_os_rng()
    }
}

/// The time that people read.
pub fn wall() -> WallTime {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_nanos()).unwrap_or_default();
    WallTime(i64::try_from(nanos).unwrap_or(i64::MAX))
}
