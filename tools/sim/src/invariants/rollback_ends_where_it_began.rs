//! A rollback puts back the very spec that the update took away, and is not over before every slot has a task of it.
//! Source: interop §7.4.

use std::collections::{BTreeMap, BTreeSet};

use skep_model::pb::types::ServiceSpec;
use skep_model::pb::types::update_status::UpdateState;
use skep_model::{Config, Secret, Service, ServiceId, Time, Verbatim};
use skep_store::versions::Dependency;
use skep_store::{Action, Event, Read, Store};

use super::{Invariant, Place, Verdict, Violation};

/// See the file's head.
#[derive(Default)]
pub struct RollbackEndsWhereItBegan {
    /// The specs before the present one, oldest first: more than one where new versions of secrets and configs came
    /// in between, which may count as one step with what came before them.
    before: BTreeMap<ServiceId, Vec<Verbatim<ServiceSpec>>>,
}

impl Invariant for RollbackEndsWhereItBegan {
    fn committed(&mut self, _: Time, facts: &Store, events: &[Event]) -> Verdict {
        for event in events {
            let Some(new) = event.object.get::<Service>() else { continue };
            if event.action == Action::Remove {
                self.before.remove(&new.id);
            }
            let Some(old) = event.old.as_ref().and_then(|old| old.get::<Service>()) else { continue };
            if new.spec != old.spec {
                let before = self.before.entry(new.id.clone()).or_default();
                if begins(new) && !before.is_empty() && !before.contains(&new.spec) {
                    let detail = format!("{} rolls back to a spec that it did not have before", new.name());
                    return Err(broken(detail));
                }
                if before.last().is_none_or(|last| without_versions(last) != without_versions(&old.spec)) {
                    before.clear();
                }
                before.push(old.spec.clone());
            }
            if state(new) == UpdateState::RollbackCompleted && state(old) != UpdateState::RollbackCompleted {
                completed(facts, new)?;
            }
        }
        Ok(())
    }
}

fn state(service: &Service) -> UpdateState {
    service.update_status.as_ref().map_or(UpdateState::Unknown, |status| status.state())
}

/// Of a service whose spec was changed: a rollback did it. (One that has nothing to do is over at once.)
pub(crate) fn begins(service: &Service) -> bool {
    use UpdateState as S;
    matches!(state(service), S::RollbackStarted | S::RollbackPaused | S::RollbackCompleted)
}

fn without_versions(spec: &ServiceSpec) -> ServiceSpec {
    let mut spec = spec.clone();
    if let Some(task) = &mut spec.task {
        Secret::visit(task, &mut String::clear);
        Config::visit(task, &mut String::clear);
    }
    spec
}

fn broken(detail: String) -> Violation {
    Violation::new("rollback_ends_where_it_began", detail)
}

/// In every slot there is a wanted task that is as the spec says, be it on a node that does not answer now; on a node
/// that takes none, nothing is replaced.
fn completed(facts: &Store, service: &Service) -> Verdict {
    let tasks = facts.tasks_of_service(&service.id);
    let takes = |task: &skep_model::Task| {
        task.node_id.as_ref().is_none_or(|node| facts.node(node).is_some_and(|node| node.takes_tasks()))
    };
    let wanted = || tasks.iter().filter(|task| task.is_wanted());
    let like = |task: &skep_model::Task| {
        task.spec_version == service.spec_version || service.spec.task.as_ref() == Some(&*task.spec)
    };
    let fine: BTreeSet<Place> = wanted().filter(|task| like(task)).map(|task| Place::of(service, task)).collect();
    match wanted().filter(|task| takes(task)).find(|task| !fine.contains(&Place::of(service, task))) {
        Some(task) => Err(broken(format!("{} has rolled back, but still wants {}", service.name(), task.id))),
        None => Ok(()),
    }
}
