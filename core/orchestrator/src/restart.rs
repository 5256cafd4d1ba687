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
    let same = |other: &&Arc<Task>| {
        other.spec_version == task.spec_version && other.extras.job_iteration == task.extras.job_iteration
    };
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

#[cfg(test)]
mod tests {
    use skep_model::pb::types::TaskSpec;
    use skep_model::{Kept, Verbatim};

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// A task made and ended at these seconds.
    fn task(id: &str, created: i64, ended: i64, state: TaskState, policy: RestartPolicy) -> Arc<Task> {
        let object = skep_model::pb::objects::Task { id: id.into(), ..Default::default() };
        let mut task = Task::try_from(Kept::new(object)).expect("a task");
        task.spec = Verbatim::new(TaskSpec { restart: Some(policy), ..Default::default() });
        task.meta.created_at = Some(WallTime(created * SECOND));
        task.status.set_state(state);
        task.status.applied_at = Some(WallTime(ended * SECOND).into());
        task.desired_state = TaskState::Shutdown;
        Arc::new(task)
    }

    fn policy(condition: RestartCondition, max_attempts: u64, window: i64) -> RestartPolicy {
        let seconds = |seconds| Some(skep_model::time::proto_duration(Duration::from_secs(seconds)));
        let window = if window > 0 { seconds(window as u64) } else { None };
        RestartPolicy { condition: condition.into(), delay: seconds(7), max_attempts, window }
    }

    #[test]
    fn conditions_decide() {
        use RestartCondition::{Any, None, OnFailure};
        use TaskState::{Complete, Failed, Rejected, Running};
        let table = [
            (Any, Failed, false, true),
            (Any, Complete, false, true),
            (Any, Complete, true, false),
            (Any, Rejected, true, true),
            (OnFailure, Complete, false, false),
            (OnFailure, Running, false, true),
            (None, Failed, false, false),
            (None, Running, true, false),
        ];
        for (condition, state, is_job, expected) in table {
            let task = task("a", 0, 1, state, policy(condition, 0, 0));
            let slot = [Arc::clone(&task)];
            assert_eq!(may_replace(&task, is_job, &slot), expected, "{condition:?} {state:?} {is_job}");
        }
    }

    #[test]
    fn attempts_are_counted_after_the_first_and_within_the_window() {
        let made = [0, 10, 20, 30];
        for (limit, window, expected) in [(3, 0, false), (4, 0, true), (2, 15, false), (2, 5, true), (1, 5, false)] {
            let policy = policy(RestartCondition::Any, limit, window);
            let tasks: Vec<_> =
                made.iter().map(|at| task(&format!("t{at}"), *at, at + 2, TaskState::Failed, policy)).collect();
            assert_eq!(may_replace(&tasks[3], false, &tasks), expected, "{limit} within {window}");
        }
        let mut other = (*task("x", 5, 6, TaskState::Failed, policy(RestartCondition::Any, 1, 0))).clone();
        other.spec_version = Some(9);
        let last = task("y", 7, 8, TaskState::Failed, policy(RestartCondition::Any, 1, 0));
        assert!(may_replace(&last, false, &[Arc::new(other), Arc::clone(&last)]), "another version does not count");
    }

    #[test]
    fn only_failures_delay() {
        let with = policy(RestartCondition::Any, 0, 0);
        let replacement = task("b", 10, 10, TaskState::Ready, with);
        let table = [
            (TaskState::Failed, 10, 7),
            (TaskState::Complete, 9, 7),
            (TaskState::Rejected, 9, 7),
            (TaskState::Shutdown, 12, 0),
            (TaskState::Orphaned, 9, 0),
            (TaskState::Running, 5, 0),
        ];
        let up = skep_model::pb::objects::Node {
            id: "n".into(),
            status: Some(skep_model::pb::types::NodeStatus { state: 2, ..Default::default() }),
            ..Default::default()
        };
        let node = Node::try_from(Kept::new(up)).expect("a node");
        for (state, ended, seconds) in table {
            let old = task("a", 0, ended, state, with);
            let delay = delay_after(&replacement, Some((&old, Some(&node))));
            assert_eq!(delay, Duration::from_secs(seconds), "{state:?}");
        }
        let old = task("a", 0, 9, TaskState::Failed, with);
        assert_eq!(delay_after(&replacement, Some((&old, None))), Duration::ZERO, "its node is gone");
        assert_eq!(delay_after(&replacement, None), Duration::ZERO);
    }
}
