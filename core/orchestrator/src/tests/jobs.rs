use skep_model::pb::types::node_status::State;
use skep_model::pb::types::restart_policy::RestartCondition;
use skep_model::pb::types::service_spec::Mode;
use skep_model::pb::types::{GlobalJob, ReplicatedJob, TaskState};

use super::world::{Fate, SERVICE, World, restart, spec};

fn job(at_once: u64, total: u64) -> Mode {
    Mode::ReplicatedJob(ReplicatedJob { max_concurrent: at_once, total_completions: total })
}

fn completed(world: &World) -> Vec<u64> {
    let tasks = world.tasks().into_iter().filter(|task| task.desired_state == TaskState::Complete);
    tasks.filter(|task| task.state() == TaskState::Complete).map(|task| task.slot).collect()
}

#[test]
fn completes_so_many_times_with_so_many_at_once() {
    let mut world = World::new(&["n1", "n2"]);
    world.create(spec("a", job(2, 5)));
    assert_eq!(world.wanted().iter().map(|task| task.slot).collect::<Vec<_>>(), [0, 1]);
    world.pass(1000);
    assert_eq!(world.wanted().len(), 2, "still running");
    world.fate.insert("a".into(), Fate::Completes);
    for _ in 0..50 {
        world.pass(100);
        let open = world.wanted().into_iter().filter(|task| !task.has_ended()).count();
        assert!(open <= 2);
    }
    assert_eq!(completed(&world), [0, 1, 2, 3, 4]);
    world.new_leader();
    world.pass(5000);
    assert_eq!(world.tasks().len(), 5, "each completion is counted once");
}

/// Found by the simulator (seed 64): slot 0 looks like a task of every node once it has a node, and the leader called it
/// by that node's name while others kept the one that it was made with.
#[test]
fn the_first_slots_name_stays_when_it_gets_a_node() {
    let mut world = World::new(&["n1", "n2"]);
    world.create(spec("a", job(2, 2)));
    world.pass(1000);
    assert_eq!(world.tasks().len(), 2);
    for task in world.tasks() {
        assert!(task.node_id.is_some());
        assert_eq!(task.name(), format!("{SERVICE}.{}.{}", task.slot, task.id));
    }
}

#[test]
fn another_run_stops_the_earlier_one_and_leaves_its_history() {
    let mut world = World::new(&["n1"]);
    world.create(spec("a", job(0, 2)));
    world.pass(1000);
    let first: Vec<_> = world.wanted().into_iter().map(|task| task.id.clone()).collect();
    assert_eq!(first.len(), 2);
    world.fate.insert("a".into(), Fate::Completes);
    for run in 1..=9 {
        world.update(|spec| spec.task.get_or_insert_default().force_update += 1);
        world.pass(3000);
        let tasks = world.tasks();
        let wanted: Vec<_> = world.wanted().iter().map(|task| (task.slot, task.extras.job_iteration)).collect();
        assert_eq!(wanted, [(0, Some(run + 1)), (1, Some(run + 1))]);
        assert!(tasks.iter().all(|task| task.state() == TaskState::Complete), "{tasks:?}");
        let kept = run.saturating_sub(1).min(5);
        assert_eq!(tasks.len() as u64, 2 * (1 + kept), "of earlier runs, what ended by itself, within the limit");
    }
    assert!(world.tasks().iter().all(|task| !first.contains(&task.id)), "what was stopped half way is gone");
    world.new_leader();
    world.pass(5000);
    assert_eq!(world.tasks().len(), 12);
}

#[test]
fn a_global_jobs_history_goes_with_its_node() {
    let mut world = World::new(&["n1", "n2"]);
    world.fate.insert("a".into(), Fate::Completes);
    world.create(spec("a", Mode::GlobalJob(GlobalJob {})));
    world.pass(3000);
    for _ in 0..8 {
        world.update(|spec| spec.task.get_or_insert_default().force_update += 1);
        world.pass(3000);
    }
    assert_eq!(world.tasks().len(), 12, "five earlier runs on each node");
    world.remove_node("n2");
    world.pass(3000);
    assert!(world.tasks().iter().all(|task| task.node_id.as_ref().is_some_and(|node| node.as_str() == "n1")));
}

#[test]
fn failed_runs_are_tried_again_within_the_attempts() {
    let mut world = World::new(&["n1"]);
    world.fate.insert("a".into(), Fate::Fails);
    let mut spec = spec("a", job(1, 2));
    spec.task.get_or_insert_default().restart = Some(restart(RestartCondition::OnFailure, 1, 2));
    world.create(spec);
    world.pass(20_000);
    let attempts = |slot: u64| world.tasks().iter().filter(|task| task.slot == slot).count();
    assert_eq!((attempts(0), attempts(1)), (3, 3), "given up, and on to the next");
    assert_eq!(world.wanted().len(), 0);
}

#[test]
fn a_lost_run_starts_elsewhere() {
    let mut world = World::new(&["n1", "n2"]);
    world.create(spec("a", job(1, 1)));
    world.pass(1000);
    let node = world.wanted()[0].node_id.clone().expect("it is assigned");
    world.set_state(node.as_str(), State::Down);
    world.pass(500);
    let wanted = world.wanted();
    assert_eq!((wanted.len(), wanted[0].state()), (1, TaskState::Running));
    assert_ne!(wanted[0].node_id, Some(node));
}

#[test]
fn a_global_job_completes_once_on_each_node() {
    let mut world = World::new(&["n1", "n2"]);
    world.fate.insert("a".into(), Fate::Completes);
    world.create(spec("a", Mode::GlobalJob(GlobalJob {})));
    world.pass(3000);
    assert_eq!(completed(&world).len(), 2);
    world.write(|tx| tx.create(super::world::node("n3")));
    world.set_state("n1", State::Down);
    world.pass(1000);
    world.set_state("n1", State::Ready);
    world.pass(3000);
    assert_eq!((completed(&world).len(), world.tasks().len()), (3, 3));
}

/// Found by the simulator: the task that had taken the place of a lost one was run again after the lost one turned out
/// to have completed.
#[test]
fn a_slot_that_has_completed_is_not_run_again() {
    let mut world = World::new(&["n1", "n2"]);
    world.create(spec("a", job(1, 1)));
    world.pass(1000);
    let first = world.wanted()[0].clone();
    let node = first.node_id.clone().expect("it is placed").to_string();
    world.set_state(&node, State::Down);
    world.pass(1000);
    let second = world.wanted().into_iter().find(|task| task.id != first.id).expect("it is replaced");
    world.report(&first.id, TaskState::Complete);
    world.report(&second.id, TaskState::Failed);
    world.pass(30_000);
    assert_eq!(world.tasks().len(), 2);
}

#[test]
fn another_run_waits_for_what_the_earlier_one_left_on_the_node() {
    let mut world = World::new(&["n1"]);
    world.create(spec("a", Mode::GlobalJob(GlobalJob {})));
    world.pass(500);
    let old = world.wanted()[0].clone();
    world.frozen = true;
    world.set_image("b");
    world.pass(61_000);
    let new = world.wanted();
    assert_eq!((new.len(), new[0].desired_state), (1, TaskState::Ready), "the earlier one still runs");
    world.report(&old.id, TaskState::Shutdown);
    world.pass(500);
    assert_eq!(world.wanted()[0].desired_state, TaskState::Complete);
}
