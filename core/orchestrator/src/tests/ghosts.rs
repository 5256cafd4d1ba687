//! Tasks that other engines could not get rid of, one test per report.

use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::node_status::State;
use skep_model::pb::types::service_spec::Mode;
use skep_model::pb::types::{Placement, ReplicatedJob, TaskState, UpdateConfig};
use skep_model::{Node, NodeId, Service, ServiceId, Task};
use skep_store::Read;

use super::world::{Fate, SERVICE, World, replicas, seconds, spec};

fn remove_service(world: &mut World) {
    world.write(|tx| tx.remove::<Service>(&ServiceId::new(SERVICE).expect("an id")));
    world.pass(1000);
}

/// moby#36527, swarmkit#2555: no node suits, so the task is never placed; its service is removed.
#[test]
fn pending_tasks_go_with_their_service() {
    let mut world = World::new(&["n1"]);
    world.set_availability("n1", Availability::Drain);
    world.create(spec("a", replicas(2)));
    world.pass(1000);
    assert!(world.tasks().iter().all(|task| task.state() == TaskState::Pending));
    remove_service(&mut world);
    assert_eq!(world.tasks(), []);
}

/// swarmkit#2555: not even the addresses were given.
#[test]
fn new_tasks_go_with_their_service() {
    let mut world = World::new(&["n1"]);
    world.create(spec("a", replicas(1)));
    let mut task: Task = (*world.tasks()[0]).clone();
    task.id = skep_model::TaskId::new("new").expect("an id");
    task.status.set_state(TaskState::New);
    task.node_id = None;
    task.desired_state = TaskState::Remove;
    world.write(|tx| tx.create(task));
    world.pass(1000);
    assert_eq!(world.tasks().len(), 1);
}

/// moby#37320, moby#38988: the node is gone, and nobody declared its tasks lost.
#[test]
fn tasks_of_a_node_that_is_gone_do_not_stop_for_ever() {
    let mut world = World::new(&["n1", "n2"]);
    world.create(spec("a", replicas(4)));
    world.pass(1000);
    world.write(|tx| tx.remove::<Node>(&NodeId::new("n1").expect("an id")));
    world.pass(8000);
    let nodes = world.tasks().into_iter().filter_map(|task| task.node_id.clone());
    assert!(nodes.into_iter().all(|node| node.as_str() == "n2"), "nothing claims to run on n1");
    assert_eq!(world.running(), 4);
    world.frozen = true;
    world.write(|tx| tx.remove::<Service>(&ServiceId::new(SERVICE).expect("an id")));
    world.turn();
    world.write(|tx| tx.remove::<Node>(&NodeId::new("n2").expect("an id")));
    world.new_leader();
    world.pass(1000);
    assert_eq!(world.ledger.committed().tasks(), []);
}

/// moby#44312: a job has completed; its service is removed.
#[test]
fn completed_jobs_go_with_their_service() {
    let mut world = World::new(&["n1"]);
    world.fate.insert("a".into(), Fate::Completes);
    world.create(spec("a", Mode::ReplicatedJob(ReplicatedJob { max_concurrent: 1, total_completions: 3 })));
    world.pass(5000);
    assert!(world.tasks().len() == 3 && world.tasks().iter().all(|task| task.state() == TaskState::Complete));
    remove_service(&mut world);
    assert_eq!(world.tasks(), []);
}

/// moby#36699: no node suits, then the service is updated to something that suits.
#[test]
fn pending_tasks_that_an_update_replaces_go_away() {
    let mut world = World::new(&["n1"]);
    world.set_availability("n1", Availability::Drain);
    let mut spec = spec("a", replicas(2));
    spec.update = Some(UpdateConfig { parallelism: 0, monitor: Some(seconds(1)), ..Default::default() });
    world.create(spec);
    world.pass(1000);
    let before: Vec<_> = world.tasks().iter().map(|task| task.id.clone()).collect();
    assert!(world.tasks().iter().all(|task| task.state() == TaskState::Pending));
    world.set_image("b");
    world.pass(1000);
    assert!(world.tasks().iter().all(|task| !before.contains(&task.id)), "they are not kept as history");
    assert_eq!(world.wanted().len(), 2);
    world.set_availability("n1", Availability::Active);
    world.pass(5000);
    assert_eq!((world.running(), world.tasks().len()), (2, 2));
}

/// moby#42215: the only node that a constraint admits is drained and comes back; the task may stay pending for good, and
/// older ones with it.
#[test]
fn pending_tasks_of_a_constraint_run_when_their_node_is_back_and_leave_nothing_behind() {
    let mut world = World::new(&["n1", "n2"]);
    let mut spec = spec("a", replicas(1));
    let constraints = vec!["node.id==n1".to_owned()];
    spec.task.get_or_insert_default().placement = Some(Placement { constraints, ..Default::default() });
    world.create(spec);
    world.pass(1000);
    for round in 1..=8 {
        world.set_availability("n1", Availability::Drain);
        world.pass(7000);
        let waiting = world.wanted();
        assert!(
            waiting.len() == 1 && waiting[0].state() == TaskState::Pending && waiting[0].node_id.is_none(),
            "round {round}: {waiting:?}"
        );
        world.set_availability("n1", Availability::Active);
        world.pass(7000);
        assert_eq!((world.running(), world.wanted().len()), (1, 1), "round {round}");
        // The history's five, and nothing that is neither wanted nor ended.
        let tasks = world.tasks();
        assert!(tasks.len() <= 6, "round {round}: {} tasks", tasks.len());
        assert!(tasks.iter().all(|task| task.has_ended() || crate::facts::is_wanted(task)), "round {round}");
    }
    // The same when the node's host went away for good, and its tasks with it.
    world.set_state("n1", State::Down);
    world.pass(7000);
    assert_eq!((world.running(), world.wanted().len()), (0, 1));
    world.set_state("n1", State::Ready);
    world.pass(7000);
    assert_eq!((world.running(), world.wanted().len()), (1, 1));
    remove_service(&mut world);
    world.pass(7000);
    assert_eq!(world.tasks(), []);
}
