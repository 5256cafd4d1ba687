//! The C library's allocator, told to keep little: a daemon that rests should weigh what it holds, not what it once held.

use std::time::Duration;

/// Separate heaps. The library's own choice, eight for each processor, lets every thread keep its own peak.
const ARENAS_MAX: libc::c_int = 2;
/// How often what was freed goes back to the kernel. A round costs less than a millisecond.
const GIVE_BACK_INTERVAL: Duration = Duration::from_secs(5);

/// Bounds the number of heaps. Call it before the first thread is made.
pub fn bound() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: sets a parameter of the allocator; no memory is touched. A refusal leaves the default.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX) };
    }
}

/// Gives back what was freed, again and again, for as long as it is polled.
pub async fn give_back() {
    let mut rounds = tokio::time::interval(GIVE_BACK_INTERVAL);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        #[cfg(target_env = "gnu")]
        {
            // SAFETY: takes the allocator's own locks and releases only pages that hold nothing.
            unsafe { libc::malloc_trim(0) };
        }
    }
}
