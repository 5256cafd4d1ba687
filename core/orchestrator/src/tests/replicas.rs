use skep_model::pb::types::node_status::State;
use skep_model::pb::types::{self, TaskState};
use skep_model::{Service, ServiceId};
use skep_store::Read;

use super::world::{SERVICE, World, replicas, spec};

#[test]
fn makes_tasks_as_docker_does() {
    let mut world = World::new(&["n1"]);
    let mut cluster_spec = types::ClusterSpec {
        annotations: Some(types::Annotations { name: "default".into(), ..Default::default() }),
        ..Default::default()
    };
    let driver = types::Driver { name: "json-file".into(), ..Default::default() };
    cluster_spec.task_defaults = Some(types::TaskDefaults { log_driver: Some(driver.clone()) });
    world.write(|tx| tx.create(cluster(cluster_spec)));
    world.frozen = true;
    world.create(spec("a", replicas(3)));
    let tasks = world.tasks();
    assert_eq!(tasks.iter().map(|task| task.slot).collect::<Vec<_>>(), [1, 2, 3]);
    let task = &tasks[1];
    assert_eq!(task.name(), format!("web.2.{}", task.id));
    assert_eq!(task.service_annotations.labels.get("a").map(String::as_str), Some("b"));
    assert_eq!((task.desired_state, task.status.message.as_str()), (TaskState::Running, "created"));
    assert_eq!((task.spec_version, task.log_driver.clone()), (Some(0), Some(driver.into())));
    assert_eq!(*task.spec, world.service().spec.task.clone().expect("a task spec"));
    assert!(tasks[0].spec.same(&tasks[2].spec), "one allocation for all");
    assert!(task.endpoint.is_some() && task.extras.job_iteration.is_none());
}

fn cluster(spec: types::ClusterSpec) -> skep_model::Cluster {
    let object = skep_model::pb::objects::Cluster { id: "c1".into(), ..Default::default() };
    let cluster = skep_model::Cluster::try_from(skep_model::Kept::new(object)).expect("a cluster");
    skep_model::Cluster { spec: skep_model::Verbatim::new(spec), ..cluster }
}

#[test]
fn scales_up_into_the_lowest_free_slots_and_down_from_the_fullest_nodes() {
    let mut world = World::new(&["n1", "n2"]);
    world.create(spec("a", replicas(4)));
    world.pass(1000);
    assert_eq!(world.running(), 4);
    world.update(|spec| spec.mode = Some(replicas(3)));
    world.pass(1000);
    let left: Vec<u64> = world.wanted().iter().map(|task| task.slot).collect();
    assert_eq!(left, [1, 2, 3], "all nodes are as full: the highest slot goes");
    let gone = world.wanted()[0].clone();
    // Slot 1 disappears altogether: it is the lowest free one.
    world.write(|tx| tx.remove::<skep_model::Task>(&gone.id));
    world.update(|spec| spec.mode = Some(replicas(5)));
    world.pass(1000);
    assert_eq!(world.wanted().iter().map(|task| task.slot).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(world.tasks().len(), 5, "what was scaled away is out of the store");
    world.update(|spec| spec.mode = Some(replicas(0)));
    world.pass(1000);
    assert_eq!(world.tasks().len(), 0);
    assert_eq!(world.service().update_status, None, "scaling is no update");
}

#[test]
fn scaling_down_prefers_tasks_that_do_not_run() {
    let mut world = World::new(&["n1"]);
    world.create(spec("a", replicas(2)));
    world.pass(1000);
    world.frozen = true;
    let first = world.wanted()[0].clone();
    world.report(&first.id, TaskState::Failed);
    world.pass(100);
    world.update(|spec| spec.mode = Some(replicas(1)));
    world.turn();
    assert_eq!(world.wanted().iter().map(|task| task.slot).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_removed_service_leaves_nothing_behind() {
    let mut world = World::new(&["n1", "n2"]);
    world.create(spec("a", replicas(6)));
    world.pass(1000);
    world.set_state("n2", State::Down);
    world.write(|tx| tx.remove::<Service>(&ServiceId::new(SERVICE).expect("an id")));
    world.pass(1000);
    let ghosts = world.tasks();
    assert!(ghosts.iter().all(|task| task.desired_state == TaskState::Remove), "{ghosts:?}");
    assert_eq!(ghosts.len(), 3, "those on the node that is down may still run");
    world.new_leader();
    world.pass(1000);
    world.remove_node("n2");
    world.pass(1000);
    assert_eq!(world.tasks().len(), 0);
    assert_eq!(world.ledger.committed().tasks().len(), 0);
}

#[test]
fn a_new_leader_removes_tasks_whose_service_is_gone() {
    let mut world = World::new(&["n1"]);
    world.create(spec("a", replicas(2)));
    world.pass(1000);
    world.orchestrator = crate::Orchestrator::new();
    world.write(|tx| tx.remove::<Service>(&ServiceId::new(SERVICE).expect("an id")));
    world.new_leader();
    world.pass(1000);
    assert_eq!(world.tasks().len(), 0);
}

#[test]
fn what_is_in_flight_is_not_decided_twice() {
    let mut world = World::new(&["n1"]);
    world.create(spec("a", replicas(3)));
    world.pass(1000);
    for task in world.wanted() {
        world.report(&task.id, TaskState::Failed);
    }
    let first = world.propose();
    let changes: usize = first.iter().map(|entry| entry.changes.len()).sum();
    assert_eq!(changes, 6, "three are over, three replace them");
    world.new_leader();
    let second = world.propose();
    assert_eq!(second, [], "all of it is decided, though nothing is committed");
    world.commit(first);
    world.pass(6000);
    assert_eq!((world.running(), world.tasks().len()), (3, 6));
}
