//! In the store, one task per slot (of global services: per node) is wanted to run; during a start-first update two.
//! Source: decision 19.

use std::collections::BTreeSet;

use skep_model::pb::types::update_config::UpdateOrder;
use skep_model::{Service, ServiceId, Task, TaskState, Time};
use skep_store::{Event, Read, Store};

use super::{Invariant, Place, Violation};

/// See the file's head.
#[derive(Default)]
pub struct OneTaskPerSlot {
    /// Services that once might start first: a slot may still be half way.
    started_first: BTreeSet<ServiceId>,
}

impl Invariant for OneTaskPerSlot {
    fn committed(&mut self, _: Time, facts: &Store, events: &[Event]) -> Result<(), Violation> {
        for service in events.iter().filter_map(|event| event.object.get::<Service>()) {
            if may_start_first(service) && !self.started_first.contains(&service.id) {
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
            let wanted: Vec<_> = there.iter().filter(|task| is_wanted(task)).map(|task| &task.id).collect();
            let most = if self.started_first.contains(&id) { 2 } else { 1 };
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

fn may_start_first(service: &Service) -> bool {
    let configs = [service.spec.update.as_ref(), service.spec.rollback.as_ref()];
    configs.into_iter().flatten().any(|config| config.order() == UpdateOrder::StartFirst)
}
