//! One turn at work: the transaction, and what every rule needs beside it.

use std::sync::Arc;

use rand_core::RngCore;
use skep_model::pb::types::Driver;
use skep_model::{Node, NodeId, Now, Refusal, Service, Task, TaskState};
use skep_store::{Read, Tx};

use crate::facts;

/// Tasks written in one turn, and their bytes. The rest follows in the next one, at once: whoever waits for the leader
/// meanwhile (a heartbeat, a vote, a user) is not kept waiting by a service of 100,000 replicas. Much fewer would come to
/// the workers one by one, each with a message and an answer of its own.
pub(crate) const TASKS_MAX: usize = 8192;
/// See [`TASKS_MAX`].
const TASK_BYTES_MAX: usize = 8 << 20;

/// A look at so many tasks of a service takes as long as one that is written.
pub(crate) const LOOKS_PER_WRITE: usize = 16;
/// However large the service: so much is written in the turn of the look.
const AFTER_LOOK_MIN: usize = 1024;

/// Refusals kept for the log between two looks at them.
pub(crate) const REFUSALS_MAX: usize = 100;

/// A turn's means.
pub(crate) struct Turn<'a, 'tx> {
    pub(crate) now: Now,
    pub(crate) rng: &'a mut dyn RngCore,
    pub(crate) tx: &'a mut Tx<'tx>,
    /// The cluster's log driver, for tasks that name none.
    pub(crate) log_driver: Option<Driver>,
    /// Writes that the store refused. A turn writes only what it just read, so each is a broken law.
    pub(crate) refusals: &'a mut Vec<Refusal>,
    /// Tasks that may still be written.
    room: usize,
    /// Bytes of tasks that the transaction may come to.
    bytes_until: usize,
}

impl<'a, 'tx> Turn<'a, 'tx> {
    pub(crate) fn new(now: Now, rng: &'a mut dyn RngCore, tx: &'a mut Tx<'tx>, refusals: &'a mut Vec<Refusal>) -> Self {
        let log_driver = tx.cluster().and_then(|cluster| cluster.spec.task_defaults.clone()?.log_driver);
        let bytes_until = tx.task_bytes() + TASK_BYTES_MAX;
        Self { now, rng, tx, log_driver, refusals, room: TASKS_MAX, bytes_until }
    }

    /// Nothing more is begun in this turn: what is not done is looked at again in the next one.
    pub(crate) fn is_full(&self) -> bool {
        self.room == 0 || self.tx.task_bytes() >= self.bytes_until
    }

    /// All tasks of a service were looked at: the less is written in this turn.
    pub(crate) fn looked_at(&mut self, tasks: usize) {
        let left = self.room.saturating_sub(tasks / LOOKS_PER_WRITE);
        self.room = left.max(self.room.min(AFTER_LOOK_MIN));
    }

    pub(crate) fn node_of(&self, task: &Task) -> Option<Arc<Node>> {
        task.node_id.as_ref().and_then(|id| self.node(id))
    }

    pub(crate) fn node(&self, id: &NodeId) -> Option<Arc<Node>> {
        self.tx.node(id)
    }

    /// Whether the task's node went away under it.
    pub(crate) fn is_lost(&self, task: &Task) -> bool {
        task.node_id.is_some() && facts::loses_tasks(self.node_of(task).as_deref())
    }

    /// Writes a desired state. It never goes back: then nothing is written.
    pub(crate) fn desire(&mut self, task: &mut Arc<Task>, desired: TaskState) {
        if task.desired_state < desired {
            let changed = Task { desired_state: desired, ..(**task).clone() };
            self.update_task(task, changed);
        }
    }

    pub(crate) fn update_task(&mut self, task: &mut Arc<Task>, changed: Task) {
        self.room = self.room.saturating_sub(1);
        let result = self.tx.update(changed);
        self.note(result);
        if let Some(stored) = self.tx.task(&task.id) {
            *task = stored;
        }
    }

    /// Adds a task, and gives it back as it is stored.
    pub(crate) fn create(&mut self, task: Task) -> Arc<Task> {
        self.room = self.room.saturating_sub(1);
        let fallback = task.clone();
        let result = self.tx.create(task);
        self.note(result);
        self.tx.task(&fallback.id).unwrap_or_else(|| Arc::new(fallback))
    }

    pub(crate) fn update_service(&mut self, service: &mut Arc<Service>, change: impl FnOnce(&mut Service)) {
        let mut changed = (**service).clone();
        change(&mut changed);
        let result = self.tx.update(changed);
        self.note(result);
        if let Some(stored) = self.tx.service(&service.id) {
            *service = stored;
        }
    }

    pub(crate) fn note(&mut self, result: Result<(), Refusal>) {
        if let Err(refusal) = result
            && self.refusals.len() < REFUSALS_MAX
        {
            self.refusals.push(refusal);
        }
    }
}
