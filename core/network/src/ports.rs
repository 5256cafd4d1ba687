//! Published ports of the routing mesh, per protocol (interop §8). Ports in host mode are each node's business.

use std::collections::{BTreeMap, BTreeSet};

use skep_model::ServiceId;
use skep_model::pb::types::PortConfig;
use skep_model::pb::types::port_config::{Protocol, PublishMode};

use crate::error::AllocateError;
use crate::numbers::Numbers;

/// First port given to services that name none.
pub const DYNAMIC_FIRST: u32 = 30_000;
/// Last port given to services that name none.
pub const DYNAMIC_LAST: u32 = 32_767;

/// Who publishes which port.
#[derive(Clone, Debug)]
pub struct PortBook {
    dynamic: BTreeMap<i32, Numbers>,
    owners: BTreeMap<(i32, u32), ServiceId>,
    owned: BTreeMap<ServiceId, BTreeSet<(i32, u32)>>,
    released: bool,
}

impl Default for PortBook {
    fn default() -> Self {
        let space = |protocol: Protocol| (i32::from(protocol), Numbers::new(DYNAMIC_FIRST, DYNAMIC_LAST));
        let dynamic = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(space).into_iter().collect();
        Self { dynamic, owners: BTreeMap::new(), owned: BTreeMap::new(), released: false }
    }
}

impl PortBook {
    /// Notes the ports that a service says it publishes, and gives back what it published beyond.
    pub fn sync(&mut self, service: &ServiceId, ports: &[PortConfig]) {
        let says: Vec<(i32, u32)> = ports.iter().filter(|port| is_mesh(port)).map(key).collect();
        self.release_except(service, &says);
        for (protocol, port) in says {
            if port != 0 && !self.owners.contains_key(&(protocol, port)) {
                self.claim(protocol, port, service);
            }
        }
    }

    /// The ports of a service as they shall be: those it names, those it had, new ones for the rest. On an error it
    /// keeps what it had.
    pub fn assign(
        &mut self,
        service: &ServiceId,
        wanted: &[PortConfig],
        had: &[PortConfig],
    ) -> Result<Vec<PortConfig>, AllocateError> {
        let mut result: Vec<PortConfig> = wanted.to_vec();
        let named: Vec<(i32, u32)> =
            wanted.iter().filter(|port| is_mesh(port) && port.published_port != 0).map(key).collect();
        for &(protocol, port) in &named {
            if let Some(owner) = self.owners.get(&(protocol, port)).filter(|owner| *owner != service) {
                return Err(AllocateError::PortTaken { port, protocol: word(protocol), service: owner.clone() });
            }
        }
        // The same port of the container keeps the published one that it had.
        let mut spare: Vec<&PortConfig> = had
            .iter()
            .filter(|port| is_mesh(port) && port.published_port != 0 && !named.contains(&key(port)))
            .collect();
        let mut fresh = Vec::new();
        for port in result.iter_mut().filter(|port| is_mesh(port) && port.published_port == 0) {
            if let Some(position) = spare.iter().position(|had| same_target(had, port)) {
                port.published_port = spare.swap_remove(position).published_port;
                continue;
            }
            let space = self.dynamic.get_mut(&port.protocol);
            match space.and_then(Numbers::take_any) {
                Some(number) => {
                    port.published_port = number;
                    fresh.push((port.protocol, number));
                }
                None => {
                    for (protocol, number) in fresh {
                        self.free_number(protocol, number);
                    }
                    return Err(AllocateError::PortsExhausted { protocol: word(port.protocol) });
                }
            }
        }
        for (protocol, number) in fresh {
            self.claim(protocol, number, service);
        }
        self.sync(service, &result);
        Ok(result)
    }

    /// Whether something was given back since this was last asked.
    pub fn take_released(&mut self) -> bool {
        std::mem::take(&mut self.released)
    }

    fn claim(&mut self, protocol: i32, port: u32, service: &ServiceId) {
        if (DYNAMIC_FIRST..=DYNAMIC_LAST).contains(&port)
            && let Some(space) = self.dynamic.get_mut(&protocol)
        {
            space.take(port);
        }
        self.owners.insert((protocol, port), service.clone());
        self.owned.entry(service.clone()).or_default().insert((protocol, port));
    }

    fn release_except(&mut self, service: &ServiceId, keep: &[(i32, u32)]) {
        let Some(owned) = self.owned.get_mut(service) else { return };
        let gone: Vec<(i32, u32)> = owned.iter().copied().filter(|key| !keep.contains(key)).collect();
        owned.retain(|key| keep.contains(key));
        if owned.is_empty() {
            self.owned.remove(service);
        }
        for (protocol, port) in gone {
            self.owners.remove(&(protocol, port));
            self.free_number(protocol, port);
            self.released = true;
        }
    }

    fn free_number(&mut self, protocol: i32, port: u32) {
        if let Some(space) = self.dynamic.get_mut(&protocol) {
            space.release(port);
        }
    }
}

/// Whether the port is published on every node.
pub fn is_mesh(port: &PortConfig) -> bool {
    port.publish_mode() == PublishMode::Ingress
}

fn key(port: &PortConfig) -> (i32, u32) {
    (port.protocol, port.published_port)
}

fn same_target(left: &PortConfig, right: &PortConfig) -> bool {
    left.name == right.name && left.protocol == right.protocol && left.target_port == right.target_port
}

fn word(protocol: i32) -> &'static str {
    match Protocol::try_from(protocol) {
        Ok(Protocol::Tcp) => "tcp",
        Ok(Protocol::Udp) => "udp",
        Ok(Protocol::Sctp) => "sctp",
        Err(_) => "unknown protocol",
    }
}

#[cfg(test)]
mod tests;
