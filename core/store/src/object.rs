//! Every kind of stored object as one sum type, and the map from a type to its table.

use std::sync::Arc;

use skep_model::{
    Cluster, ClusterId, Config, ConfigId, Extension, ExtensionId, Meta, Network, NetworkId, Node, NodeId, Object,
    Resource, ResourceId, Secret, SecretId, Service, ServiceId, Task, TaskId, Volume, VolumeId,
};

use crate::index::{Index, TaskIndex};
use crate::table::{Table, Tables};

/// A type of which the store keeps a table.
pub trait Stored: Object + Send + Sync + 'static {
    /// Further indices of its table.
    type Index: Index<Self>;

    /// Puts it into the sum type.
    fn wrap(object: Arc<Self>) -> AnyObject;
    /// Takes it out of the sum type; `None` for another kind.
    fn peel(object: &AnyObject) -> Option<&Arc<Self>>;
    /// The key of the object with this id.
    fn key(id: &Self::Id) -> Key;
    /// Reads an id; `None` when the text cannot be one.
    fn parse_id(text: &str) -> Option<Self::Id>;
    /// The text of an id.
    fn id_text(id: &Self::Id) -> &str;
    /// Lets the object share what it has in common with those of the table.
    #[doc(hidden)]
    fn share(&mut self, _tables: &Tables) {}
    #[doc(hidden)]
    fn table(tables: &Tables) -> &Table<Self>;
    #[doc(hidden)]
    fn table_mut(tables: &mut Tables) -> &mut Table<Self>;
}

macro_rules! kinds {
    ($($kind:ident $id:ident $table:ident $index:ty $(, $share:path)?;)*) => {
        /// A stored object of any kind.
        #[derive(Clone, Debug)]
        #[allow(missing_docs)]
        pub enum AnyObject { $($kind(Arc<$kind>),)* }

        /// A kind of stored object.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[allow(missing_docs)]
        pub enum Kind { $($kind,)* }

        /// Kind and id: what an object is known by.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[allow(missing_docs)]
        pub enum Key { $($kind($id),)* }

        impl AnyObject {
            /// Its kind and id.
            pub fn key(&self) -> Key {
                match self { $(Self::$kind(object) => Key::$kind(object.id.clone()),)* }
            }

            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)* }
            }

            /// Its id's text.
            pub fn id(&self) -> &str {
                match self { $(Self::$kind(object) => object.id.as_str(),)* }
            }

            /// Version and stamps.
            pub fn meta(&self) -> &Meta {
                match self { $(Self::$kind(object) => &object.meta,)* }
            }

            /// The unique name; empty where names are not unique or absent.
            pub fn unique_name(&self) -> &str {
                match self { $(Self::$kind(object) => object.unique_name(),)* }
            }

            /// The object, if it is of kind `T`.
            pub fn get<T: Stored>(&self) -> Option<&Arc<T>> {
                T::peel(self)
            }
        }

        /// One allocation is equal to itself without a look inside.
        impl PartialEq for AnyObject {
            fn eq(&self, other: &Self) -> bool {
                match (self, other) {
                    $((Self::$kind(left), Self::$kind(right)) => Arc::ptr_eq(left, right) || left == right,)*
                    _ => false,
                }
            }
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)*];

            /// Lower-case word used in messages, e.g. `service`.
            pub fn word(self) -> &'static str {
                match self { $(Self::$kind => $kind::KIND,)* }
            }
        }

        impl Key {
            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)* }
            }
        }

        $(
            impl From<$kind> for AnyObject {
                fn from(object: $kind) -> Self { Self::$kind(Arc::new(object)) }
            }
            impl From<Arc<$kind>> for AnyObject {
                fn from(object: Arc<$kind>) -> Self { Self::$kind(object) }
            }
            impl Stored for $kind {
                type Index = $index;

                fn wrap(object: Arc<Self>) -> AnyObject { AnyObject::$kind(object) }
                fn peel(object: &AnyObject) -> Option<&Arc<Self>> {
                    match object { AnyObject::$kind(object) => Some(object), _ => None }
                }
                fn key(id: &$id) -> Key { Key::$kind(id.clone()) }
                $(fn share(&mut self, tables: &Tables) { $share(self, tables) })?
                fn parse_id(text: &str) -> Option<$id> { $id::optional(text) }
                fn id_text(id: &$id) -> &str { id.as_str() }
                fn table(tables: &Tables) -> &Table<Self> { &tables.$table }
                fn table_mut(tables: &mut Tables) -> &mut Table<Self> { &mut tables.$table }
            }
        )*
    };
}

