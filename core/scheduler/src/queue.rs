//! Pending tasks in the order in which they are placed, handed out in batches.

use std::cmp::Ordering;
use std::sync::Arc;

use skep_model::Task;
use skep_store::{Handle, TURN_CHANGES_MAX};

use crate::node::ServiceNumber;

/// Tasks of one batch, an entry of the log: what is read, written and committed of so many still lies in a
/// processor's cache.
pub(crate) const BATCH_TASKS_MAX: usize = TURN_CHANGES_MAX;
/// Tasks of one batch that ends with a group: to look at the nodes for it again costs more than the cache.
pub(crate) const BATCH_WHOLE_GROUP_MAX: usize = 2048;

/// A pending task with what tells its group.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) service: Option<ServiceNumber>,
    version: Option<u64>,
    /// The task's.
    slot: u64,
    /// Where it lay in the store, most likely still does.
    pub(crate) handle: Handle,
    pub(crate) task: Arc<Task>,
}

impl Waiting {
    pub(crate) fn new(service: Option<ServiceNumber>, handle: Handle, task: Arc<Task>) -> Self {
        Self { service, version: task.spec_version, slot: task.slot, handle, task }
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |waiting: &Self| (waiting.service, waiting.version, waiting.slot);
        key(self).cmp(&key(other)).then_with(|| self.task.id.cmp(&other.task.id))
    }

    /// Whether both are of one service at one version.
    pub(crate) fn is_grouped_with(&self, other: &Self) -> bool {
        let whole = self.service.is_some() && self.version.is_some();
        whole && (self.service, self.version) == (other.service, other.version)
    }
}

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// In the order in which they came in.
    fresh: Vec<Waiting>,
    /// In order, the first ones last.
    sorted: Vec<Waiting>,
    /// Something came in while tasks were left over: some of those may have changed, and be there again.
    is_doubtful: bool,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.fresh.len() + self.sorted.len()
    }

    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.fresh.reserve(more);
    }

    /// Gives back room that was made and not needed.
    pub(crate) fn trim(&mut self) {
        self.fresh.shrink_to_fit();
    }

    /// Adds a task, unless it waits already as it is.
    pub(crate) fn push(&mut self, waiting: Waiting) {
        if !self.sorted.is_empty() {
            let found = self.sorted.binary_search_by(|known| waiting.order(known));
            if found.is_ok_and(|at| Arc::ptr_eq(&self.sorted[at].task, &waiting.task)) {
                return;
            }
        }
        self.fresh.push(waiting);
    }

    /// Something happened to tasks or services.
    pub(crate) fn doubt(&mut self) {
        self.is_doubtful |= !self.is_empty();
    }

    /// The next batch. `look_again` says whether a task is still as it was when it came in; the number of its service may
    /// be another one by then.
    pub(crate) fn take(&mut self, mut look_again: impl FnMut(&mut Waiting) -> bool) -> Vec<Waiting> {
        if !self.fresh.is_empty() {
            let descending = |left: &Waiting, right: &Waiting| right.order(left);
            self.fresh.sort_unstable_by(descending);
            self.fresh.dedup_by(|left, right| Arc::ptr_eq(&left.task, &right.task));
            if self.sorted.is_empty() {
                std::mem::swap(&mut self.fresh, &mut self.sorted);
            } else {
                self.sorted.append(&mut self.fresh);
                // Two runs that are in order are merged.
                self.sorted.sort_by(descending);
            }
        }
        let mut rest = self.sorted.len().saturating_sub(BATCH_TASKS_MAX);
        let least = self.sorted.len().saturating_sub(BATCH_WHOLE_GROUP_MAX);
        while rest > least && self.sorted[rest - 1].is_grouped_with(&self.sorted[rest]) {
            rest -= 1;
        }
        let mut batch = self.sorted.split_off(rest);
        batch.reverse();
        if self.is_doubtful {
            batch.retain_mut(&mut look_again);
            batch.dedup_by(|left, right| Arc::ptr_eq(&left.task, &right.task));
        }
        self.is_doubtful &= !self.sorted.is_empty();
        if self.sorted.is_empty() {
            self.sorted = Vec::new();
        }
        batch
    }
}
