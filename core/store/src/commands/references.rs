//! What a service refers to must be there, and what is referred to must stay.

use skep_model::pb::types::{ContainerSpec, NetworkAttachmentConfig, ServiceSpec};
use skep_model::{Code, ConfigId, Network, NetworkId, Object as _, Refusal, SecretId, Service};

use super::service::container;
use crate::read::{Find, Read};
use crate::versions::Dependency;

/// Networks that a service's tasks join: those of the task, or else the legacy ones of the service.
pub(super) fn networks(spec: &ServiceSpec) -> &[NetworkAttachmentConfig] {
    match spec.task.as_ref().map(|task| task.networks.as_slice()) {
        Some(networks) if !networks.is_empty() => networks,
        _ => &spec.networks,
    }
}

/// Whether the network carries the routing mesh.
pub(super) fn is_ingress(network: &Network) -> bool {
    let annotations = network.spec.annotations.as_ref();
    let legacy = annotations.is_some_and(|annotations| annotations.labels.contains_key("com.docker.swarm.internal"));
    network.spec.ingress || legacy && network.name() == "ingress"
}

/// Networks must be there, unless the service had them before; nobody attaches to the ingress network by name. SwarmKit
/// lets a service wait for a network that is gone for ever, since its id never comes again; its clients look first.
pub(super) fn check_networks(
    facts: &impl Find,
    spec: &ServiceSpec,
    stored: Option<&ServiceSpec>,
) -> Result<(), Refusal> {
    let has_it = |target: &str| stored.is_some_and(|spec| networks(spec).iter().any(|known| known.target == target));
    for attachment in networks(spec) {
        let network = NetworkId::optional(&attachment.target).and_then(|id| facts.network(&id));
        match network {
            Some(network) if is_ingress(&network) => {
                return Err(Refusal::invalid(format!(
                    "Service cannot be explicitly attached to the ingress network {:?}",
                    network.name()
                )));
            }
            None if !has_it(&attachment.target) => return Err(Refusal::not_found(Network::KIND, &attachment.target)),
            _ => {}
        }
    }
    Ok(())
}

/// Secrets and configs must exist under the id and name that the spec gives.
pub(super) fn check_dependencies(facts: &impl Find, spec: &ServiceSpec) -> Result<(), Refusal> {
    let Some(container) = container(spec) else { return Ok(()) };
    let is_secret = |id: &str, name: &str| {
        SecretId::optional(id).and_then(|id| facts.secret(&id)).is_some_and(|secret| is_named(&*secret, name))
    };
    let is_config = |id: &str, name: &str| {
        ConfigId::optional(id).and_then(|id| facts.config(&id)).is_some_and(|config| is_named(&*config, name))
    };
    let secrets = container.secrets.iter().filter(|reference| !is_secret(&reference.secret_id, &reference.secret_name));
    refuse_missing("secret", secrets.map(|reference| reference.secret_name.as_str()).collect())?;
    let configs = container.configs.iter().filter(|reference| !is_config(&reference.config_id, &reference.config_name));
    refuse_missing("config", configs.map(|reference| reference.config_name.as_str()).collect())
}

/// An earlier version answers to the name that it had: a service that went back to it keeps it.
fn is_named(object: &impl Dependency, name: &str) -> bool {
    object.given_name() == name
}

fn refuse_missing(kind: &str, names: Vec<&str>) -> Result<(), Refusal> {
    match names.len() {
        0 => Ok(()),
        1 => Err(Refusal::invalid(format!("{kind} not found: {}", names[0]))),
        _ => Err(Refusal::invalid(format!("{kind}s not found: {}", names.join(", ")))),
    }
}

/// Refuses to remove what services still use.
pub(super) fn check_unused(
    facts: &impl Find,
    kind: &str,
    name: &str,
    uses: impl Fn(&ContainerSpec) -> bool,
) -> Result<(), Refusal> {
    let services: Vec<String> = facts
        .services()
        .iter()
        .filter(|service| container(&service.spec).is_some_and(&uses))
        .map(|service| service.name().to_owned())
        .collect();
    if services.is_empty() {
        return Ok(());
    }
    let plural = if services.len() == 1 { "service" } else { "services" };
    Err(Refusal::invalid(format!("{kind} '{name}' is in use by the following {plural}: {}", services.join(", "))))
}

/// Refuses to remove a network that services or live tasks still use.
pub(super) fn check_network_unused(facts: &impl Find, network: &Network) -> Result<(), Refusal> {
    let id = network.id.as_str();
    let in_use =
        |user: String| Err(Refusal::new(Code::FailedPrecondition, format!("network {id} is in use by {user}")));
    let uses = |service: &Service| networks(&service.spec).iter().any(|attachment| attachment.target == id);
    if let Some(service) = facts.services().iter().find(|service| uses(service)) {
        return in_use(format!("service {}", service.id));
    }
    for task in facts.tasks().iter().filter(|task| task.is_wanted() && !task.has_ended()) {
        let asked = task.spec.networks.iter().any(|attachment| attachment.target == id);
        let attached =
            task.networks.iter().any(|attachment| attachment.network.as_ref().is_some_and(|network| network.id == id));
        if asked || attached {
            return in_use(format!("task {}", task.id));
        }
    }
    Ok(())
}
