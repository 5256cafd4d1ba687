//! Takes tasks out of the store: those to be removed once they have stopped, and history beyond its limit
//! (interop §7.6).
//!
//! The newest task of a slot always stays: it tells whether the slot is to be filled again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skep_model::pb::types::service_spec::Mode;
use skep_model::{Cluster, Node, NodeId, Now, Refusal, Service, ServiceId, Task, TaskId, TaskState, Time, defaults};
use skep_store::{Action, AnyObject, Event, Read, Tx};

use crate::slot::Place;
use crate::turn::REFUSALS_MAX;
use crate::{facts, make};

/// Dirty slots are collected for so long before they are looked at.
const BATCH_DELAY: Duration = Duration::from_millis(250);
/// With more than this dirty, nobody waits.
const BATCH_SIZE_MAX: usize = 1000;
/// Tasks and slots looked at in one turn. The rest follows in the next one, at once.
const LOOKS_MAX: usize = 2048;

/// Takes ended tasks out of the store. Part of the orchestrator.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    everything: bool,
    slots: BTreeSet<(ServiceId, Place)>,
    tasks: BTreeSet<TaskId>,
    nodes: BTreeSet<NodeId>,
    /// Set by the first dirty thing of a batch; `None` while it has not been timed.
    due: Option<Time>,
}

impl Reaper {
    /// A new term: forgets everything, and will look at everything.
    pub(crate) fn lead(&mut self) {
        *self = Self { everything: true, ..Self::default() };
    }

    /// Notes what a committed change concerns.
    pub(crate) fn observe(&mut self, event: &Event) {
        match &event.object {
            AnyObject::Task(task) if event.action != Action::Remove => {
                if is_candidate(task) {
                    self.tasks.insert(task.id.clone());
                }
                let old = event.old.as_ref().and_then(AnyObject::get::<Task>);
                let ended = task.has_ended() && old.is_none_or(|old| !old.has_ended());
                let given_up = !facts::is_wanted(task) && old.is_none_or(|old| facts::is_wanted(old));
                if event.action == Action::Create || ended || given_up {
                    self.slots.extend(place_of(task));
                }
            }
            AnyObject::Node(node) => {
                let old = event.old.as_ref().and_then(AnyObject::get::<Node>);
                if event.action == Action::Remove || old.is_none_or(|old| old.status.state != node.status.state) {
                    self.nodes.insert(node.id.clone());
                }
            }
            AnyObject::Cluster(cluster) => {
                let old = event.old.as_ref().and_then(AnyObject::get::<Cluster>);
                self.everything |= old.is_none_or(|old| old.spec.orchestration != cluster.spec.orchestration);
            }
            _ => {}
        }
    }

    fn dirty(&self) -> usize {
        self.slots.len() + self.tasks.len() + self.nodes.len()
    }

    /// Removes what is due.
    pub(crate) fn turn(&mut self, now: Now, tx: &mut Tx, refusals: &mut Vec<Refusal>) {
        if !self.everything && self.dirty() == 0 {
            return;
        }
        let due = *self.due.get_or_insert(now.monotonic.after(BATCH_DELAY));
        if !self.everything && due > now.monotonic && self.dirty() <= BATCH_SIZE_MAX {
            return;
        }
        self.due = None;
        if std::mem::take(&mut self.everything) {
            tx.each_task(|task| {
                // A slot without anything that is over has nothing to lose.
                if is_over(task) {
                    self.slots.extend(place_of(task));
                }
                if is_candidate(task) {
                    self.tasks.insert(task.id.clone());
                }
            });
        }
        for node in std::mem::take(&mut self.nodes) {
            let tasks = tx.tasks_on_node(&node);
            self.tasks.extend(tasks.iter().filter(|task| is_candidate(task)).map(|task| task.id.clone()));
        }
        let mut room = LOOKS_MAX;
        while room > 0
            && let Some(id) = self.tasks.pop_first()
        {
            room -= 1;
            let unwanted = tx.task(&id).is_some_and(|task| is_done_with(tx, &task));
            if unwanted {
                remove(tx, &id, refusals);
            }
        }
        let limit = history_limit(tx);
        let mut services = BTreeMap::new();
        while room > 0
            && let Some((service, place)) = self.slots.pop_first()
        {
            room -= 1;
            let known = services.entry(service.clone()).or_insert_with(|| tx.service(&service)).clone();
            let Some(service) = known else { continue };
            for id in beyond_history(tx, &service, &place, limit) {
                remove(tx, &id, refusals);
            }
        }
        if self.dirty() > 0 {
            self.due = Some(now.monotonic);
        }
    }

    /// When the next turn is due though nothing happens.
    pub(crate) fn wake_at(&self) -> Option<Time> {
        self.due
    }
}

fn remove(tx: &mut Tx, id: &TaskId, refusals: &mut Vec<Refusal>) {
    if let Err(refusal) = tx.remove::<Task>(id)
        && refusals.len() < REFUSALS_MAX
    {
        refusals.push(refusal);
    }
}

