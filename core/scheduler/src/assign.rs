//! Writing a decision: into the picture, and into the task.

use std::sync::Arc;

use skep_model::objects::{Extras, TaskExtras};
use skep_model::pb::types::{GenericResource, TaskStatus, VolumeAttachment};
use skep_model::{Now, Refusal, Task, TaskState};
use skep_store::{Handle, Tx};

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
    /// Assigned tasks that the picture counts already and the store does not know.
    pub(crate) decided: Vec<Decided>,
}

/// An assigned task, and where it lay in the store before.
pub(crate) struct Decided {
    handle: Handle,
    placed: Placed,
}

/// Puts the task on the node; [`write_decided`] tells the store.
pub(crate) fn assign(
    turn: &mut Turn,
    picture: &mut Picture,
    wanted: &Requirements,
    (handle, task): (Handle, &Task),
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
    let assigned = Arc::new(Task {
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
        extras: extras(task, given, volumes),
        status: TaskStatus {
            state: TaskState::Assigned.into(),
            timestamp: Some(turn.now.wall.into()),
            message: message.to_owned(),
            ..Default::default()
        },
    });
    let counts = picture::is_wanted(task);
    let service = wanted.service.filter(|_| counts);
    let placed = Placed { node: number, counts, service, task: assigned };
    picture.hold(&placed, true);
    turn.decided.push(Decided { handle, placed });
}

fn extras(task: &Task, given: Vec<GenericResource>, volumes: Vec<VolumeAttachment>) -> TaskExtras {
    // So it is mostly.
    if task.extras.is_none() && given.is_empty() && volumes.is_empty() {
        return TaskExtras::default();
    }
    TaskExtras::from(Extras {
        assigned_generic_resources: given,
        volumes,
        job_iteration: task.extras.job_iteration,
        unknown: task.extras.unknown.clone(),
    })
}

/// Writes what was decided so far.
pub(crate) fn write_decided(turn: &mut Turn, picture: &mut Picture) {
    turn.tx.reserve(turn.decided.len());
    for Decided { handle, mut placed } in std::mem::take(&mut turn.decided) {
        if write(turn, handle, &mut placed.task) {
            picture.keep(placed);
        } else {
            picture.hold(&placed, false);
        }
    }
}

/// Says why the task cannot be placed, if that is news.
pub(crate) fn explain(turn: &mut Turn, handle: Handle, task: &Arc<Task>, reason: &str) {
    if task.status.err == reason {
        return;
    }
    let timestamp = Some(turn.now.wall.into());
    let status = TaskStatus { err: reason.to_owned(), timestamp, ..task.status.clone() };
    write(turn, handle, &mut Arc::new(Task { status, ..(**task).clone() }));
}

/// Tells whether the store takes it.
fn write(turn: &mut Turn, handle: Handle, task: &mut Arc<Task>) -> bool {
    let written = turn.tx.update_near(task, handle);
    let is_written = written.is_ok();
    // A turn writes only what it just read, so a refusal is a broken law.
    turn.refusals.extend(written.err().filter(|_| turn.refusals.len() < REFUSALS_MAX));
    is_written
}
