//! More tasks than one turn places.

use skep_model::pb::types::{TaskSpec, TaskState};
use skep_model::{Task, TaskId};
use skep_store::Read;

use super::world::{World, node, service, task};
use crate::queue::{BATCH_TASKS_MAX, BATCH_WHOLE_GROUP_MAX};

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
