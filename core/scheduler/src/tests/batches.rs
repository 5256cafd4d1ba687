//! More tasks than one turn places.

use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::{TaskSpec, TaskState};
use skep_model::{NodeId, Task, TaskId};
use skep_store::Read;

use super::world::{World, labelled, node, service, task, with_availability};
use crate::queue::{BATCH_TASKS_MAX, BATCH_WHOLE_GROUP_MAX};
use crate::stuck::EXPLANATIONS_MAX;

const MANY: u64 = BATCH_WHOLE_GROUP_MAX as u64 * 2 + 100;

fn tasks(service: &str, slots: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = Task> {
    slots.map(move |slot| task(service, slot, TaskSpec::default()))
}

fn assigned(world: &World) -> usize {
    world.ledger.committed().tasks().iter().filter(|task| task.state() == TaskState::Assigned).count()
}

#[test]
fn what_one_turn_does_not_place_the_next_ones_do_at_once() {
    let mut world = World::new([node("n1"), node("n2"), node("n3")]);
    world.add(tasks("web", 1..=MANY));
    for placed in [BATCH_WHOLE_GROUP_MAX, 2 * BATCH_WHOLE_GROUP_MAX] {
        world.turn();
        assert_eq!(assigned(&world), placed);
        assert!(world.scheduler.wake_at().is_some_and(|at| at <= world.now.monotonic), "the rest is due now");
    }
    assert!(world.task("web-0001").node_id.is_some() && world.node_of(&format!("web-{MANY:04}")).is_none());
    world.turn();
    assert_eq!(assigned(&world), MANY as usize);
    assert_eq!(world.scheduler.wake_at(), None);
    let counts = world.counts();
    let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
    assert!(most - least <= 1, "{counts:?}");
    assert_eq!(world.turn(), 0, "nothing is placed twice");
}

#[test]
fn a_turn_stops_between_groups_where_it_can() {
    let mut world = World::new([node("n1"), node("n2")]);
    let group = BATCH_TASKS_MAX as u64 / 3 + 1;
    for service in ["first", "second", "third", "fourth"] {
        world.add(tasks(service, 1..=group));
    }
    for groups in [3, 4] {
        world.turn();
        assert_eq!(assigned(&world), groups * group as usize);
    }
    assert_eq!(world.scheduler.wake_at(), None);
}

#[test]
fn tasks_that_change_while_they_are_left_over_are_taken_as_they_are_then() {
    let mut world = World::new([node("n1"), node("n2")]);
    world.add(tasks("web", 1..=MANY));
    world.turn();
    let id = |slot: u64| format!("web-{slot:04}");
    // One is gone, one is not wanted any more, and two are told of again: as they are, and changed.
    world.write(|tx| tx.remove::<Task>(&TaskId::new(&id(MANY)).unwrap()));
    world.desire(&id(MANY - 1), TaskState::Remove);
    let changed = Task { desired_state: TaskState::Ready, ..(*world.task(&id(MANY - 2))).clone() };
    world.write(|tx| tx.update(changed));
    let same = world.task(&id(MANY - 3));
    let event =
        skep_store::Event { action: skep_store::Action::Create, object: skep_store::AnyObject::Task(same), old: None };
    world.scheduler.observe(&event);
    for _ in 0..4 {
        world.turn();
    }
    assert_eq!(assigned(&world), MANY as usize - 2);
    assert_eq!(world.node_of(&id(MANY - 1)), None);
    assert_eq!(world.counts().values().sum::<usize>(), MANY as usize - 2);
    assert_eq!(world.scheduler.wake_at(), None);
    assert_eq!(world.turn(), 0);
}

/// The numbers of services that are gone are given to others.
#[test]
fn a_service_that_goes_takes_no_other_ones_tasks_with_it() {
    let mut world = World::new([node("n1"), node("n2")]);
    world.write(|tx| tx.create(service("first")));
    world.write(|tx| tx.create(service("second")));
    world.add(tasks("first", 1..=MANY / 2));
    world.add(tasks("second", 1..=MANY));
    world.turn();
    let first: Vec<Task> = tasks("first", 1..=MANY / 2).collect();
    world.write(|tx| {
        first.iter().try_for_each(|task| tx.remove::<Task>(&task.id))?;
        tx.remove::<skep_model::Service>(&service("first").id)
    });
    world.write(|tx| tx.create(service("third")));
    world.add(tasks("third", 1..=2));
    while world.turn() > 0 {}
    assert_eq!(assigned(&world), MANY as usize + 2);
    let of_third: Vec<_> = (1..=2).filter_map(|slot| world.node_of(&format!("third-{slot:04}"))).collect();
    assert!(of_third.len() == 2 && of_third[0] != of_third[1], "balanced by itself: {of_third:?}");
    assert_eq!(world.scheduler.wake_at(), None);
}

fn saying(world: &World, text: &str) -> usize {
    world.ledger.committed().tasks().iter().filter(|task| task.status.err == text).count()
}

const ONE: &str = "no suitable node (1 node not available for new tasks)";
const TWO: &str = "no suitable node (2 nodes not available for new tasks)";

/// Two groups, stuck.
fn stuck() -> World {
    let mut world = World::new([with_availability(&node("n1"), Availability::Pause)]);
    world.add(tasks("web", 1..=MANY).chain(tasks("db", 1..=10)));
    for _ in 0..3 {
        world.turn();
    }
    assert_eq!((saying(&world, ONE), world.scheduler.wake_at()), (MANY as usize + 10, None));
    world
}

#[test]
fn many_stuck_tasks_are_told_some_at_a_time_why_they_wait_now() {
    let mut world = stuck();
    world.pass(100);
    world.write(|tx| tx.update(with_availability(&labelled("n1", "zone", "a"), Availability::Pause)));
    world.turn();
    assert_eq!(saying(&world, ONE), MANY as usize + 10);
    while world.scheduler.wake_at().is_some() {
        assert_eq!(world.turn(), 0, "the reason is the same: nobody needs to be told");
    }
    world.pass(100);
    world.write(|tx| tx.create(with_availability(&node("n2"), Availability::Pause)));
    world.turn();
    let mut told = saying(&world, TWO);
    assert!(
        (BATCH_WHOLE_GROUP_MAX - 10..=BATCH_WHOLE_GROUP_MAX + EXPLANATIONS_MAX).contains(&told),
        "those that were tried: {told}"
    );
    for _ in 0..=MANY as usize / EXPLANATIONS_MAX {
        world.turn();
        world.pass(50);
        world.turn();
        let now = saying(&world, TWO);
        assert!(now <= told + EXPLANATIONS_MAX, "{told} {now}");
        told = now;
    }
    assert_eq!((told, world.turn(), world.scheduler.wake_at()), (MANY as usize + 10, 0, None));
}

#[test]
fn many_stuck_tasks_are_all_placed_once_there_is_room() {
    let mut world = stuck();
    world.pass(100);
    // Half of them hear of another reason before there is room, and one is not wanted any more.
    world.write(|tx| tx.create(with_availability(&node("n2"), Availability::Pause)));
    world.turn();
    world.desire(&format!("web-{MANY:04}"), TaskState::Remove);
    world.write(|tx| tx.remove::<Task>(&TaskId::new("web-0001").unwrap()));
    world.pass(100);
    world.write(|tx| tx.update(node("n1")));
    world.turn();
    while world.scheduler.wake_at().is_some_and(|at| at <= world.now.monotonic) {
        world.turn();
    }
    assert_eq!(assigned(&world), MANY as usize + 8);
    world.pass(1000);
    assert_eq!((world.turn(), world.scheduler.wake_at()), (0, None));
}

#[test]
fn many_tasks_made_for_their_nodes_are_confirmed_in_batches() {
    let mut world = World::new([node("n1")]);
    let on_node = |task| Task { node_id: NodeId::new("n1").ok(), ..task };
    world.add(tasks("agent", 1..=MANY).map(on_node));
    world.turn();
    assert_eq!(assigned(&world), BATCH_WHOLE_GROUP_MAX);
    assert!(world.scheduler.wake_at().is_some_and(|at| at <= world.now.monotonic));
    world.turn();
    world.turn();
    assert_eq!((assigned(&world), world.scheduler.wake_at()), (MANY as usize, None));
}
