//! What the wanted tasks of a node reserve, it has. Source: the scheduler's resource filter (interop §7.6).

use std::collections::BTreeSet;

use skep_model::{NodeId, Task, Time};
use skep_store::{Event, Read, Store};

use super::{Invariant, Violation, holds_resources, reserved_cpus};

/// See the file's head.
pub struct NodeNotOverReserved;

impl Invariant for NodeNotOverReserved {
    fn committed(&mut self, _: Time, facts: &Store, events: &[Event]) -> Result<(), Violation> {
        let came = events.iter().filter_map(|event| event.object.get::<Task>());
        let nodes: BTreeSet<NodeId> =
            came.filter(|task| reserved_cpus(task) > 0).filter_map(|task| task.node_id.clone()).collect();
        for id in nodes {
            let Some(node) = facts.node(&id) else { continue };
            let resources = node.description.as_ref().and_then(|description| description.resources.as_ref());
            let Some(has) = resources.map(|resources| resources.nano_cpus) else { continue };
            let tasks = facts.tasks_on_node(&id);
            let reserved: i64 = tasks.iter().filter(|task| holds_resources(task)).map(|task| reserved_cpus(task)).sum();
            if reserved > has {
                let detail = format!("tasks on {id} reserve {reserved} of {has}");
                return Err(Violation::new("node_not_over_reserved", detail));
            }
        }
        Ok(())
    }
}
