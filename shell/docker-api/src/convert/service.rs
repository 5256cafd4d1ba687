//! Services and their specs.

use skep_model::Refusal;
use skep_model::pb::objects as pb;
use skep_model::pb::types::{self, service_spec::Mode, task_spec};

use super::{annotations, duration, meta, nanos, task, text, version, words};
use crate::json;

/// Outwards.
pub(crate) fn out(service: &pb::Service, status: Option<json::ServiceStatus>) -> json::Service<'_> {
    let (version_of, created_at, updated_at) = meta(service.meta.as_ref());
    json::Service {
        id: text(&service.id),
        version: version_of,
        created_at,
        updated_at,
        spec: service.spec.as_deref().map(spec_out).unwrap_or_default(),
        previous_spec: service.previous_spec.as_deref().map(spec_out),
        endpoint: service.endpoint.as_ref().map(endpoint_out).unwrap_or_default(),
        update_status: service.update_status.as_ref().map(|status| json::UpdateStatus {
            state: text(words::word(status.state())),
            started_at: set_stamp(status.started_at.as_ref()),
            completed_at: set_stamp(status.completed_at.as_ref()),
            message: text(&status.message),
        }),
        service_status: status,
        job_status: service.job_status.as_ref().map(|status| json::JobStatus {
            job_iteration: version(status.job_iteration.as_ref()),
            last_execution: json::Stamp::from(status.last_execution.as_ref()),
        }),
    }
}

/// Absent stamps, and those of 1970, are not shown.
fn set_stamp(stamp: Option<&prost_types::Timestamp>) -> Option<json::Stamp> {
    stamp.filter(|stamp| stamp.seconds != 0).map(|stamp| json::Stamp::from(Some(stamp)))
}

fn endpoint_out(endpoint: &pb::Endpoint) -> json::Endpoint<'_> {
    json::Endpoint {
        spec: endpoint.spec.as_ref().map(endpoint_spec_out).unwrap_or_default(),
        ports: endpoint.ports.iter().map(port_out).collect(),
        virtual_ips: endpoint
            .virtual_ips
            .iter()
            .map(|ip| json::EndpointVirtualIp { network_id: text(&ip.network_id), addr: text(&ip.addr) })
            .collect(),
    }
}

fn endpoint_spec_out(spec: &types::EndpointSpec) -> json::EndpointSpec<'_> {
    json::EndpointSpec { mode: text(words::word(spec.mode())), ports: spec.ports.iter().map(port_out).collect() }
}

/// A published port.
pub(crate) fn port_out(port: &types::PortConfig) -> json::PortConfig<'_> {
    json::PortConfig {
        name: text(&port.name),
        protocol: text(words::word(port.protocol())),
        target_port: port.target_port,
        published_port: port.published_port,
        publish_mode: text(words::word(port.publish_mode())),
    }
}

/// A service's spec, outwards.
pub(crate) fn spec_out(spec: &types::ServiceSpec) -> json::ServiceSpec<'_> {
    let (name, labels) = annotations(spec.annotations.as_ref());
    let mut task_template = spec.task.as_ref().map(task::spec_out).unwrap_or_default();
    if task_template.networks.is_empty() {
        task_template.networks = task::attachments_out(&spec.networks);
    }
    task_template.runtime = match spec.task.as_ref().and_then(|task| task.runtime.as_ref()) {
        Some(task_spec::Runtime::Generic(generic)) => text(&generic.kind),
        _ => text("container"),
    };
    json::ServiceSpec {
        name,
        labels,
        task_template,
        mode: mode_out(spec.mode.as_ref()),
        update_config: spec.update.as_ref().map(update_out),
        rollback_config: spec.rollback.as_ref().map(update_out),
        networks: Vec::new(),
        endpoint_spec: spec.endpoint.as_ref().map(endpoint_spec_out),
    }
}

fn mode_out(mode: Option<&Mode>) -> json::ServiceMode {
    let mut out = json::ServiceMode::default();
    match mode {
        Some(Mode::Replicated(mode)) => {
            out.replicated = Some(json::ReplicatedService { replicas: Some(mode.replicas) });
        }
        Some(Mode::Global(_)) => out.global = Some(json::GlobalService {}),
        Some(Mode::ReplicatedJob(job)) => {
            out.replicated_job = Some(json::ReplicatedJob {
                max_concurrent: Some(job.max_concurrent),
                total_completions: Some(job.total_completions),
            });
        }
        Some(Mode::GlobalJob(_)) => out.global_job = Some(json::GlobalService {}),
        None => {}
    }
    out
}

