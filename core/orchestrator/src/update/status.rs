//! What the user sees of an update: its state and message.

use std::sync::Arc;

use skep_model::pb::types::UpdateStatus;
use skep_model::pb::types::update_config::FailureAction;
use skep_model::pb::types::update_status::UpdateState;
use skep_model::{Service, TaskId};

use super::config::Config;
use crate::turn::Turn;

pub(super) fn of(service: &Service) -> UpdateState {
    service.update_status.as_ref().map_or(UpdateState::Unknown, UpdateStatus::state)
}

pub(super) fn is_under_way(service: &Service) -> bool {
    matches!(of(service), UpdateState::Updating | UpdateState::RollbackStarted)
}

/// Marks the update as begun, unless its state says something already.
pub(super) fn begin(turn: &mut Turn, service: &mut Arc<Service>) {
    if service.update_status.is_some() {
        return;
    }
    let started_at = Some(turn.now.wall.into());
    turn.update_service(service, |service| {
        service.update_status = Some(UpdateStatus {
            state: UpdateState::Updating.into(),
            started_at,
            completed_at: None,
            message: "update in progress".to_owned(),
        });
    });
}

/// Every slot is new, and stayed well.
pub(super) fn complete(turn: &mut Turn, service: &mut Arc<Service>) {
    let (state, message) = match of(service) {
        UpdateState::RollbackStarted => (UpdateState::RollbackCompleted, "rollback completed"),
        UpdateState::Updating => (UpdateState::Completed, "update completed"),
        _ => return,
    };
    let completed_at = Some(turn.now.wall.into());
    turn.update_service(service, |service| {
        let status = service.update_status.get_or_insert_default();
        status.set_state(state);
        status.message = message.to_owned();
        status.completed_at = completed_at;
    });
}

/// Whether the service's spec is one that was rolled back to; a slot may follow when the rollback is over, for its node
/// was paused.
fn is_rolled_back(service: &Service) -> bool {
    matches!(of(service), UpdateState::RollbackStarted | UpdateState::RollbackCompleted)
}

/// Too many new tasks failed: does what the update's config says. A rollback is never rolled back.
pub(super) fn fail(turn: &mut Turn, service: &mut Arc<Service>, config: &Config, task: &TaskId) {
    let rolls_back = is_rolled_back(service);
    let cause = format!("due to failure or early termination of task {task}");
    match config.action {
        FailureAction::Continue => {}
        FailureAction::Pause => pause(turn, service, format!("update paused {cause}")),
        FailureAction::Rollback if rolls_back => pause(turn, service, format!("rollback paused {cause}")),
        FailureAction::Rollback if service.previous_spec.is_none() => {
            pause(turn, service, format!("update paused {cause}; there is no previous spec to roll back to"));
        }
        FailureAction::Rollback => turn.update_service(service, |service| roll_back(service, cause)),
    }
}

fn pause(turn: &mut Turn, service: &mut Arc<Service>, message: String) {
    let state = if is_rolled_back(service) { UpdateState::RollbackPaused } else { UpdateState::Paused };
    turn.update_service(service, |service| {
        let status = service.update_status.get_or_insert_default();
        status.set_state(state);
        status.message = message;
    });
}

fn roll_back(service: &mut Service, cause: String) {
    let status = service.update_status.get_or_insert_default();
    status.set_state(UpdateState::RollbackStarted);
    status.message = format!("update rolled back {cause}");
    if let Some(spec) = service.previous_spec.take() {
        service.spec = spec;
        service.spec_version = service.previous_spec_version.take();
    }
}
