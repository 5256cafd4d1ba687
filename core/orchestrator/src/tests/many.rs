//! More tasks than one turn writes.

use skep_model::pb::types::update_config::UpdateOrder;
use skep_model::pb::types::update_status::UpdateState;
use skep_model::pb::types::{Annotations, TaskState};
use skep_model::{Service, ServiceId};
use skep_store::Read;

use super::world::{SERVICE, World, image, replicas, service, spec};
use crate::turn::{LOOKS_PER_WRITE, TASKS_MAX};

const MANY: u64 = TASKS_MAX as u64 * 2 + 100;
/// What a turn writes that has looked at so many before.
const AFTER_LOOK: u64 = TASKS_MAX as u64 - MANY / LOOKS_PER_WRITE as u64;

impl World {
    /// The next turn, which must be due at once if `left_over`.
    fn next_turn(&mut self, left_over: bool) {
        let due = self.orchestrator.wake_at();
        assert_eq!(due.is_some_and(|due| due.since(self.now.monotonic).as_millis() == 0), left_over, "{due:?}");
        self.skip(1);
        self.turn();
    }

    /// Turns as long as one is due soon.
    fn finish(&mut self) {
        loop {
            // What the first one wrote may concern the second.
            self.turn();
            self.turn();
            let Some(due) = self.orchestrator.wake_at() else { return };
            assert!(due.since(self.now.monotonic).as_millis() < 1000, "nothing is to be waited for");
            self.skip(due.0.saturating_sub(self.now.monotonic.0));
        }
    }

    fn slots(&self) -> Vec<u64> {
        self.wanted().iter().map(|task| task.slot).collect()
    }
}

#[test]
fn a_turn_makes_so_many_and_the_next_ones_the_rest_at_once() {
    let mut world = World::new(&[]);
    world.create(spec("a", replicas(MANY)));
    assert_eq!(world.slots(), (1..=TASKS_MAX as u64).collect::<Vec<_>>(), "the lowest slots come first");
    world.turn();
    assert_eq!(world.slots().len(), TASKS_MAX, "the other deciders come first");
    world.next_turn(true);
    assert_eq!(world.slots().len(), 2 * TASKS_MAX);
    // Whoever leads next finds what is missing in the facts.
    world.new_leader();
    world.turn();
    assert_eq!(world.slots(), (1..=MANY).collect::<Vec<_>>());
    world.finish();
    assert_eq!(world.tasks().len() as u64, MANY);
}

#[test]
fn a_turn_makes_no_more_bytes_than_it_may() {
    let mut world = World::new(&[]);
    let mut large = spec("a", replicas(100));
    large.annotations.get_or_insert_default().labels.insert("large".to_owned(), "x".repeat(200_000));
    world.create(large);
    let made = world.slots().len();
    assert!((40..45).contains(&made), "{made} tasks of 200 kB are what a turn writes");
    world.finish();
    assert_eq!(world.slots().len(), 100);
}

#[test]
fn scales_down_in_turns_the_highest_slots_first() {
    let mut world = World::new(&[]);
    world.create(spec("a", replicas(MANY)));
    world.finish();
    world.update(|spec| spec.mode = Some(replicas(10)));
    world.turn();
    let left = MANY - AFTER_LOOK;
    assert_eq!(world.slots(), (1..=left).collect::<Vec<_>>());
    world.next_turn(true);
    assert_eq!(world.slots().len() as u64, left - TASKS_MAX as u64);
    world.finish();
    assert_eq!((world.slots(), world.tasks().len()), ((1..=10).collect(), 10), "the others are out of the store");
}

#[test]
fn a_removed_service_goes_in_turns() {
    let mut world = World::new(&[]);
    world.create(spec("a", replicas(MANY)));
    world.finish();
    world.write(|tx| tx.remove::<Service>(&ServiceId::new(SERVICE).expect("an id")));
    world.turn();
    assert_eq!(world.slots().len() as u64, MANY - TASKS_MAX as u64);
    world.new_leader();
    world.finish();
    assert_eq!(world.ledger.committed().tasks().len(), 0);
}

