//! Reading facts, by word (`Read`) or by type (`Find`). Lists are in id order.

use std::sync::Arc;

use skep_model::{
    Cluster, Config, ConfigId, Extension, ExtensionId, Network, NetworkId, Node, NodeId, Resource, ResourceId, Secret,
    SecretId, Service, ServiceId, Task, TaskId, TaskState, Volume, VolumeId,
};

use crate::object::Stored;

/// Reading by type: what [`Read`] is made of.
pub trait Find {
    /// The object with this id.
    fn find<T: Stored>(&self, id: &T::Id) -> Option<Arc<T>>;
    /// All objects of a kind, in id order.
    fn list<T: Stored>(&self) -> Vec<Arc<T>>;
    /// Shows every object of a kind, in no order that means anything: for who only sorts them, and would be slow if
    /// they lay far apart.
    fn each<T: Stored>(&self, visit: impl FnMut(&Arc<T>));
    /// The object with this unique name, whatever its case.
    fn named<T: Stored>(&self, name: &str) -> Option<Arc<T>>;
    /// Tasks of a service, in id order.
    fn service_tasks(&self, service: &ServiceId) -> Vec<Arc<Task>>;
    /// Tasks of a service by slot, in no order that means anything within one: the quickest way to many.
    fn service_slots(&self, service: &ServiceId) -> Vec<Arc<Task>>;
    /// Tasks of a service's slot, in id order.
    fn slot_tasks(&self, service: &ServiceId, slot: u64) -> Vec<Arc<Task>>;
    /// Tasks on a node, in id order.
    fn node_tasks(&self, node: &NodeId) -> Vec<Arc<Task>>;
    /// Tasks that are to come to this state, in id order.
    fn desired_tasks(&self, state: TaskState) -> Vec<Arc<Task>>;
}

macro_rules! read {
    ($($kind:ident $id:ident $one:ident $all:ident $by_name:ident;)*) => {
        /// Reading facts by word: committed ones (`Store`), or with those that are on their way (`Tx`, `View`).
        #[allow(missing_docs)]
        pub trait Read {
            $(
                fn $one(&self, id: &$id) -> Option<Arc<$kind>>;
                fn $all(&self) -> Vec<Arc<$kind>>;
                fn $by_name(&self, name: &str) -> Option<Arc<$kind>>;
            )*
            fn node(&self, id: &NodeId) -> Option<Arc<Node>>;
            fn nodes(&self) -> Vec<Arc<Node>>;
            fn task(&self, id: &TaskId) -> Option<Arc<Task>>;
            fn tasks(&self) -> Vec<Arc<Task>>;
            /// Shows every task, in no order that means anything.
            fn each_task(&self, visit: impl FnMut(&Arc<Task>));
            fn tasks_of_service(&self, service: &ServiceId) -> Vec<Arc<Task>>;
            /// By slot, in no order that means anything within one.
            fn tasks_by_slot(&self, service: &ServiceId) -> Vec<Arc<Task>>;
            fn tasks_in_slot(&self, service: &ServiceId, slot: u64) -> Vec<Arc<Task>>;
            fn tasks_on_node(&self, node: &NodeId) -> Vec<Arc<Task>>;
            fn tasks_desiring(&self, state: TaskState) -> Vec<Arc<Task>>;
            /// The one named `default`.
            fn cluster(&self) -> Option<Arc<Cluster>>;
        }

        impl<F: Find> Read for F {
            $(
                fn $one(&self, id: &$id) -> Option<Arc<$kind>> { self.find(id) }
                fn $all(&self) -> Vec<Arc<$kind>> { self.list() }
                fn $by_name(&self, name: &str) -> Option<Arc<$kind>> { self.named(name) }
            )*
            fn node(&self, id: &NodeId) -> Option<Arc<Node>> { self.find(id) }
            fn nodes(&self) -> Vec<Arc<Node>> { self.list() }
            fn task(&self, id: &TaskId) -> Option<Arc<Task>> { self.find(id) }
            fn tasks(&self) -> Vec<Arc<Task>> { self.list() }
            fn each_task(&self, visit: impl FnMut(&Arc<Task>)) { self.each(visit) }
            fn tasks_of_service(&self, service: &ServiceId) -> Vec<Arc<Task>> { self.service_tasks(service) }
            fn tasks_by_slot(&self, service: &ServiceId) -> Vec<Arc<Task>> { self.service_slots(service) }
            fn tasks_in_slot(&self, service: &ServiceId, slot: u64) -> Vec<Arc<Task>> { self.slot_tasks(service, slot) }
            fn tasks_on_node(&self, node: &NodeId) -> Vec<Arc<Task>> { self.node_tasks(node) }
            fn tasks_desiring(&self, state: TaskState) -> Vec<Arc<Task>> { self.desired_tasks(state) }
            fn cluster(&self) -> Option<Arc<Cluster>> { self.named(skep_model::objects::DEFAULT_CLUSTER_NAME) }
        }
    };
}

read! {
    Service ServiceId service services service_by_name;
    Network NetworkId network networks network_by_name;
    Secret SecretId secret secrets secret_by_name;
    Config ConfigId config configs config_by_name;
    Extension ExtensionId extension extensions extension_by_name;
    Resource ResourceId resource resources resource_by_name;
    Volume VolumeId volume volumes volume_by_name;
}