kinds! {
    Node NodeId nodes ();
    Service ServiceId services ();
    Network NetworkId networks ();
    Task TaskId tasks TaskIndex, share_task;
    Cluster ClusterId clusters ();
    Secret SecretId secrets ();
    Resource ResourceId resources ();
    Extension ExtensionId extensions ();
    Config ConfigId configs ();
    Volume VolumeId volumes ();
}

/// Siblings that are looked at for what a task may share.
const SIBLINGS_MAX: usize = 3;

fn share_task(task: &mut Task, tables: &Tables) {
    let table = Task::table(tables);
    if let Some(before) = table.handle(&task.id).and_then(|handle| table.any_version(handle)) {
        task.share_with(before);
        return;
    }
    let Some(service) = task.service_id.clone() else { return };
    let likely = table.index().siblings(&service).take(SIBLINGS_MAX);
    for sibling in likely.filter_map(|handle| table.any_version(handle)) {
        if sibling.service_id.as_ref() == Some(&service) {
            task.share_with(sibling);
        } else {
            task.share_networks_with(sibling);
        }
    }
}

/// Calls a generic function with the table of the kind, borrowed as the word after the tables says.
macro_rules! with_table {
    ($tables:ident $($mutable:ident)?, $kind:expr, $name:ident => $call:expr) => {
        match $kind {
            $crate::Kind::Node => {
                let $name = & $($mutable)? $tables.nodes;
                $call
            }
            $crate::Kind::Service => {
                let $name = & $($mutable)? $tables.services;
                $call
            }
            $crate::Kind::Network => {
                let $name = & $($mutable)? $tables.networks;
                $call
            }
            $crate::Kind::Task => {
                let $name = & $($mutable)? $tables.tasks;
                $call
            }
            $crate::Kind::Cluster => {
                let $name = & $($mutable)? $tables.clusters;
                $call
            }
            $crate::Kind::Secret => {
                let $name = & $($mutable)? $tables.secrets;
                $call
            }
            $crate::Kind::Resource => {
                let $name = & $($mutable)? $tables.resources;
                $call
            }
            $crate::Kind::Extension => {
                let $name = & $($mutable)? $tables.extensions;
                $call
            }
            $crate::Kind::Config => {
                let $name = & $($mutable)? $tables.configs;
                $call
            }
            $crate::Kind::Volume => {
                let $name = & $($mutable)? $tables.volumes;
                $call
            }
        }
    };
}
pub(crate) use with_table;

/// Calls a generic function with the object's own type.
macro_rules! with_object {
    ($any:expr, $name:ident => $call:expr) => {
        match $any {
            $crate::AnyObject::Node($name) => $call,
            $crate::AnyObject::Service($name) => $call,
            $crate::AnyObject::Network($name) => $call,
            $crate::AnyObject::Task($name) => $call,
            $crate::AnyObject::Cluster($name) => $call,
            $crate::AnyObject::Secret($name) => $call,
            $crate::AnyObject::Resource($name) => $call,
            $crate::AnyObject::Extension($name) => $call,
            $crate::AnyObject::Config($name) => $call,
            $crate::AnyObject::Volume($name) => $call,
        }
    };
}
pub(crate) use with_object;
