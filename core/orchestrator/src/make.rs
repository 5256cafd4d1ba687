//! Making a task out of its service.

use std::sync::Arc;

use skep_model::objects::{Extras, TaskAnnotations, TaskExtras};
use skep_model::pb::objects::Endpoint;
use skep_model::pb::types::service_spec::Mode;
use skep_model::pb::types::{ServiceSpec, TaskSpec, TaskStatus};
use skep_model::{Meta, Service, Shared, Task, TaskId, TaskState, Verbatim, WallTime};
use skep_store::Read;

use crate::slot::Place;
use crate::turn::Turn;

/// Field number of `ServiceSpec.task`.
const TASK_FIELD: u32 = 2;

/// The task spec of a service, decoded and allocated once for all of its tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedSpec {
    made_from: Option<Verbatim<ServiceSpec>>,
    spec: Verbatim<TaskSpec>,
}

impl SharedSpec {
    /// The spec for new tasks; `sibling` is a task whose allocation is shared when it has the same bytes.
    pub(crate) fn get(&mut self, service: &Service, sibling: Option<&Task>) -> Verbatim<TaskSpec> {
        if self.made_from.as_ref().is_some_and(|spec| spec.same(&service.spec)) {
            return self.spec.clone();
        }
        let made = task_spec(service);
        let shared = [Some(&self.spec), sibling.map(|task| &task.spec)];
        let known = shared.into_iter().flatten().find(|known| **known == made).cloned();
        self.spec = known.unwrap_or(made);
        self.made_from = Some(service.spec.clone());
        self.spec.clone()
    }
}

/// The task spec with the bytes that it has within the service's spec.
fn task_spec(service: &Service) -> Verbatim<TaskSpec> {
    let decoded = || service.spec.task.clone().map(Verbatim::new).unwrap_or_default();
    service.spec.field(TASK_FIELD).unwrap_or_else(decoded)
}

/// Creates a task of the service. `desired` is what a running task desires, or READY to hold it back.
pub(crate) fn task(
    turn: &mut Turn,
    service: &Service,
    spec: Verbatim<TaskSpec>,
    place: &Place,
    desired: TaskState,
) -> Arc<Task> {
    let id = TaskId::random(turn.rng);
    let (slot, node_id) = match place {
        Place::Number(number) => (*number, None),
        Place::Node(node) => (0, Some(node.clone())),
    };
    let service_annotations = service.spec.annotations.clone().map(Shared::new).unwrap_or_default();
    let meta = Meta { created_at: after_all_in(turn, service, place), ..Meta::default() };
    let log_driver = spec.log_driver.clone().or_else(|| turn.log_driver.clone()).map(Shared::new);
    let task = Task {
        annotations: TaskAnnotations::of_new(&service_annotations.name, slot, node_id.as_ref(), &id),
        service_annotations,
        status: TaskStatus {
            state: TaskState::New.into(),
            timestamp: Some(turn.now.wall.into()),
            message: "created".to_owned(),
            ..Default::default()
        },
        id,
        meta,
        spec,
        service_id: Some(service.id.clone()),
        slot,
        node_id,
        desired_state: desired,
        networks: Default::default(),
        endpoint: Some(Shared::new(endpoint(service))),
        log_driver,
        spec_version: service.spec_version,
        extras: TaskExtras::from(Extras {
            job_iteration: is_job(service).then(|| job_iteration(service)),
            ..Extras::default()
        }),
    };
    turn.create(task)
}

/// The age of tasks tells which one of a slot is the newest, and leaders' clocks differ: a task must not look older than
/// one that an earlier leader made.
fn after_all_in(turn: &Turn, service: &Service, place: &Place) -> Option<WallTime> {
    let there = match place {
        Place::Number(slot) => turn.tx.tasks_in_slot(&service.id, *slot),
        Place::Node(node) => turn.tx.tasks_on_node(node),
    };
    let mine = there.iter().filter(|task| task.service_id.as_ref() == Some(&service.id));
    let newest = mine.filter_map(|task| task.meta.created_at).max()?;
    Some(WallTime(newest.0.saturating_add(1)))
}

/// What is allocated for the service, once that fits its spec; before, the spec alone.
fn endpoint(service: &Service) -> Endpoint {
    let wanted = service.spec.endpoint.clone();
    match &service.endpoint {
        Some(allocated) if allocated.spec.clone().unwrap_or_default() == wanted.clone().unwrap_or_default() => {
            Endpoint { spec: wanted, ..allocated.clone() }
        }
        _ => Endpoint { spec: wanted, ..Default::default() },
    }
}

pub(crate) fn is_job(service: &Service) -> bool {
    matches!(service.spec.mode, Some(Mode::ReplicatedJob(_) | Mode::GlobalJob(_)))
}

/// The run that a job is at.
/// Whether a job's task belongs to a run before the present one.
pub(crate) fn is_of_earlier_run(service: &Service, task: &Task) -> bool {
    task.extras.job_iteration.is_some_and(|run| run != job_iteration(service))
}

pub(crate) fn job_iteration(service: &Service) -> u64 {
    let status = service.job_status.as_ref();
    status.and_then(|status| status.job_iteration.as_ref()).map_or(0, |version| version.index)
}

/// What a task of this service desires once it may run.
pub(crate) fn desired_when_running(service: &Service) -> TaskState {
    if is_job(service) { TaskState::Complete } else { TaskState::Running }
}
