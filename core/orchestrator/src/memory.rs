//! What a leader remembers of one service between turns. All of it is rebuilt from the facts when it is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skep_model::{Now, Task, TaskId, Time};

use crate::deadline::{deadline, earliest};
use crate::facts;
use crate::make::SharedSpec;
use crate::rest::Rest;
use crate::update::Rollout;

/// What is remembered of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) spec: SharedSpec,
    /// The update under way, or the one that came last.
    pub(crate) rollout: Option<Rollout>,
    /// When tasks that are held back may start.
    pub(crate) starts: BTreeMap<TaskId, Time>,
    /// Until when they wait for their predecessor to stop.
    pub(crate) patience: BTreeMap<TaskId, Time>,
    /// When to look at the service again, though nothing happened.
    pub(crate) wake: Option<Time>,
    /// No task is moved to a better place before.
    pub(crate) rebalance_after: Option<Time>,
    /// A slot holds two tasks until the newer one runs.
    pub(crate) takes_over: bool,
    /// What is decided and not written yet.
    pub(crate) rest: Rest,
    /// The service itself was changed: it is looked at again in the same turn.
    pub(crate) again: bool,
}

impl Memory {
    /// Starts a reconciliation: deadlines will be asked for anew.
    pub(crate) fn begin(&mut self) {
        self.wake = None;
        self.rest = Rest::default();
        self.again = false;
        self.takes_over = false;
    }

    /// Asks to be woken at `time`.
    pub(crate) fn wake_at(&mut self, time: Time) {
        self.wake = earliest(self.wake, Some(time));
    }

    /// Whether `time` has come; asks to be woken then if not.
    pub(crate) fn has_come(&mut self, now: Now, time: Time) -> bool {
        let come = time <= now.monotonic;
        if !come {
            self.wake_at(time);
        }
        come
    }

    /// When a held-back task may start. The delay is worked out only when it is not known yet.
    pub(crate) fn start_of(&mut self, now: Now, task: &Task, delay: impl FnOnce() -> Duration) -> Time {
        let known = self.starts.get(&task.id).copied();
        known.unwrap_or_else(|| {
            let time = deadline(now, task.meta.created_at, delay());
            self.starts.insert(task.id.clone(), time);
            time
        })
    }

    /// Until when a held-back task waits for its predecessor.
    pub(crate) fn patience_of(&mut self, now: Now, task: &Task) -> Time {
        let until = || deadline(now, task.meta.created_at, crate::restart::OLD_TASK_STOP_TIMEOUT);
        *self.patience.entry(task.id.clone()).or_insert_with(until)
    }

    /// Forgets a task that is no longer held back.
    pub(crate) fn forget(&mut self, id: &TaskId) {
        self.starts.remove(id);
        self.patience.remove(id);
    }

    pub(crate) fn has_deadlines(&self) -> bool {
        !self.starts.is_empty() || !self.patience.is_empty()
    }

    /// Forgets deadlines of tasks that are gone.
    pub(crate) fn retain<'a>(&mut self, held_back: impl Iterator<Item = &'a Task>) {
        let held_back: BTreeSet<&TaskId> =
            held_back.filter(|task| facts::is_held_back(task)).map(|task| &task.id).collect();
        self.starts.retain(|id, _| held_back.contains(id));
        self.patience.retain(|id, _| held_back.contains(id));
    }
}
