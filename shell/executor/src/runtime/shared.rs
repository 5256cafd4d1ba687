//! What all parts of one runtime share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skep_model::{AbilitySet, Refusal, TaskId};
use tokio::sync::{Semaphore, broadcast};

use super::ContainerEvent;
use super::container::ContainerHandle;
use super::exec::Exec;
use super::task::TaskController;
use super::volumes::Mounted;
use crate::apparmor::Profiles;
use crate::config::RuntimeConfig;
use crate::images::ImageStore;
use crate::network::Network;
use crate::shim::nursery::Nursery;
use crate::spec::{Filters, HeldCapabilities, Kernel};

/// The runtime's insides.
pub struct Shared {
    /// As given at start.
    pub config: RuntimeConfig,
    /// This node's images.
    pub images: ImageStore,
    /// The node-local network.
    pub network: Network,
    /// Where shims come from.
    pub nursery: Nursery,
    /// Turns for starting.
    pub starts: Semaphore,
    /// System call filters that were compiled.
    pub filters: Filters,
    /// What this host can do.
    pub host: AbilitySet,
    /// What a process here can be given.
    pub held_capabilities: HeldCapabilities,
    /// This kernel, as conditions of filters see it.
    pub kernel: Kernel,
    /// AppArmor's profile.
    pub apparmor: Profiles,
    /// Volumes on which something is mounted.
    pub mounted: Mounted,
    pub(super) containers: Mutex<BTreeMap<String, Arc<ContainerHandle>>>,
    pub(super) tasks: Mutex<BTreeMap<TaskId, Arc<TaskController>>>,
    pub(super) execs: Mutex<BTreeMap<String, Arc<Exec>>>,
    // Shared: the channel has a place for each event from the beginning.
    pub(super) events: broadcast::Sender<Arc<ContainerEvent>>,
}

/// A lock that a panic elsewhere does not spoil: what it guards is whole after each statement.
pub fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Durable directory of a container.
    pub fn directory(&self, id: &str) -> PathBuf {
        containers_directory(&self.config.data_root).join(id)
    }

    /// Directory of a container that does not outlive a boot.
    pub fn run_directory(&self, id: &str) -> PathBuf {
        self.config.exec_root.join("containers").join(id)
    }

    /// Where volumes are.
    pub fn volumes(&self) -> PathBuf {
        self.config.data_root.join("volumes")
    }

    /// By full id.
    pub fn container(&self, id: &str) -> Result<Arc<ContainerHandle>, Refusal> {
        let found = held(&self.containers).get(id).cloned();
        found.ok_or_else(|| Refusal::new(skep_model::Code::NotFound, format!("No such container: {id}")))
    }

    /// The container of a task.
    pub fn container_of(&self, task: &TaskId) -> Option<Arc<ContainerHandle>> {
        held(&self.containers).values().find(|container| container.record().task_id == task.as_str()).cloned()
    }

    /// Tells whoever listens what happened.
    pub fn announce(&self, action: &str, container: &ContainerHandle) {
        let container = container.record().show(&container.now());
        // Nobody listening is fine.
        let _listeners =
            self.events.send(Arc::new(ContainerEvent { action: action.to_owned(), container })).unwrap_or(0);
    }
}

/// Where containers' records are.
pub fn containers_directory(data_root: &Path) -> PathBuf {
    data_root.join("containers")
}
