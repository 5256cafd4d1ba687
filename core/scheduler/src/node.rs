//! One node as the scheduler sees it: what it offers, and what runs there.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_model::pb::types::port_config::PublishMode;
use skep_model::pb::types::{PortConfig, Resources};
use skep_model::{AbilitySet, Node, Task};

use crate::generic::Pool;

/// A service, by its number.
pub(crate) type ServiceNumber = u32;
/// A node, by its number.
pub(crate) type NodeNumber = u32;

/// A protocol and a port of the host.
pub(crate) type HostPort = (i32, u32);

/// What a node offers, less what its tasks hold.
#[derive(Clone, Debug)]
pub(crate) struct NodeState {
    pub(crate) node: Arc<Node>,
    /// As the node says.
    pub(crate) takes_tasks: bool,
    /// Wanted tasks, of all services.
    pub(crate) total: u32,
    pub(crate) memory_bytes: i64,
    pub(crate) nano_cpus: i64,
    pub(crate) generic: Pool,
    /// What its host can do; `None` where it does not say.
    pub(crate) abilities: Option<AbilitySet>,
    /// Tasks that hold the port; more than one only while one stops.
    pub(crate) ports: BTreeMap<HostPort, u32>,
}

impl NodeState {
    /// An empty node.
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let resources = described(&node);
        let generic = Pool::new(resources);
        let memory_bytes = resources.map_or(0, |resources| resources.memory_bytes);
        let nano_cpus = resources.map_or(0, |resources| resources.nano_cpus);
        let (takes_tasks, abilities) = (node.takes_tasks(), abilities(&node));
        Self { node, takes_tasks, total: 0, memory_bytes, nano_cpus, generic, abilities, ports: BTreeMap::new() }
    }

    /// The same node with another description: its tasks go on to hold what they hold.
    pub(crate) fn redescribed(&self, node: Arc<Node>) -> Self {
        let (before, after) = (described(&self.node), described(&node));
        let gained = |pick: fn(&Resources) -> i64| after.map_or(0, pick) - before.map_or(0, pick);
        Self {
            takes_tasks: node.takes_tasks(),
            total: self.total,
            memory_bytes: self.memory_bytes + gained(|resources| resources.memory_bytes),
            nano_cpus: self.nano_cpus + gained(|resources| resources.nano_cpus),
            generic: self.generic.redescribed(after),
            abilities: abilities(&node),
            ports: self.ports.clone(),
            node,
        }
    }

    /// Takes the task's share of resources and ports, or gives it back.
    pub(crate) fn hold(&mut self, task: &Task, in_use: bool) {
        let sign = if in_use { 1 } else { -1 };
        if let Some(reserved) = reservations(task) {
            self.memory_bytes -= sign * reserved.memory_bytes;
            self.nano_cpus -= sign * reserved.nano_cpus;
        }
        self.generic.mark(&task.extras.assigned_generic_resources, in_use);
        for port in host_ports(task) {
            let users = self.ports.entry(port).or_default();
            *users = if in_use { *users + 1 } else { users.saturating_sub(1) };
            if *users == 0 {
                self.ports.remove(&port);
            }
        }
    }
}

fn abilities(node: &Node) -> Option<AbilitySet> {
    node.description.as_ref().and_then(|description| AbilitySet::described(description))
}

fn described(node: &Node) -> Option<&Resources> {
    node.description.as_ref().and_then(|description| description.resources.as_ref())
}

/// Whether two versions of a task hold the same, beside what their spec reserves (which never changes).
pub(crate) fn hold_the_same(old: &Task, new: &Task) -> bool {
    host_ports(old).eq(host_ports(new))
        && old.extras.assigned_generic_resources == new.extras.assigned_generic_resources
        && old.extras.volumes == new.extras.volumes
}

pub(crate) fn reservations(task: &Task) -> Option<&Resources> {
    task.spec.resources.as_ref().and_then(|resources| resources.reservations.as_ref())
}

/// Ports of the host that the task binds. Where no ports were allocated yet, those that its spec names.
pub(crate) fn host_ports(task: &Task) -> impl Iterator<Item = HostPort> + '_ {
    let allocated = task.endpoint.as_ref().map(|endpoint| endpoint.ports.as_slice()).unwrap_or_default();
    let wanted = || task.endpoint.as_ref().and_then(|endpoint| endpoint.spec.as_ref());
    let ports: &[PortConfig] =
        if allocated.is_empty() { wanted().map(|spec| spec.ports.as_slice()).unwrap_or_default() } else { allocated };
    ports
        .iter()
        .filter(|port| port.publish_mode() == PublishMode::Host && port.published_port != 0)
        .map(|port| (port.protocol, port.published_port))
}
