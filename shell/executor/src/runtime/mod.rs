//! The embedded runtime: containers under shims, with the controller's verbs for tasks and queries for the HTTP API.
//!
//! It must never know the store or a manager. `Runtime::open` takes over what a former daemon left: records on disk say
//! what there should be, shims that answer say what runs; everything else in the kernel is removed. From then on each
//! container has one task that follows its shim. Start reading at `open` below, then `task` and `launch`.

mod container;
mod exec;
mod files;
mod health;
mod launch;
mod log_files;
mod log_options;
mod logs;
mod ports;
mod queries;
mod record;
mod serving;
mod settings;
mod shared;
mod task;
mod upkeep;
mod volumes;
mod working_directory;

pub use exec::ExecSession;
pub use logs::LogFollower;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use skep_model::engine::{Container, ContainerState, LogQuery};
use skep_model::{Ability, Refusal, TaskId};
use tokio::sync::{Semaphore, broadcast};

use crate::apparmor::Profiles;
use crate::config::{CONCURRENT_STARTS, RuntimeConfig};
use crate::controller::{Controller, Executor, TaskOrder};
use crate::error::RuntimeError;
use crate::images::{ImageStore, ImageUse};
use crate::network::{Network, Surviving};
use crate::shim::client::ShimClient;
use crate::shim::nursery::Nursery;
use crate::shim::protocol::ShimStatus;
use crate::shim::{boot_id, remove_cgroups, start_ticks};
use crate::spec::Kernel;
use container::ContainerHandle;
use record::Record;
use shared::{Shared, containers_directory, held};
use task::TaskController;
use volumes::Mounted;

/// Events kept for a slow listener.
const EVENTS_MAX: usize = 1024;

/// Processes of a container, as `ps` shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessTable {
    /// Column heads.
    pub titles: Vec<String>,
    /// Rows.
    pub processes: Vec<Vec<String>>,
}

/// Something happened to a container (for `/events`).
#[derive(Clone, Debug)]
pub struct ContainerEvent {
    /// Docker's word: `create`, `start`, `die`, `destroy`, `kill`.
    pub action: String,
    /// The container as it is after it.
    pub container: Container,
}

/// The embedded runtime of one daemon.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

impl Runtime {
    /// Takes over what a former daemon left in the two roots: running containers, networks, mounts.
    pub async fn open(config: RuntimeConfig, images: ImageStore) -> Result<Arc<Self>, RuntimeError> {
        let containers = containers_directory(&config.data_root);
        let volumes = config.data_root.join("volumes");
        for directory in [&containers, &volumes, &config.exec_root, &config.exec_root.join("containers")] {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o711);
            builder.create(directory).map_err(RuntimeError::file("create", directory))?;
        }
        let found = find_containers(&config, &containers).await?;
        let mut live: Vec<_> = found.iter().filter(|container| container.client().is_some()).collect();
        // Of two services with the same port of the mesh, the later one has it by right.
        live.sort_by_key(|container| container.record().created_at_nanos);
        let surviving: Vec<Surviving> = live.into_iter().map(survivor).collect();
        let host = crate::host::abilities();
        let shared = Arc::new(Shared {
            network: Network::open(&config, &surviving).await?,
            nursery: Nursery::new(config.shim_program.as_deref(), &config.exec_root),
            starts: Semaphore::new(CONCURRENT_STARTS),
            filters: crate::spec::Filters::default(),
            apparmor: Profiles::new(host.contains(Ability::AppArmor)),
            held_capabilities: crate::host::held_capabilities()
                .map_err(RuntimeError::host("read which capabilities this host can give"))?,
            kernel: Kernel::running(),
            mounted: Mounted::default(),
            host,
            config,
            images,
            containers: Mutex::new(BTreeMap::new()),
            tasks: Mutex::default(),
            execs: Mutex::default(),
            events: broadcast::Sender::new(EVENTS_MAX),
        });
        // First of all: what ended containers give back may be in use by those that run.
        for container in found.iter().filter(|container| container.client().is_some()) {
            shared.mounted.keep(&container.id, &container.record().mounts);
        }
        for container in found {
            held(&shared.containers).insert(container.id.clone(), Arc::clone(&container));
            if container.client().is_some() {
                launch::attend(&shared, &container, true);
            } else if container.now().status.is_some() {
                launch::take_down(&shared, &container).await;
                container.update(|live| live.cleaned = true);
            }
        }
        shared.sweep_root_file_systems().await?;
        volumes::sweep(&shared.mounted, &shared.volumes())?;
        Ok(Arc::new(Self { shared }))
    }

    /// This node's images.
    pub fn images(&self) -> &ImageStore {
        &self.shared.images
    }

    /// As given at start.
    pub fn config(&self) -> &RuntimeConfig {
        &self.shared.config
    }

    /// All containers, ended ones included.
    pub fn containers(&self) -> Vec<Container> {
        let handles: Vec<Arc<ContainerHandle>> = held(&self.shared.containers).values().cloned().collect();
        handles.iter().map(|container| container.record().show(&container.now())).collect()
    }

    /// By full id.
    pub fn container(&self, id: &str) -> Option<Container> {
        let container = self.shared.container(id).ok()?;
        Some(container.record().show(&container.now()))
    }

    /// Which images containers stand on: for removing and pruning images.
    pub fn image_uses(&self) -> Vec<ImageUse> {
        let running = |container: &Container| container.state == ContainerState::Running;
        let usage = |container: Container| ImageUse {
            running: running(&container),
            image_id: container.image_id,
            container_id: container.id,
        };
        self.containers().into_iter().map(usage).collect()
    }

    /// What happens to containers from now on.
    pub fn events(&self) -> broadcast::Receiver<Arc<ContainerEvent>> {
        self.shared.events.subscribe()
    }

    /// Output of a container.
    pub async fn logs(&self, id: &str, query: LogQuery) -> Result<LogFollower, Refusal> {
        logs::follow(self.shared.container(id)?, query)
    }

    /// Output of a task's container (for the log broker).
    pub async fn task_logs(&self, task: &TaskId, query: LogQuery) -> Result<LogFollower, Refusal> {
        let container = self.shared.container_of(task).ok_or_else(|| Refusal::not_found("task", task.as_str()))?;
        logs::follow(container, query)
    }
}