fn update_out(update: &types::UpdateConfig) -> json::UpdateConfig<'_> {
    json::UpdateConfig {
        parallelism: update.parallelism,
        delay: update.delay.as_ref().map_or(0, nanos),
        failure_action: text(words::word(update.failure_action())),
        monitor: update.monitor.as_ref().map_or(0, nanos),
        max_failure_ratio: json::Float(update.max_failure_ratio),
        order: text(words::word(update.order())),
    }
}

/// A service's spec, inwards. The name must have been filled in.
pub(crate) fn spec_in(spec: json::ServiceSpec<'_>) -> Result<types::ServiceSpec, Refusal> {
    Ok(types::ServiceSpec {
        annotations: Some(types::Annotations {
            name: spec.name.into_owned(),
            labels: spec.labels.into_owned(),
            indices: Vec::new(),
        }),
        task: Some(task::spec_in(spec.task_template)?),
        mode: Some(mode_in(spec.mode)?),
        update: spec.update_config.map(update_in).transpose()?,
        networks: Vec::new(),
        endpoint: spec.endpoint_spec.map(endpoint_in).transpose()?,
        rollback: spec.rollback_config.map(update_in).transpose()?,
    })
}

fn mode_in(mode: json::ServiceMode) -> Result<Mode, Refusal> {
    let named =
        [mode.global.is_some(), mode.replicated.is_some(), mode.replicated_job.is_some(), mode.global_job.is_some()];
    if named.into_iter().filter(|named| *named).count() > 1 {
        return Err(Refusal::invalid("must specify only one service mode"));
    }
    if mode.global.is_some() {
        return Ok(Mode::Global(types::GlobalService {}));
    }
    if mode.global_job.is_some() {
        return Ok(Mode::GlobalJob(types::GlobalJob {}));
    }
    if let Some(job) = mode.replicated_job {
        let max_concurrent = job.max_concurrent.unwrap_or(1);
        let total_completions = job.total_completions.unwrap_or(max_concurrent);
        return Ok(Mode::ReplicatedJob(types::ReplicatedJob { max_concurrent, total_completions }));
    }
    let replicas = mode.replicated.and_then(|replicated| replicated.replicas).unwrap_or(1);
    Ok(Mode::Replicated(types::ReplicatedService { replicas }))
}

fn update_in(update: json::UpdateConfig<'_>) -> Result<types::UpdateConfig, Refusal> {
    let failure_action = match update.failure_action.as_ref() {
        "" => types::update_config::FailureAction::Pause,
        word => {
            words::exact(word).ok_or_else(|| Refusal::invalid(format!("unrecognized update failure action {word}")))?
        }
    };
    let order = match update.order.as_ref() {
        "" => types::update_config::UpdateOrder::StopFirst,
        word => words::exact(word).ok_or_else(|| Refusal::invalid(format!("unrecognized update order {word}")))?,
    };
    Ok(types::UpdateConfig {
        parallelism: update.parallelism,
        // Always there on the wire: a value, not a pointer, in Docker.
        delay: Some(duration(update.delay)),
        failure_action: failure_action.into(),
        monitor: (update.monitor != 0).then(|| duration(update.monitor)),
        max_failure_ratio: update.max_failure_ratio.0,
        order: order.into(),
    })
}

fn endpoint_in(spec: json::EndpointSpec<'_>) -> Result<types::EndpointSpec, Refusal> {
    let mode = match spec.mode.as_ref() {
        "" => types::endpoint_spec::ResolutionMode::Vip,
        word => words::exact(word).ok_or_else(|| Refusal::invalid(format!("invalid resolution mode: {word:?}")))?,
    };
    let ports = spec.ports.into_iter().map(port_in).collect::<Result<_, _>>()?;
    Ok(types::EndpointSpec { mode: mode.into(), ports })
}

fn port_in(port: json::PortConfig<'_>) -> Result<types::PortConfig, Refusal> {
    let protocol = match port.protocol.as_ref() {
        "" => types::port_config::Protocol::Tcp,
        word => words::parse(word).ok_or_else(|| {
            Refusal::invalid(format!("EndpointSpec.Ports.Protocol {word:?} is none of tcp, udp and sctp"))
        })?,
    };
    let publish_mode = match port.publish_mode.as_ref() {
        "" => types::port_config::PublishMode::Ingress,
        word => words::parse(word).ok_or_else(|| {
            Refusal::invalid(format!("EndpointSpec.Ports.PublishMode {word:?} is neither ingress nor host"))
        })?,
    };
    Ok(types::PortConfig {
        name: port.name.into_owned(),
        protocol: protocol.into(),
        target_port: port.target_port,
        published_port: port.published_port,
        publish_mode: publish_mode.into(),
    })
}
