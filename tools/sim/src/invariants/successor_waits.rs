//! Where an update stops a running task first, the new one that it makes in its place is let go only once the old one has
//! ended, or was waited for as long as one waits. Source: the update's order (interop §7.4).

use std::collections::BTreeMap;
use std::time::Duration;

use skep_model::{ServiceId, Task, TaskId, TaskState, Time};
use skep_store::{Action, Event, Read, Store};

use super::{Invariant, Place, Verdict, Violation, task_updates};
use crate::clock::world_time_of;

/// The least that is waited: a minute by clocks that run fast, and are some seconds apart.
const PATIENCE: Duration = Duration::from_secs(50);

/// What a new task waits for.
struct Wait {
    old: TaskId,
    since: Time,
}

/// See the file's head.
#[derive(Default)]
pub struct SuccessorWaits {
    waits: BTreeMap<TaskId, Wait>,
}

impl Invariant for SuccessorWaits {
    fn committed(&mut self, time: Time, facts: &Store, events: &[Event]) -> Verdict {
        for (old, new) in task_updates(events) {
            let runs = old.state() == TaskState::Running && new.state() == TaskState::Running;
            if runs && old.is_wanted() && new.desired_state == TaskState::Shutdown {
                self.stopped(time, facts, new, events);
            }
        }
        for event in events {
            let Some(task) = event.object.get::<Task>() else { continue };
            if event.action == Action::Remove || !task.is_wanted() {
                self.waits.remove(&task.id);
            } else if task.desired_state >= TaskState::Running
                && let Some(wait) = self.waits.remove(&task.id)
                && time.since(wait.since) < PATIENCE
                && is_stopping(facts, &wait.old)
            {
                let detail = format!("{} may start before {} has stopped, which it replaces", task.id, wait.old);
                return Err(Violation::new("successor_waits", detail));
            }
        }
        Ok(())
    }
}

impl SuccessorWaits {
    /// A task was stopped: notes the one that the same entry makes in its place, by another spec.
    fn stopped(&mut self, since: Time, facts: &Store, old: &Task, events: &[Event]) {
        let Some(service) = old.service_id.as_ref().and_then(|id: &ServiceId| facts.service(id)) else { return };
        let place = Place::of(&service, old);
        // Where the new task runs already, what the entry makes is another one beside it (a move): no successor.
        let others = facts.tasks_in_slot(&service.id, old.slot);
        let stays = |task: &&std::sync::Arc<Task>| task.is_wanted() && task.state() == TaskState::Running;
        if others.iter().filter(stays).any(|task| Place::of(&service, task) == place) {
            return;
        }
        let made = events.iter().filter(|event| event.action == Action::Create);
        let mut made = made.filter_map(|event| event.object.get::<Task>());
        let next = made.find(|task| {
            task.service_id == old.service_id
                && task.spec_version != old.spec_version
                && Place::of(&service, task) == place
        });
        if let Some(next) = next {
            // It waits from when it was made. What a leader wrote just before it lost power is committed much later.
            let made = next.meta.created_at.map_or(since, world_time_of);
            self.waits.insert(next.id.clone(), Wait { old: old.id.clone(), since: since.min(made) });
        }
    }
}

/// It was told to stop and has not, on a node that would say so.
fn is_stopping(facts: &Store, id: &TaskId) -> bool {
    let Some(task) = facts.task(id) else { return false };
    let node = || task.node_id.as_ref().and_then(|node| facts.node(node));
    !task.has_ended() && node().is_some_and(|node| node.takes_tasks())
}
