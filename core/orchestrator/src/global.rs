//! Global services: one task on each node that suits (interop §7.5).

use std::sync::Arc;
use std::time::Duration;

use skep_model::constraint::{self, Constraint};
use skep_model::pb::types::node_spec::Availability;
use skep_model::{Node, Service, TaskState};
use skep_store::Read;

use crate::memory::Memory;
use crate::slot::{Place, Slot, by_node};
use crate::supervise::{supervise, take_over};
use crate::turn::Turn;
use crate::{facts, replicated, update};

/// The placement that a service asks of every node, parsed once.
pub(crate) struct Suits {
    constraints: Vec<Constraint>,
    service: Arc<Service>,
}

impl Suits {
    pub(crate) fn new(service: &Arc<Service>) -> Self {
        let placement = service.spec.task.as_ref().and_then(|task| task.placement.as_ref());
        let texts = placement.map(|placement| placement.constraints.as_slice()).unwrap_or_default();
        // Specs were checked when they were stored; what another engine let through constrains nothing.
        let constraints = constraint::parse(texts).unwrap_or_default();
        Self { constraints, service: Arc::clone(service) }
    }

    pub(crate) fn node(&self, node: &Node) -> bool {
        constraint::node_matches(&self.constraints, node)
    }

    fn platform(&self, node: &Node) -> bool {
        let placement = self.service.spec.task.as_ref().and_then(|task| task.placement.as_ref());
        placement.is_none_or(|placement| constraint::platforms_fit(&placement.platforms, node))
    }

    /// Whether a node is given a task that it does not have yet.
    pub(crate) fn new_task(&self, node: &Node) -> bool {
        node.takes_tasks() && self.node(node) && self.platform(node)
    }
}

/// Brings the service's tasks in line with its spec and the nodes.
pub(crate) fn reconcile(turn: &mut Turn, memory: &mut Memory, service: &mut Arc<Service>) {
    let suits = Suits::new(service);
    let (mut slots, unplaced) = by_node(turn.tx.tasks_of_service(&service.id));
    let rolls_back = update::rolls_back(service);
    let mut live = Vec::new();
    for node in turn.tx.nodes() {
        if turn.is_full() {
            return;
        }
        let mut slot = slots.remove(&node.id).unwrap_or_else(|| Slot::empty(Place::Node(node.id.clone())));
        if facts::loses_tasks(Some(&node)) || !suits.node(&node) {
            shut_down(turn, &mut slot);
            continue;
        }
        let active = node.availability() == Availability::Active;
        supervise(turn, memory, service, &mut slot, active && suits.platform(&node));
        if !active {
            continue;
        }
        if slot.is_wanted() || !rolls_back && slot.is_finished(false) {
            live.push(slot);
        } else if suits.new_task(&node) {
            take_over(turn, memory, service, &mut slot, Duration::ZERO);
        }
    }
    replicated::remove(turn, slots.into_values());
    replicated::remove_tasks(turn, unplaced.into_iter());
    update::roll(turn, memory, service, &mut live);
}

pub(crate) fn shut_down(turn: &mut Turn, slot: &mut Slot) {
    for task in slot.tasks.iter_mut().filter(|task| facts::is_wanted(task)) {
        turn.desire(task, TaskState::Shutdown);
    }
}
