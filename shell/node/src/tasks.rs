//! The worker's tasks on disk, so that a restarted daemon goes on where it stopped.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use prost::Message as _;
use skep_disk::{DiskError, StoredTask, TaskStore};
use skep_model::pb::objects as pb;
use skep_model::{Kept, Task, TaskId};

/// Tasks by id, with their last status. Cheap to clone.
#[derive(Clone)]
pub struct TaskRecords {
    store: Arc<Mutex<TaskStore>>,
}

impl TaskRecords {
    /// Opens the store in a directory.
    pub fn open(directory: &Path) -> Result<Self, DiskError> {
        Ok(Self { store: Arc::new(Mutex::new(TaskStore::open(directory)?)) })
    }

    fn store(&self) -> MutexGuard<'_, TaskStore> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every task that can be read; one that cannot is told to the log, and its manager sends it anew.
    pub fn all(&self) -> Result<Vec<Task>, DiskError> {
        let stored = self.store().all()?;
        let read = |(id, stored): (TaskId, StoredTask)| match decode(stored) {
            Ok(task) => Some(task),
            Err(error) => {
                tracing::warn!("task {id} on disk cannot be read: {error}");
                None
            }
        };
        Ok(stored.into_iter().filter_map(read).collect())
    }

    /// Keeps a task as it is now.
    pub fn put(&self, task: &Task) -> Result<(), DiskError> {
        let bytes = Bytes::from(Kept::<pb::Task>::from(task).encode_to_vec());
        self.store().put(&task.id, &StoredTask { task: bytes, status: None, assigned: true })
    }

    /// Forgets one.
    pub fn remove(&self, id: &TaskId) -> Result<(), DiskError> {
        self.store().remove(id)
    }
}

fn decode(stored: StoredTask) -> Result<Task, Box<dyn std::error::Error>> {
    Ok(Task::try_from(Kept::<pb::Task>::decode(stored.task)?)?)
}
