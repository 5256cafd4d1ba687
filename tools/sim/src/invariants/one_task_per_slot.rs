//! In the store, one task per slot (of global services: per node) is wanted to run; during a start-first update two.
//! Source: decision 19.

use std::collections::BTreeSet;

use skep_model::pb::types::update_config::UpdateOrder;
use skep_model::{Service, ServiceId, Task, Time};
use skep_store::{Event, Read, Store};

use super::{Invariant, Violation};

/// See the file's head.
pub struct OneTaskPerSlot;

impl Invariant for OneTaskPerSlot {
    fn committed(&mut self, _: Time, facts: &Store, events: &[Event]) -> Result<(), Violation> {
        let touched: BTreeSet<(ServiceId, Place)> = events
            .iter()
            .filter_map(|event| event.object.get::<Task>())
            .filter_map(|task| Some((task.service_id.clone()?, place(task))))
            .collect();
        for (id, place) in touched {
            let Some(service) = facts.service(&id) else { continue };
            let there = match &place {
                Place::Slot(slot) => facts.tasks_in_slot(&id, *slot),
                Place::Node(node) => {
                    let on_node =
                        |task: &std::sync::Arc<Task>| task.node_id.as_ref().map(|id| id.as_str()) == Some(node);
                    facts.tasks_of_service(&id).into_iter().filter(on_node).collect()
                }
            };
            let wanted: Vec<_> = there.iter().filter(|task| task.is_wanted()).map(|task| &task.id).collect();
            let most = if may_start_first(&service) { 2 } else { 1 };
            if wanted.len() > most {
                let detail = format!("{} wants {wanted:?} in {place:?}", service.name());
                return Err(Violation::new("one_task_per_slot", detail));
            }
        }
        Ok(())
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    Slot(u64),
    Node(String),
}

fn place(task: &Task) -> Place {
    match &task.node_id {
        Some(node) if task.slot == 0 => Place::Node(node.to_string()),
        _ => Place::Slot(task.slot),
    }
}

/// The spec before counts too: its update may still be under way.
fn may_start_first(service: &Service) -> bool {
    let specs = [Some(&service.spec), service.previous_spec.as_ref()];
    let configs = specs.into_iter().flatten().flat_map(|spec| [spec.update.as_ref(), spec.rollback.as_ref()]);
    configs.flatten().any(|config| config.order() == UpdateOrder::StartFirst)
}
