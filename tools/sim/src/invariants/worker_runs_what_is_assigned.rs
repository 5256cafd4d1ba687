//! A worker prepares and starts only what its session assigned to it, or what it had been assigned before it was
//! restarted. Source: the assignments' contract (interop §4.3).

use std::collections::BTreeSet;

use skep_dispatch::worker::{Attempt, Opening, Verb};
use skep_model::TaskId;
use skep_model::pb::messages::AssignmentsMessage;
use skep_model::pb::messages::assignment::Item;
use skep_model::pb::messages::assignment_change::AssignmentAction;
use skep_model::pb::messages::assignments_message::Type;

use super::{Verdict, Violation};
use crate::network::HostId;

/// What one worker's session assigned it, as seen from outside.
#[derive(Clone, Default, Debug)]
pub struct Assigned {
    /// The present session.
    pub attempt: Attempt,
    /// The present stream of it.
    pub opening: Opening,
    /// The last message of it.
    pub reference: String,
    tasks: BTreeSet<TaskId>,
}

impl Assigned {
    /// A daemon starts with what lies on its disk.
    pub fn from_disk<'a>(tasks: impl Iterator<Item = &'a TaskId>) -> Self {
        Self { tasks: tasks.cloned().collect(), ..Self::default() }
    }

    /// Follows what the session assigns.
    pub fn note(&mut self, message: &AssignmentsMessage) {
        if message.applies_to != self.reference {
            return;
        }
        self.reference.clone_from(&message.results_in);
        if message.r#type() == Type::Complete {
            self.tasks = BTreeSet::new();
        }
        for change in &message.changes {
            let Some(Item::Task(task)) = change.assignment.as_ref().and_then(|assignment| assignment.item.as_ref())
            else {
                continue;
            };
            let Ok(id) = TaskId::new(&task.value.id) else { continue };
            if change.action() == AssignmentAction::Remove {
                self.tasks.remove(&id);
            } else {
                self.tasks.insert(id);
            }
        }
    }

    /// A verb is run.
    pub fn judge(&self, host: HostId, task: &TaskId, verb: Verb) -> Verdict {
        let starts = matches!(verb, Verb::Prepare | Verb::Start);
        if starts && !self.tasks.contains(task) {
            let detail = format!("h{host} runs {verb:?} of {task}, which its session did not assign");
            return Err(Violation::new("worker_runs_what_is_assigned", detail));
        }
        Ok(())
    }
}
