//! No VXLAN number, no subnet and no published port belongs to two; no two tasks wanted on a node bind one port of it.
//! Source: decision 21 and interop §8.

use std::collections::BTreeMap;

use skep_model::pb::types::PortConfig;
use skep_model::pb::types::port_config::PublishMode;
use skep_model::{Network, Service, Task, Time};
use skep_store::{Action, AnyObject, Event, Read, Store};

use super::{Invariant, Violation};

/// Where the overlay driver keeps its numbers.
const VNI_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";

/// See the file's head.
#[derive(Default)]
pub struct UniqueNumbers {
    held: BTreeMap<String, String>,
}

impl Invariant for UniqueNumbers {
    fn committed(&mut self, _: Time, facts: &Store, events: &[Event]) -> Result<(), Violation> {
        for event in events {
            let before = if event.action == Action::Remove { Some(&event.object) } else { event.old.as_ref() };
            for number in before.map(numbers).unwrap_or_default() {
                if self.held.get(&number).is_some_and(|holder| *holder == event.object.id()) {
                    self.held.remove(&number);
                }
            }
        }
        for event in events.iter().filter(|event| event.action != Action::Remove) {
            let holder = event.object.id().to_owned();
            for number in numbers(&event.object) {
                match self.held.insert(number.clone(), holder.clone()) {
                    Some(other) if other != holder => {
                        let detail = format!("{number} belongs to {other} and to {holder}");
                        return Err(Violation::new("unique_numbers", detail));
                    }
                    _ => {}
                }
            }
            host_ports(facts, &event.object)?;
        }
        Ok(())
    }
}

fn numbers(object: &AnyObject) -> Vec<String> {
    if let Some(network) = object.get::<Network>() {
        let vni = network.driver_state.as_ref().and_then(|state| state.options.get(VNI_OPTION));
        let subnets =
            network.ipam.iter().flat_map(|ipam| &ipam.configs).map(|config| format!("subnet {}", config.subnet));
        return vni.map(|vni| format!("vni {vni}")).into_iter().chain(subnets).collect();
    }
    let Some(service) = object.get::<Service>() else { return Vec::new() };
    let ports = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let mesh = ports.filter(|port| port.publish_mode() == PublishMode::Ingress && port.published_port != 0);
    mesh.map(|port| format!("port {}/{}", port.published_port, port.protocol)).collect()
}

fn bound(task: &Task) -> impl Iterator<Item = (i32, u32)> + '_ {
    let ports = task.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let on_host = |port: &&PortConfig| port.publish_mode() == PublishMode::Host && port.published_port != 0;
    ports.filter(on_host).map(|port| (port.protocol, port.published_port))
}

/// Whether both want one port of a host.
pub(crate) fn ports_clash(left: &Task, right: &Task) -> bool {
    bound(left).any(|port| bound(right).any(|taken| taken == port))
}

fn host_ports(facts: &Store, object: &AnyObject) -> Result<(), Violation> {
    let Some(task) = object.get::<Task>().filter(|task| bound(task).next().is_some()) else { return Ok(()) };
    let Some(node) = task.node_id.as_ref().filter(|_| super::holds_resources(task)) else { return Ok(()) };
    for other in facts.tasks_on_node(node).iter().filter(|other| other.id != task.id && super::holds_resources(other)) {
        if let Some(port) = bound(task).find(|port| bound(other).any(|taken| taken == *port)) {
            let detail = format!("{} and {} both bind {port:?} of {node}", task.id, other.id);
            return Err(Violation::new("unique_numbers", detail));
        }
    }
    Ok(())
}
