use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::node_status::State;
use skep_model::pb::types::restart_policy::RestartCondition;
use skep_model::pb::types::{RestartPolicy, TaskState};

use super::world::{Fate, World, replicas, restart, seconds, spec};

fn with_policy(policy: RestartPolicy, count: u64) -> World {
    let mut world = World::new(&["n1", "n2"]);
    let mut spec = spec("a", replicas(count));
    spec.task.get_or_insert_default().restart = Some(policy);
    world.create(spec);
    world.pass(1000);
    world
}

#[test]
fn a_failed_task_is_replaced_after_the_delay() {
    let mut world = with_policy(restart(RestartCondition::Any, 5, 0), 1);
    let old = world.wanted()[0].clone();
    world.report(&old.id, TaskState::Failed);
    world.pass(0);
    let new = world.wanted()[0].clone();
    assert_eq!((new.slot, new.desired_state), (1, TaskState::Ready));
    world.pass(4900);
    assert_eq!(world.wanted()[0].state(), TaskState::Ready, "prepared, not started");
    world.pass(300);
    assert_eq!((world.running(), world.wanted().len()), (1, 1));
}

#[test]
fn a_new_leader_waits_for_what_is_left_of_the_delay() {
    let mut world = with_policy(restart(RestartCondition::Any, 10, 0), 1);
    let old = world.wanted()[0].clone();
    world.report(&old.id, TaskState::Failed);
    world.pass(6000);
    world.new_leader();
    world.pass(3900);
    assert_eq!(world.running(), 0);
    world.pass(300);
    assert_eq!(world.running(), 1);
}

/// Tasks that are lost with their node did not fail: nobody waits for them.
#[test]
fn lost_tasks_are_replaced_at_once() {
    let mut world = with_policy(restart(RestartCondition::Any, 60, 0), 4);
    world.set_state("n1", State::Down);
    world.turn();
    assert!(world.wanted().iter().all(|task| task.desired_state == TaskState::Running));
    world.pass(300);
    assert_eq!(world.running(), 4);

    let mut world = with_policy(restart(RestartCondition::Any, 60, 0), 4);
    world.remove_node("n1");
    world.pass(300);
    assert_eq!(world.running(), 4);

    let mut world = with_policy(restart(RestartCondition::Any, 60, 0), 4);
    world.set_availability("n1", Availability::Drain);
    world.frozen = true;
    world.pass(500);
    let held = world.wanted().iter().filter(|task| task.desired_state == TaskState::Ready).count();
    assert_eq!(held, 2, "the old ones are still stopping");
    world.frozen = false;
    world.pass(600);
    assert_eq!(world.running(), 4);
    assert!(world.wanted().iter().all(|task| task.node_id.as_ref().is_some_and(|node| node.as_str() == "n2")));
}

#[test]
fn a_task_that_does_not_stop_is_waited_for_a_minute() {
    let mut world = with_policy(restart(RestartCondition::Any, 5, 0), 1);
    let node = world.wanted()[0].node_id.clone().expect("it is assigned").to_string();
    world.frozen = true;
    world.set_availability(&node, Availability::Drain);
    world.pass(59_000);
    assert_eq!(world.wanted()[0].desired_state, TaskState::Ready);
    world.new_leader();
    world.pass(500);
    assert_eq!(world.wanted()[0].desired_state, TaskState::Ready);
    world.pass(600);
    assert_eq!(world.wanted()[0].desired_state, TaskState::Running);
}

#[test]
fn conditions_and_attempts() {
    use RestartCondition::{Any, None, OnFailure};
    let table = [
        (Any, 0, Fate::Completes, usize::MAX),
        (Any, 0, Fate::Fails, usize::MAX),
        (Any, 2, Fate::Fails, 3),
        (Any, 2, Fate::Rejected, 3),
        (OnFailure, 0, Fate::Completes, 1),
        (OnFailure, 3, Fate::Fails, 4),
        (None, 0, Fate::Completes, 1),
        (None, 0, Fate::Fails, 1),
    ];
    for (condition, attempts, fate, expected) in table {
        let mut world = World::new(&["n1"]);
        world.fate.insert("a".into(), fate);
        let mut spec = spec("a", replicas(1));
        spec.task.get_or_insert_default().restart = Some(restart(condition, 1, attempts));
        world.create(spec);
        world.pass(20_000);
        world.new_leader();
        world.pass(20_000);
        let made = world.tasks().len();
        let name = format!("{condition:?} {attempts} {fate:?}");
        if expected == usize::MAX {
            assert!(made >= 5 && world.wanted().len() == 1, "{name}: {made}");
        } else {
            assert_eq!((made, world.wanted().len()), (expected, 0), "{name}");
        }
    }
}

#[test]
fn attempts_count_only_within_the_window() {
    let mut policy = restart(RestartCondition::Any, 1, 2);
    policy.window = Some(seconds(5));
    let mut world = with_policy(policy, 1);
    for _ in 0..4 {
        let task = world.wanted()[0].clone();
        world.report(&task.id, TaskState::Failed);
        world.pass(10_000);
        assert_eq!(world.running(), 1, "once in ten seconds is allowed");
    }
    for _ in 0..3 {
        if let Some(task) = world.wanted().first().cloned() {
            world.report(&task.id, TaskState::Failed);
            world.pass(1500);
        }
    }
    assert_eq!(world.wanted().len(), 0, "three times within the window is not");
}

/// A replacement that fails while it is held back must not be replaced before its time.
#[test]
fn an_image_that_does_not_exist_makes_no_tight_loop() {
    let mut world = World::new(&["n1"]);
    world.fate.insert("a".into(), Fate::Rejected);
    let mut spec = spec("a", replicas(1));
    spec.task.get_or_insert_default().restart = Some(restart(RestartCondition::Any, 5, 0));
    world.create(spec);
    world.pass(4500);
    assert_eq!(world.tasks().len(), 2);
    world.pass(10_000);
    assert_eq!(world.tasks().len(), 4);
}
