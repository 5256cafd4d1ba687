//! Who may move a task from which state to which (source: interop §7.1, and the task table of SwarmKit's design).
//!
//! Two laws, checked everywhere: a state never goes back; each (from, to) pair has exactly one owner.

use crate::pb::types::TaskState;

/// The component that may make a transition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// Creates tasks.
    Orchestrator,
    /// Gives addresses and ports: NEW → PENDING.
    Allocator,
    /// Chooses the node: PENDING → ASSIGNED.
    Scheduler,
    /// The node's task machine, from ASSIGNED on.
    Agent,
    /// Gives up tasks of nodes that are gone: → ORPHANED.
    Dispatcher,
}

/// States in the order of life. `Remove` is a desired state only.
pub const LIFE: [TaskState; 13] = [
    TaskState::New,
    TaskState::Pending,
    TaskState::Assigned,
    TaskState::Accepted,
    TaskState::Preparing,
    TaskState::Ready,
    TaskState::Starting,
    TaskState::Running,
    TaskState::Complete,
    TaskState::Shutdown,
    TaskState::Failed,
    TaskState::Rejected,
    TaskState::Orphaned,
];

/// The one component that may move a task from `from` to `to`; `None` where nobody may.
pub fn owner(from: TaskState, to: TaskState) -> Option<Owner> {
    use TaskState as S;
    if to <= from || from > S::Running || to == S::Remove {
        return None;
    }
    match (from, to) {
        (_, S::Orphaned) => Some(Owner::Dispatcher),
        (S::New, S::Pending) => Some(Owner::Allocator),
        (S::Pending, S::Assigned) => Some(Owner::Scheduler),
        (S::New | S::Pending, _) => None,
        _ => Some(Owner::Agent),
    }
}

/// Whether a report that a task went from `from` to `to` may be applied at all.
pub fn may_follow(from: TaskState, to: TaskState) -> bool {
    to >= from && from <= TaskState::Running || to == from
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_transition_goes_back_and_ends_are_final() {
        for from in LIFE {
            for to in LIFE {
                if owner(from, to).is_some() {
                    assert!(to > from, "{from:?} -> {to:?}");
                    assert!(from <= TaskState::Running, "{from:?} is final");
                }
            }
        }
    }

    #[test]
    fn every_state_but_the_first_is_reachable() {
        for to in LIFE.into_iter().skip(1) {
            assert!(LIFE.into_iter().any(|from| owner(from, to).is_some()), "{to:?}");
        }
    }
}
