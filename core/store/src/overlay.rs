//! Changes that are proposed but not yet committed, laid over the committed facts.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_model::{NodeId, ServiceId, Task};

use crate::object::{AnyObject, Key, Stored};
use crate::read::Find;
use crate::store::Store;
use crate::table::Tables;

/// Latest pending state of every touched object. A touched key without a row is a pending removal.
#[derive(Clone, Default, Debug)]
pub(crate) struct Overlay {
    tables: Tables,
    /// Which transaction in flight wrote last.
    touched: BTreeMap<Key, u64>,
}

/// What the overlay knew of one key: the last writer and the row; `None` if the key was untouched.
pub(crate) type Before = Option<(u64, Option<AnyObject>)>;

impl Overlay {
    /// Sets the pending state of a key (`None`: removed) and gives back what was known before.
    pub(crate) fn write(&mut self, key: &Key, row: Option<AnyObject>, writer: u64) -> Before {
        let old = match row {
            Some(row) => self.tables.put(row),
            None => self.tables.remove(key),
        };
        self.touched.insert(key.clone(), writer).map(|writer| (writer, old))
    }

    /// Goes back to what [`Self::write`] gave.
    pub(crate) fn put_back(&mut self, key: &Key, before: Before) {
        match before {
            Some((writer, row)) => {
                self.write(key, row, writer);
            }
            None => self.forget(key),
        }
    }

    fn forget(&mut self, key: &Key) {
        self.touched.remove(key);
        self.tables.remove(key);
    }

    /// Says who wrote the key last.
    pub(crate) fn sign(&mut self, key: Key, writer: u64) {
        self.touched.insert(key, writer);
    }

    /// The writer's change is committed: the facts below now say it, unless a later writer is in flight.
    pub(crate) fn settle(&mut self, key: &Key, writer: u64) {
        if self.touched.get(key) == Some(&writer) {
            self.forget(key);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn touches<T: Stored>(&self, id: &T::Id) -> bool {
        !self.touched.is_empty() && self.touched.contains_key(&T::key(id))
    }
}

/// Committed facts with everything in flight laid over them.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(crate) base: &'a Store,
    pub(crate) overlay: &'a Overlay,
}

impl View<'_> {
    /// Rows of the base that are not pending, and pending ones, in id order.
    fn merge<'r, T: Stored>(
        &self,
        base: impl Iterator<Item = &'r Arc<T>>,
        pending: impl Iterator<Item = &'r Arc<T>>,
    ) -> Vec<Arc<T>> {
        if self.overlay.touched.is_empty() {
            return base.cloned().collect();
        }
        let mut rows: Vec<Arc<T>> = base.filter(|row| !self.overlay.touches::<T>(row.id())).cloned().collect();
        let settled = rows.len();
        rows.extend(pending.cloned());
        if rows.len() > settled {
            rows.sort_by(|left, right| left.id().cmp(right.id()));
        }
        rows
    }
}

impl Find for View<'_> {
    fn find<T: Stored>(&self, id: &T::Id) -> Option<Arc<T>> {
        if self.overlay.touches::<T>(id) { T::table(&self.overlay.tables).get(id).cloned() } else { self.base.find(id) }
    }

    fn list<T: Stored>(&self) -> Vec<Arc<T>> {
        self.merge(T::table(&self.base.tables).rows(), T::table(&self.overlay.tables).rows())
    }

    fn named<T: Stored>(&self, name: &str) -> Option<Arc<T>> {
        if let Some(pending) = T::table(&self.overlay.tables).by_name(name) {
            return Some(Arc::clone(pending));
        }
        self.base.named::<T>(name).filter(|row| !self.overlay.touches::<T>(row.id()))
    }

    fn service_tasks(&self, service: &ServiceId) -> Vec<Arc<Task>> {
        let (base, pending) = (&self.base.tables.tasks.index, &self.overlay.tables.tasks.index);
        self.merge(base.of_service(service), pending.of_service(service))
    }

    fn slot_tasks(&self, service: &ServiceId, slot: u64) -> Vec<Arc<Task>> {
        let (base, pending) = (&self.base.tables.tasks.index, &self.overlay.tables.tasks.index);
        self.merge(base.in_slot(service, slot), pending.in_slot(service, slot))
    }

    fn node_tasks(&self, node: &NodeId) -> Vec<Arc<Task>> {
        let (base, pending) = (&self.base.tables.tasks.index, &self.overlay.tables.tasks.index);
        self.merge(base.on_node(node), pending.on_node(node))
    }
}
