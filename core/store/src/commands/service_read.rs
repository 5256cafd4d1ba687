//! Services as users read them.

use skep_model::defaults;
use skep_model::pb::messages as m;
use skep_model::pb::messages::list_service_statuses_response::ServiceStatus;
use skep_model::pb::types::restart_policy::RestartCondition;
use skep_model::pb::types::service_spec::Mode;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::pb::types::{RestartPolicy, ServiceSpec, TaskState, UpdateConfig};
use skep_model::time::proto_duration;
use skep_model::{Kept, Refusal, Service, ServiceId, Task};

use super::lookup::{Filters, any_of, required};
use super::task::runtime_name;
use crate::read::{Find, Read};

pub(super) fn get(facts: &impl Find, request: m::GetServiceRequest) -> Result<m::GetServiceResponse, Refusal> {
    let service = required::<Service>(facts, &request.service_id)?;
    let mut kept = Kept::from(&*service);
    if request.insert_defaults {
        kept.value.spec = Some(service.spec.edit(insert_defaults));
    }
    Ok(m::GetServiceResponse { service: Some(kept) })
}

pub(super) fn list(facts: &impl Find, request: m::ListServicesRequest) -> m::ListServicesResponse {
    let filters = request.filters.unwrap_or_default();
    let runtimes = filters.runtimes;
    let common = Filters {
        names: filters.names,
        name_prefixes: filters.name_prefixes,
        id_prefixes: filters.id_prefixes,
        labels: filters.labels,
    };
    let services = common.all(facts, |service: &Service| service.spec.annotations.as_ref());
    let runs = |service: &Service| {
        let runtime = service.spec.task.as_ref().map(runtime_name);
        runtimes.is_empty() || any_of(&runtime.unwrap_or_default(), &runtimes)
    };
    m::ListServicesResponse {
        services: services.iter().filter(|service| runs(service)).map(|service| Kept::from(&**service)).collect(),
    }
}

pub(super) fn statuses(facts: &impl Find, request: m::ListServiceStatusesRequest) -> m::ListServiceStatusesResponse {
    m::ListServiceStatusesResponse { statuses: request.services.into_iter().map(|id| status(facts, id)).collect() }
}

/// How many tasks a service wants, runs and (for jobs) has completed.
fn status(facts: &impl Find, service_id: String) -> ServiceStatus {
    let mut status = ServiceStatus { service_id, ..ServiceStatus::default() };
    let Some(id) = ServiceId::optional(&status.service_id) else { return status };
    let service = facts.service(&id);
    let mode = service.as_ref().and_then(|service| service.spec.mode.as_ref());
    let wanted = match mode {
        Some(Mode::Replicated(replicated)) => Some(replicated.replicas),
        Some(Mode::ReplicatedJob(job)) => Some(job.max_concurrent),
        Some(Mode::Global(_) | Mode::GlobalJob(_)) => None,
        // A service that is gone wants nothing, though its tasks may still end.
        None => Some(0),
    };
    status.desired_tasks = wanted.unwrap_or(0);
    let job = service.as_ref().and_then(|service| service.job_status.as_ref());
    let iteration = job.map(|job| job.job_iteration.as_ref().map_or(0, |iteration| iteration.index));
    for task in facts.tasks_of_service(&id) {
        if iteration.is_none_or(|iteration| task.extras.job_iteration == Some(iteration)) {
            count(&mut status, &task, iteration.is_some(), wanted.is_none());
        }
    }
    status
}

fn count(status: &mut ServiceStatus, task: &Task, job: bool, global: bool) {
    let completed = task.state() == TaskState::Complete;
    status.completed_tasks += u64::from(job && completed);
    status.running_tasks += u64::from(task.state() == TaskState::Running);
    let wanted = task.desired_state == TaskState::Running || task.desired_state == TaskState::Complete && !completed;
    status.desired_tasks += u64::from(global && wanted);
}

/// Fills in what the spec leaves to its defaults (interop §6).
fn insert_defaults(spec: &mut ServiceSpec) {
    if let Some(task) = &mut spec.task {
        if let Some(Runtime::Container(container)) = &mut task.runtime {
            container.stop_grace_period.get_or_insert_with(|| proto_duration(defaults::STOP_GRACE_PERIOD));
            container.pull_options.get_or_insert_default();
            container.dns_config.get_or_insert_default();
        }
        task.resources.get_or_insert_default();
        let restart = task.restart.get_or_insert_with(|| RestartPolicy {
            condition: RestartCondition::Any.into(),
            ..RestartPolicy::default()
        });
        restart.delay.get_or_insert_with(|| proto_duration(defaults::RESTART_DELAY));
        task.placement.get_or_insert_default();
    }
    for config in [&mut spec.update, &mut spec.rollback] {
        let config = config.get_or_insert_with(|| UpdateConfig {
            parallelism: defaults::UPDATE_PARALLELISM,
            ..UpdateConfig::default()
        });
        config.monitor.get_or_insert_with(|| proto_duration(defaults::UPDATE_MONITOR));
    }
}
