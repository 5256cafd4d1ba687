//! The simulator can catch what it is for: every planted bug is found, and by a law that has to do with it.

use sim::{Options, Plan, Plant, run};

/// How many seeds, from the first one known to catch it, a bug may hide: the rest of the 2,000 that each may take.
const SEEDS: u64 = 8;

/// One of these laws is broken by the planted bug in one of the seeds from `first` on, and by nothing else in them.
#[track_caller]
fn caught(plant: Plant, first: u64, laws: &[&str]) {
    assert!(first + SEEDS <= 2_000);
    for seed in first..first + SEEDS {
        let outcome = run(Plan::of(seed), Options { plant: Some(plant), ..Options::default() });
        let Some(failure) = outcome.failure else { continue };
        if laws.contains(&failure.violation.invariant) {
            return;
        }
    }
    panic!("{plant:?} was not caught by {laws:?} in {SEEDS} seeds from {first} on");
}

#[test]
fn early_acknowledgement() {
    caught(Plant::EarlyAcknowledgement, 12, &["committed_never_differs", "acknowledged_never_lost", "recovery"]);
}

#[test]
fn lost_sync() {
    caught(Plant::LostSync, 20, &["committed_never_differs", "acknowledged_never_lost", "one_leader_per_term"]);
}

#[test]
fn vote_forgotten() {
    caught(Plant::VoteForgotten, 2, &["one_leader_per_term", "recovery", "committed_never_differs"]);
}

#[test]
fn deposed_write() {
    caught(Plant::DeposedWrite, 1, &["committed_never_differs", "acknowledged_never_lost"]);
}

#[test]
fn refusal_as_success() {
    caught(Plant::RefusalAsSuccess, 31, &["reads_are_current", "acknowledged_never_lost"]);
}

#[test]
fn stale_read() {
    caught(Plant::StaleRead, 31, &["reads_are_current", "acknowledged_never_lost"]);
}

#[test]
fn task_lost_on_session() {
    caught(Plant::TaskLostOnSession, 1, &["convergence"]);
}

#[test]
fn stale_assignment() {
    caught(Plant::StaleAssignment, 1, &["worker_runs_what_is_assigned"]);
}

#[test]
fn secret_left_behind() {
    caught(Plant::SecretLeftBehind, 3, &["convergence"]);
}

#[test]
fn orphan_container() {
    caught(Plant::OrphanContainer, 1, &["convergence"]);
}

#[test]
fn member_forgotten() {
    caught(Plant::MemberForgotten, 2, &["committed_never_differs"]);
}

#[test]
fn early_stop() {
    caught(Plant::EarlyStop, 3, &["convergence"]);
}

#[test]
fn lost_answer() {
    caught(Plant::LostAnswer, 1, &["convergence"]);
}

#[test]
fn wrong_clock_unit() {
    caught(Plant::WrongClockUnit, 1, &["restart_storm", "convergence", "no_busy_loop"]);
}

#[test]
fn address_forgotten() {
    caught(Plant::AddressForgotten, 4, &["unique_addresses"]);
}

#[test]
fn slot_forgotten() {
    caught(Plant::SlotForgotten, 5, &["one_task_per_slot"]);
}

#[test]
fn stop_forgotten() {
    caught(Plant::StopForgotten, 68, &["state_never_back"]);
}

#[test]
fn reservation_forgotten() {
    caught(Plant::ReservationForgotten, 461, &["node_not_over_reserved"]);
}

#[test]
fn node_mistaken() {
    caught(Plant::NodeMistaken, 4, &["task_keeps_node"]);
}

#[test]
fn completion_forgotten() {
    caught(Plant::CompletionForgotten, 5, &["job_completions_once"]);
}

#[test]
fn rollback_elsewhere() {
    caught(Plant::RollbackElsewhere, 423, &["rollback_ends_where_it_began"]);
}

#[test]
fn torn_write() {
    caught(Plant::TornWrite, 615, &["committed_never_differs", "acknowledged_never_lost", "recovery"]);
}

#[test]
fn start_taken_for_run() {
    caught(Plant::StartTakenForRun, 33, &["update_keeps_healthy"]);
}

#[test]
fn stop_taken_for_end() {
    caught(Plant::StopTakenForEnd, 25, &["successor_waits"]);
}

#[test]
fn a_stop_is_taken_for_an_end_where_a_node_goes() {
    caught(Plant::StopTakenForEnd, 29, &["removed_node_is_empty"]);
}

#[test]
fn version_overlooked() {
    caught(Plant::VersionOverlooked, 10, &["one_version_after_update"]);
}

#[test]
fn earlier_version_forgotten() {
    caught(Plant::EarlierVersionForgotten, 896, &["new_data_reach_services"]);
}

#[test]
fn move_taken_for_done() {
    caught(Plant::MoveTakenForDone, 39, &["moves_keep_count"]);
}

#[test]
fn renewal_taken_for_done() {
    caught(Plant::RenewalTakenForDone, 36, &["root_kept_while_used"]);
}

#[test]
fn answer_of_another() {
    caught(Plant::AnswerOfAnother, 3, &["driver_values"]);
}

#[test]
fn answer_forgotten() {
    caught(Plant::AnswerForgotten, 3, &["convergence"]);
}

#[test]
fn every_planted_bug_has_its_test() {
    let text = include_str!("plants.rs");
    for plant in Plant::ALL {
        assert!(text.contains(&format!("caught(Plant::{plant:?},")), "{plant:?}");
    }
}
