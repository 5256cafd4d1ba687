//! The laws, one file each with its source. Those about facts see every committed entry once, in order; the others are
//! fed where their news arises. None scans everything at every step.
//!
//! `convergence` alone looks at the whole world, once everything is mended.

pub mod acknowledged_never_lost;
pub mod committed_never_differs;
pub(crate) mod convergence;
pub mod decisions_fit;
pub mod driver_values;
pub mod job_completions_once;
pub mod moves_keep_count;
pub mod new_data_reach_services;
pub mod no_busy_loop;
pub mod no_panic;
pub mod no_stale_append;
pub mod node_not_over_reserved;
pub mod one_leader_per_term;
pub mod one_task_per_slot;
pub mod one_version_after_update;
pub mod reads_are_current;
pub mod recovery;
pub mod removed_node_is_empty;
pub mod restart_storm;
pub mod rollback_ends_where_it_began;
pub mod root_kept_while_used;
pub mod secret_only_where_needed;
pub mod state_never_back;
pub mod successor_waits;
pub mod task_keeps_node;
pub mod transition_owner;
pub mod unique_addresses;
pub mod unique_numbers;
pub mod unlock_key_was_told;
pub mod update_keeps_healthy;
pub mod worker_runs_what_is_assigned;

pub(crate) use unique_numbers::ports_clash;

use std::fmt;
use std::sync::Arc;

use skep_model::pb::types::TaskSpec;
use skep_model::pb::types::service_spec::Mode;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::{NodeId, SecretId, Service, ServiceId, Task, TaskState, Time};
use skep_store::{Event, Read, Store};

/// A broken law.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// How.
    pub detail: String,
}

impl Violation {
    /// A broken law.
    pub fn new(invariant: &'static str, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.invariant, self.detail)
    }
}

/// Whether a law holds.
pub type Verdict = Result<(), Violation>;

/// A law about committed facts.
pub trait Invariant {
    /// One entry was applied; `facts` are as they are after it.
    fn committed(&mut self, time: Time, facts: &Store, events: &[Event]) -> Verdict;
}

/// All laws about committed facts. After a fail-over patience is told by wall clocks: `clocks_agree` says whether they
/// can be relied upon.
pub fn all(clocks_agree: bool) -> Vec<Box<dyn Invariant>> {
    let mut laws: Vec<Box<dyn Invariant>> = vec![
        Box::new(state_never_back::StateNeverBack),
        Box::new(transition_owner::TransitionOwner),
        Box::new(task_keeps_node::TaskKeepsNode),
        Box::new(job_completions_once::JobCompletionsOnce::default()),
        Box::new(one_task_per_slot::OneTaskPerSlot::default()),
        Box::new(unique_addresses::UniqueAddresses::default()),
        Box::new(unique_numbers::UniqueNumbers::default()),
        Box::new(node_not_over_reserved::NodeNotOverReserved),
        Box::new(restart_storm::RestartStorm::default()),
        Box::new(update_keeps_healthy::UpdateKeepsHealthy::default()),
        Box::new(rollback_ends_where_it_began::RollbackEndsWhereItBegan::default()),
        Box::new(one_version_after_update::OneVersionAfterUpdate),
        Box::new(moves_keep_count::MovesKeepCount),
        Box::new(new_data_reach_services::NewDataReachServices),
        Box::new(removed_node_is_empty::RemovedNodeIsEmpty),
    ];
    if clocks_agree {
        laws.push(Box::new(successor_waits::SuccessorWaits::default()));
    }
    laws
}

/// The task before and after each update of one.
pub(crate) fn task_updates(events: &[Event]) -> impl Iterator<Item = (&Task, &Task)> {
    events.iter().filter_map(|event| {
        let new = event.object.get::<Task>()?;
        let old = event.old.as_ref()?.get::<Task>()?;
        Some((&**old, &**new))
    })
}

/// The place of one wanted task within its service: a slot, or a node for global services and jobs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    Slot(u64),
    Node(NodeId),
}

impl Place {
    pub(crate) fn of(service: &Service, task: &Task) -> Self {
        let global = matches!(service.spec.mode, Some(Mode::Global(_) | Mode::GlobalJob(_)));
        match task.node_id.clone().filter(|_| global) {
            Some(node) => Self::Node(node),
            None => Self::Slot(task.slot),
        }
    }

    /// All tasks of the service there.
    pub(crate) fn tasks(&self, facts: &Store, service: &ServiceId) -> Vec<Arc<Task>> {
        match self {
            Self::Slot(slot) => facts.tasks_in_slot(service, *slot),
            Self::Node(node) => {
                let here = facts.tasks_on_node(node).into_iter();
                here.filter(|task| task.service_id.as_ref() == Some(service)).collect()
            }
        }
    }
}

/// CPUs that the task reserves, in billionths.
pub(crate) fn reserved_cpus(task: &Task) -> i64 {
    let reserved = task.spec.resources.as_ref().and_then(|resources| resources.reservations.as_ref());
    reserved.map_or(0, |reserved| reserved.nano_cpus)
}

/// The task counts against its node's resources.
pub(crate) fn holds_resources(task: &Task) -> bool {
    let there = TaskState::Assigned..=TaskState::Running;
    task.desired_state <= TaskState::Complete && there.contains(&task.state())
}

/// Secrets that the task refers to.
pub(crate) fn secrets_of(task: &TaskSpec) -> Vec<SecretId> {
    let Some(Runtime::Container(container)) = &task.runtime else { return Vec::new() };
    container.secrets.iter().filter_map(|reference| SecretId::optional(&reference.secret_id)).collect()
}
