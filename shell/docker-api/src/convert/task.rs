//! Tasks and their specs.

use skep_model::Refusal;
use skep_model::pb::objects as pb;
use skep_model::pb::types::{self, task_spec, task_status};

use super::words;
use super::{annotations, container, driver, driver_in, map, meta, network, resources, service, text, texts, version};
use crate::json;

/// Outwards.
pub(crate) fn out(task: &pb::Task) -> json::Task<'_> {
    let (version_of, created_at, updated_at) = meta(task.meta.as_ref());
    // Docker stores no name with a task: clients make it of service and slot.
    let (_, labels) = annotations(task.annotations.as_ref());
    json::Task {
        id: text(&task.id),
        version: version_of,
        created_at,
        updated_at,
        labels,
        spec: task.spec.as_deref().map(spec_out).unwrap_or_default(),
        service_id: text(&task.service_id),
        slot: task.slot,
        node_id: text(&task.node_id),
        status: task.status.as_ref().map(status_out).unwrap_or_else(|| json::TaskStatus {
            state: text(words::word(skep_model::TaskState::New)),
            ..Default::default()
        }),
        desired_state: text(words::word(task.desired_state())),
        network_attachments: task
            .networks
            .iter()
            .map(|attachment| json::NetworkAttachment {
                network: attachment.network.as_deref().map(network::swarm_out).unwrap_or_default(),
                addresses: texts(&attachment.addresses),
            })
            .collect(),
        generic_resources: resources::generic_out(&task.assigned_generic_resources),
        job_iteration: task.job_iteration.as_ref().map(|iteration| version(Some(iteration))),
        volumes: (!task.volumes.is_empty()).then(|| {
            task.volumes
                .iter()
                .map(|volume| json::VolumeAttachment {
                    id: text(&volume.id),
                    source: text(&volume.source),
                    target: text(&volume.target),
                })
                .collect()
        }),
    }
}

fn status_out(status: &types::TaskStatus) -> json::TaskStatus<'_> {
    json::TaskStatus {
        timestamp: json::Stamp::from(status.timestamp.as_ref()),
        state: text(words::word(status.state())),
        message: text(&status.message),
        err: text(&status.err),
        container_status: status.runtime_status.as_ref().map(|task_status::RuntimeStatus::Container(container)| {
            json::ContainerStatus {
                container_id: text(&container.container_id),
                pid: container.pid,
                exit_code: container.exit_code,
            }
        }),
        port_status: json::PortStatus {
            ports: status
                .port_status
                .as_ref()
                .map(|ports| ports.ports.iter().map(service::port_out).collect())
                .unwrap_or_default(),
        },
    }
}

/// A task's spec, outwards. The runtime's name is shown in services alone (and for attachments).
pub(crate) fn spec_out(spec: &types::TaskSpec) -> json::TaskSpec<'_> {
    let mut out = json::TaskSpec {
        resources: resources::out(spec),
        restart_policy: spec.restart.as_ref().map(resources::restart_out),
        placement: spec.placement.as_ref().map(resources::placement_out),
        networks: attachments_out(&spec.networks),
        log_driver: spec.log_driver.as_ref().map(driver),
        force_update: spec.force_update,
        ..Default::default()
    };
    match &spec.runtime {
        Some(task_spec::Runtime::Container(container_spec)) => {
            out.container_spec = Some(container::out(container_spec));
        }
        Some(task_spec::Runtime::Attachment(attachment)) => {
            out.attachment_spec = Some(json::NetworkAttachmentSpec { container_id: text(&attachment.container_id) });
            out.runtime = text("attachment");
        }
        Some(task_spec::Runtime::Generic(_)) | None => {}
    }
    out
}

/// Which networks a task is attached to, outwards.
pub(crate) fn attachments_out(networks: &[types::NetworkAttachmentConfig]) -> Vec<json::NetworkAttachmentConfig<'_>> {
    networks
        .iter()
        .map(|config| json::NetworkAttachmentConfig {
            target: text(&config.target),
            aliases: texts(&config.aliases),
            driver_opts: map(&config.driver_attachment_opts),
        })
        .collect()
}

/// A task's spec, inwards.
pub(crate) fn spec_in(spec: json::TaskSpec<'_>) -> Result<types::TaskSpec, Refusal> {
    let pids_limit =
        spec.resources.as_ref().and_then(|resources| resources.limits.as_ref()).map_or(0, |limits| limits.pids);
    let container = match (spec.runtime.as_ref(), spec.container_spec) {
        ("" | "container", Some(container_spec)) => container::into(container_spec, pids_limit)?,
        ("" | "container", None) => return Err(Refusal::invalid("mismatched Runtime and *Spec fields")),
        ("plugin", _) => {
            return Err(Refusal::new(
                skep_model::Code::Unimplemented,
                "TaskTemplate.Runtime \"plugin\": plugins as services are not supported; use \"container\"",
            ));
        }
        _ => return Err(Refusal::invalid("unsupported runtime")),
    };
    Ok(types::TaskSpec {
        runtime: Some(task_spec::Runtime::Container(container)),
        resources: spec.resources.map(resources::into).transpose()?,
        restart: spec.restart_policy.map(resources::restart_in).transpose()?,
        placement: spec.placement.map(resources::placement_in),
        log_driver: spec.log_driver.map(driver_in),
        networks: spec
            .networks
            .into_iter()
            .map(|config| types::NetworkAttachmentConfig {
                target: config.target.into_owned(),
                aliases: config.aliases.into_owned(),
                addresses: Vec::new(),
                driver_attachment_opts: config.driver_opts.into_owned(),
            })
            .collect(),
        force_update: spec.force_update,
        resource_references: Vec::new(),
    })
}
