use skep_model::pb::types::update_config::{FailureAction, UpdateOrder};
use skep_model::pb::types::update_status::UpdateState;
use skep_model::pb::types::{Placement, TaskState, UpdateConfig};

use super::world::{Fate, World, replicas, seconds, spec};

pub(super) fn config(parallelism: u64, delay: i64, action: FailureAction) -> UpdateConfig {
    UpdateConfig {
        parallelism,
        delay: Some(seconds(delay)),
        failure_action: action.into(),
        monitor: Some(seconds(2)),
        ..Default::default()
    }
}

pub(super) fn world(count: u64, config: UpdateConfig) -> World {
    let mut world = World::new(&["n1", "n2"]);
    let mut spec = spec("old", replicas(count));
    spec.rollback = Some(UpdateConfig { monitor: Some(seconds(2)), ..Default::default() });
    spec.update = Some(config);
    world.create(spec);
    world.pass(1000);
    assert_eq!(world.running(), usize::try_from(count).expect("few"));
    world
}

pub(super) fn count(world: &World, image: &str) -> usize {
    world.images().iter().filter(|found| *found == image).count()
}

#[test]
fn goes_slot_by_slot_with_the_delay_between() {
    let mut world = world(3, config(1, 10, FailureAction::Pause));
    world.set_image("new");
    world.turn();
    assert_eq!(world.status(), (UpdateState::Updating, "update in progress".into()));
    for done in 1..=3 {
        world.pass(2000);
        assert_eq!((count(&world, "new"), count(&world, "old")), (done, 3 - done));
        world.pass(8700);
    }
    assert_eq!(world.status().0, UpdateState::Updating, "the last one is still watched");
    world.pass(15_000);
    assert_eq!(world.status(), (UpdateState::Completed, "update completed".into()));
    assert!(world.service().update_status.as_ref().is_some_and(|status| status.completed_at.is_some()));
}

#[test]
fn never_stops_more_than_the_parallelism() {
    for (parallelism, least) in [(1, 5), (2, 4), (6, 0), (0, 0)] {
        let mut world = world(6, config(parallelism, 0, FailureAction::Pause));
        world.set_image("new");
        let mut fewest = 6;
        for _ in 0..150 {
            world.pass(0);
            world.skip(50_000);
            fewest = fewest.min(world.running());
        }
        assert_eq!(fewest, least, "parallelism {parallelism}");
        assert_eq!((count(&world, "new"), world.status().0), (6, UpdateState::Completed));
    }
}

#[test]
fn start_first_never_runs_fewer() {
    let mut config = config(1, 0, FailureAction::Pause);
    config.set_order(UpdateOrder::StartFirst);
    let mut world = world(3, config);
    world.set_image("new");
    for _ in 0..50 {
        world.pass(100);
        assert!(world.running() >= 3 && world.wanted().len() <= 4);
    }
    assert_eq!((count(&world, "new"), world.wanted().len()), (3, 3));
    world.pass(3000);
    assert_eq!(world.status().0, UpdateState::Completed);
}

#[test]
fn a_failure_pauses() {
    let mut world = world(3, config(1, 0, FailureAction::Pause));
    world.fate.insert("new".into(), Fate::Fails);
    world.set_image("new");
    world.pass(30_000);
    let (state, message) = world.status();
    assert_eq!(state, UpdateState::Paused);
    assert!(message.starts_with("update paused due to failure or early termination of task "), "{message}");
    assert_eq!(count(&world, "old"), 2, "the others stay as they are");
    // The way out: another image.
    world.set_image("better");
    world.pass(20_000);
    assert_eq!((count(&world, "better"), world.status().0), (3, UpdateState::Completed));
}

#[test]
fn a_failure_rolls_back_to_where_it_began() {
    for order in [UpdateOrder::StopFirst, UpdateOrder::StartFirst] {
        let mut config = config(1, 0, FailureAction::Rollback);
        config.set_order(order);
        let mut world = world(3, config);
        let before = world.service();
        world.fate.insert("new".into(), Fate::Rejected);
        world.set_image("new");
        world.pass(1000);
        assert_eq!(world.status().0, UpdateState::RollbackStarted);
        assert!(world.status().1.starts_with("update rolled back due to failure or early termination of task "));
        world.pass(30_000);
        assert_eq!(world.status(), (UpdateState::RollbackCompleted, "rollback completed".into()), "{order:?}");
        assert_eq!((count(&world, "old"), world.wanted().len()), (3, 3));
        let after = world.service();
        assert_eq!((&after.spec, after.spec_version), (&before.spec, before.spec_version));
        assert_eq!(after.previous_spec, None);
    }
}

