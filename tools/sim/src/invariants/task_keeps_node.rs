//! An assigned task never moves to another node. Source: SwarmKit's task model (interop §7.1).

use skep_model::Time;
use skep_store::{Event, Store};

use super::{Invariant, Violation, task_updates};

/// See the file's head.
pub struct TaskKeepsNode;

impl Invariant for TaskKeepsNode {
    fn committed(&mut self, _: Time, _: &Store, events: &[Event]) -> Result<(), Violation> {
        for (old, new) in task_updates(events) {
            if old.node_id.is_some() && old.node_id != new.node_id {
                let detail = format!("task {} moved from {:?} to {:?}", new.id, old.node_id, new.node_id);
                return Err(Violation::new("task_keeps_node", detail));
            }
        }
        Ok(())
    }
}
