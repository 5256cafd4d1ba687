//! A run from a plan to its outcome, and a shorter plan that fails the same way.

use std::panic::{AssertUnwindSafe, catch_unwind};

use skep_model::Time;

use crate::invariants::{Violation, no_panic};
use crate::plant::Plant;
use crate::scenario::Plan;
use crate::world::World;

/// Runs of one shrinking.
const SHRINK_RUNS_MAX: usize = 150;
/// Nothing happens after this, whatever the plan says.
const LONGEST: Time = Time(3_600_000_000);

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A known bug to be caught.
    pub plant: Option<Plant>,
    /// Keep the log of events.
    pub journal: bool,
    /// Stop there.
    pub until: Option<Time>,
}

/// A run that broke a law.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which, and how.
    pub violation: Violation,
    /// When.
    pub at: Time,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Set when a law was broken.
    pub failure: Option<Failure>,
    /// Events that happened.
    pub events: u64,
    /// The world's time at the end.
    pub time: Time,
    /// The log, if it was kept.
    pub journal: String,
}

/// Runs a plan. A panic of the core counts as a broken law.
pub fn run(plan: Plan, options: Options) -> Outcome {
    let mut world = World::new(plan, options.plant, options.journal);
    let until = options.until.unwrap_or(LONGEST);
    let panicked = catch_unwind(AssertUnwindSafe(|| world.run(until))).err();
    let violation = match panicked {
        Some(payload) => Some(no_panic::caught(payload)),
        None => world.violation().cloned(),
    };
    let (time, events) = (world.time(), world.events);
    Outcome {
        failure: violation.map(|violation| Failure { violation, at: time }),
        events,
        time,
        journal: world.into_journal(),
    }
}

/// Drops faults and wishes while the same law is broken.
pub fn shrink(plan: &Plan, options: Options, invariant: &str) -> Plan {
    let mut best = plan.clone();
    let mut runs = 0;
    let mut fails = |candidate: &Plan| {
        runs += 1;
        let outcome = run(candidate.clone(), Options { journal: false, ..options });
        (runs <= SHRINK_RUNS_MAX, outcome.failure.is_some_and(|failure| failure.violation.invariant == invariant))
    };
    let mut size = best.faults.len().max(best.wishes.len()).div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < best.faults.len() {
            let mut candidate = best.clone();
            candidate.faults.drain(start..(start + size).min(candidate.faults.len()));
            match fails(&candidate) {
                (false, _) => return best,
                (true, true) => best = candidate,
                (true, false) => start += size,
            }
        }
        // A wish keeps its number, which its dice hang on: one that is dropped comes after the end instead.
        let mut start = 0;
        while start < best.wishes.len() {
            let end = (start + size).min(best.wishes.len());
            let mut candidate = best.clone();
            let moved = candidate.wishes[start..end].iter_mut().filter(|wish| wish.at < LONGEST);
            if moved.map(|wish| wish.at = LONGEST).count() > 0 {
                match fails(&candidate) {
                    (false, _) => return best,
                    (true, true) => best = candidate,
                    (true, false) => {}
                }
            }
            start += size;
        }
        size /= 2;
    }
    best
}
