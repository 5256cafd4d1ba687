//! Once a service's update is over, all its tasks have the versions of secrets and configs that its spec names. Source:
//! versions of secrets and configs (docs/design/orchestration.md, and the issue on orchestration).

use std::collections::BTreeSet;

use skep_model::pb::types::TaskSpec;
use skep_model::pb::types::update_status::UpdateState;
use skep_model::{Config, Secret, Service, Task, Time};
use skep_store::versions::Dependency;
use skep_store::{Event, Read, Store};

use super::{Invariant, Place, Verdict, Violation};

/// See the file's head.
pub struct OneVersionAfterUpdate;

impl Invariant for OneVersionAfterUpdate {
    fn committed(&mut self, _: Time, facts: &Store, events: &[Event]) -> Verdict {
        for event in events {
            let Some(service) = event.object.get::<Service>() else { continue };
            let before = event.old.as_ref().and_then(|old| old.get::<Service>());
            if is_over(service) && before.is_some_and(|before| !is_over(before)) {
                all_alike(facts, service)?;
            }
        }
        Ok(())
    }
}

fn broken(detail: String) -> Violation {
    Violation::new("one_version_after_update", detail)
}

fn is_over(service: &Service) -> bool {
    let state = service.update_status.as_ref().map(|status| status.state());
    matches!(state, Some(UpdateState::Completed | UpdateState::RollbackCompleted))
}

fn versions(task: &TaskSpec) -> (Vec<&str>, Vec<&str>) {
    (Secret::references(task), Config::references(task))
}

/// In every place a task is wanted that has them, be it on a node that does not answer now; a node that takes none keeps
/// what it has.
fn all_alike(facts: &Store, service: &Service) -> Verdict {
    let Some(named) = service.spec.task.as_ref().map(versions) else { return Ok(()) };
    if named == (Vec::new(), Vec::new()) {
        return Ok(());
    }
    let tasks = facts.tasks_of_service(&service.id);
    let takes =
        |task: &Task| task.node_id.as_ref().is_none_or(|node| facts.node(node).is_some_and(|node| node.takes_tasks()));
    let wanted = || tasks.iter().filter(|task| task.is_wanted());
    let alike: BTreeSet<Place> =
        wanted().filter(|task| versions(&task.spec) == named).map(|task| Place::of(service, task)).collect();
    match wanted().filter(|task| takes(task)).find(|task| !alike.contains(&Place::of(service, task))) {
        Some(task) => {
            let has = versions(&task.spec);
            Err(broken(format!("{} is updated to {named:?}, but {} has {has:?}", service.name(), task.id)))
        }
        None => Ok(()),
    }
}
