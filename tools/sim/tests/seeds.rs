//! Seeds that must pass: a share of all, those that once found a bug, and one seed twice.

use sim::{Options, Plan, run};

/// Runs a seed; fails with what broke and how to see it again.
#[track_caller]
fn passes(seed: u64) {
    let outcome = run(Plan::of(seed), Options::default());
    if let Some(failure) = outcome.failure {
        panic!(
            "seed {seed} at {} us: {}\nreplay: cargo run --profile sim -p sim -- --seed {seed} --steps",
            failure.at.0, failure.violation
        );
    }
}

#[test]
fn one_seed_is_one_run() {
    for seed in [2, 3, 9] {
        let once = || run(Plan::of(seed), Options { journal: true, ..Options::default() }).journal;
        let (first, second) = (once(), once());
        assert!(first.len() > 10_000, "seed {seed} says little");
        assert!(first == second, "seed {seed} is two runs");
    }
}

#[test]
fn seeds_pass() {
    for seed in 1..=SEEDS {
        passes(seed);
    }
}

/// About half a minute of one core without optimisation; `--profile sim` runs ten a second.
const SEEDS: u64 = 60;

/// raft joined entries to an empty append for another place; a follower that believed it would have acknowledged what
/// it did not have.
#[test]
fn joined_append_names_the_wrong_place() {
    passes(2);
    passes(8);
}

/// A leader with a full disk forgot what was in flight, decided it again, and never rested.
#[test]
fn full_disk_makes_a_busy_loop_and_decides_twice() {
    passes(9);
}

/// A manager without a leader said "not found" about what it had not heard of yet.
#[test]
fn stale_not_found() {
    for seed in [34, 56, 134, 139] {
        passes(seed);
    }
}

/// A deposed leader that did not know it yet said "not found" to a removal of what its successor had made.
#[test]
fn deposed_leader_refuses_what_exists() {
    passes(795);
}

/// A start-first update that paused kept two tasks in a slot for ever.
#[test]
fn paused_update_keeps_two_tasks() {
    passes(335);
    passes(391);
}
