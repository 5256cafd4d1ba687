//! Published ports: who may have which.

use std::collections::BTreeSet;

use skep_model::pb::types::port_config::PublishMode;
use skep_model::pb::types::{PortConfig, ServiceSpec};
use skep_model::{Code, Refusal, Service, ServiceId};

use super::references::is_ingress;
use crate::read::{Find, Read};

/// Protocol and port.
type Claim = (i32, u32);

fn claims(spec: &ServiceSpec, mode: PublishMode) -> BTreeSet<Claim> {
    let ports = spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    ports.filter(|port| port.published_port != 0 && port.publish_mode() == mode).map(claim).collect()
}

fn claim(port: &PortConfig) -> Claim {
    (port.protocol, port.published_port)
}

/// Whether the service publishes a port on every node.
pub(super) fn needs_ingress(spec: &ServiceSpec) -> bool {
    let mut ports = spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    ports.any(|port| port.publish_mode() == PublishMode::Ingress)
}

/// Refuses, in Docker's words, ports of the routing mesh where no network carries it, and ports that other services
/// hold. What the service publishes already is its own.
pub(super) fn check(facts: &impl Find, spec: &ServiceSpec, stored: Option<&Service>) -> Result<(), Refusal> {
    if spec.endpoint.is_none() || stored.is_some_and(|stored| stored.spec.endpoint == spec.endpoint) {
        return Ok(());
    }
    check_conflicts(facts, spec, stored.map(|stored| &stored.id))?;
    if needs_ingress(spec) && !facts.networks().iter().any(|network| is_ingress(network)) {
        let message = "service needs ingress network, but no ingress network is present";
        return Err(Refusal::new(Code::FailedPrecondition, message));
    }
    Ok(())
}

/// Refuses ports that other services hold (interop §7.8). Host ports of two services may meet: the scheduler keeps
/// them apart.
fn check_conflicts(facts: &impl Find, spec: &ServiceSpec, own: Option<&ServiceId>) -> Result<(), Refusal> {
    let (ingress, host) = (claims(spec, PublishMode::Ingress), claims(spec, PublishMode::Host));
    if ingress.is_empty() && host.is_empty() {
        return Ok(());
    }
    for service in facts.services().iter().filter(|service| own != Some(&service.id)) {
        let specified = service.spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        let allocated = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        for port in specified.chain(allocated).filter(|port| port.published_port != 0) {
            let how = match port.publish_mode() {
                PublishMode::Host if ingress.contains(&claim(port)) => "a host-published port",
                PublishMode::Ingress if ingress.contains(&claim(port)) || host.contains(&claim(port)) => {
                    "an ingress port"
                }
                _ => continue,
            };
            return Err(Refusal::invalid(format!(
                "port '{}' is already in use by service '{}' ({}) as {how}",
                port.published_port,
                service.name(),
                service.id
            )));
        }
    }
    Ok(())
}
