//! The picture of all nodes: what runs where. Kept from turn to turn, and brought in line with the facts by ids.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use skep_model::ids::Identifier;
use skep_model::{Node, NodeId, Now, ServiceId, Task, TaskId, TaskState, Time, WallTime};
use skep_store::Handles;

use crate::classes::Classes;
use crate::counts::Counts;
use crate::loads::LoadedNode;
use crate::node::{NodeNumber, NodeState, ServiceNumber, hold_the_same};
use crate::requirements::Requirements;
use crate::tasks::{Placed, PlacedTasks};
use crate::volumes::VolumeUses;

/// Failures of a service on a node count for so long.
pub(crate) const FAILURE_WINDOW: Duration = Duration::from_secs(5 * 60);
/// From so many failures on, a node is used last.
pub(crate) const FAILURES_MAX: usize = 5;

/// One service at work.
#[derive(Clone, Debug, Default)]
struct ServiceState {
    /// None where the number is free.
    id: Option<ServiceId>,
    /// To be forgotten with its last task.
    gone: bool,
    /// Wanted tasks per node.
    nodes: Counts,
    /// When tasks of a version failed on a node, oldest first.
    failures: BTreeMap<(Option<u64>, NodeNumber), VecDeque<Time>>,
}

/// What runs where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    node_numbers: Handles,
    nodes: Vec<Option<NodeState>>,
    free_nodes: Vec<NodeNumber>,
    service_numbers: Handles,
    services: Vec<ServiceState>,
    free_services: Vec<ServiceNumber>,
    tasks: PlacedTasks,
    classes: Classes,
    pub(crate) volumes: VolumeUses,
}

impl Picture {
    pub(crate) fn number_of(&self, node: &NodeId) -> Option<NodeNumber> {
        let is = |number| self.node(number).is_some_and(|state| state.node.id == *node);
        self.node_numbers.find(node.fingerprint(), is)
    }

    pub(crate) fn node(&self, number: NodeNumber) -> Option<&NodeState> {
        self.nodes.get(number as usize).and_then(Option::as_ref)
    }

