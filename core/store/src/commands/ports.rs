//! Published ports: who may have which.

use std::collections::BTreeSet;

use skep_model::pb::types::port_config::PublishMode;
use skep_model::pb::types::{PortConfig, ServiceSpec};
use skep_model::{Code, Refusal, Service, ServiceId};

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

/// The routing mesh is not there yet. What another manager published is left alone as long as it does not change.
pub(super) fn check_ingress(spec: &ServiceSpec, stored: Option<&Service>) -> Result<(), Refusal> {
    let mut ports = spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let unchanged = stored.is_some_and(|stored| stored.spec.endpoint == spec.endpoint);
    match ports.find(|port| port.publish_mode() == PublishMode::Ingress) {
        Some(port) if !unchanged => Err(Refusal::new(
            Code::Unimplemented,
            format!(
                "ingress publication is not available yet: publish port {} with mode=host, for example \
                 --publish mode=host,target={},published={}",
                port.target_port, port.target_port, port.published_port
            ),
        )),
        _ => Ok(()),
    }
}

/// Refuses ports that other services hold (interop §7.8). Host ports of two services may meet: the scheduler keeps
/// them apart.
pub(super) fn check_conflicts(facts: &impl Find, spec: &ServiceSpec, own: Option<&ServiceId>) -> Result<(), Refusal> {
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
