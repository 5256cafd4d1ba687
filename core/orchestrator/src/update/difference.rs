//! Whether a task is out of date: made from another spec that differs in what counts (interop §7.4).

use std::sync::Arc;

use skep_model::constraint;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::pb::types::{EndpointSpec, TaskSpec};
use skep_model::{Service, Task, TaskState, Verbatim};

use crate::facts;
use crate::turn::Turn;

/// How two task specs differ, where that matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Difference {
    None,
    /// Only how the image is pulled: of no concern to a task that has its image.
    PullOnly,
    /// Only where it may run: of no concern to a task that may stay where it is.
    PlacementOnly,
    Other,
}

fn difference(wanted: &TaskSpec, actual: &TaskSpec) -> Difference {
    if wanted == actual {
        return Difference::None;
    }
    let mut like = wanted.clone();
    like.placement = actual.placement.clone();
    if like == *actual {
        return Difference::PlacementOnly;
    }
    let mut like = wanted.clone();
    if let (Some(Runtime::Container(like)), Some(Runtime::Container(actual))) = (&mut like.runtime, &actual.runtime) {
        like.pull_options = actual.pull_options.clone();
    }
    if like == *actual { Difference::PullOnly } else { Difference::Other }
}

/// Compares tasks with their service; tasks that share a spec are compared once.
pub(super) struct Comparison<'a> {
    service: &'a Service,
    wanted: TaskSpec,
    endpoint: EndpointSpec,
    last: Option<(Verbatim<TaskSpec>, Difference)>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(service: &'a Service) -> Self {
        let wanted = service.spec.task.clone().unwrap_or_default();
        Self { service, wanted, endpoint: service.spec.endpoint.clone().unwrap_or_default(), last: None }
    }

    pub(super) fn is_dirty(&mut self, turn: &Turn, task: &Arc<Task>) -> bool {
        if task.spec_version.is_some() && task.spec_version == self.service.spec_version {
            return false;
        }
        match self.difference(task) {
            Difference::PlacementOnly if self.node_still_fits(turn, task) => return false,
            Difference::PullOnly if has_image(task) => {}
            Difference::None => {}
            Difference::PullOnly | Difference::PlacementOnly | Difference::Other => return true,
        }
        let actual = task.endpoint.as_ref().map(|endpoint| endpoint.spec.clone().unwrap_or_default());
        actual.is_some_and(|actual| actual != self.endpoint)
    }

    fn difference(&mut self, task: &Task) -> Difference {
        if let Some((spec, difference)) = &self.last
            && spec.same(&task.spec)
        {
            return *difference;
        }
        let difference = difference(&self.wanted, &task.spec);
        self.last = Some((task.spec.clone(), difference));
        difference
    }

    fn node_still_fits(&self, turn: &Turn, task: &Task) -> bool {
        let Some(node) = turn.node_of(task) else { return false };
        let texts = self.wanted.placement.as_ref().map(|placement| placement.constraints.as_slice());
        constraint::parse(texts.unwrap_or_default())
            .is_ok_and(|constraints| constraint::node_matches(&constraints, &node))
    }
}

/// It has pulled its image, or did not need to.
fn has_image(task: &Task) -> bool {
    facts::is_wanted(task) && (TaskState::Ready..=TaskState::Running).contains(&task.state())
}

#[cfg(test)]
mod tests {
    use skep_model::pb::types::container_spec::PullOptions;
    use skep_model::pb::types::{ContainerSpec, Placement};

    use super::*;

    fn spec(image: &str, auth: &str, constraint: &str, force: u64) -> TaskSpec {
        TaskSpec {
            runtime: Some(Runtime::Container(ContainerSpec {
                image: image.into(),
                pull_options: Some(PullOptions { registry_auth: auth.into() }),
                ..Default::default()
            })),
            placement: Some(Placement { constraints: vec![constraint.into()], ..Default::default() }),
            force_update: force,
            ..Default::default()
        }
    }

    #[test]
    fn tells_what_differs() {
        let base = spec("a", "x", "node.id==1", 0);
        let table = [
            (spec("a", "x", "node.id==1", 0), Difference::None),
            (spec("a", "y", "node.id==1", 0), Difference::PullOnly),
            (spec("a", "x", "node.id==2", 0), Difference::PlacementOnly),
            (spec("a", "y", "node.id==2", 0), Difference::Other),
            (spec("b", "x", "node.id==1", 0), Difference::Other),
            (spec("a", "x", "node.id==1", 1), Difference::Other),
        ];
        for (wanted, expected) in table {
            assert_eq!(difference(&wanted, &base), expected, "{wanted:?}");
        }
    }
}
