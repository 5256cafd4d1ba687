//! A task's state changes only in ways that somebody owns. Source: the second law of `model::task_state`.

use skep_model::task_state::owner;
use skep_model::{TaskState, Time};
use skep_store::{Event, Store};

use super::{Invariant, Violation, task_updates};

/// See the file's head.
pub struct TransitionOwner;

impl Invariant for TransitionOwner {
    fn committed(&mut self, _: Time, _: &Store, events: &[Event]) -> Result<(), Violation> {
        for (old, new) in task_updates(events) {
            let (from, to) = (old.state(), new.state());
            // One entry may hold what several did in one turn.
            let together = (from, to) == (TaskState::New, TaskState::Assigned);
            if from != to && owner(from, to).is_none() && !together {
                let detail = format!("nobody may move task {} from {from:?} to {to:?}", new.id);
                return Err(Violation::new("transition_owner", detail));
            }
        }
        Ok(())
    }
}
