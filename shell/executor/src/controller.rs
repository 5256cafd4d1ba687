//! The verbs that the worker's task machine speaks (SwarmKit's controller, interop §4.10), whoever carries them out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use skep_model::pb::types::{ContainerStatus, PortStatus};
use skep_model::{Config, ConfigId, NodeId, Secret, SecretId, Task};

use crate::error::ControllerError;

/// Everything the runtime is told about one task.
#[derive(Clone, Debug)]
pub struct TaskOrder {
    /// As assigned.
    pub task: Arc<Task>,
    /// For templates and labels.
    pub node: Arc<NodeFacts>,
    /// Those that the task may have, by id.
    pub secrets: BTreeMap<SecretId, Arc<Secret>>,
    /// Those that the task may have, by id.
    pub configs: BTreeMap<ConfigId, Arc<Config>>,
    /// A network namespace that somebody else made and fills (overlay networks); `None` to let the runtime make one.
    pub network_namespace: Option<PathBuf>,
}

/// The node, as templates in specs see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// The node's id.
    pub id: NodeId,
    /// Its host name.
    pub hostname: String,
    /// Go's name: `linux`.
    pub os: String,
    /// As `uname -m` says it.
    pub architecture: String,
}

/// What a task's status carries beside its state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskReport {
    /// Absent until the container exists.
    pub container: Option<ContainerStatus>,
    /// Ports published on this host, as they are; absent when none.
    pub ports: Option<PortStatus>,
}

/// The verbs for one task. Each may be repeated (after a restart of the daemon) and finds its work done.
/// Dropping a returned future cancels it: the container is left in a state from which `shutdown`, `terminate` and
/// `remove` work.
#[async_trait]
pub trait Controller: Send + Sync {
    /// Takes a newer version of the order. What a container got at start stays, but for secrets and configs whose
    /// label `skep.reload=live` asks to rewrite them; their signals are sent then.
    async fn update(&self, order: TaskOrder) -> Result<(), ControllerError>;

    /// Fetches the image unless it is here, and records the container. READY when it returns.
    async fn prepare(&self) -> Result<(), ControllerError>;

    /// Starts the container; returns when it runs, or, when it has a health check, when it is healthy.
    async fn start(&self) -> Result<(), ControllerError>;

    /// Waits for the container's end. `Ok` for exit code zero, `ControllerError::Exit` for others.
    async fn wait(&self) -> Result<(), ControllerError>;

    /// Ends the container in good order: its stop signal, its grace period, then a kill.
    async fn shutdown(&self) -> Result<(), ControllerError>;

    /// Kills the container at once.
    async fn terminate(&self) -> Result<(), ControllerError>;

    /// Removes the container and what only it used.
    async fn remove(&self) -> Result<(), ControllerError>;

    /// What to report now.
    fn report(&self) -> TaskReport;
}

/// Makes controllers. The embedded runtime is one; `FakeExecutor` is one for tests of upper floors.
pub trait Executor: Send + Sync {
    /// The controller of a task; a container that a former daemon left for it is taken over.
    fn controller(&self, order: TaskOrder) -> Arc<dyn Controller>;

    /// Tasks for which something is still on this node, running or not (to remove what nobody wants any more).
    fn known_tasks(&self) -> Vec<skep_model::TaskId>;
}
