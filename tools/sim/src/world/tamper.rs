//! Planted bugs of the deciders, without a hook in them: a manager that restarts is handed facts that a decider which
//! forgets, or misreads, would see; and followers may read the log as such a decider would. What a leader then decides
//! goes through the whole of the core.

use std::ops::RangeInclusive;
use std::sync::Arc;

use skep_model::pb::types::issuance_status::State;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::{Node, Service, Task, TaskState, labels};
use skep_store::versions::Dependency;
use skep_store::{Action, AnyObject, Change, Entry, Read, Store};

use crate::invariants::moves_keep_count::moved_from;
use crate::issuers::RootId;
use crate::plant::Plant;

const STARTING: RangeInclusive<TaskState> = TaskState::Assigned..=TaskState::Starting;
const ALIVE: RangeInclusive<TaskState> = TaskState::Assigned..=TaskState::Running;

/// The facts as the planted bug sees them.
pub(crate) fn facts(plant: Option<Plant>, mut facts: Store) -> Store {
    let Some(plant) = plant.filter(|plant| plant.tampers_with_facts()) else { return facts };
    let tasks = facts.tasks().into_iter().filter_map(|task| task_seen(plant, &facts, &task));
    let services = facts.services().into_iter().filter_map(|service| service_seen(plant, &service));
    let versions = versions_seen(plant, &facts);
    let changes: Vec<Change> = services.chain(tasks).chain(versions).collect();
    if !changes.is_empty() {
        facts.apply(&Entry { id: 1, changes: changes.into() }).expect("what is there can be changed");
    }
    facts
}

fn update(object: AnyObject) -> Option<Change> {
    Some(Change { action: Action::Update, object })
}

fn task_seen(plant: Plant, facts: &Store, task: &Arc<Task>) -> Option<Change> {
    let alive = task.is_wanted() && task.state() == TaskState::Running;
    let mut seen = (**task).clone();
    match plant {
        Plant::AddressForgotten if alive && !task.networks.is_empty() => seen.networks = Default::default(),
        Plant::SlotForgotten if alive && task.slot > 0 => {
            return Some(Change { action: Action::Remove, object: AnyObject::Task(task.clone()) });
        }
        Plant::CompletionForgotten if task.extras.job_iteration.is_some() && task.state() == TaskState::Complete => {
            return Some(Change { action: Action::Remove, object: AnyObject::Task(task.clone()) });
        }
        Plant::StartTakenForRun | Plant::StopTakenForEnd | Plant::MoveTakenForDone => seen = task_read(plant, task)?,
        Plant::StopForgotten if task.desired_state == TaskState::Shutdown => seen.desired_state = TaskState::Running,
        Plant::ReservationForgotten if alive => seen.spec = seen.spec.edit(|spec| spec.resources = None),
        Plant::NodeMistaken if alive => {
            let other = facts.nodes().into_iter().find(|node| Some(&node.id) != task.node_id.as_ref())?;
            seen.node_id = Some(other.id.clone());
        }
        _ => return None,
    }
    update(AnyObject::Task(Arc::new(seen)))
}

/// An entry of the log as the planted bug reads it.
pub(crate) fn entry(plant: Plant, facts: &Store, entry: Entry) -> Entry {
    let read = |change: &Change| {
        let object = match &change.object {
            AnyObject::Task(task) => task_read(plant, task).map(|task| AnyObject::Task(Arc::new(task))),
            AnyObject::Node(node) if plant == Plant::RenewalTakenForDone => renewal_read(facts, node),
            object if plant == Plant::EarlierVersionForgotten => version_read(object),
            _ => None,
        };
        Change { action: change.action, object: object.unwrap_or_else(|| change.object.clone()) }
    };
    let mut changes: Vec<Change> = entry.changes.iter().map(read).collect();
    if plant == Plant::VersionOverlooked {
        let services = entry.changes.iter().filter_map(|change| change.object.get::<Service>());
        let overlooked: Vec<Change> = services.flat_map(|service| tasks_up_to_date(facts, service)).collect();
        let is_new = |task: &Change| entry.changes.iter().all(|change| change.object.id() != task.object.id());
        changes.extend(overlooked.into_iter().filter(is_new));
    }
    Entry { id: entry.id, changes: changes.into() }
}