/// May be removed without regard to history, now or later: it is to be removed, or stands for nothing.
fn is_candidate(task: &Task) -> bool {
    let orphan = task.service_id.is_none() && task.state() == TaskState::Orphaned;
    task.desired_state == TaskState::Remove || orphan || is_stopping(task) || never_began(task)
}

/// Nobody wants it any more, and no node ever had it: there is no history to keep.
fn never_began(task: &Task) -> bool {
    !facts::is_wanted(task) && task.state() < TaskState::Assigned
}

/// It is history.
fn is_over(task: &Task) -> bool {
    task.has_ended() || never_began(task)
}

fn is_stopping(task: &Task) -> bool {
    !facts::is_wanted(task) && facts::may_be_alive(task)
}

/// Nothing of it can run any more: it never started, it ended, or its node is gone for good. (Tasks of a node that is
/// removed are orphaned with it; those that another engine left behind would stop for ever.)
fn is_done_with(tx: &Tx, task: &Task) -> bool {
    let node_is_gone = task.node_id.as_ref().is_none_or(|node| tx.node(node).is_none());
    let stopped = task.state() < TaskState::Assigned || task.state() >= TaskState::Complete;
    is_candidate(task) && if is_stopping(task) { node_is_gone } else { stopped }
}

fn place_of(task: &Task) -> Option<(ServiceId, Place)> {
    let service = task.service_id.clone()?;
    // Whether the service goes by slot or by node is looked up when its history is.
    let place = match (&task.node_id, task.slot) {
        (Some(node), 0) => Place::Node(node.clone()),
        _ => Place::Number(task.slot),
    };
    Some((service, place))
}

/// How many tasks the cluster keeps per slot; negative for all.
fn history_limit(tx: &Tx) -> i64 {
    let cluster = tx.cluster();
    let orchestration = cluster.as_ref().and_then(|cluster| cluster.spec.orchestration.as_ref());
    orchestration
        .map_or(defaults::TASK_HISTORY_RETENTION_LIMIT, |orchestration| orchestration.task_history_retention_limit)
}

/// The oldest ended tasks of the slot, as many as are too many.
fn beyond_history(tx: &Tx, service: &Service, place: &Place, limit: i64) -> Vec<TaskId> {
    if make::is_job(service) {
        return beyond_runs(tx, service, place, limit);
    }
    let restart = service.spec.task.as_ref().and_then(|task| task.restart.as_ref());
    let attempts = restart.map_or(0, |restart| restart.max_attempts);
    let limit = if attempts > 0 {
        i64::try_from(attempts).map_or(i64::MAX, |attempts| attempts.saturating_add(1))
    } else {
        limit
    };
    let Ok(limit) = usize::try_from(limit) else { return Vec::new() };
    let mut tasks: Vec<Arc<Task>> = match (&service.spec.mode, place) {
        (Some(Mode::Replicated(_)), Place::Number(slot)) => tx.tasks_in_slot(&service.id, *slot),
        (Some(Mode::Global(_)), Place::Node(node)) => {
            let tasks = tx.tasks_on_node(node);
            tasks.into_iter().filter(|task| task.service_id.as_ref() == Some(&service.id)).collect()
        }
        _ => return Vec::new(),
    };
    if tasks.len() <= limit {
        return Vec::new();
    }
    tasks.sort_by_key(|task| facts::age(task));
    let surplus = tasks.len() - limit;
    tasks.pop();
    tasks.iter().filter(|task| is_over(task)).take(surplus).map(|task| task.id.clone()).collect()
}

/// The same for a job: what it has completed in its present run always counts, so only earlier runs are history.
fn beyond_runs(tx: &Tx, service: &Service, place: &Place, limit: i64) -> Vec<TaskId> {
    let Ok(limit) = usize::try_from(limit) else { return Vec::new() };
    let mut tasks: Vec<Arc<Task>> = match (&service.spec.mode, place) {
        (Some(Mode::GlobalJob(_)), Place::Node(node)) => {
            let tasks = tx.tasks_on_node(node);
            tasks.into_iter().filter(|task| task.service_id.as_ref() == Some(&service.id)).collect()
        }
        (Some(Mode::ReplicatedJob(_)), Place::Number(slot)) => tx.tasks_in_slot(&service.id, *slot),
        // Slot 0 with a node.
        (Some(Mode::ReplicatedJob(_)), Place::Node(_)) => tx.tasks_in_slot(&service.id, 0),
        _ => return Vec::new(),
    };
    tasks.retain(|task| make::is_of_earlier_run(service, task) && is_over(task));
    tasks.sort_by_key(|task| facts::age(task));
    let surplus = tasks.len().saturating_sub(limit);
    tasks.iter().take(surplus).map(|task| task.id.clone()).collect()
}
