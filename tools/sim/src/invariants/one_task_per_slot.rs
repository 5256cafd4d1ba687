//! In the store, one task per slot (of global services: per node) is wanted to run; two during a start-first update, and
//! while one moves to a better place. And of a global service nothing is told to run on a node where an earlier task may
//! still be alive. Source: decision 19 (and docs/design/orchestration.md for moves).

use std::collections::BTreeSet;

use skep_model::labels;
use skep_model::pb::types::node_status::State;
use skep_model::pb::types::update_config::UpdateOrder;
use skep_model::{Service, ServiceId, Task, TaskState, Time};
use skep_store::{Event, Read, Store};

use super::{Invariant, Place, Violation};

/// See the file's head.
#[derive(Default)]
pub struct OneTaskPerSlot {
    /// Services that once might start first, or move tasks: a slot may still be half way.
    started_first: BTreeSet<ServiceId>,
}

impl Invariant for OneTaskPerSlot {
    fn committed(&mut self, _: Time, facts: &Store, events: &[Event]) -> Result<(), Violation> {
        for service in events.iter().filter_map(|event| event.object.get::<Service>()) {
            if (may_start_first(service) || may_move(service)) && !self.started_first.contains(&service.id) {
                self.started_first.insert(service.id.clone());
            }
        }
        let mut touched = BTreeSet::new();
        for task in events.iter().filter_map(|event| event.object.get::<Task>()).filter(|task| is_wanted(task)) {
            let Some(service) = task.service_id.as_ref().and_then(|id| facts.service(id)) else { continue };
            touched.insert((service.id.clone(), Place::of(&service, task)));
        }
        for (id, place) in touched {
            let Some(service) = facts.service(&id) else { continue };
            let there = place.tasks(facts, &id);
            let first = self.started_first.contains(&id);
            if let (false, Place::Node(node)) = (first, &place) {
                let up = facts.node(node).is_some_and(|node| node.status.state() != State::Down);
                let told = there.iter().find(|task| is_wanted(task) && task.desired_state > TaskState::Ready);
                let stopping = there.iter().find(|task| !is_wanted(task) && may_be_alive(task));
                if let (true, Some(told), Some(stopping)) = (up, told, stopping) {
                    let detail = format!("{} runs {} beside {} on {node}", service.name(), told.id, stopping.id);
                    return Err(Violation::new("one_task_per_slot", detail));
                }
            }
            let wanted: Vec<_> = there.iter().filter(|task| is_wanted(task)).map(|task| &task.id).collect();
            let most = if first { 2 } else { 1 };
            if wanted.len() > most {
                let detail = format!("{} wants {wanted:?} in {place:?}", service.name());
                return Err(Violation::new("one_task_per_slot", detail));
            }
        }
        Ok(())
    }
}

/// To run, or (of a job) to complete.
fn is_wanted(task: &Task) -> bool {
    task.desired_state <= TaskState::Complete
}

/// A node may still run it.
fn may_be_alive(task: &Task) -> bool {
    (TaskState::Assigned..=TaskState::Running).contains(&task.state())
}

fn may_start_first(service: &Service) -> bool {
    let configs = [service.spec.update.as_ref(), service.spec.rollback.as_ref()];
    configs.into_iter().flatten().any(|config| config.order() == UpdateOrder::StartFirst)
}

fn may_move(service: &Service) -> bool {
    service.spec.annotations.as_ref().is_some_and(|annotations| labels::rebalances(&annotations.labels))
}
