//! A task that moves to a better place stops only once the one that takes over runs; a service moves one at a time, and
//! only while all its tasks run: rebalancing never takes a service below what it asks for. Source: the label
//! `skep.rebalance` (docs/design/orchestration.md).

use skep_model::labels::MOVED_FROM;
use skep_model::objects::TaskAnnotations;
use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::node_status::State;
use skep_model::pb::types::service_spec::Mode;
use skep_model::{Node, ServiceId, Task, TaskId, TaskState, Time};
use skep_store::{Action, Event, Read, Store};

use super::{Invariant, Place, Verdict, Violation, task_updates};

/// See the file's head.
pub struct MovesKeepCount;

impl Invariant for MovesKeepCount {
    fn committed(&mut self, _: Time, facts: &Store, events: &[Event]) -> Verdict {
        for (old, new) in task_updates(events) {
            let runs = old.state() == TaskState::Running && new.state() == TaskState::Running;
            if runs && old.is_wanted() && new.desired_state == TaskState::Shutdown {
                stopped(facts, new)?;
            }
        }
        for event in events.iter().filter(|event| event.action == Action::Create) {
            let Some(task) = event.object.get::<Task>() else { continue };
            if let (Some(from), Some(service)) = (moved_from(task), &task.service_id) {
                begun(facts, service, task, from)?;
            }
        }
        Ok(())
    }
}

/// The task that this one takes over from.
pub(crate) fn moved_from(task: &Task) -> Option<&str> {
    match &task.annotations {
        TaskAnnotations::Written(written) => written.labels.get(MOVED_FROM).map(String::as_str),
        TaskAnnotations::Usual => None,
    }
}

fn broken(detail: String) -> Violation {
    Violation::new("moves_keep_count", detail)
}

/// A task was stopped: if it was for one that takes over, that one runs. (An update replaces both, or stops the one of
/// another spec by its own rules; a node that is gone, down or drained loses its tasks, move or not.)
fn stopped(facts: &Store, task: &Task) -> Verdict {
    let node = task.node_id.as_ref().and_then(|node| facts.node(node));
    let keeps = |node: &Node| node.status.state() != State::Down && node.availability() != Availability::Drain;
    let Some(service) = task.service_id.as_ref().filter(|_| node.is_some_and(|node| keeps(&node))) else {
        return Ok(());
    };
    let takes_over = |other: &Task| other.is_wanted() && moved_from(other) == Some(task.id.as_str());
    let there = facts.tasks_in_slot(service, task.slot);
    match there.iter().find(|other| takes_over(other) && other.spec == task.spec) {
        Some(next) if next.state() != TaskState::Running => {
            Err(broken(format!("{} is stopped before {} runs, which takes over", task.id, next.id)))
        }
        _ => Ok(()),
    }
}

/// A move begins.
fn begun(facts: &Store, id: &ServiceId, task: &Task, from: &str) -> Verdict {
    let Some(service) = facts.service(id) else { return Ok(()) };
    let tasks = facts.tasks_of_service(id);
    let wanted = || tasks.iter().filter(|other| other.is_wanted() && other.id != task.id);
    let stays = |id: &str| wanted().any(|other| other.id.as_str() == id);
    let another = wanted().find(|other| moved_from(other).is_some_and(stays));
    if let Some(another) = another {
        return Err(broken(format!("{} moves {from} while {} still moves", service.name(), another.id)));
    }
    let Some(Mode::Replicated(replicated)) = &service.spec.mode else { return Ok(()) };
    let idle: Option<&TaskId> = wanted().find(|other| other.state() != TaskState::Running).map(|other| &other.id);
    let places: std::collections::BTreeSet<Place> = wanted().map(|other| Place::of(&service, other)).collect();
    if idle.is_some() || places.len() as u64 != replicated.replicas {
        let detail = format!(
            "{} moves {from} while {} slots are filled and {idle:?} does not run",
            service.name(),
            places.len()
        );
        return Err(broken(detail));
    }
    Ok(())
}
