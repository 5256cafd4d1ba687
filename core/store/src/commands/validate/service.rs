//! A service's spec.

use std::collections::BTreeSet;

use skep_model::pb::types::endpoint_spec::ResolutionMode;
use skep_model::pb::types::port_config::PublishMode;
use skep_model::pb::types::service_spec::Mode;
use skep_model::pb::types::{EndpointSpec, ServiceSpec, TaskSpec, UpdateConfig};
use skep_model::{Refusal, labels};

use super::{is_negative, names, task};

/// Everything that a service's spec alone can tell.
pub(crate) fn service(spec: &ServiceSpec, extended_constraints: bool) -> Result<(), Refusal> {
    names::annotations(spec.annotations.as_ref())?;
    spec.annotations.as_ref().map_or(Ok(()), |annotations| labels::check_service(&annotations.labels))?;
    let empty = TaskSpec::default();
    let labels = spec.annotations.as_ref().map(|annotations| annotations.labels.clone()).unwrap_or_default();
    task::task(spec.task.as_ref().unwrap_or(&empty), labels, extended_constraints)?;
    mode(spec)?;
    if matches!(spec.mode, Some(Mode::ReplicatedJob(_) | Mode::GlobalJob(_))) {
        if spec.update.is_some() {
            return Err(Refusal::invalid("Jobs may not have an update config"));
        }
    } else {
        spec.update.as_ref().map_or(Ok(()), update)?;
    }
    spec.endpoint.as_ref().map_or(Ok(()), endpoint)
}

fn mode(spec: &ServiceSpec) -> Result<(), Refusal> {
    // The numbers are signed in Docker's API.
    let negative = |number: u64| i64::try_from(number).is_err();
    let message = match &spec.mode {
        Some(Mode::Replicated(replicated)) if negative(replicated.replicas) => {
            "Number of replicas must be non-negative"
        }
        Some(Mode::ReplicatedJob(job)) if negative(job.max_concurrent) => {
            "Maximum concurrent jobs must not be negative"
        }
        Some(Mode::ReplicatedJob(job)) if negative(job.total_completions) => {
            "Total completed jobs must not be negative"
        }
        Some(_) => return Ok(()),
        None => "Unrecognized service mode",
    };
    Err(Refusal::invalid(message))
}

fn update(config: &UpdateConfig) -> Result<(), Refusal> {
    if config.delay.as_ref().is_some_and(is_negative) {
        return Err(Refusal::invalid("TaskSpec: update-delay cannot be negative"));
    }
    if config.monitor.as_ref().is_some_and(is_negative) {
        return Err(Refusal::invalid("TaskSpec: update-monitor cannot be negative"));
    }
    if !(0.0..=1.0).contains(&config.max_failure_ratio) {
        return Err(Refusal::invalid("TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1"));
    }
    Ok(())
}

fn endpoint(spec: &EndpointSpec) -> Result<(), Refusal> {
    let mut published = BTreeSet::new();
    for port in &spec.ports {
        if spec.mode() == ResolutionMode::Dnsrr && port.publish_mode() == PublishMode::Ingress {
            return Err(Refusal::invalid(
                "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
            ));
        }
        if port.published_port != 0 && !published.insert((port.published_port, port.protocol)) {
            return Err(Refusal::invalid("EndpointSpec: duplicate published ports provided"));
        }
    }
    Ok(())
}
