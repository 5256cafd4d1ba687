//! Statuses of tasks that workers reported, on their way into the store (interop §4.5).

use std::collections::BTreeMap;
use std::time::Duration;

use skep_model::pb::messages::{UpdateTaskStatusRequest, UpdateTaskStatusResponse};
use skep_model::pb::types::TaskStatus;
use skep_model::refusal::Code;
use skep_model::task_state::{Owner, owner};
use skep_model::{Caller, NodeId, Now, Refusal, TaskId, TaskState, Time};
use skep_store::{Read, Tx};

use super::{Dispatcher, limits};

/// Statuses waiting to be written: few go at once, many together.
#[derive(Debug, Default)]
pub struct StatusQueue {
    waiting: BTreeMap<TaskId, (NodeId, TaskStatus)>,
    /// Since when the oldest waits.
    since: Time,
    /// When the last batch was taken, and how long the next has to wait after it.
    taken: Option<(Time, Duration)>,
}

impl StatusQueue {
    /// Keeps the furthest status of each task; a later report of the same state replaces an earlier one.
    pub fn push(&mut self, now: Time, task: TaskId, node: NodeId, status: TaskStatus) {
        if self.waiting.is_empty() {
            self.since = now;
        }
        let earlier = self.waiting.get(&task).map(|(_, status)| status.state());
        if earlier.is_none_or(|earlier| status.state() >= earlier) {
            self.waiting.insert(task, (node, status));
        }
    }

    /// When the batch wants to be written.
    pub fn due(&self) -> Option<Time> {
        if self.waiting.is_empty() {
            return None;
        }
        if self.waiting.len() >= limits::STATUS_BATCH_COUNT {
            return Some(self.since);
        }
        let latest = self.since.after(limits::STATUS_BATCH_DELAY);
        Some(self.taken.map_or(self.since, |(at, pause)| at.after(pause).clamp(self.since, latest)))
    }

    fn take(&mut self, now: Time) -> BTreeMap<TaskId, (NodeId, TaskStatus)> {
        let batch = std::mem::take(&mut self.waiting);
        let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let pause = limits::STATUS_DELAY_PER_UPDATE.saturating_mul(count).min(limits::STATUS_BATCH_DELAY);
        self.taken = Some((now, pause));
        batch
    }
}

impl Dispatcher {
    /// `Dispatcher/UpdateTaskStatus`: all or nothing. Tasks that are gone are skipped; a task of another node refuses
    /// the whole call with `PermissionDenied`.
    pub fn update_task_status(
        &mut self,
        now: Now,
        facts: &impl Read,
        caller: &Caller,
        request: UpdateTaskStatusRequest,
    ) -> Result<UpdateTaskStatusResponse, Refusal> {
        self.check_leading()?;
        self.presences.session(&caller.node, &request.session_id)?;
        let mut updates = Vec::with_capacity(request.updates.len());
        for update in request.updates {
            let Some((id, status)) = TaskId::optional(&update.task_id).zip(update.status) else { continue };
            let Some(task) = facts.task(&id) else { continue };
            if task.node_id.as_ref() != Some(&caller.node) {
                return Err(Refusal::new(Code::PermissionDenied, "cannot update a task not assigned this node"));
            }
            updates.push((id, status));
        }
        for (id, status) in updates {
            self.statuses.push(now.monotonic, id, caller.node.clone(), status);
        }
        Ok(UpdateTaskStatusResponse {})
    }

    /// Writes the statuses that are due.
    pub(super) fn write_statuses(&mut self, now: Now, tx: &mut Tx<'_>) {
        if self.statuses.due().is_none_or(|due| due > now.monotonic) {
            return;
        }
        for (id, (node, status)) in self.statuses.take(now.monotonic) {
            let Some(task) = tx.task(&id) else { continue };
            if task.node_id.as_ref() != Some(&node) || !is_news(&task.status, &status) {
                continue;
            }
            let mut task = (*task).clone();
            task.status = TaskStatus { applied_by: self.own.to_string(), applied_at: Some(now.wall.into()), ..status };
            let written = tx.update(task);
            self.warn_of(written);
        }
    }
}

/// Whether a reported status may and should replace the stored one: forward, or the same state with other details.
fn is_news(stored: &TaskStatus, reported: &TaskStatus) -> bool {
    let (from, to) = (stored.state(), reported.state());
    if from == to {
        let bare = |status: &TaskStatus| TaskStatus { applied_by: String::new(), applied_at: None, ..status.clone() };
        return to <= TaskState::Running && to > TaskState::Assigned && bare(stored) != bare(reported);
    }
    owner(from, to) == Some(Owner::Agent)
}
