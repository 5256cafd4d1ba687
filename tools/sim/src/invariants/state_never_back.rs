//! A task's state never goes back, nor does what is wanted of it. Source: the first law of `model::task_state`
//! (interop §7.1).

use skep_model::Time;
use skep_store::{Event, Store};

use super::{Invariant, Violation, task_updates};

/// See the file's head.
pub struct StateNeverBack;

impl Invariant for StateNeverBack {
    fn committed(&mut self, _: Time, _: &Store, events: &[Event]) -> Result<(), Violation> {
        for (old, new) in task_updates(events) {
            if new.state() < old.state() || new.desired_state < old.desired_state {
                let (from, to) = ((old.state(), old.desired_state), (new.state(), new.desired_state));
                return Err(Violation::new(
                    "state_never_back",
                    format!("task {} went from {from:?} to {to:?}", new.id),
                ));
            }
        }
        Ok(())
    }
}
