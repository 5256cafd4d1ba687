//! A node that is taken off the list takes its tasks along: all of them have ended from that moment on, so that others
//! take their places and addresses, and no task is given to it any more. Source: `node rm --force` (interop §7.1).

use skep_model::{Node, Task, Time};
use skep_store::{Action, Event, Read, Store};

use super::{Invariant, Verdict, Violation};

/// See the file's head.
pub struct RemovedNodeIsEmpty;

impl Invariant for RemovedNodeIsEmpty {
    fn committed(&mut self, _: Time, facts: &Store, events: &[Event]) -> Verdict {
        for event in events {
            if event.action == Action::Remove
                && let Some(node) = event.object.get::<Node>()
            {
                let left = facts.tasks_on_node(&node.id).into_iter().find(|task| !task.has_ended());
                if let Some(task) = left {
                    return Err(broken(format!(
                        "{} stays {:?} on {}, which is no node",
                        task.id,
                        task.state(),
                        node.id
                    )));
                }
            }
            let Some(task) = event.object.get::<Task>().filter(|task| !task.has_ended()) else { continue };
            let before = event.old.as_ref().and_then(|old| old.get::<Task>()).and_then(|old| old.node_id.as_ref());
            if let Some(node) = task.node_id.as_ref().filter(|node| before != Some(node))
                && event.action != Action::Remove
                && facts.node(node).is_none()
            {
                return Err(broken(format!("{} is given to {node}, which is no node", task.id)));
            }
        }
        Ok(())
    }
}

fn broken(detail: String) -> Violation {
    Violation::new("removed_node_is_empty", detail)
}
