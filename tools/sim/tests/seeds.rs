//! Seeds that must pass: a share of all, those that once found a bug, and one seed twice.

use std::time::Duration;

use sim::{Codec, Kind, Options, Plan, run};

/// Runs a plan; fails with what broke and how to see it again.
#[track_caller]
fn passes(plan: Plan) {
    let seed = plan.seed;
    let outcome = run(plan, Options::default());
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

/// Some hundred seeds, in four parts, which run side by side.
const SEEDS_PER_PART: u64 = 75;

fn part(number: u64) {
    for seed in 1 + number * SEEDS_PER_PART..=(number + 1) * SEEDS_PER_PART {
        passes(Plan::of(seed));
    }
}

#[test]
fn seeds_pass_first_part() {
    part(0);
}

#[test]
fn seeds_pass_second_part() {
    part(1);
}

#[test]
fn seeds_pass_third_part() {
    part(2);
}

#[test]
fn seeds_pass_fourth_part() {
    part(3);
}

/// Every scenario is among them, and both ways to send messages.
#[test]
fn the_seeds_are_of_all_sorts() {
    let plans: Vec<Plan> = (1..=4 * SEEDS_PER_PART).map(Plan::of).collect();
    for kind in Kind::ALL {
        assert!(plans.iter().any(|plan| plan.kind == kind), "{kind:?}");
    }
    for codec in [Codec::Decoded, Codec::Encoded] {
        assert!(plans.iter().any(|plan| plan.codec == codec), "{codec:?}");
    }
}

/// Operators bring roots, call that off while nodes are issued certificates, and bring them again.
const BROUGHT_ROOTS_SEEDS: u64 = 40;

#[test]
fn roots_that_are_brought_and_called_off() {
    for seed in 1..=BROUGHT_ROOTS_SEEDS {
        passes(Plan::of(seed).of_brought_roots());
    }
}

/// A small one of the large runs: what a big swarm does, with a fail-over amid the making of its tasks.
#[test]
fn many_nodes_and_tasks() {
    passes(Plan::large(1, 60, 900));
}

/// Leaders' clocks differ: tasks looked older than those they had replaced, and a rollback left them.
#[test]
fn a_late_clock_makes_old_tasks() {
    passes(Plan::of(5));
}

/// A rollback that was rolled back took what it had stopped for tried.
#[test]
fn a_rollback_is_rolled_back() {
    passes(Plan::of(73));
    passes(Plan::of(175));
}

/// Slots that were half way through a start-first update lost their running tasks at once, when the next update was to
/// stop first or a rollback was paused.
#[test]
fn slots_half_way_lose_their_tasks() {
    for seed in [76, 156, 203] {
        passes(Plan::of(seed));
    }
}

/// A rollback was over while a slot still had its task of the update: the slot had failed in an earlier rollback to the
/// same version, or its new task, of an update before, did not run yet.
#[test]
fn a_rollback_leaves_no_slot_behind() {
    for seed in [71191, 79669] {
        passes(Plan::of(seed));
    }
}

/// A rollback was over while its slot still wanted the update's task: the one that it came back to had replaced a task
/// that failed, and did not run yet.
#[test]
fn a_rollback_waits_for_the_task_that_it_comes_back_to() {
    passes(Plan::of(208974));
}

/// An update was over while a slot kept its old task beside the new one, which had failed once and waited on a node that
/// did not answer: the law looked only at nodes that do.
#[test]
fn a_task_on_a_node_that_does_not_answer_has_its_version() {
    passes(Plan::of(392097));
}

/// A node was asked for a certificate of the new root while one of the old was on its way to it: the simulated host
/// forgot that it had been asked, which the daemon does not.
#[test]
fn a_node_remembers_that_it_was_asked_for_another_certificate() {
    for seed in [603045, 603179, 611987] {
        passes(Plan::of(seed));
    }
}

/// The new task of a slot half way was lost with its node, and what replaced it did not wait for the old one.
#[test]
fn a_lost_successor_is_replaced_by_one_that_waits() {
    passes(Plan::of(78362));
}

/// A task was made just before its leader lost power, and committed twenty seconds later: it had waited since then.
#[test]
fn a_task_waits_from_when_it_was_made() {
    passes(Plan::of(142742));
}

/// A new leader took down a slot beside the one whose first new task had failed before its old one was stopped.
#[test]
fn a_slot_is_taken_down_for_a_second_try_too() {
    passes(Plan::of(1148).of_many_leaders(Duration::from_millis(4_300)));
}

/// A user updated a job so often that its many tasks looked like restarts.
#[test]
fn a_job_that_is_updated_often_is_no_storm() {
    passes(Plan::of(77519));
}

/// A new leader took down a slot beside the one that still waited for its task of the update before.
#[test]
fn a_successor_of_an_earlier_update_is_not_counted() {
    for seed in [1444, 3726, 4348] {
        passes(Plan::of(seed));
    }
}

/// A manager left while the quorum could not spare it, and was counted on when another one was demoted after that.
#[test]
fn a_manager_that_leaves_is_not_counted_on() {
    for seed in [11675, 12033] {
        passes(Plan::of(seed));
    }
}

/// The same, but the one that leaves led meanwhile, and counted itself.
#[test]
fn a_leader_that_leaves_does_not_count_itself() {
    passes(Plan::of(310769));
}

/// A worker whose removal had failed was promoted, and its operator made it leave by force: a manager's disk had died
/// meanwhile, so that two of four were left.
#[test]
fn nobody_forces_a_new_manager_out() {
    passes(Plan::of(5441));
}

/// A manager left while nobody led, came back as a worker, and was taken for the member that it had been.
#[test]
fn who_came_back_as_another_node_does_not_vote() {
    passes(Plan::of(9844));
}

/// A manager had heard of the end of a change of root, and renewed its certificate once more: the others, who had not,
/// did not accept the new one, and the quorum could not meet to tell them.
#[test]
fn managers_accept_each_other_while_they_are_told_of_another_root() {
    for seed in [34814, 43333, 47460, 84433] {
        passes(Plan::of(seed));
    }
}

/// Two operators demoted the two managers that were left at once: one of them stays, and so it is meant.
#[test]
fn the_last_of_all_managers_that_are_demoted_stays() {
    passes(Plan::of(9156));
}

/// A change of root began while a node was off that had not heard of the end of the last one, and that the next root's
/// certificates would have told nothing.
#[test]
fn a_change_of_root_waits_until_the_present_one_is_trusted() {
    for seed in [400306, 400375, 401316] {
        passes(Plan::of(seed));
    }
}

/// A manager that had been away knew none of the others, and gave none of them its vote.
#[test]
fn a_manager_votes_for_one_that_joined_meanwhile() {
    for seed in [19513, 29790, 29898] {
        passes(Plan::of(seed));
    }
}

/// Of five managers two had lost their disks, the second half a second before a third was demoted: what was left of the
/// four that remained was no majority. And the demoted one dropped its log before the others knew that it was out.
#[test]
fn a_manager_is_taken_out_only_by_those_who_are_there() {
    passes(Plan::of(63345));
}

/// A task moved to and fro for ever, because the node that looked emptiest was one that the scheduler avoids.
#[test]
fn a_move_that_helps_nothing_is_taken_back() {
    passes(Plan::of(61200));
}

/// A task was given to a node whose removal had been proposed and was not committed yet.
#[test]
fn a_node_that_is_being_removed_gets_no_task() {
    for seed in [604, 1088, 1184, 1458] {
        passes(Plan::of(seed));
    }
}

/// A service was made on a network that had just been removed, and waited for it.
#[test]
fn a_service_waits_for_no_network_that_is_gone() {
    for seed in [17218, 22846, 26754] {
        passes(Plan::of(seed));
    }
}

/// A job's slot that had completed was run again, because the task in its place failed.
#[test]
fn a_completed_slot_is_run_again() {
    passes(Plan::of(195));
}
