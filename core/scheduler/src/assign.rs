//! Writing a decision: into the picture, and into the task.

use std::sync::Arc;

use skep_model::objects::{Extras, TaskExtras};
use skep_model::pb::types::TaskStatus;
use skep_model::{Now, Refusal, Task, TaskState};
use skep_store::Tx;

use crate::node::NodeNumber;
use crate::picture::{self, Picture};
use crate::requirements::Requirements;
use crate::tasks::Placed;

/// Refusals kept for the log between two looks at them.
const REFUSALS_MAX: usize = 100;

/// A turn's means.
pub(crate) struct Turn<'a, 'tx> {
    pub(crate) now: Now,
    pub(crate) tx: &'a mut Tx<'tx>,
    pub(crate) refusals: &'a mut Vec<Refusal>,
}

/// Puts the task on the node.
pub(crate) fn assign(
    turn: &mut Turn,
    picture: &mut Picture,
    wanted: &Requirements,
    task: &Task,
    number: NodeNumber,
    message: &str,
) {
    let Some(state) = picture.node_mut(number) else { return };
    let given = state.generic.claim(&wanted.generic);
    // The claim is made again when the task is put on the node, as for any task that is found there.
    state.generic.mark(&given, false);
    let id = state.node.id.clone();
    let volumes = match &wanted.volumes {
        Some(candidates) => picture.volumes.choose(candidates, &id, task).unwrap_or_default(),
        None => Vec::new(),
    };
    // Written out, so that the old status is not copied only to be dropped.
    let assigned = Task {
        id: task.id.clone(),
        meta: task.meta,
        spec: task.spec.clone(),
        service_id: task.service_id.clone(),
        slot: task.slot,
        annotations: task.annotations.clone(),
        service_annotations: task.service_annotations.clone(),
        desired_state: task.desired_state,
        networks: Arc::clone(&task.networks),
        endpoint: task.endpoint.clone(),
        log_driver: task.log_driver.clone(),
        spec_version: task.spec_version,
        node_id: Some(id),
        extras: TaskExtras::from(Extras {
            assigned_generic_resources: given,
            volumes,
            job_iteration: task.extras.job_iteration,
            unknown: task.extras.unknown.clone(),
        }),
        status: TaskStatus {
            state: TaskState::Assigned.into(),
            timestamp: Some(turn.now.wall.into()),
            message: message.to_owned(),
            ..Default::default()
        },
    };
    if let Some(task) = write(turn, assigned) {
        let counts = picture::is_wanted(&task);
        let service = wanted.service.filter(|_| counts);
        picture.put_new_task(Placed { node: number, counts, service, task });
    }
}

/// Says why the task cannot be placed, if that is news.
pub(crate) fn explain(turn: &mut Turn, task: &Arc<Task>, reason: &str) {
    if task.status.err == reason {
        return;
    }
    let timestamp = Some(turn.now.wall.into());
    let status = TaskStatus { err: reason.to_owned(), timestamp, ..task.status.clone() };
    write(turn, Task { status, ..(**task).clone() });
}

/// The task as it is stored now.
fn write(turn: &mut Turn, task: Task) -> Option<Arc<Task>> {
    match turn.tx.update_shared(Arc::new(task)) {
        Ok(stored) => Some(stored),
        Err(refusal) => {
            // A turn writes only what it just read, so this is a broken law.
            if turn.refusals.len() < REFUSALS_MAX {
                turn.refusals.push(refusal);
            }
            None
        }
    }
}
