//! Planted bugs of the deciders, without a hook in them: a manager that restarts is handed facts that a decider which
//! forgets, or misreads, would see. What it then decides goes through the whole of the core.

use std::sync::Arc;

use skep_model::pb::types::task_spec::Runtime;
use skep_model::{Service, Task, TaskState};
use skep_store::{Action, AnyObject, Change, Entry, Read, Store};

use crate::plant::Plant;

/// The facts as the planted bug sees them.
pub(crate) fn facts(plant: Option<Plant>, mut facts: Store) -> Store {
    let Some(plant) = plant.filter(|plant| plant.tampers_with_facts()) else { return facts };
    let tasks = facts.tasks().into_iter().filter_map(|task| task_seen(plant, &facts, &task));
    let services = facts.services().into_iter().filter_map(|service| service_seen(plant, &service));
    let changes: Vec<Change> = services.chain(tasks).collect();
    if !changes.is_empty() {
        facts.apply(&Entry { id: 1, changes: changes.into() }).expect("what is there can be changed");
    }
    facts
}

fn update(object: AnyObject) -> Option<Change> {
    Some(Change { action: Action::Update, object })
}

fn task_seen(plant: Plant, facts: &Store, task: &Arc<Task>) -> Option<Change> {
    let alive = task.is_wanted() && task.state() == TaskState::Running;
    let mut seen = (**task).clone();
    match plant {
        Plant::AddressForgotten if alive && !task.networks.is_empty() => seen.networks = Default::default(),
        Plant::SlotForgotten if alive && task.slot > 0 => {
            return Some(Change { action: Action::Remove, object: AnyObject::Task(task.clone()) });
        }
        Plant::CompletionForgotten if task.extras.job_iteration.is_some() && task.state() == TaskState::Complete => {
            return Some(Change { action: Action::Remove, object: AnyObject::Task(task.clone()) });
        }
        Plant::StopForgotten if task.desired_state == TaskState::Shutdown => seen.desired_state = TaskState::Running,
        Plant::ReservationForgotten if alive => seen.spec = seen.spec.edit(|spec| spec.resources = None),
        Plant::NodeMistaken if alive => {
            let other = facts.nodes().into_iter().find(|node| Some(&node.id) != task.node_id.as_ref())?;
            seen.node_id = Some(other.id.clone());
        }
        _ => return None,
    }
    update(AnyObject::Task(Arc::new(seen)))
}

fn service_seen(plant: Plant, service: &Arc<Service>) -> Option<Change> {
    let mut seen = (**service).clone();
    if plant != Plant::RollbackElsewhere {
        return None;
    }
    let before = seen.previous_spec.take()?;
    seen.previous_spec = Some(before.edit(|spec| {
        if let Some(Runtime::Container(container)) = spec.task.as_mut().and_then(|task| task.runtime.as_mut()) {
            container.image = "busybox:forgotten".to_owned();
        }
    }));
    update(AnyObject::Service(Arc::new(seen)))
}