    /// Every node that is known.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (NodeNumber, &NodeState)> {
        (0..).zip(&self.nodes).filter_map(|(number, node)| Some((number, node.as_ref()?)))
    }

    /// The class of nodes that suit, whatever runs there; good until the next call.
    pub(crate) fn class_of(&mut self, wanted: &Requirements) -> usize {
        let nodes = (0..).zip(&self.nodes).filter_map(|(number, state)| Some((number, state.as_ref()?)));
        self.classes.class_of(wanted, nodes.map(|(number, state)| (number, state.total, &*state.node)))
    }

    /// Nodes of the class, emptiest first, from behind `after` on.
    pub(crate) fn emptiest_after(&self, class: usize, after: Option<LoadedNode>) -> Option<LoadedNode> {
        self.classes.emptiest_after(class, after)
    }

    /// Adds a node or brings it up to date; tells whether it is new.
    pub(crate) fn put_node(&mut self, node: Arc<Node>) -> bool {
        let known = self.number_of(&node.id);
        let number = known.unwrap_or_else(|| {
            let number = self.free_nodes.pop().unwrap_or(self.nodes.len() as NodeNumber);
            if number as usize == self.nodes.len() {
                self.nodes.push(None);
            }
            self.node_numbers.insert(node.id.fingerprint(), number);
            number
        });
        let state = match self.node(number) {
            Some(old) => old.redescribed(node),
            None => NodeState::new(node),
        };
        self.classes.describe(number, state.total, &state.node);
        self.nodes[number as usize] = Some(state);
        known.is_none()
    }

    /// Forgets a node with its tasks.
    pub(crate) fn remove_node(&mut self, id: &NodeId) {
        let Some(number) = self.number_of(id) else { return };
        let here = self.tasks.iter().filter(|placed| placed.node == number);
        let there: Vec<TaskId> = here.map(|placed| placed.task.id.clone()).collect();
        for task in there {
            self.remove_task(&task);
        }
        for service in &mut self.services {
            service.failures.retain(|(_, node), _| *node != number);
        }
        self.node_numbers.remove(id.fingerprint(), number);
        if let Some(state) = self.nodes[number as usize].take() {
            self.classes.remove(number, state.total);
        }
        self.free_nodes.push(number);
    }

    /// Forgets a service; its tasks may still be there.
    pub(crate) fn remove_service(&mut self, id: &ServiceId) {
        if let Some(number) = self.known_service(id) {
            self.services[number as usize].gone = true;
            self.forget_if_idle(number);
        }
    }

    fn forget_if_idle(&mut self, number: ServiceNumber) {
        let state = &mut self.services[number as usize];
        if !state.gone || !state.nodes.is_empty() {
            return;
        }
        if let Some(id) = std::mem::take(state).id {
            self.service_numbers.remove(id.fingerprint(), number);
            self.free_services.push(number);
        }
    }

    pub(crate) fn service_number(&mut self, id: &ServiceId) -> ServiceNumber {
        if let Some(number) = self.known_service(id) {
            return number;
        }
        let number = self.free_services.pop().unwrap_or(self.services.len() as ServiceNumber);
        if number as usize == self.services.len() {
            self.services.push(ServiceState::default());
        }
        self.services[number as usize].id = Some(id.clone());
        self.service_numbers.insert(id.fingerprint(), number);
        number
    }

    pub(crate) fn known_service(&self, id: &ServiceId) -> Option<ServiceNumber> {
        let is = |number: ServiceNumber| self.services[number as usize].id.as_ref() == Some(id);
        self.service_numbers.find(id.fingerprint(), is)
    }

    /// Wanted tasks of the service per node.
    pub(crate) fn nodes_of(&self, service: ServiceNumber) -> &Counts {
        &self.services[service as usize].nodes
    }

    /// Wanted tasks of the service on the node.
    pub(crate) fn count(&self, service: Option<ServiceNumber>, node: NodeNumber) -> u32 {
        service.map_or(0, |service| self.nodes_of(service).get(node))
    }

    /// Whether the task holds something, and since it does, its state as last seen.
    pub(crate) fn placed(&self, id: &TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(id).map(|placed| &placed.task)
    }

    /// Makes room for so many more tasks.
    pub(crate) fn reserve_tasks(&mut self, more: usize) {
        self.tasks.reserve(more);
    }

    /// A task that is on a node: adds it, or brings it up to date. Tells whether it gave something back.
    pub(crate) fn put_task(&mut self, task: Arc<Task>) -> bool {
        let Some(node) = task.node_id.as_ref().and_then(|id| self.number_of(id)) else {
            return self.remove_task(&task.id);
        };
        let counts = is_wanted(&task);
        if let Some(placed) = self.tasks.get_mut(&task.id) {
            if placed.node == node && placed.counts == counts && hold_the_same(&placed.task, &task) {
                placed.task = task;
                return false;
            }
            let id = task.id.clone();
            self.remove_task(&id);
        }
        let service = task.service_id.as_ref().filter(|_| counts).map(|id| self.service_number(id));
        self.put_new_task(Placed { node, service, counts, task });
        !counts
    }

    /// A task that was not on a node so far.
    fn put_new_task(&mut self, placed: Placed) {
        self.hold(&placed, true);
        self.keep(placed);
    }

    /// Takes the task's share of its node and counts it, or gives back what was taken.
    pub(crate) fn hold(&mut self, placed: &Placed, in_use: bool) {
        if let Some(state) = self.nodes[placed.node as usize].as_mut() {
            state.hold(&placed.task, in_use);
        }
        self.volumes.hold(&placed.task, in_use);
        if placed.counts {
            self.count_task(placed.node, placed.service, in_use);
        }
    }

    /// Knows a task from now on whose share was taken.
    pub(crate) fn keep(&mut self, placed: Placed) {
        self.tasks.insert(placed);
    }

    /// A task that holds nothing any more. Tells whether it did.
    pub(crate) fn remove_task(&mut self, id: &TaskId) -> bool {
        let Some(placed) = self.tasks.remove(id) else { return false };
        self.hold(&placed, false);
        true
    }

    fn count_task(&mut self, node: NodeNumber, service: Option<ServiceNumber>, more: bool) {
        if let Some(state) = self.nodes[node as usize].as_mut() {
            let before = state.total;
            state.total = if more { before + 1 } else { before.saturating_sub(1) };
            self.classes.reload(node, before, state.total);
        }
        let Some(service) = service else { return };
        let nodes = &mut self.services[service as usize].nodes;
        if more {
            nodes.add(node);
        } else {
            nodes.subtract(node);
            self.forget_if_idle(service);
        }
    }

    /// For giving out generic resources.
    pub(crate) fn node_mut(&mut self, number: NodeNumber) -> Option<&mut NodeState> {
        self.nodes.get_mut(number as usize).and_then(Option::as_mut)
    }

    /// Notes that a task of the service failed on the node.
    pub(crate) fn note_failure(&mut self, now: Now, task: &Task) {
        let service = task.service_id.as_ref().and_then(|id| self.known_service(id));
        let node = task.node_id.as_ref().and_then(|id| self.number_of(id));
        let (Some(service), Some(node)) = (service, node) else { return };
        let since = task.status.applied_at.as_ref().or(task.status.timestamp.as_ref()).map(WallTime::from);
        let passed = since.map_or(0, |since| now.wall.0.saturating_sub(since.0));
        let passed = Duration::from_nanos(u64::try_from(passed).unwrap_or(0));
        if passed >= FAILURE_WINDOW {
            return;
        }
        let failures = &mut self.services[service as usize].failures;
        let recent = |time: &Time| now.monotonic.since(*time) < FAILURE_WINDOW;
        failures.retain(|_, times| times.back().is_some_and(recent));
        let failures = failures.entry((task.spec_version, node)).or_default();
        failures.retain(recent);
        let micros = u64::try_from(passed.as_micros()).unwrap_or(0);
        failures.push_back(Time(now.monotonic.0.saturating_sub(micros)));
        failures.make_contiguous().sort();
    }

    /// Nodes on which this version of the service failed too often lately, with how often.
    pub(crate) fn failing(&self, now: Now, service: ServiceNumber, version: Option<u64>) -> BTreeMap<NodeNumber, u32> {
        let failures = &self.services[service as usize].failures;
        if failures.is_empty() {
            return BTreeMap::new();
        }
        let of_version = failures.range((version, 0)..=(version, NodeNumber::MAX));
        let recent = of_version.map(|((_, node), times)| {
            (*node, times.iter().filter(|&&time| now.monotonic.since(time) <= FAILURE_WINDOW).count())
        });
        recent.filter(|(_, count)| *count >= FAILURES_MAX).map(|(node, count)| (node, count as u32)).collect()
    }
}

#[cfg(test)]
impl Picture {
    pub(crate) fn summary(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for (number, state) in self.nodes() {
            let listed = self.classes.agree(number, state.total, &state.node);
            let services = self.services.iter().filter_map(|service| Some((service.id.as_ref()?, &service.nodes)));
            let mut counts: Vec<String> = services.map(|(id, nodes)| format!("{id}={}", nodes.get(number))).collect();
            counts.sort();
            let NodeState { node, total, memory_bytes, nano_cpus, .. } = state;
            lines.push(format!("{} {total} {memory_bytes} {nano_cpus} {listed} {counts:?}", node.id));
        }
        lines.sort();
        lines.join("\n")
    }
}

/// Somebody still wants it to run (or, for jobs, to complete).
pub(crate) fn is_wanted(task: &Task) -> bool {
    task.desired_state <= TaskState::Complete
}

/// It waits for a place, and somebody still wants it.
pub(crate) fn is_pending(task: &Task) -> bool {
    task.state() == TaskState::Pending && is_wanted(task)
}
