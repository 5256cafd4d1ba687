//! The restart policy as rules: may a task be replaced, and after which pause (interop §7.3).

use std::sync::Arc;
use std::time::Duration;

use skep_model::pb::types::RestartPolicy;
use skep_model::pb::types::restart_policy::RestartCondition;
use skep_model::time::duration;
use skep_model::{Node, Task, TaskState, WallTime, defaults};

use crate::facts;

/// Longest wait for an old task to stop before its replacement is started all the same.
pub(crate) const OLD_TASK_STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether a task that ended, or was lost, gets a replacement. `slot` is all that is known of its slot.
pub(crate) fn may_replace(task: &Task, is_job: bool, slot: &[Arc<Task>]) -> bool {
    let policy = task.spec.restart.as_ref();
    let condition = policy.map_or(RestartCondition::Any, RestartPolicy::condition);
    let completed = task.state() == TaskState::Complete;
    let allowed = match condition {
        RestartCondition::None => false,
        RestartCondition::OnFailure => !completed,
        RestartCondition::Any => !(is_job && completed),
    };
    let limit = policy.map_or(0, |policy| policy.max_attempts);
    allowed && (limit == 0 || attempts(task, policy, slot) < limit)
}

/// How many of the slot's tasks of this version were restarts, within the window if there is one.
fn attempts(task: &Task, policy: Option<&RestartPolicy>, slot: &[Arc<Task>]) -> u64 {
    let same =
        |other: &&Arc<Task>| other.spec_version == task.spec_version && other.job_iteration == task.job_iteration;
    let first = slot.iter().filter(same).min_by_key(|other| facts::age(other)).map(|first| &first.id);
    let window = policy.and_then(|policy| policy.window.as_ref()).map(duration).filter(|window| !window.is_zero());
    let ended = facts::state_since(task);
    let counts = |other: &&Arc<Task>| {
        let (Some(window), Some(ended), Some(created)) = (window, ended, other.meta.created_at) else { return true };
        let window = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
        created > WallTime(ended.0.saturating_sub(window)) && created <= ended
    };
    slot.iter().filter(same).filter(|other| Some(&other.id) != first).filter(counts).count() as u64
}

/// The pause that the service asks for.
pub(crate) fn delay(task: &Task) -> Duration {
    let policy = task.spec.restart.as_ref();
    policy.and_then(|policy| policy.delay.as_ref()).map_or(defaults::RESTART_DELAY, duration)
}

/// The pause before a replacement made earlier may start, read off what it replaced. Tasks that failed are paused for;
/// tasks that were stopped for the replacement's sake, or lost with their node, are not.
pub(crate) fn delay_after(replacement: &Task, predecessor: Option<(&Task, Option<&Node>)>) -> Duration {
    let Some((predecessor, node)) = predecessor else { return Duration::ZERO };
    let ended_before = facts::state_since(predecessor) <= replacement.meta.created_at;
    let failed = facts::ended_by_itself(predecessor) && ended_before && !facts::loses_tasks(node);
    if failed { delay(replacement) } else { Duration::ZERO }
}
