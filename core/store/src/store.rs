//! Committed facts.

use std::sync::Arc;

use bytes::Bytes;
use skep_model::{NodeId, Object, ServiceId, Task};

use crate::change::{Action, Event};
use crate::codec::CodecError;
use crate::entry::Entry;
use crate::object::{AnyObject, Key, Stored, with_key, with_object};
use crate::read::Find;
use crate::rules::{self, ApplyError};
use crate::table::Tables;

/// The committed facts of the swarm. A clone shares every object: cheap enough to snapshot from.
#[derive(Clone, Default, Debug)]
pub struct Store {
    pub(crate) tables: Tables,
}

impl Store {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies a committed entry: all of it, or nothing when one of its changes does not fit (interop §5.5).
    /// Either way the entry is consumed.
    pub fn apply(&mut self, entry: &Entry) -> Result<Vec<Event>, ApplyError> {
        let mut events: Vec<Event> = Vec::with_capacity(entry.changes.len());
        for change in &entry.changes {
            match rules::check(self, change.action, &change.object) {
                Ok(old) => events.push(self.carry_out(change.action, &change.object, old)),
                Err(error) => {
                    for event in events.into_iter().rev() {
                        self.take_back(event);
                    }
                    return Err(error);
                }
            }
        }
        Ok(events)
    }

    fn carry_out(&mut self, action: Action, object: &AnyObject, old: Option<AnyObject>) -> Event {
        match (action, old) {
            (Action::Remove, Some(old)) => {
                self.tables.remove(&old.key());
                Event { action, object: old, old: None }
            }
            (_, old) => {
                self.tables.put(object.clone());
                Event { action, object: object.clone(), old }
            }
        }
    }

    fn take_back(&mut self, event: Event) {
        match (event.action, event.old) {
            (Action::Create, _) => self.tables.remove(&event.object.key()),
            (Action::Update, Some(old)) => self.tables.put(old),
            (Action::Update, None) => None,
            (Action::Remove, _) => self.tables.put(event.object),
        };
    }

    /// Reads a log's payload, letting tasks share the spec of their predecessors.
    pub fn decode(&self, payload: Bytes) -> Result<Entry, CodecError> {
        let mut entry = Entry::decode(payload)?;
        for change in &mut entry.changes {
            if let AnyObject::Task(task) = &mut change.object {
                self.share_spec(task);
            }
        }
        Ok(entry)
    }

    fn share_spec(&self, task: &mut Arc<Task>) {
        let before = self.tables.tasks.get(&task.id);
        let sibling =
            || task.service_id.as_ref().and_then(|service| self.tables.tasks.index.of_service(service).next());
        let Some(known) = before.or_else(sibling) else { return };
        if known.spec == task.spec {
            let shared = known.spec.clone();
            if let Some(task) = Arc::get_mut(task) {
                task.spec = shared;
            }
        }
    }

    /// How many objects of a kind there are.
    pub fn count<T: Stored>(&self) -> usize {
        T::table(&self.tables).len()
    }
}

impl Tables {
    /// Adds or replaces; gives back what it replaced.
    pub(crate) fn put(&mut self, object: AnyObject) -> Option<AnyObject> {
        with_object!(object, object => put(self, object))
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Option<AnyObject> {
        with_key!(key, id: T => T::table_mut(self).remove(id).map(T::wrap))
    }
}

fn put<T: Stored + Object>(tables: &mut Tables, object: Arc<T>) -> Option<AnyObject> {
    T::table_mut(tables).put(object).map(T::wrap)
}

impl Find for Store {
    fn find<T: Stored>(&self, id: &T::Id) -> Option<Arc<T>> {
        T::table(&self.tables).get(id).cloned()
    }

    fn list<T: Stored>(&self) -> Vec<Arc<T>> {
        T::table(&self.tables).rows().cloned().collect()
    }

    fn named<T: Stored>(&self, name: &str) -> Option<Arc<T>> {
        T::table(&self.tables).by_name(name).cloned()
    }

    fn service_tasks(&self, service: &ServiceId) -> Vec<Arc<Task>> {
        self.tables.tasks.index.of_service(service).cloned().collect()
    }

    fn slot_tasks(&self, service: &ServiceId, slot: u64) -> Vec<Arc<Task>> {
        self.tables.tasks.index.in_slot(service, slot).cloned().collect()
    }

    fn node_tasks(&self, node: &NodeId) -> Vec<Arc<Task>> {
        self.tables.tasks.index.on_node(node).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