#[test]
fn a_rollback_that_fails_is_paused() {
    let mut world = world(2, config(1, 0, FailureAction::Rollback));
    world.update(|spec| spec.rollback = Some(config(1, 0, FailureAction::Rollback)));
    world.pass(5000);
    world.fate.insert("old".into(), Fate::Fails);
    world.fate.insert("new".into(), Fate::Fails);
    world.set_image("new");
    world.pass(30_000);
    let (state, message) = world.status();
    assert_eq!(state, UpdateState::RollbackPaused);
    assert!(message.starts_with("rollback paused due to failure or early termination of task "), "{message}");
}

#[test]
fn the_failure_ratio_and_continue() {
    let mut lenient = config(1, 0, FailureAction::Pause);
    lenient.max_failure_ratio = 0.5;
    let mut world = world(4, lenient);
    world.set_image("new");
    let mut failed = 0;
    for _ in 0..200 {
        let new = world
            .wanted()
            .into_iter()
            .find(|task| super::world::image(task) == "new" && task.state() == TaskState::Running && failed < 2);
        if let Some(task) = new {
            world.report(&task.id, TaskState::Failed);
            failed += 1;
        }
        world.pass(100);
    }
    assert_eq!((world.status().0, count(&world, "new")), (UpdateState::Completed, 4), "half may fail");

    let mut world = self::world(3, config(1, 0, FailureAction::Continue));
    world.fate.insert("new".into(), Fate::Fails);
    world.set_image("new");
    world.pass(60_000);
    assert_eq!((count(&world, "old"), world.status().0), (0, UpdateState::Completed));
}

#[test]
fn a_task_that_fails_after_it_was_watched_does_not_count() {
    let mut world = world(2, config(1, 20, FailureAction::Pause));
    world.set_image("new");
    world.pass(5000);
    let new = world.wanted().into_iter().find(|task| super::world::image(task) == "new").expect("one is new");
    world.report(&new.id, TaskState::Failed);
    world.pass(60_000);
    assert_eq!((world.status().0, count(&world, "new")), (UpdateState::Completed, 2));
}

#[test]
fn a_new_leader_goes_on() {
    let mut world = world(4, config(1, 2, FailureAction::Pause));
    world.set_image("new");
    for _ in 0..40 {
        world.new_leader();
        world.pass(500);
        assert!(world.running() >= 3, "never two at once");
    }
    assert_eq!((count(&world, "new"), world.status().0), (4, UpdateState::Completed));
}

#[test]
fn what_need_not_be_replaced_is_not() {
    let mut world = world(2, config(1, 0, FailureAction::Pause));
    let before: Vec<_> = world.wanted().iter().map(|task| task.id.clone()).collect();
    world.update(|spec| {
        spec.annotations.get_or_insert_default().labels.insert("new".into(), "label".into());
    });
    world.pass(3000);
    world.update(|spec| {
        let constraints = vec!["node.id!=n9".to_owned()];
        spec.task.get_or_insert_default().placement = Some(Placement { constraints, ..Default::default() });
    });
    world.pass(3000);
    assert_eq!(world.wanted().iter().map(|task| task.id.clone()).collect::<Vec<_>>(), before);
    assert_eq!(world.service().update_status, None);
    world.update(|spec| spec.task.get_or_insert_default().force_update += 1);
    world.pass(8000);
    assert!(world.wanted().iter().all(|task| !before.contains(&task.id)), "forced");
    let node = world.wanted()[0].node_id.clone().expect("assigned");
    world.update(|spec| {
        let constraints = vec![format!("node.id!={node}")];
        spec.task.get_or_insert_default().placement = Some(Placement { constraints, ..Default::default() });
    });
    world.turn();
    assert_eq!(world.status().0, UpdateState::Updating, "one may not stay where it is");
}

/// As the update command does with `--rollback`.
pub(super) fn roll_back(world: &mut World) {
    let mut service = (*world.service()).clone();
    let before = service.previous_spec.take().expect("there was an update");
    service.previous_spec = Some(std::mem::replace(&mut service.spec, before));
    std::mem::swap(&mut service.spec_version, &mut service.previous_spec_version);
    service.update_status.get_or_insert_default().set_state(UpdateState::RollbackStarted);
    world.write(|tx| tx.update(service));
}