impl Executor for Runtime {
    fn controller(&self, order: TaskOrder) -> Arc<dyn Controller> {
        let mut tasks = held(&self.shared.tasks);
        let make = || Arc::new(TaskController::new(Arc::clone(&self.shared), order.clone()));
        let controller = tasks.entry(order.task.id.clone()).or_insert_with(make);
        Arc::clone(controller) as Arc<dyn Controller>
    }

    fn known_tasks(&self) -> Vec<TaskId> {
        let containers: Vec<Arc<ContainerHandle>> = held(&self.shared.containers).values().cloned().collect();
        containers.iter().filter_map(|container| TaskId::new(&container.record().task_id).ok()).collect()
    }
}

impl Runtime {
    /// Removes the container of a task that nobody wants any more, without its order.
    pub async fn remove_task(&self, task: &TaskId) -> Result<(), crate::error::ControllerError> {
        match self.shared.container_of(task) {
            Some(container) => task::remove(&self.shared, &container).await,
            None => Ok(()),
        }
    }
}

impl Shared {
    /// Removes what the image store keeps for containers that are gone.
    async fn sweep_root_file_systems(self: &Arc<Self>) -> Result<(), RuntimeError> {
        let shared = Arc::clone(self);
        let sweep = move || -> Result<(), RuntimeError> {
            for id in shared.images.rootfs_containers() {
                if shared.container(&id).is_err() {
                    let failed = |error: crate::images::ImageError| RuntimeError::RootFs {
                        container: id.clone(),
                        message: error.to_string(),
                    };
                    shared.images.remove_rootfs(&id).map_err(failed)?;
                }
            }
            Ok(())
        };
        tokio::task::spawn_blocking(sweep).await.map_err(|_| RuntimeError::Stopped { thread: "sweep" })?
    }
}

fn survivor(container: &Arc<ContainerHandle>) -> Surviving {
    let record = container.record();
    Surviving { container: container.id.clone(), address: record.address, ports: record.ports, mesh: record.mesh }
}

/// Reads the records and looks for their shims.
async fn find_containers(config: &RuntimeConfig, directory: &Path) -> Result<Vec<Arc<ContainerHandle>>, RuntimeError> {
    let boot = boot_id().map_err(RuntimeError::host("read the boot's id"))?;
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(RuntimeError::file("list", directory))? {
        let path = entry.map_err(RuntimeError::file("list", directory))?.path();
        let record = match Record::load(&path) {
            Ok(record) => record,
            Err(error) => {
                // Cut off while it was made: nothing ever ran of it.
                tracing::warn!(%error, "removing a container without a record");
                fs::remove_dir_all(&path).map_err(RuntimeError::file("remove", &path))?;
                continue;
            }
        };
        let run_directory = config.exec_root.join("containers").join(&record.id);
        let started = record.started;
        let container = ContainerHandle::new(record, path, run_directory);
        match ShimClient::find(&container.id, &container.run_directory).await {
            Some(client) => {
                let status = client.watch().borrow().status.clone().or_else(|| container.status_on_disk());
                container.update(|live| live.status = status);
                container.set_client(Some(client));
            }
            None if started => {
                let status = container.status_on_disk();
                if let Some(status) = &status {
                    clear_remains(status, &boot)?;
                }
                let status = container.lost(status);
                container.update(|live| live.status = Some(status));
            }
            None => {}
        }
        found.push(container);
    }
    Ok(found)
}

/// Ends what a container without a shim has left running in this boot.
fn clear_remains(status: &ShimStatus, boot: &str) -> Result<(), RuntimeError> {
    if status.has_ended() || status.boot_id != boot {
        return Ok(());
    }
    if start_ticks(status.pid) == Some(status.pid_start_ticks) {
        tracing::warn!(pid = status.pid, "ending a container whose shim is gone");
    }
    remove_cgroups(&status.cgroups).map_err(RuntimeError::host("remove the cgroups of a container without a shim"))
}
