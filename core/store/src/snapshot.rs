//! The whole store as SwarmKit's `StoreSnapshot`, and back. Membership is added by whoever knows Raft.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use skep_model::objects::ObjectError;
use skep_model::pb::messages::StoreSnapshot;
use skep_model::pb::types::TaskSpec;
use skep_model::{Kept, Task, Verbatim};

use crate::object::Stored;
use crate::store::Store;
use crate::table::Table;

/// A snapshot that cannot be restored; the store is as it was.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RestoreError {
    /// An object without a usable id.
    #[error("a snapshot carries an object that cannot be read")]
    Object(#[from] ObjectError),
    /// Two objects with one id, or one name.
    #[error("a snapshot holds {kind} {id} twice")]
    Twice { kind: &'static str, id: String },
}

fn save<T: Stored, W: for<'a> From<&'a T>>(table: &Table<T>) -> Vec<W> {
    table.rows().map(|row| W::from(row)).collect()
}

fn load<T, W>(rows: Vec<W>, table: &mut Table<T>) -> Result<(), RestoreError>
where
    T: Stored + TryFrom<W, Error = ObjectError>,
{
    load_with(rows, table, |_| {})
}

fn load_with<T, W>(rows: Vec<W>, table: &mut Table<T>, mut prepare: impl FnMut(&mut T)) -> Result<(), RestoreError>
where
    T: Stored + TryFrom<W, Error = ObjectError>,
{
    for row in rows {
        let mut row = T::try_from(row)?;
        prepare(&mut row);
        let id = row.id().to_string();
        if table.put(Arc::new(row)).is_some() {
            return Err(RestoreError::Twice { kind: T::KIND, id });
        }
    }
    Ok(())
}

/// Lets tasks with byte-equal specs share one copy.
fn share(specs: &mut BTreeMap<Bytes, Verbatim<TaskSpec>>, task: &mut Task) {
    match specs.get(task.spec.bytes()) {
        Some(shared) => task.spec = shared.clone(),
        None => {
            specs.insert(task.spec.bytes().clone(), task.spec.clone());
        }
    }
}

impl Store {
    /// Everything, in id order.
    pub fn snapshot(&self) -> StoreSnapshot {
        let tables = &self.tables;
        StoreSnapshot {
            nodes: save(&tables.nodes),
            services: save(&tables.services),
            networks: save(&tables.networks),
            tasks: save(&tables.tasks),
            clusters: save(&tables.clusters),
            secrets: save(&tables.secrets),
            resources: save(&tables.resources),
            extensions: save(&tables.extensions),
            configs: save(&tables.configs),
            volumes: save(&tables.volumes),
        }
    }

    /// Replaces everything by the snapshot, or nothing if it cannot be read.
    pub fn restore(&mut self, snapshot: StoreSnapshot) -> Result<(), RestoreError> {
        let mut store = Store::new();
        let tables = &mut store.tables;
        let mut specs = BTreeMap::new();
        load(snapshot.nodes, &mut tables.nodes)?;
        load(snapshot.services, &mut tables.services)?;
        load(snapshot.networks, &mut tables.networks)?;
        load_with::<Task, Kept<_>>(snapshot.tasks, &mut tables.tasks, |task| share(&mut specs, task))?;
        load(snapshot.clusters, &mut tables.clusters)?;
        load(snapshot.secrets, &mut tables.secrets)?;
        load(snapshot.resources, &mut tables.resources)?;
        load(snapshot.extensions, &mut tables.extensions)?;
        load(snapshot.configs, &mut tables.configs)?;
        load(snapshot.volumes, &mut tables.volumes)?;
        *self = store;
        Ok(())
    }
}