/// Found by the simulator: what a leader with a late clock made looked older than what it replaced, so that a rollback
/// took every slot for done.
#[test]
fn leaders_clocks_may_differ() {
    let mut world = world(3, config(1, 0, FailureAction::Pause));
    world.new_leader();
    world.now.wall.0 -= 3_600_000_000_000;
    world.set_image("new");
    world.pass(20_000);
    assert_eq!((count(&world, "new"), world.status().0), (3, UpdateState::Completed));
    roll_back(&mut world);
    world.pass(20_000);
    assert_eq!((count(&world, "old"), world.status().0), (3, UpdateState::RollbackCompleted));
}

/// Found by the simulator: a paused rollback went by the order of the update, and stopped what ran.
#[test]
fn a_paused_rollback_keeps_its_own_order() {
    let mut world = world(3, config(0, 0, FailureAction::Pause));
    let mut rollback = config(0, 0, FailureAction::Pause);
    rollback.set_order(UpdateOrder::StartFirst);
    world.update(|spec| spec.rollback = Some(rollback));
    world.set_image("new");
    world.pass(20_000);
    assert_eq!((count(&world, "new"), world.status().0), (3, UpdateState::Completed));
    world.fate.insert("old".into(), Fate::Rejected);
    roll_back(&mut world);
    for _ in 0..100 {
        world.pass(100);
        assert_eq!(world.running(), 3, "{:?}", world.status());
    }
    assert_eq!(world.status().0, UpdateState::RollbackPaused);
}

/// Found by the simulator: slots that were half way through a start-first update lost their running tasks at once when
/// the next update was to stop first.
#[test]
fn an_update_that_overtakes_another_keeps_its_parallelism() {
    let mut first = config(0, 0, FailureAction::Pause);
    first.set_order(UpdateOrder::StartFirst);
    let mut world = world(4, first);
    world.set_image("new");
    world.frozen = true;
    world.pass(100);
    assert_eq!((world.running(), world.wanted().len()), (4, 8), "half way");
    world.update(|spec| spec.update = Some(config(1, 0, FailureAction::Pause)));
    world.turn();
    assert_eq!(world.running(), 4 - 1);
    // Found by the simulator (seed 1444): the successor is of the update before, and the next leader did not count it.
    for _ in 0..3 {
        world.new_leader();
        world.pass(100);
        assert_eq!(world.running(), 4 - 1);
    }
    world.frozen = false;
    for _ in 0..100 {
        world.pass(100);
        assert!(world.running() >= 3);
    }
    assert_eq!((count(&world, "new"), world.wanted().len(), world.status().0), (4, 4, UpdateState::Completed));
}

/// Found by the simulator: what a rollback had stopped counted as tried when that rollback was itself rolled back.
#[test]
fn a_rollback_can_be_rolled_back() {
    let mut first = config(1, 0, FailureAction::Pause);
    first.set_order(UpdateOrder::StartFirst);
    let mut world = world(3, first);
    world.set_image("new");
    world.turn();
    world.agents();
    world.turn();
    assert_eq!(world.wanted().len(), 4, "the first slot is half way");
    roll_back(&mut world);
    world.pass(20_000);
    assert_eq!((count(&world, "old"), world.status().0), (3, UpdateState::RollbackCompleted));
    roll_back(&mut world);
    world.pass(20_000);
    assert_eq!((count(&world, "new"), world.status().0), (3, UpdateState::RollbackCompleted));
}

/// Found by the simulator: a slot that followed when a rollback was over, and failed, was called a paused update, and with
/// `rollback` as the action would have undone the rollback.
#[test]
fn a_straggler_of_a_rollback_does_not_undo_it() {
    let mut world = world(2, config(1, 0, FailureAction::Rollback));
    world.set_image("new");
    world.pass(20_000);
    roll_back(&mut world);
    world.pass(20_000);
    assert_eq!(world.status().0, UpdateState::RollbackCompleted);
    let rolled_back = world.service().spec.clone();
    // One task as it was before: its node was away.
    let mut left = (*world.wanted()[0]).clone();
    left.spec = left.spec.edit(|spec| spec.force_update += 1);
    left.spec_version = Some(1);
    world.write(|tx| tx.update(left));
    world.fate.insert("old".into(), Fate::Rejected);
    world.new_leader();
    world.pass(30_000);
    assert_eq!((world.status().0, &world.service().spec), (UpdateState::RollbackPaused, &rolled_back));
}
