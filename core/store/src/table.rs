//! Rows of one kind in id order, with the unique names and the indices that belong to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_model::{
    Cluster, Config, Extension, Network, Node, NodeId, Resource, Secret, Service, ServiceId, Task, TaskId, Volume,
};

use crate::object::Stored;

/// Secondary indices of a table, kept in step with its rows.
pub trait Index<T>: Clone + Default + std::fmt::Debug + Send + Sync {
    /// A row was added.
    fn insert(&mut self, row: &Arc<T>);
    /// A row was taken out.
    fn remove(&mut self, row: &Arc<T>);
}

impl<T> Index<T> for () {
    fn insert(&mut self, _row: &Arc<T>) {}
    fn remove(&mut self, _row: &Arc<T>) {}
}

/// Tasks by service, by slot and by node. The `None` in a key sorts before every id: it is where a range starts.
#[derive(Clone, Default, Debug)]
pub struct TaskIndex {
    by_service: BTreeMap<(ServiceId, Option<TaskId>), Arc<Task>>,
    by_slot: BTreeMap<(ServiceId, u64, Option<TaskId>), Arc<Task>>,
    by_node: BTreeMap<(NodeId, Option<TaskId>), Arc<Task>>,
}

impl TaskIndex {
    pub(crate) fn of_service<'a>(&'a self, service: &'a ServiceId) -> impl Iterator<Item = &'a Arc<Task>> {
        let from = (service.clone(), None);
        self.by_service.range(from..).take_while(move |(key, _)| key.0 == *service).map(|(_, task)| task)
    }

    pub(crate) fn in_slot<'a>(&'a self, service: &'a ServiceId, slot: u64) -> impl Iterator<Item = &'a Arc<Task>> {
        let from = (service.clone(), slot, None);
        let belongs = move |key: &(ServiceId, u64, Option<TaskId>)| key.1 == slot && key.0 == *service;
        self.by_slot.range(from..).take_while(move |(key, _)| belongs(key)).map(|(_, task)| task)
    }

    pub(crate) fn on_node<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = &'a Arc<Task>> {
        let from = (node.clone(), None);
        self.by_node.range(from..).take_while(move |(key, _)| key.0 == *node).map(|(_, task)| task)
    }
}

impl Index<Task> for TaskIndex {
    fn insert(&mut self, task: &Arc<Task>) {
        let id = Some(task.id.clone());
        if let Some(service) = &task.service_id {
            self.by_service.insert((service.clone(), id.clone()), Arc::clone(task));
            self.by_slot.insert((service.clone(), task.slot, id.clone()), Arc::clone(task));
        }
        if let Some(node) = &task.node_id {
            self.by_node.insert((node.clone(), id), Arc::clone(task));
        }
    }

    fn remove(&mut self, task: &Arc<Task>) {
        let id = Some(task.id.clone());
        if let Some(service) = &task.service_id {
            self.by_service.remove(&(service.clone(), id.clone()));
            self.by_slot.remove(&(service.clone(), task.slot, id.clone()));
        }
        if let Some(node) = &task.node_id {
            self.by_node.remove(&(node.clone(), id));
        }
    }
}

/// Rows of one kind.
#[derive(Clone, Debug)]
pub struct Table<T: Stored> {
    rows: BTreeMap<T::Id, Arc<T>>,
    /// Lower-case unique names.
    names: BTreeMap<String, T::Id>,
    pub(crate) index: T::Index,
}

impl<T: Stored> Default for Table<T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), names: BTreeMap::new(), index: T::Index::default() }
    }
}

impl<T: Stored> Table<T> {
    pub(crate) fn get(&self, id: &T::Id) -> Option<&Arc<T>> {
        self.rows.get(id)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &Arc<T>> {
        self.rows.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<T>> {
        self.names.get(&name.to_lowercase()).and_then(|id| self.rows.get(id))
    }

    /// Adds or replaces a row; gives back the one it replaced.
    pub(crate) fn put(&mut self, row: Arc<T>) -> Option<Arc<T>> {
        let old = self.remove(row.id());
        if !row.unique_name().is_empty() {
            self.names.insert(row.unique_name().to_lowercase(), row.id().clone());
        }
        self.index.insert(&row);
        self.rows.insert(row.id().clone(), row);
        old
    }

    pub(crate) fn remove(&mut self, id: &T::Id) -> Option<Arc<T>> {
        let old = self.rows.remove(id)?;
        let name = old.unique_name().to_lowercase();
        // Another engine lets an update take a resource's name: then the name is no longer ours to remove.
        if self.names.get(&name) == Some(id) {
            self.names.remove(&name);
        }
        self.index.remove(&old);
        Some(old)
    }
}

/// All tables.
#[derive(Clone, Default, Debug)]
pub struct Tables {
    pub(crate) nodes: Table<Node>,
    pub(crate) services: Table<Service>,
    pub(crate) networks: Table<Network>,
    pub(crate) tasks: Table<Task>,
    pub(crate) clusters: Table<Cluster>,
    pub(crate) secrets: Table<Secret>,
    pub(crate) resources: Table<Resource>,
    pub(crate) extensions: Table<Extension>,
    pub(crate) configs: Table<Config>,
    pub(crate) volumes: Table<Volume>,
}
