//! Services: create, update (and roll back), remove.

use skep_model::objects::version;
use skep_model::pb::messages as m;
use skep_model::pb::messages::update_service_request::Rollback;
use skep_model::pb::types::service_spec::Mode;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::pb::types::update_status::UpdateState;
use skep_model::pb::types::{ContainerSpec, JobStatus, ServiceSpec, UpdateStatus};
use skep_model::{Code, Kept, Meta, Now, Refusal, Service, ServiceId, Verbatim};

use super::context::CommandContext;
use super::lookup::{self, in_sequence, invalid_argument, quoted, required, written};
use super::{ports, references, validate};
use crate::tx::Tx;
use crate::versions;

pub(super) fn create(
    tx: &mut Tx,
    context: &mut CommandContext,
    request: m::CreateServiceRequest,
) -> Result<m::CreateServiceResponse, Refusal> {
    let spec = request.spec.ok_or_else(invalid_argument)?;
    validate::service(&spec, context.extended_constraints)?;
    references::check_networks(tx, &spec, None)?;
    ports::check(tx, &spec, None)?;
    references::check_dependencies(tx, &spec)?;
    let service = Service {
        id: ServiceId::random(context.rng),
        meta: Meta::default(),
        job_status: is_job(&spec).then(|| job_status(0, context.now)),
        spec,
        endpoint: None,
        update_status: None,
        previous_spec: None,
        pending_delete: false,
        spec_version: Some(0),
        previous_spec_version: None,
        unknown: Default::default(),
    };
    let id = service.id.clone();
    tx.create(service)?;
    Ok(m::CreateServiceResponse { service: Some(Kept::from(&*written::<Service>(tx, &id)?)) })
}

pub(super) fn update(
    tx: &mut Tx,
    context: &CommandContext,
    request: m::UpdateServiceRequest,
) -> Result<m::UpdateServiceResponse, Refusal> {
    let rollback = request.rollback() == Rollback::Previous;
    let quoted = quoted(request.service_version.as_ref())?;
    let spec = request.spec.ok_or_else(invalid_argument)?;
    if request.service_id.is_empty() {
        return Err(invalid_argument());
    }
    validate::service(&spec, context.extended_constraints)?;
    let stored = required::<Service>(tx, &request.service_id)?;
    references::check_networks(tx, &spec, Some(&stored.spec))?;
    ports::check(tx, &spec, Some(&stored))?;
    check_unchangeable(&stored, &spec)?;
    references::check_dependencies(tx, &spec)?;

    let mut service = (*stored).clone();
    if let Some(status) = &mut service.job_status {
        let iteration = status.job_iteration.as_ref().map_or(0, |iteration| iteration.index);
        *status = job_status(iteration + 1, context.now);
    }
    if rollback {
        if let Some(previous) = &service.previous_spec {
            references::check_networks(tx, previous, Some(&stored.spec))?;
            ports::check(tx, previous, Some(&stored))?;
            references::check_dependencies(tx, previous)?;
        }
        roll_back(&mut service, context.now)?;
    } else {
        if !versions::goes_back_further(&stored) {
            service.previous_spec = Some(service.spec.clone());
            service.previous_spec_version = service.spec_version;
        }
        service.spec = keep_registry_auth(&stored.spec, spec);
        service.spec_version = Some(quoted);
        service.update_status = None;
    }
    in_sequence(&*stored, quoted)?;
    tx.update(service)?;
    Ok(m::UpdateServiceResponse { service: Some(Kept::from(&*written::<Service>(tx, &stored.id)?)) })
}

/// What an update may not touch.
fn check_unchangeable(stored: &Service, spec: &ServiceSpec) -> Result<(), Refusal> {
    let unimplemented = |message: &str| Err(Refusal::new(Code::Unimplemented, message));
    let task_networks = |spec: &ServiceSpec| spec.task.as_ref().map(|task| task.networks.clone()).unwrap_or_default();
    if spec.networks != stored.spec.networks && task_networks(spec) == task_networks(&stored.spec) {
        return unimplemented("networks must be migrated to TaskSpec before being changed");
    }
    let kind = |mode: &Option<Mode>| mode.as_ref().map(std::mem::discriminant);
    if kind(&spec.mode) != kind(&stored.spec.mode) {
        return unimplemented("service mode change is not allowed");
    }
    if lookup::name(spec.annotations.as_ref()) != stored.name() {
        return unimplemented("renaming services is not supported");
    }
    Ok(())
}

/// Swaps the spec with the one before (interop §7.4).
fn roll_back(service: &mut Service, now: Now) -> Result<(), Refusal> {
    let Some(previous) = service.previous_spec.take() else {
        let message = format!("service {} does not have a previous spec", service.id);
        return Err(Refusal::new(Code::FailedPrecondition, message));
    };
    service.previous_spec = Some(std::mem::replace(&mut service.spec, previous));
    std::mem::swap(&mut service.spec_version, &mut service.previous_spec_version);
    service.update_status = Some(UpdateStatus {
        state: UpdateState::RollbackStarted.into(),
        message: "manually requested rollback".to_owned(),
        started_at: Some(now.wall.into()),
        completed_at: None,
    });
    Ok(())
}

/// An update that says nothing of the registry goes on with the credentials that are there.
fn keep_registry_auth(stored: &ServiceSpec, spec: Verbatim<ServiceSpec>) -> Verbatim<ServiceSpec> {
    let known = container(stored).and_then(|container| container.pull_options.clone());
    let silent = container(&spec).is_some_and(|container| container.pull_options.is_none());
    if known.is_none() || !silent {
        return spec;
    }
    spec.edit(|spec| {
        if let Some(Runtime::Container(container)) = spec.task.as_mut().and_then(|task| task.runtime.as_mut()) {
            container.pull_options = known;
        }
    })
}

pub(super) fn remove(tx: &mut Tx, request: m::RemoveServiceRequest) -> Result<m::RemoveServiceResponse, Refusal> {
    let service = required::<Service>(tx, &request.service_id)?;
    tx.remove::<Service>(&service.id)?;
    Ok(m::RemoveServiceResponse {})
}

/// The container that a service runs, if it runs one.
pub(super) fn container(spec: &ServiceSpec) -> Option<&ContainerSpec> {
    match spec.task.as_ref()?.runtime.as_ref()? {
        Runtime::Container(container) => Some(container),
        _ => None,
    }
}

fn is_job(spec: &ServiceSpec) -> bool {
    matches!(spec.mode, Some(Mode::ReplicatedJob(_) | Mode::GlobalJob(_)))
}

fn job_status(iteration: u64, now: Now) -> JobStatus {
    JobStatus { job_iteration: Some(version(iteration)), last_execution: Some(now.wall.into()) }
}
