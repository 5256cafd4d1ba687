//! A task's published ports: what it wants, and what is told of those that it has.

use skep_model::pb::types::{PortConfig, port_config};
use skep_model::{Code, Refusal, Task};

use super::record::NetworkMode;
use crate::network::{MeshPorts, Published};

/// As a task's status tells of a port of this host.
pub fn shown(port: &Published) -> PortConfig {
    let protocol = match port.protocol.as_str() {
        "udp" => port_config::Protocol::Udp,
        "sctp" => port_config::Protocol::Sctp,
        _ => port_config::Protocol::Tcp,
    };
    PortConfig {
        name: port.name.clone(),
        protocol: protocol.into(),
        target_port: port.container_port.into(),
        published_port: port.host_port.into(),
        publish_mode: port_config::PublishMode::Host.into(),
    }
}

/// Ports that are the task's alone on its host.
pub fn of_host(task: &Task) -> Result<Vec<Published>, Refusal> {
    wanted(task, port_config::PublishMode::Host)
}

/// Ports that it shares with other tasks of its service. They lead to an address of the task's own, or nowhere.
pub fn of_mesh(task: &Task, network: &NetworkMode) -> Result<MeshPorts, Refusal> {
    let ports = wanted(task, port_config::PublishMode::Ingress)?;
    if let (Some(port), NetworkMode::Host | NetworkMode::None) = (ports.first(), network) {
        return Err(Refusal::new(
            Code::InvalidArgument,
            format!(
                "port {} cannot be published on the routing mesh by a task on the network {}: publish it with mode=host, \
                 or leave that network",
                port.host_port,
                network.name()
            ),
        ));
    }
    let service = task.service_id.as_ref().map(ToString::to_string).unwrap_or_default();
    Ok(MeshPorts { service, ports, serves: false })
}

fn wanted(task: &Task, mode: port_config::PublishMode) -> Result<Vec<Published>, Refusal> {
    let ports = task.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let number =
        |value: u32| u16::try_from(value).map_err(|_| Refusal::invalid(format!("port {value} is above 65535")));
    let published = |port: &PortConfig| {
        let protocol = match port.protocol() {
            port_config::Protocol::Tcp => "tcp",
            port_config::Protocol::Udp => "udp",
            port_config::Protocol::Sctp => "sctp",
        };
        let (host_port, container_port) = (number(port.published_port)?, number(port.target_port)?);
        Ok(Published { protocol: protocol.to_owned(), host_port, container_port, name: port.name.clone() })
    };
    ports.filter(|port| port.publish_mode() == mode).map(published).collect()
}
