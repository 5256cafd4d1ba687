//! The whole store as SwarmKit's `StoreSnapshot`, and back. Membership is added by whoever knows Raft.

use std::sync::Arc;

use bytes::BufMut;
use prost::Message as _;
use prost::encoding::{self, WireType};
use skep_model::objects::ObjectError;
use skep_model::pb::messages::StoreSnapshot;
use skep_model::{Cluster, Config, Extension, Network, Node, Resource, Secret, Service, Task, Volume};

use crate::object::Stored;
use crate::store::Store;
use crate::table::{Sight, Table, Tables};

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

/// The field of a task.
const TASK_TAG: u32 = 4;

/// The whole store, to be written as SwarmKit's `StoreSnapshot`. Tasks, which are most of it, are not copied for that.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    before_tasks: StoreSnapshot,
    tasks: Vec<Arc<Task>>,
    after_tasks: StoreSnapshot,
}

impl Snapshot {
    /// Whether the other one has the same bytes. Tasks that both share are not looked into.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |(one, other): (&Arc<Task>, &Arc<Task>)| Arc::ptr_eq(one, other) || one == other;
        self.tasks.len() == other.tasks.len()
            && self.tasks.iter().zip(&other.tasks).all(same)
            && self.before_tasks == other.before_tasks
            && self.after_tasks == other.after_tasks
    }

    /// Bytes of the encoding.
    pub fn encoded_len(&self) -> usize {
        let field = |body: usize| 1 + prost::length_delimiter_len(body) + body;
        let tasks: usize = self.tasks.iter().map(|task| field(task.encoded_len())).sum();
        self.before_tasks.encoded_len() + tasks + self.after_tasks.encoded_len()
    }

    /// Writes it.
    pub fn encode(&self, out: &mut impl BufMut) {
        self.before_tasks.encode_raw(out);
        for task in &self.tasks {
            encoding::encode_key(TASK_TAG, WireType::LengthDelimited, out);
            encoding::encode_varint(task.encoded_len() as u64, out);
            task.encode(out);
        }
        self.after_tasks.encode_raw(out);
    }
}

fn save<T: Stored, W: for<'a> From<&'a T>>(table: &Table<T>) -> Vec<W> {
    table.rows(Sight::Committed).iter().map(|row| W::from(row)).collect()
}

fn load<T, W>(rows: Vec<W>, tables: &mut Tables) -> Result<(), RestoreError>
where
    T: Stored + TryFrom<W, Error = ObjectError>,
{
    for row in rows {
        let mut row = T::try_from(row)?;
        row.share(tables);
        if let Some(twice) = T::table_mut(tables).put(Arc::new(row)) {
            return Err(RestoreError::Twice { kind: T::KIND, id: twice.id().to_string() });
        }
    }
    Ok(())
}

impl Store {
    /// Everything, in id order.
    pub fn snapshot(&self) -> Snapshot {
        let tables = &self.tables;
        let before_tasks = StoreSnapshot {
            nodes: save(&tables.nodes),
            services: save(&tables.services),
            networks: save(&tables.networks),
            ..StoreSnapshot::default()
        };
        let after_tasks = StoreSnapshot {
            clusters: save(&tables.clusters),
            secrets: save(&tables.secrets),
            resources: save(&tables.resources),
            extensions: save(&tables.extensions),
            configs: save(&tables.configs),
            volumes: save(&tables.volumes),
            ..StoreSnapshot::default()
        };
        Snapshot { before_tasks, tasks: tables.tasks.rows(Sight::Committed), after_tasks }
    }

    /// Replaces everything by the snapshot, or nothing if it cannot be read.
    pub fn restore(&mut self, snapshot: StoreSnapshot) -> Result<(), RestoreError> {
        let mut store = Store::new();
        let tables = &mut store.tables;
        load::<Node, _>(snapshot.nodes, tables)?;
        load::<Service, _>(snapshot.services, tables)?;
        load::<Network, _>(snapshot.networks, tables)?;
        load::<Task, _>(snapshot.tasks, tables)?;
        load::<Cluster, _>(snapshot.clusters, tables)?;
        load::<Secret, _>(snapshot.secrets, tables)?;
        load::<Resource, _>(snapshot.resources, tables)?;
        load::<Extension, _>(snapshot.extensions, tables)?;
        load::<Config, _>(snapshot.configs, tables)?;
        load::<Volume, _>(snapshot.volumes, tables)?;
        *self = store;
        Ok(())
    }
}
