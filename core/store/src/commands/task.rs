//! Tasks: users read them, and may remove one by its id.

use std::borrow::Cow;
use std::sync::Arc;

use skep_model::pb::messages as m;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::pb::types::{TaskSpec, TaskState};
use skep_model::{Kept, Node, NodeId, Refusal, Service, ServiceId, Task, constraint};

use super::lookup::{any_of, any_prefix, has_labels, required};
use crate::read::{Find, Read};
use crate::tx::Tx;

pub(super) fn get(facts: &impl Find, request: m::GetTaskRequest) -> Result<m::GetTaskResponse, Refusal> {
    let task = required::<Task>(facts, &request.task_id)?;
    Ok(m::GetTaskResponse { task: Some(Kept::from(&*task)) })
}

pub(super) fn remove(tx: &mut Tx, request: m::RemoveTaskRequest) -> Result<m::RemoveTaskResponse, Refusal> {
    let task = required::<Task>(tx, &request.task_id)?;
    tx.remove::<Task>(&task.id)?;
    Ok(m::RemoveTaskResponse {})
}

pub(super) fn list(facts: &impl Find, request: m::ListTasksRequest) -> m::ListTasksResponse {
    let found = matching(facts, &request.filters.unwrap_or_default());
    m::ListTasksResponse { tasks: found.iter().map(|task| Kept::from(&**task)).collect() }
}

/// The tasks that pass the filters, as they are stored.
pub(super) fn matching(facts: &impl Find, filters: &m::list_tasks_request::Filters) -> Vec<Arc<Task>> {
    let wanted = Wanted::new(filters);
    let mut found = candidates(facts, filters);
    found.retain(|task| wanted.passes(facts, task));
    found
}

/// Filters, ready to be asked.
pub(super) struct Wanted<'a> {
    filters: &'a m::list_tasks_request::Filters,
    /// A name is made for each task that is asked for it.
    by_name: bool,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(filters: &'a m::list_tasks_request::Filters) -> Self {
        Self { filters, by_name: !filters.names.is_empty() || !filters.name_prefixes.is_empty() }
    }

    pub(super) fn passes(&self, facts: &impl Find, task: &Task) -> bool {
        let filters = self.filters;
        let on = |id: Option<&str>, wanted: &[String]| any_of(id.unwrap_or_default(), wanted);
        (!self.by_name || self.is_named(task))
            && any_prefix(task.id.as_str(), &filters.id_prefixes)
            && has_labels(Some(&task.service_annotations.labels), &filters.labels)
            && on(task.service_id.as_ref().map(ServiceId::as_str), &filters.service_ids)
            && on(task.node_id.as_ref().map(NodeId::as_str), &filters.node_ids)
            && (filters.runtimes.is_empty() || any_of(&runtime_name(&task.spec), &filters.runtimes))
            && (filters.desired_states.is_empty() || filters.desired_states.contains(&task.desired_state.into()))
            && (!filters.up_to_date || is_up_to_date(facts, task))
    }

    fn is_named(&self, task: &Task) -> bool {
        let name = task.name();
        any_of(&name, &self.filters.names) && any_prefix(&name, &self.filters.name_prefixes)
    }
}

/// The narrowest index that holds every task that may pass.
fn candidates(facts: &impl Find, filters: &m::list_tasks_request::Filters) -> Vec<Arc<Task>> {
    if !filters.service_ids.is_empty() {
        return each_once(
            &filters.service_ids,
            |id: ServiceId| facts.tasks_of_service(&id),
            |id| ServiceId::optional(id),
        );
    }
    if !filters.node_ids.is_empty() {
        return each_once(&filters.node_ids, |id: NodeId| facts.tasks_on_node(&id), |id| NodeId::optional(id));
    }
    if !filters.desired_states.is_empty() {
        let state = |number: &i32| TaskState::try_from(*number).ok();
        return each_once(&filters.desired_states, |wanted| facts.tasks_desiring(wanted), state);
    }
    facts.tasks()
}

fn each_once<W, I>(
    wanted: &[W],
    tasks: impl Fn(I) -> Vec<Arc<Task>>,
    parse: impl Fn(&W) -> Option<I>,
) -> Vec<Arc<Task>> {
    let mut found: Vec<Arc<Task>> = wanted.iter().filter_map(parse).flat_map(tasks).collect();
    found.sort_by(|left, right| left.id.cmp(&right.id));
    found.dedup_by(|left, right| left.id == right.id);
    found
}

/// SwarmKit's word for what runs a task.
pub(super) fn runtime_name(spec: &TaskSpec) -> Cow<'static, str> {
    match &spec.runtime {
        Some(Runtime::Container(_)) => "container".into(),
        Some(Runtime::Attachment(_)) => "attachment".into(),
        Some(Runtime::Generic(generic)) => generic.kind.to_lowercase().into(),
        None => "".into(),
    }
}

/// Whether the task is what its service asks for now (interop §7.4).
fn is_up_to_date(facts: &impl Find, task: &Task) -> bool {
    let Some(service) = task.service_id.as_ref().and_then(|id| facts.service(id)) else { return false };
    if task.spec_version.is_some() && task.spec_version == service.spec_version {
        return true;
    }
    let node = task.node_id.as_ref().and_then(|id| facts.node(id));
    is_same_work(&service, task, node.as_deref())
}

fn is_same_work(service: &Service, task: &Task, node: Option<&Node>) -> bool {
    let empty = TaskSpec::default();
    let mut wanted = service.spec.task.as_ref().unwrap_or(&empty).clone();
    let placement_alone = TaskSpec { placement: task.spec.placement.clone(), ..wanted.clone() } == *task.spec
        && wanted.placement != task.spec.placement;
    if placement_alone && node.is_some_and(|node| fits(&wanted, node)) {
        return true;
    }
    // A task that has its image does not care how it would be pulled.
    let has_image =
        task.desired_state <= TaskState::Running && (TaskState::Ready..=TaskState::Running).contains(&task.state());
    if let (true, Some(Runtime::Container(wanted)), Some(Runtime::Container(current))) =
        (has_image, &mut wanted.runtime, &task.spec.runtime)
    {
        wanted.pull_options = current.pull_options.clone();
    }
    wanted == *task.spec && task.endpoint.as_ref().is_none_or(|endpoint| endpoint.spec == service.spec.endpoint)
}

fn fits(spec: &TaskSpec, node: &Node) -> bool {
    let texts = spec.placement.as_ref().map(|placement| placement.constraints.as_slice()).unwrap_or_default();
    constraint::parse(texts).is_ok_and(|constraints| constraint::node_matches(&constraints, node))
}
