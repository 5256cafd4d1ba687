//! A slot: the place of one task at a time (two during a start-first update), with its history.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_model::{NodeId, ServiceId, Task, TaskState};
use skep_store::{Read, Tx};

use crate::{facts, restart};

/// What tells one slot of a service from another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    /// Replicated services and jobs.
    Number(u64),
    /// Global services and jobs.
    Node(NodeId),
}

/// All tasks of one place, oldest first; those to be removed are left out.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) place: Place,
    pub(crate) tasks: Vec<Arc<Task>>,
}

impl Slot {
    pub(crate) fn empty(place: Place) -> Self {
        Self { place, tasks: Vec::new() }
    }

    /// The slot as it is now.
    pub(crate) fn read(tx: &Tx, service: &ServiceId, place: Place) -> Self {
        let mut tasks = match &place {
            Place::Number(number) => tx.tasks_in_slot(service, *number),
            Place::Node(node) => tx.tasks_on_node(node),
        };
        tasks.retain(|task| task.service_id.as_ref() == Some(service) && task.desired_state != TaskState::Remove);
        let mut slot = Self { place, tasks };
        sort(std::iter::once(&mut slot));
        slot
    }

    /// Positions of the wanted tasks.
    pub(crate) fn wanted(&self) -> Vec<usize> {
        (0..self.tasks.len()).filter(|&index| facts::is_wanted(&self.tasks[index])).collect()
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.tasks.iter().any(|task| facts::is_wanted(task))
    }

    pub(crate) fn newest(&self) -> Option<&Arc<Task>> {
        self.tasks.last()
    }

    /// Nothing is wanted any more, and the policy says that it shall stay so.
    pub(crate) fn is_finished(&self, is_job: bool) -> bool {
        let newest = || self.newest().is_some_and(|newest| !restart::may_replace(newest, is_job, &self.tasks));
        !self.is_wanted() && newest()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.tasks.iter().any(|task| facts::is_wanted(task) && task.state() == TaskState::Running)
    }

    /// Adds the newest task.
    pub(crate) fn push(&mut self, task: Arc<Task>) {
        self.tasks.push(task);
    }
}

/// Tasks by slot number.
pub(crate) fn by_number(tasks: Vec<Arc<Task>>) -> BTreeMap<u64, Slot> {
    let mut slots = BTreeMap::new();
    for task in tasks.into_iter().filter(|task| task.desired_state != TaskState::Remove) {
        let number = task.slot;
        slots.entry(number).or_insert_with(|| Slot::empty(Place::Number(number))).tasks.push(task);
    }
    sort(slots.values_mut());
    slots
}

/// Slots in the order of their numbers, of tasks that are in that order. Of a large service a map would take long.
pub(crate) fn in_order(tasks: Vec<Arc<Task>>) -> Vec<Slot> {
    let mut slots: Vec<Slot> = Vec::with_capacity(tasks.len());
    for task in tasks.into_iter().filter(|task| task.desired_state != TaskState::Remove) {
        let place = Place::Number(task.slot);
        match slots.last_mut().filter(|slot| slot.place == place) {
            Some(slot) => slot.tasks.push(task),
            None => slots.push(Slot { place, tasks: vec![task] }),
        }
    }
    sort(slots.iter_mut());
    slots
}

/// Tasks by node; those without one cannot be placed and come back apart.
pub(crate) fn by_node(tasks: Vec<Arc<Task>>) -> (BTreeMap<NodeId, Slot>, Vec<Arc<Task>>) {
    let mut slots = BTreeMap::new();
    let mut rest = Vec::new();
    for task in tasks.into_iter().filter(|task| task.desired_state != TaskState::Remove) {
        match task.node_id.clone() {
            Some(node) => {
                let slot = slots.entry(node.clone()).or_insert_with(|| Slot::empty(Place::Node(node)));
                slot.tasks.push(task);
            }
            None => rest.push(task),
        }
    }
    sort(slots.values_mut());
    (slots, rest)
}

fn sort<'a>(slots: impl Iterator<Item = &'a mut Slot>) {
    for slot in slots.filter(|slot| slot.tasks.len() > 1) {
        slot.tasks.sort_by(|left, right| facts::age(left).cmp(&facts::age(right)).then_with(|| left.id.cmp(&right.id)));
    }
}
