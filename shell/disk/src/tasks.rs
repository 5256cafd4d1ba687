//! The tasks of a worker, so that a restarted daemon knows what it ran (SwarmKit's worker/tasks.db).

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use skep_model::TaskId;

use crate::atomic::{create_private_dir, put_in_place, remove_file, temporary};
use crate::database::{Reopening, on_files};
use crate::error::DiskError;

const TASKS: TableDefinition<&str, &[u8]> = TableDefinition::new("task");
const STATUSES: TableDefinition<&str, &[u8]> = TableDefinition::new("status");
const ASSIGNED: TableDefinition<&str, bool> = TableDefinition::new("assigned");

/// Bytes of the database kept in memory.
const CACHE_BYTES: usize = 256 * 1024;

/// A task as the worker keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredTask {
    /// The task as it was assigned; opaque here.
    pub task: Bytes,
    /// Its status as the worker saw it last; opaque here.
    pub status: Option<Bytes>,
    /// Whether the manager still wants it here.
    pub assigned: bool,
}

/// One change of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskChange {
    /// Keep this task; the status that is kept stays.
    Task(TaskId, Bytes),
    /// Keep this status.
    Status(TaskId, Bytes),
    /// Keep whether it is assigned.
    Assigned(TaskId, bool),
    /// Forget the task.
    Remove(TaskId),
}

/// The tasks on disk.
pub struct TaskStore {
    database: Reopening,
}

impl TaskStore {
    /// Opens `<dir>/tasks.db`, or creates it.
    pub fn open(dir: &Path) -> Result<Self, DiskError> {
        create_private_dir(dir)?;
        let path = dir.join("tasks.db");
        if path.exists() {
            return Ok(Self { database: Reopening::open(&path, CACHE_BYTES, on_files())? });
        }
        // Made beside its place: whatever bears the name is whole, even if this process dies here.
        let beside = temporary(&path);
        remove_file(&beside)?;
        let mut database = Reopening::open(&beside, CACHE_BYTES, on_files())?;
        put_in_place(&beside, &path)?;
        database.moved_to(&path);
        Ok(Self { database })
    }

    /// Everything that is kept, by id.
    pub fn all(&mut self) -> Result<BTreeMap<TaskId, StoredTask>, DiskError> {
        let path = self.database.path().to_owned();
        self.database.with(|database| read_all(database, &path))
    }

    /// Makes changes, all or none, durably.
    pub fn write(&mut self, changes: &[TaskChange]) -> Result<(), DiskError> {
        if changes.is_empty() {
            return Ok(());
        }
        let path = self.database.path().to_owned();
        self.database.with(|database| write_all(database, changes).map_err(|error| DiskError::database(&path, *error)))
    }

    /// Keeps a task.
    pub fn put(&mut self, id: &TaskId, stored: &StoredTask) -> Result<(), DiskError> {
        let mut changes =
            vec![TaskChange::Task(id.clone(), stored.task.clone()), TaskChange::Assigned(id.clone(), stored.assigned)];
        changes.extend(stored.status.clone().map(|status| TaskChange::Status(id.clone(), status)));
        self.write(&changes)
    }

    /// Forgets a task.
    pub fn remove(&mut self, id: &TaskId) -> Result<(), DiskError> {
        self.write(&[TaskChange::Remove(id.clone())])
    }
}

fn write_all(database: &Database, changes: &[TaskChange]) -> Result<(), Box<redb::Error>> {
    let boxed = |error: redb::Error| Box::new(error);
    let transaction = database.begin_write().map_err(|error| boxed(error.into()))?;
    {
        let mut tasks = transaction.open_table(TASKS).map_err(|error| boxed(error.into()))?;
        let mut statuses = transaction.open_table(STATUSES).map_err(|error| boxed(error.into()))?;
        let mut assigned = transaction.open_table(ASSIGNED).map_err(|error| boxed(error.into()))?;
        for change in changes {
            let done = match change {
                TaskChange::Task(id, bytes) => tasks.insert(id.as_str(), &bytes[..]).map(drop),
                TaskChange::Status(id, bytes) => statuses.insert(id.as_str(), &bytes[..]).map(drop),
                TaskChange::Assigned(id, value) => assigned.insert(id.as_str(), *value).map(drop),
                TaskChange::Remove(id) => tasks
                    .remove(id.as_str())
                    .map(drop)
                    .and_then(|()| statuses.remove(id.as_str()).map(drop))
                    .and_then(|()| assigned.remove(id.as_str()).map(drop)),
            };
            done.map_err(|error| boxed(error.into()))?;
        }
    }
    transaction.commit().map_err(|error| boxed(error.into()))
}

fn read_all(database: &Database, path: &Path) -> Result<BTreeMap<TaskId, StoredTask>, DiskError> {
    let failed = |error: redb::Error| DiskError::database(path, error);
    let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
    let tasks = match transaction.open_table(TASKS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
        other => other.map_err(|error| failed(error.into()))?,
    };
    let statuses = transaction.open_table(STATUSES).map_err(|error| failed(error.into()))?;
    let assigned = transaction.open_table(ASSIGNED).map_err(|error| failed(error.into()))?;
    let mut all = BTreeMap::new();
    for row in tasks.iter().map_err(|error| failed(error.into()))? {
        let (key, value) = row.map_err(|error| failed(error.into()))?;
        let id = TaskId::new(key.value()).map_err(|error| DiskError::damaged(path, error.to_string()))?;
        let status = statuses.get(key.value()).map_err(|error| failed(error.into()))?;
        let assigned = assigned.get(key.value()).map_err(|error| failed(error.into()))?;
        let stored = StoredTask {
            task: Bytes::copy_from_slice(value.value()),
            status: status.map(|status| Bytes::copy_from_slice(status.value())),
            assigned: assigned.is_some_and(|assigned| assigned.value()),
        };
        all.insert(id, stored);
    }
    Ok(all)
}
