//! Rejects tasks whose node no longer meets what they need: constraints, memory, CPUs, generic resources
//! (interop §7.6). Whether and where they run again is decided as for any task that ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skep_model::constraint::{self, Constraint};
use skep_model::pb::types::generic_resource::Resource as Generic;
use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::{Resources, TaskStatus};
use skep_model::{Node, ServiceId, Task, TaskState};
use skep_store::Read;

use crate::facts;
use crate::turn::Turn;

/// Rejects what no longer fits on the node; gives back the services concerned.
pub(crate) fn enforce(turn: &mut Turn, node: &Node) -> BTreeSet<ServiceId> {
    let mut concerned = BTreeSet::new();
    if node.availability() != Availability::Active {
        return concerned;
    }
    let mut room = Room::of(node);
    let mut constraints = BTreeMap::new();
    for mut task in turn.tx.tasks_on_node(&node.id) {
        if turn.is_full() {
            break;
        }
        // What is not assigned yet holds nothing; what ended holds nothing any more.
        if !facts::is_wanted(&task) || !facts::may_be_alive(&task) {
            continue;
        }
        let fits = constraints_of(turn, &mut constraints, &task)
            .is_none_or(|constraints| constraint::node_matches(constraints, node));
        if fits && room.take(&task) {
            continue;
        }
        concerned.extend(task.service_id.clone());
        reject(turn, &mut task);
    }
    concerned
}

/// The service's present constraints, which may be newer than its task's. `None` for global services: the nodes that
/// suit them are looked at as a whole.
fn constraints_of<'a>(
    turn: &Turn,
    known: &'a mut BTreeMap<Option<ServiceId>, Option<Vec<Constraint>>>,
    task: &Task,
) -> Option<&'a Vec<Constraint>> {
    let load = || {
        let service = task.service_id.as_ref().and_then(|id| turn.tx.service(id));
        if service.as_ref().is_some_and(|service| service.is_global()) {
            return None;
        }
        let placement = match &service {
            Some(service) => service.spec.task.as_ref().and_then(|spec| spec.placement.as_ref()),
            None => task.spec.placement.as_ref(),
        };
        placement.and_then(|placement| constraint::parse(&placement.constraints).ok())
    };
    known.entry(task.service_id.clone()).or_insert_with(load).as_ref()
}

fn reject(turn: &mut Turn, task: &mut Arc<Task>) {
    let mut changed = (**task).clone();
    changed.status = TaskStatus {
        state: TaskState::Rejected.into(),
        message: "task rejected by constraint enforcer".to_owned(),
        err: "assigned node no longer meets constraints".to_owned(),
        timestamp: Some(turn.now.wall.into()),
        applied_at: Some(turn.now.wall.into()),
        ..changed.status
    };
    turn.update_task(task, changed);
}

/// What the node has to give.
struct Room {
    memory_bytes: i64,
    nano_cpus: i64,
    discrete: BTreeMap<String, i64>,
    named: BTreeSet<(String, String)>,
}

impl Room {
    fn of(node: &Node) -> Self {
        let none = Resources::default();
        let resources = node.description.as_ref().and_then(|description| description.resources.as_ref());
        let resources = resources.unwrap_or(&none);
        let mut room = Self {
            memory_bytes: resources.memory_bytes,
            nano_cpus: resources.nano_cpus,
            discrete: BTreeMap::new(),
            named: BTreeSet::new(),
        };
        for generic in resources.generic.iter().filter_map(|generic| generic.resource.as_ref()) {
            match generic {
                Generic::DiscreteResourceSpec(discrete) => {
                    *room.discrete.entry(discrete.kind.clone()).or_default() += discrete.value;
                }
                Generic::NamedResourceSpec(named) => {
                    room.named.insert((named.kind.clone(), named.value.clone()));
                }
            }
        }
        room
    }

    /// Gives the task its share; `false` when there is not enough.
    fn take(&mut self, task: &Task) -> bool {
        let reserved = task.spec.resources.as_ref().and_then(|resources| resources.reservations.as_ref());
        if let Some(reserved) = reserved {
            if reserved.memory_bytes > self.memory_bytes || reserved.nano_cpus > self.nano_cpus {
                return false;
            }
            self.memory_bytes -= reserved.memory_bytes;
            self.nano_cpus -= reserved.nano_cpus;
        }
        task.extras.assigned_generic_resources.iter().filter_map(|generic| generic.resource.as_ref()).all(|generic| {
            match generic {
                Generic::DiscreteResourceSpec(discrete) => {
                    let left = self.discrete.entry(discrete.kind.clone()).or_default();
                    let enough = discrete.value <= *left;
                    *left -= if enough { discrete.value } else { 0 };
                    enough
                }
                Generic::NamedResourceSpec(named) => self.named.remove(&(named.kind.clone(), named.value.clone())),
            }
        })
    }
}
