//! What can be read off a task or a node, in one word each.

use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::node_status;
use skep_model::{Node, Task, TaskState, WallTime};

/// Whether somebody still wants it: RUNNING or on the way there, for jobs COMPLETE.
pub(crate) fn is_wanted(task: &Task) -> bool {
    task.desired_state <= TaskState::Complete
}

/// Prepared, but not to be started yet.
pub(crate) fn is_held_back(task: &Task) -> bool {
    task.desired_state < TaskState::Running
}

/// It ended by itself, rather than with its node.
pub(crate) fn ended_by_itself(task: &Task) -> bool {
    matches!(task.state(), TaskState::Complete | TaskState::Shutdown | TaskState::Failed | TaskState::Rejected)
}

/// Something of it may still be on a node.
pub(crate) fn may_be_alive(task: &Task) -> bool {
    (TaskState::Assigned..=TaskState::Running).contains(&task.state())
}

/// Since when the task is in its state: by the manager's clock where known, else by the node's.
pub(crate) fn state_since(task: &Task) -> Option<WallTime> {
    task.status.applied_at.as_ref().or(task.status.timestamp.as_ref()).map(WallTime::from)
}

/// Older tasks first. Among those made at the same instant, the ones that nobody wants any more.
pub(crate) fn age(task: &Task) -> (Option<WallTime>, bool, Option<u64>) {
    (task.meta.created_at, is_wanted(task), task.spec_version)
}

/// Tasks on such a node are lost: it is gone, down, or to be emptied.
pub(crate) fn loses_tasks(node: Option<&Node>) -> bool {
    is_gone(node) || node.is_some_and(|node| node.availability() == Availability::Drain)
}

/// Nothing that still runs on such a node will ever be reported.
pub(crate) fn is_gone(node: Option<&Node>) -> bool {
    node.is_none_or(|node| node.status.state() == node_status::State::Down)
}

/// Whether a change of the node can matter to where tasks may be.
pub(crate) fn differs_for_tasks(old: &Node, new: &Node) -> bool {
    old.status.state != new.status.state
        || old.status.addr != new.status.addr
        || old.role != new.role
        || old.spec != new.spec
        || old.description != new.description
}
