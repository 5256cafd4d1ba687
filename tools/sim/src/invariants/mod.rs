//! The laws, one file each with its source. Those about facts see every committed entry once, in order; the others are
//! fed where their news arises. None scans everything at every step.
//!
//! Laws that need the whole world live with it: `acknowledged_never_lost` and `reads_are_current` in `world/clients`
//! (source: linearizability, decisions 1 and 8), `worker_runs_what_is_assigned` in `world/worker` (source: interop §4.3),
//! `convergence` in `world/heal` (source: the simulator's second phase in the architecture).

pub mod committed_never_differs;
pub mod decisions_fit;
pub mod no_stale_append;
pub mod node_not_over_reserved;
pub mod one_leader_per_term;
pub mod one_task_per_slot;
pub mod restart_storm;
pub mod secret_only_where_needed;
pub mod state_never_back;
pub mod task_keeps_node;
pub mod transition_owner;
pub mod unique_addresses;
pub mod unique_numbers;

pub(crate) use unique_numbers::ports_clash;

use std::fmt;

use skep_model::pb::types::task_spec::Runtime;
use skep_model::{SecretId, Task, TaskState, Time};
use skep_store::{Event, Store};

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

/// A law about committed facts.
pub trait Invariant {
    /// One entry was applied; `facts` are as they are after it.
    fn committed(&mut self, time: Time, facts: &Store, events: &[Event]) -> Result<(), Violation>;
}

/// All laws about committed facts.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(state_never_back::StateNeverBack),
        Box::new(transition_owner::TransitionOwner),
        Box::new(task_keeps_node::TaskKeepsNode),
        Box::new(one_task_per_slot::OneTaskPerSlot),
        Box::new(unique_addresses::UniqueAddresses::default()),
        Box::new(unique_numbers::UniqueNumbers::default()),
        Box::new(node_not_over_reserved::NodeNotOverReserved),
        Box::new(restart_storm::RestartStorm::default()),
    ]
}

/// The task before and after each update of one.
pub(crate) fn task_updates(events: &[Event]) -> impl Iterator<Item = (&Task, &Task)> {
    events.iter().filter_map(|event| {
        let new = event.object.get::<Task>()?;
        let old = event.old.as_ref()?.get::<Task>()?;
        Some((&**old, &**new))
    })
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
pub(crate) fn secrets_of(task: &Task) -> Vec<SecretId> {
    let Some(Runtime::Container(container)) = &task.spec.runtime else { return Vec::new() };
    container.secrets.iter().filter_map(|reference| SecretId::optional(&reference.secret_id)).collect()
}