#[test]
fn an_update_of_all_at_once_goes_in_turns() {
    let mut world = World::new(&[]);
    world.create(spec("a", replicas(MANY)));
    world.finish();
    world.update(|spec| spec.update.get_or_insert_default().parallelism = 0);
    world.set_image("b");
    world.turn();
    let is_new = |world: &World| world.wanted().iter().filter(|task| image(task) == "b").count();
    assert_eq!(is_new(&world) as u64, AFTER_LOOK / 2, "one task stops for each new one");
    world.turn();
    world.next_turn(true);
    // That the update began is news, and looked into.
    let looked = is_new(&world);
    assert!(looked as u64 <= AFTER_LOOK && looked > TASKS_MAX / 2, "{looked}");
    world.next_turn(true);
    assert_eq!(is_new(&world), looked + TASKS_MAX / 2);
    // Whoever leads next finds what is out of date in the facts.
    world.new_leader();
    world.finish();
    assert_eq!((is_new(&world) as u64, world.slots().len() as u64), (MANY, MANY));
    assert!(world.wanted().iter().all(|task| task.desired_state <= TaskState::Running));
}

#[test]
fn turns_begin_no_more_slots_than_the_parallelism() {
    for order in [UpdateOrder::StopFirst, UpdateOrder::StartFirst] {
        let mut world = World::new(&[]);
        world.create(spec("a", replicas(MANY)));
        world.finish();
        world.update(|spec| {
            let update = spec.update.get_or_insert_default();
            update.parallelism = 10_000;
            update.set_order(order);
        });
        world.set_image("b");
        world.turn();
        let is_new = |world: &World| world.wanted().iter().filter(|task| image(task) == "b").count();
        assert!(is_new(&world) <= TASKS_MAX);
        world.finish();
        assert_eq!(is_new(&world), 10_000, "{order:?}: none of them runs");
    }
}

#[test]
fn an_update_that_fails_between_its_turns_goes_no_further() {
    let mut world = World::new(&[]);
    world.create(spec("a", replicas(MANY)));
    world.finish();
    world.update(|spec| spec.update.get_or_insert_default().parallelism = 0);
    world.set_image("b");
    world.turn();
    world.turn();
    world.next_turn(true);
    world.next_turn(true);
    let begun = |world: &World| world.tasks().iter().filter(|task| image(task) == "b").count();
    let before = begun(&world);
    assert!(before > TASKS_MAX / 2, "{before}");
    let tasks = world.wanted();
    let failed = tasks.iter().rfind(|task| image(task) == "b").expect("a new task");
    world.report(&failed.id, TaskState::Rejected);
    for _ in 0..4 {
        world.turn();
        world.skip(1);
    }
    assert_eq!(world.status().0, UpdateState::Paused);
    assert!(begun(&world) <= before + 1, "but the slot of the one that failed is tried again");
}

#[test]
fn a_large_service_holds_up_no_other() {
    let mut world = World::new(&[]);
    for name in ["above", "zebra"] {
        let annotations = Some(Annotations { name: name.to_owned(), ..Default::default() });
        let spec = skep_model::pb::types::ServiceSpec { annotations, ..spec("a", replicas(1)) };
        world.write(|tx| tx.create(service(name, spec)));
    }
    world.create(spec("a", replicas(MANY)));
    let has = |world: &World, name: &str| {
        let id = ServiceId::new(name).expect("an id");
        world.ledger.committed().tasks_of_service(&id).len()
    };
    assert_eq!([has(&world, "above"), has(&world, SERVICE), has(&world, "zebra")], [1, TASKS_MAX - 1, 0]);
    world.next_turn(true);
    assert_eq!([has(&world, "zebra"), has(&world, SERVICE)], [1, 2 * TASKS_MAX - 2]);
}
