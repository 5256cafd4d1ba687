//! New data of secrets: what users ask, and what becomes of services and versions.

use skep_model::objects::version;
use skep_model::pb::messages as m;
use skep_model::pb::types::update_config::FailureAction;
use skep_model::pb::types::update_status::UpdateState;
use skep_model::pb::types::{self, ServiceSpec, UpdateConfig, task_spec::Runtime};
use skep_model::{Secret, SecretId, Task, Verbatim};
use skep_store::Read;
use skep_store::versions::{Dependency, earlier};

use super::world::{SERVICE, World, replicas, seconds, spec};
use crate::versions::UNUSED_VERSIONS_MAX;

fn secret_spec(data: &str) -> Verbatim<types::SecretSpec> {
    let annotations = Some(types::Annotations { name: "key".to_owned(), ..Default::default() });
    Verbatim::new(types::SecretSpec { annotations, data: data.to_owned().into(), ..Default::default() })
}

fn current(world: &World) -> std::sync::Arc<Secret> {
    world.ledger.committed().secret_by_name("key").expect("it is there")
}

fn using(id: &SecretId, count: u64) -> ServiceSpec {
    let mut spec = spec("a", replicas(count));
    if let Some(Runtime::Container(container)) = &mut spec.task.get_or_insert_default().runtime {
        let file = types::FileTarget { name: "key".to_owned(), ..Default::default() };
        container.secrets.push(types::SecretReference {
            secret_id: id.to_string(),
            secret_name: "key".to_owned(),
            target: Some(types::secret_reference::Target::File(file)),
        });
    }
    let config = |action: FailureAction| UpdateConfig {
        parallelism: 1,
        monitor: Some(seconds(1)),
        failure_action: action.into(),
        ..Default::default()
    };
    ServiceSpec { update: Some(config(FailureAction::Rollback)), rollback: Some(config(FailureAction::Pause)), ..spec }
}

fn world(count: u64) -> World {
    let mut world = World::new(&["n1", "n2"]);
    world.ask(m::CreateSecretRequest { spec: Some(secret_spec("one")) });
    let id = current(&world).id.clone();
    world.create(using(&id, count));
    world.pass(1000);
    world
}

fn replace(world: &mut World, data: &str) -> SecretId {
    let stored = current(world);
    world.ask(m::UpdateSecretRequest {
        secret_id: stored.id.to_string(),
        secret_version: Some(version(stored.meta.version)),
        spec: Some(secret_spec(data)),
    });
    current(world).id.clone()
}

/// Versions that the running tasks have, each once.
fn had(world: &World) -> Vec<String> {
    let id = |task: &Task| Secret::references(&task.spec)[0].to_owned();
    let running = world.wanted().into_iter().filter(|task| task.state() == types::TaskState::Running);
    let mut ids: Vec<String> = running.map(|task| id(&task)).collect();
    ids.sort();
    ids.dedup();
    ids
}

fn versions(world: &World) -> usize {
    earlier::<Secret>(world.ledger.committed(), "key").len()
}

#[test]
fn services_roll_to_new_data_by_their_own_config() {
    let mut world = world(3);
    let second = replace(&mut world, "two");
    for _ in 0..60 {
        world.pass(100);
        assert!(world.running() >= 2, "one slot at a time");
    }
    assert_eq!((had(&world), world.status().0), (vec![second.to_string()], UpdateState::Completed));
    assert_eq!(versions(&world), 1, "it is kept for a rollback");
}

#[test]
fn what_fails_with_new_data_goes_back_to_the_old() {
    let mut world = world(2);
    let first = current(&world).id.clone();
    let second = replace(&mut world, "two");
    for _ in 0..100 {
        let fresh = world.wanted().into_iter().find(|task| {
            Secret::references(&task.spec) == [second.as_str()] && task.state() == types::TaskState::Running
        });
        if let Some(task) = fresh {
            world.report(&task.id, types::TaskState::Failed);
        }
        world.pass(200);
    }
    assert_eq!((had(&world), world.status().0), (vec![first.to_string()], UpdateState::RollbackCompleted));
    assert_eq!(current(&world).id, second, "the newest data is still there for others");
    world.new_leader();
    world.pass(1000);
    assert_eq!(versions(&world), 1, "what is in use stays");
}

#[test]
fn versions_that_nobody_refers_to_are_forgotten_but_for_a_few() {
    let mut world = world(2);
    for number in 0..8 {
        replace(&mut world, &format!("v{number}"));
        world.pass(6000);
    }
    assert_eq!(versions(&world), UNUSED_VERSIONS_MAX + 1, "one more for the rollback");
    // Faster than it can roll: none that a task still has is lost.
    for number in 0..5 {
        replace(&mut world, &format!("w{number}"));
        world.pass(700);
        for id in had(&world) {
            let id = SecretId::new(&id).expect("an id");
            assert!(world.ledger.committed().secret(&id).is_some(), "a running task's version");
        }
    }
    world.pass(20_000);
    assert_eq!(had(&world), [current(&world).id.to_string()]);
    world.ask(m::RemoveServiceRequest { service_id: SERVICE.to_owned() });
    world.pass(2000);
    assert_eq!(versions(&world), UNUSED_VERSIONS_MAX);
    world.ask(m::RemoveSecretRequest { secret_id: current(&world).id.to_string() });
    assert_eq!(world.ledger.committed().secrets(), []);
}

#[test]
fn a_leader_goes_on_with_services_that_were_left() {
    let mut world = world(2);
    let (first, second) = (current(&world).id.clone(), replace(&mut world, "two"));
    // As the command leaves it when an entry is full.
    let marked = current(&world).with_annotations(|annotations| {
        annotations.labels.insert(skep_model::labels::VERSION_PENDING.to_owned(), "true".to_owned());
    });
    let mut left = (*world.service()).clone();
    left.spec = left.previous_spec.take().expect("one");
    left.spec_version = left.previous_spec_version.take();
    assert_eq!(Secret::references(left.spec.task.as_ref().expect("one")), [first.as_str()]);
    world.write(|tx| tx.update(marked).and_then(|()| tx.update(left)));
    world.new_leader();
    world.pass(6000);
    assert_eq!(had(&world), [second.to_string()]);
    assert!(!current(&world).is_pending());
}
