//! Slots that hold a task of an update, or of a rollback, that another one overtook. All found by the simulator.

use skep_model::pb::types::node_status::State;
use skep_model::pb::types::update_config::{FailureAction, UpdateOrder};
use skep_model::pb::types::update_status::UpdateState;
use skep_model::pb::types::{TaskState, UpdateConfig};

use super::updates::{config, count, roll_back, world};
use super::world::{World, image};

fn start_first(parallelism: u64) -> UpdateConfig {
    let mut config = config(parallelism, 0, FailureAction::Pause);
    config.set_order(UpdateOrder::StartFirst);
    config
}

/// Another version that asks for the same tasks.
fn update_label(world: &mut World) {
    world.update(|spec| {
        spec.annotations.get_or_insert_default().labels.insert("another".into(), "label".into());
    });
}

/// Seed 71191: a slot whose task had failed in a rollback counted as tried when the service was rolled back to the same
/// version later on, and kept its task of the update.
#[test]
fn a_second_rollback_to_a_version_tries_every_slot() {
    let mut world = world(3, config(0, 0, FailureAction::Pause));
    world.update(|spec| spec.rollback = Some(start_first(1)));
    world.set_image("new");
    world.pass(10_000);
    assert_eq!(count(&world, "new"), 3);
    roll_back(&mut world);
    world.turn();
    let tried = world.wanted().into_iter().find(|task| image(task) == "old").expect("the first slot is half way");
    // Before anybody looks at the failure the user wants the new image again, which the slot still runs.
    world.report(&tried.id, TaskState::Failed);
    world.set_image("new");
    world.pass(10_000);
    assert_eq!((count(&world, "new"), world.wanted().len()), (3, 3));
    roll_back(&mut world);
    world.pass(20_000);
    assert_eq!((count(&world, "old"), world.status().0), (3, UpdateState::RollbackCompleted));
}

/// Seed 79669: an update that found a slot half way, with an up-to-date task that did not run yet, was over without it.
#[test]
fn an_update_is_not_over_before_every_slot_has_changed_hands() {
    let mut world = world(2, start_first(1));
    world.set_image("new");
    world.frozen = true;
    world.pass(100);
    assert_eq!((world.running(), world.wanted().len()), (2, 3), "the first slot is half way");
    update_label(&mut world);
    world.update(|spec| spec.update = Some(start_first(0)));
    world.turn();
    let second = world.wanted().into_iter().filter(|task| task.slot == 2).max_by_key(|task| task.meta.created_at);
    world.report(&second.expect("it begins").id, TaskState::Running);
    for _ in 0..2 {
        world.pass(30_000);
        assert_eq!((count(&world, "old"), world.status().0), (1, UpdateState::Updating));
        world.new_leader();
    }
    world.frozen = false;
    world.pass(10_000);
    assert_eq!((count(&world, "new"), world.wanted().len(), world.status().0), (2, 2, UpdateState::Completed));
}

/// The same where it stops first: what replaces a new task that was lost with its node is waited for.
#[test]
fn an_update_is_not_over_before_a_lost_task_is_replaced() {
    let mut world = world(1, config(1, 0, FailureAction::Pause));
    world.set_image("new");
    world.turn();
    world.agents();
    world.frozen = true;
    let lost = world.wanted()[0].node_id.clone().expect("assigned");
    world.set_state(lost.as_str(), State::Down);
    world.pass(30_000);
    assert_eq!((world.running(), world.status().0), (0, UpdateState::Updating));
    world.frozen = false;
    world.pass(10_000);
    assert_eq!((count(&world, "new"), world.status().0), (1, UpdateState::Completed));
}

/// Seed 78362: the new task of a slot half way was lost with its node; the one made in its place was let go in the same
/// entry that stopped the old one.
#[test]
fn what_stops_first_waits_also_where_the_new_task_was_lost() {
    let mut world = world(1, start_first(1));
    world.set_image("new");
    world.frozen = true;
    world.pass(100);
    let new = world.wanted().into_iter().find(|task| image(task) == "new").expect("half way");
    world.update(|spec| spec.update = Some(config(1, 0, FailureAction::Pause)));
    world.set_state(new.node_id.as_ref().expect("assigned").as_str(), State::Down);
    world.pass(1000);
    let wanted = world.wanted();
    assert_eq!((wanted.len(), image(&wanted[0]), wanted[0].desired_state), (1, "new", TaskState::Ready));
    world.frozen = false;
    world.pass(1000);
    assert_eq!((count(&world, "new"), world.wanted().len()), (1, 1));
}

/// Seed 1148 with leaders that do not last: where the new task had failed before the old one was stopped for the next
/// try, a new leader did not count the slot as taken down.
#[test]
fn a_slot_is_taken_down_for_a_second_try_too() {
    let mut world = world(3, start_first(1));
    world.set_image("new");
    world.frozen = true;
    world.pass(100);
    let wanted = world.wanted();
    let new = wanted.iter().find(|task| image(task) == "new").expect("half way");
    let old = wanted.iter().find(|task| task.slot == new.slot && image(task) == "old").expect("it runs");
    world.report(&new.id, TaskState::Rejected);
    world.pass(100);
    update_label(&mut world);
    world.update(|spec| spec.update = Some(config(1, 0, FailureAction::Pause)));
    world.pass(100);
    assert_eq!(world.running(), 3 - 1);
    world.new_leader();
    world.pass(100);
    assert_eq!(world.running(), 3 - 1, "while the old task stops");
    world.report(&old.id, TaskState::Shutdown);
    world.new_leader();
    world.pass(100);
    assert_eq!(world.running(), 3 - 1, "until the new one runs");
    world.frozen = false;
    world.pass(20_000);
    assert_eq!((count(&world, "new"), world.wanted().len(), world.status().0), (3, 3, UpdateState::Completed));
}

/// Seed 208974: the task that is rolled back to had replaced one that failed, and did not run yet. The slot counted as
/// tried, and the rollback was over while the update's task was still wanted.
#[test]
fn a_rollback_waits_for_the_task_that_it_comes_back_to() {
    let mut config = start_first(1);
    config.set_failure_action(FailureAction::Rollback);
    let mut world = world(1, config);
    world.update(|spec| spec.rollback = Some(start_first(1)));
    world.pass(10_000);
    world.frozen = true;
    let failed = world.wanted()[0].id.clone();
    world.report(&failed, TaskState::Failed);
    world.pass(10_000);
    world.set_image("new");
    world.pass(100);
    let new = world.wanted().into_iter().find(|task| image(task) == "new").expect("it starts first");
    world.report(&new.id, TaskState::Rejected);
    world.pass(10_000);
    assert_eq!((world.running(), world.status().0), (0, UpdateState::RollbackStarted));
    world.new_leader();
    world.pass(10_000);
    assert_eq!((world.running(), world.status().0), (0, UpdateState::RollbackStarted));
    world.frozen = false;
    world.pass(10_000);
    assert_eq!((count(&world, "old"), world.wanted().len()), (1, 1));
    assert_eq!(world.status().0, UpdateState::RollbackCompleted);
}
