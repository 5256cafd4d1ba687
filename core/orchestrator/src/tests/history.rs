use skep_model::pb::types::restart_policy::RestartCondition;
use skep_model::pb::types::{ClusterSpec, OrchestrationConfig, TaskState};
use skep_model::{Cluster, Kept, Task, Verbatim};

use super::world::{Fate, World, replicas, restart, spec};

fn world(limit: i64, attempts: u64) -> World {
    let mut world = World::new(&["n1"]);
    let object = skep_model::pb::objects::Cluster { id: "c1".into(), ..Default::default() };
    let cluster = Cluster::try_from(Kept::new(object)).expect("a cluster");
    let cluster_spec = ClusterSpec {
        annotations: Some(skep_model::pb::types::Annotations { name: "default".into(), ..Default::default() }),
        orchestration: Some(OrchestrationConfig { task_history_retention_limit: limit }),
        ..Default::default()
    };
    world.write(|tx| tx.create(Cluster { spec: Verbatim::new(cluster_spec), ..cluster }));
    world.fate.insert("a".into(), Fate::Fails);
    let mut spec = spec("a", replicas(1));
    spec.task.get_or_insert_default().restart = Some(restart(RestartCondition::Any, 1, attempts));
    world.create(spec);
    world
}

#[test]
fn keeps_as_many_as_asked_for() {
    for (limit, attempts, kept) in [(5, 0, 5), (2, 0, 2), (1, 0, 1), (0, 0, 1), (2, 6, 7), (0, 3, 4)] {
        let mut world = world(limit, attempts);
        world.pass(30_000);
        world.frozen = true;
        world.pass(2000);
        assert_eq!(world.tasks().len(), kept, "limit {limit}, attempts {attempts}");
    }
    let mut world = world(-1, 0);
    world.pass(30_000);
    assert!(world.tasks().len() > 20, "a negative limit keeps everything");
}

#[test]
fn the_last_task_of_a_slot_that_is_not_restarted_stays() {
    let mut world = World::new(&["n1"]);
    world.fate.insert("a".into(), Fate::Completes);
    let mut spec = spec("a", replicas(1));
    spec.task.get_or_insert_default().restart = Some(restart(RestartCondition::None, 1, 0));
    world.create(spec);
    world.pass(3000);
    let only = world.tasks();
    assert_eq!((only.len(), only[0].state()), (1, TaskState::Complete));
    world.new_leader();
    world.pass(3000);
    assert_eq!(world.tasks()[0].id, only[0].id);
}

#[test]
fn orphans_without_a_service_go_at_once() {
    let mut world = World::new(&["n1"]);
    world.create(spec("a", replicas(1)));
    world.pass(500);
    let mut attachment: Task = (*world.tasks()[0]).clone();
    attachment.id = skep_model::TaskId::new("attached").expect("an id");
    attachment.service_id = None;
    attachment.status.set_state(TaskState::Orphaned);
    world.write(|tx| tx.create(attachment));
    assert_eq!(world.tasks().len(), 2);
    world.pass(500);
    assert_eq!(world.tasks().len(), 1);
}

#[test]
fn the_enforcer_rejects_what_the_node_no_longer_holds() {
    let mut world = World::new(&["n1"]);
    let mut service = spec("a", replicas(2));
    let reservations = Some(skep_model::pb::types::Resources { memory_bytes: 400, ..Default::default() });
    service.task.get_or_insert_default().resources =
        Some(skep_model::pb::types::ResourceRequirements { reservations, ..Default::default() });
    world.create(service);
    world.pass(1000);
    assert_eq!(world.running(), 2);
    world.change_node("n1", |node| {
        node.description = node.description.as_ref().map(|description| {
            description.edit(|description| description.resources.get_or_insert_default().memory_bytes = 500)
        });
    });
    world.turn();
    let rejected: Vec<_> = world.tasks().into_iter().filter(|task| task.state() == TaskState::Rejected).collect();
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].status.err, "assigned node no longer meets constraints");
    assert_eq!(rejected[0].desired_state, TaskState::Shutdown);
    assert_eq!(world.wanted().len(), 2, "it is replaced");
}
