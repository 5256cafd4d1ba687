//! The simulator can catch what it is for: every planted bug is found, and by a law that has to do with it.

use sim::{Options, Plan, Plant, run};

/// The law that a planted bug breaks within so many seeds.
fn caught(plant: Plant, seeds: u64, laws: &[&str]) {
    for seed in 1..=seeds {
        let outcome = run(Plan::of(seed), Options { plant: Some(plant), ..Options::default() });
        let Some(failure) = outcome.failure else { continue };
        if laws.contains(&failure.violation.invariant) {
            return;
        }
    }
    panic!("{plant:?} was not caught by {laws:?} within {seeds} seeds");
}

#[test]
fn early_acknowledgement() {
    caught(Plant::EarlyAcknowledgement, 200, &["committed_never_differs", "acknowledged_never_lost", "recovery"]);
}

#[test]
fn lost_sync() {
    caught(Plant::LostSync, 50, &["committed_never_differs", "acknowledged_never_lost", "recovery"]);
}

#[test]
fn vote_forgotten() {
    caught(Plant::VoteForgotten, 50, &["one_leader_per_term", "recovery", "committed_never_differs"]);
}

#[test]
fn refusal_as_success() {
    caught(Plant::RefusalAsSuccess, 200, &["reads_are_current", "acknowledged_never_lost"]);
}

#[test]
fn stale_read() {
    caught(Plant::StaleRead, 200, &["reads_are_current", "acknowledged_never_lost"]);
}

#[test]
fn task_lost_on_session() {
    caught(Plant::TaskLostOnSession, 20, &["convergence"]);
}

#[test]
fn stale_assignment() {
    caught(Plant::StaleAssignment, 50, &["worker_runs_what_is_assigned"]);
}

#[test]
fn secret_left_behind() {
    caught(Plant::SecretLeftBehind, 20, &["convergence"]);
}

#[test]
fn orphan_container() {
    caught(Plant::OrphanContainer, 20, &["convergence"]);
}

#[test]
fn member_forgotten() {
    caught(Plant::MemberForgotten, 50, &["committed_never_differs"]);
}

#[test]
fn early_stop() {
    caught(Plant::EarlyStop, 50, &["convergence"]);
}

#[test]
fn lost_answer() {
    caught(Plant::LostAnswer, 20, &["convergence"]);
}

#[test]
fn wrong_clock_unit() {
    caught(Plant::WrongClockUnit, 20, &["restart_storm", "convergence", "no_busy_loop"]);
}

#[test]
fn every_planted_bug_has_its_test() {
    let text = include_str!("plants.rs");
    for plant in Plant::ALL {
        assert!(text.contains(&format!("caught(Plant::{plant:?},")), "{plant:?}");
    }
}
