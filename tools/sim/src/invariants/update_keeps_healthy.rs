//! An update takes down no more running tasks at once than it may, across fail-overs too; with start-first it stops
//! none before its successor runs. Source: parallelism and order of the update's config (interop §7.4).

use std::collections::{BTreeMap, BTreeSet};

use skep_model::pb::types::UpdateConfig;
use skep_model::pb::types::update_config::UpdateOrder;
use skep_model::pb::types::update_status::UpdateState;
use skep_model::{Service, ServiceId, Task, TaskId, TaskState, Time, defaults};
use skep_store::{Event, Read, Store};

use super::{Invariant, Place, Verdict, Violation, task_updates};

/// One update, and the slots that it has taken down: the task that each waits for.
#[derive(Default)]
struct Rollout {
    version: Option<u64>,
    rolls_back: bool,
    waits: BTreeMap<Place, TaskId>,
}

/// See the file's head.
#[derive(Default)]
pub struct UpdateKeepsHealthy {
    rollouts: BTreeMap<ServiceId, Rollout>,
}

impl Invariant for UpdateKeepsHealthy {
    fn committed(&mut self, _: Time, facts: &Store, events: &[Event]) -> Verdict {
        for event in events.iter().filter(|event| event.object.get::<Service>().is_some()) {
            if let Some(service) = event.object.get::<Service>() {
                let same = |rollout: &Rollout| is_of(rollout, service);
                if !self.rollouts.get(&service.id).is_some_and(same) {
                    self.rollouts.remove(&service.id);
                }
            }
        }
        let mut touched = BTreeSet::new();
        for (old, new) in task_updates(events) {
            let stopped = old.is_wanted() && new.desired_state == TaskState::Shutdown;
            // One that ended of itself in the same commit is replaced, not taken down.
            let ran = old.state() == TaskState::Running && new.state() <= TaskState::Running;
            if stopped && ran && self.taken_down(facts, new)? {
                touched.extend(new.service_id.clone());
            }
        }
        touched.iter().try_for_each(|id| self.judge(facts, id))
    }
}

impl UpdateKeepsHealthy {
    /// Notes a running task that was stopped, if an update did it.
    fn taken_down(&mut self, facts: &Store, task: &Task) -> Result<bool, Violation> {
        let Some(service) = task.service_id.as_ref().and_then(|id| facts.service(id)) else { return Ok(false) };
        let node = task.node_id.as_ref().and_then(|node| facts.node(node));
        // A node that is drained or gone loses its tasks, update or not.
        if !node.is_some_and(|node| node.takes_tasks()) {
            return Ok(false);
        }
        let place = Place::of(&service, task);
        let there = place.tasks(facts, &service.id);
        let wanted: Vec<&Task> = there.iter().map(|task| &**task).filter(|task| task.is_wanted()).collect();
        let Some(next) = wanted.iter().max_by_key(|task| task.meta.created_at) else { return Ok(false) };
        if next.spec_version == task.spec_version {
            return Ok(false);
        }
        if starts_first(&service) {
            if wanted.iter().any(|task| task.state() == TaskState::Running) {
                return Ok(false);
            }
            let detail = format!("{} stops {} before {} runs", service.name(), task.id, next.id);
            return Err(Violation::new("update_keeps_healthy", detail));
        }
        let rollout = self.rollouts.entry(service.id.clone()).or_default();
        if !is_of(rollout, &service) {
            *rollout = Rollout { waits: BTreeMap::new(), ..rollout_of(&service) };
        }
        rollout.waits.insert(place, next.id.clone());
        Ok(true)
    }

    fn judge(&mut self, facts: &Store, id: &ServiceId) -> Verdict {
        let (Some(service), Some(rollout)) = (facts.service(id), self.rollouts.get_mut(id)) else { return Ok(()) };
        let waits =
            |task: &TaskId| facts.task(task).is_some_and(|task| task.is_wanted() && task.state() < TaskState::Running);
        rollout.waits.retain(|_, task| waits(task));
        // A task of a global service stays with its node: one that is lost or drained holds no update up.
        let counts = |task: &&TaskId| {
            let node = facts.task(task).and_then(|task| task.node_id.clone());
            node.is_none_or(|node| facts.node(&node).is_some_and(|node| node.takes_tasks()))
        };
        let waiting = rollout.waits.values().filter(counts).count() as u64;
        let most = match config(&service) {
            Some(config) => config.parallelism,
            None => defaults::UPDATE_PARALLELISM,
        };
        if most > 0 && waiting > most {
            let detail = format!("{} may take down {most} at once, and waits for {:?}", service.name(), rollout.waits);
            return Err(Violation::new("update_keeps_healthy", detail));
        }
        Ok(())
    }
}

fn rolls_back(service: &Service) -> bool {
    let state = service.update_status.as_ref().map(|status| status.state());
    matches!(state, Some(UpdateState::RollbackStarted | UpdateState::RollbackPaused))
}

fn rollout_of(service: &Service) -> Rollout {
    Rollout { version: service.spec_version, rolls_back: rolls_back(service), waits: BTreeMap::new() }
}

fn is_of(rollout: &Rollout, service: &Service) -> bool {
    rollout.version == service.spec_version && rollout.rolls_back == rolls_back(service)
}

fn config(service: &Service) -> Option<&UpdateConfig> {
    if rolls_back(service) { service.spec.rollback.as_ref() } else { service.spec.update.as_ref() }
}

fn starts_first(service: &Service) -> bool {
    config(service).is_some_and(|config| config.order() == UpdateOrder::StartFirst)
}