fn task_read(plant: Plant, task: &Task) -> Option<Task> {
    let starts = task.is_wanted() && STARTING.contains(&task.state()) && task.node_id.is_some();
    let stops = !task.is_wanted() && ALIVE.contains(&task.state()) && task.networks.is_empty();
    let state = match plant {
        Plant::StartTakenForRun if starts => TaskState::Running,
        Plant::MoveTakenForDone if starts && moved_from(task).is_some() => TaskState::Running,
        // Whose address is free too soon is another bug.
        Plant::StopTakenForEnd if stops => TaskState::Shutdown,
        _ => return None,
    };
    let mut read = task.clone();
    read.status.set_state(state);
    Some(read)
}

/// A node that is to have a certificate of the root that is on its way, as if it had it.
fn renewal_read(facts: &Store, node: &Node) -> Option<AnyObject> {
    let cluster = facts.cluster()?;
    let rotation = cluster.root_ca.root_rotation.as_ref()?;
    let next = RootId::read(&rotation.ca_cert)?.identity();
    let state = node.certificate.status.as_ref()?.state();
    let description = node.description.as_ref().filter(|_| state == State::Rotate)?;
    let description = description.edit(|description| {
        let tls = description.tls_info.get_or_insert_default();
        (tls.cert_issuer_subject, tls.cert_issuer_public_key) = (next.subject, next.public_key);
    });
    let mut read = Node { description: Some(description), ..node.clone() };
    read.certificate.certificate = rotation.cross_signed_ca_cert.clone();
    read.certificate.status.get_or_insert_default().set_state(State::Issued);
    Some(AnyObject::Node(Arc::new(read)))
}

/// Earlier versions of secrets and configs, as if they were no versions.
fn versions_seen(plant: Plant, facts: &Store) -> Vec<Change> {
    if plant != Plant::EarlierVersionForgotten {
        return Vec::new();
    }
    let secrets = facts.secrets().into_iter().map(AnyObject::Secret);
    let objects = secrets.chain(facts.configs().into_iter().map(AnyObject::Config));
    objects.filter_map(|object| version_read(&object).and_then(update)).collect()
}

fn version_read(object: &AnyObject) -> Option<AnyObject> {
    match object {
        AnyObject::Secret(secret) => unversioned(&**secret).map(|secret| AnyObject::Secret(Arc::new(secret))),
        AnyObject::Config(config) => unversioned(&**config).map(|config| AnyObject::Config(Arc::new(config))),
        _ => None,
    }
}

fn unversioned<T: Dependency>(version: &T) -> Option<T> {
    version.version_of()?;
    Some(version.with_annotations(|annotations| {
        annotations.labels.remove(labels::VERSION_OF);
    }))
}

/// Tasks of a service whose spec names other versions now, as if they had them.
fn tasks_up_to_date(facts: &Store, service: &Service) -> Vec<Change> {
    let Some(Runtime::Container(named)) = service.spec.task.as_ref().and_then(|task| task.runtime.as_ref()) else {
        return Vec::new();
    };
    let tasks = facts.tasks_of_service(&service.id).into_iter().filter(|task| task.is_wanted());
    let seen = tasks.map(|task| {
        let spec = task.spec.edit(|spec| {
            if let Some(Runtime::Container(container)) = &mut spec.runtime {
                container.secrets.clone_from(&named.secrets);
                container.configs.clone_from(&named.configs);
            }
        });
        Task { spec, ..(*task).clone() }
    });
    seen.filter_map(|task| update(AnyObject::Task(Arc::new(task)))).collect()
}

fn service_seen(plant: Plant, service: &Arc<Service>) -> Option<Change> {
    let mut seen = (**service).clone();
    if plant != Plant::RollbackElsewhere {
        return None;
    }
    let before = seen.previous_spec.take()?;
    seen.previous_spec = Some(before.edit(|spec| {
        if let Some(Runtime::Container(container)) = spec.task.as_mut().and_then(|task| task.runtime.as_mut()) {
            container.image = "busybox:forgotten".to_owned();
        }
    }));
    update(AnyObject::Service(Arc::new(seen)))
}
