//! Tasks that hold something of a node, found by id without a tree.

use std::sync::Arc;

use skep_model::ids::Identifier;
use skep_model::{Task, TaskId};
use skep_store::{Handle, Handles};

use crate::node::{NodeNumber, ServiceNumber};

/// A task that holds something of a node.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) node: NodeNumber,
    /// It is wanted, so it counts for the balance.
    pub(crate) counts: bool,
    /// Only while it counts.
    pub(crate) service: Option<ServiceNumber>,
    pub(crate) task: Arc<Task>,
}

/// Every such task.
#[derive(Clone, Default, Debug)]
pub(crate) struct PlacedTasks {
    handles: Handles,
    slots: Vec<Option<Placed>>,
    free: Vec<Handle>,
}

impl PlacedTasks {
    pub(crate) fn get(&self, id: &TaskId) -> Option<&Placed> {
        self.slots[self.handle(id)? as usize].as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: &TaskId) -> Option<&mut Placed> {
        let handle = self.handle(id)?;
        self.slots[handle as usize].as_mut()
    }

    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.handles.reserve(more);
        self.slots.reserve(more);
    }

    /// Adds a task that is not there.
    pub(crate) fn insert(&mut self, placed: Placed) {
        let fingerprint = placed.task.id.fingerprint();
        let handle = self.free.pop().unwrap_or(self.slots.len() as Handle);
        if handle as usize == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[handle as usize] = Some(placed);
        self.handles.insert(fingerprint, handle);
    }

    pub(crate) fn remove(&mut self, id: &TaskId) -> Option<Placed> {
        let handle = self.handle(id)?;
        self.handles.remove(id.fingerprint(), handle);
        self.free.push(handle);
        self.slots[handle as usize].take()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Placed> {
        self.slots.iter().flatten()
    }

    fn handle(&self, id: &TaskId) -> Option<Handle> {
        let is = |handle: Handle| self.slots[handle as usize].as_ref().is_some_and(|placed| placed.task.id == *id);
        self.handles.find(id.fingerprint(), is)
    }
}
