//! The swarm comes to rest: so many things at once are a loop that feeds itself. Source: found by the simulator (a
//! leader with a full disk decided the same again and again); rule 2 of the architecture.

use skep_model::Time;

use super::{Verdict, Violation};

/// Events in one second of the world's time, of a world of up to `HOSTS` hosts.
const EVENTS_PER_SECOND_MAX: u64 = 60_000;
/// Larger worlds have more to do.
const HOSTS: u64 = 100;

/// See the file's head.
#[derive(Default)]
pub struct NoBusyLoop {
    second: u64,
    events: u64,
}

impl NoBusyLoop {
    /// Something happens.
    pub fn event(&mut self, at: Time, hosts: usize) -> Verdict {
        let second = at.0 / 1_000_000;
        if second > self.second {
            self.second = second;
            self.events = 0;
        }
        self.events += 1;
        if self.events > EVENTS_PER_SECOND_MAX * (hosts as u64).div_ceil(HOSTS).max(1) {
            return Err(Violation::new("no_busy_loop", "the world does not come to rest"));
        }
        Ok(())
    }
}
