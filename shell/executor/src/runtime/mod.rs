//! The embedded runtime.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skep_model::engine::{Container, ContainerStats, ExecSpec, ExecState, LogLine, LogQuery, LogStream};
use skep_model::{Code, Refusal, TaskId};
use tokio::io::AsyncWrite;
use tokio::sync::{broadcast, mpsc};

use crate::config::RuntimeConfig;
use crate::controller::{Controller, Executor, TaskOrder};
use crate::error::RuntimeError;
use crate::fake::FakeExecutor;
use crate::images::ImageStore;

/// Lines of output on their way to a reader; ends with the log, or with an error as the last item.
pub type LogFollower = mpsc::Receiver<Result<LogLine, Refusal>>;

/// The streams of a started process.
pub struct ExecSession {
    /// Its standard input; `None` when it was not asked for. Dropping it closes the input.
    pub input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Its output; ends when the process has ended and all was read. With a terminal everything is `Stdout`.
    pub output: mpsc::Receiver<(LogStream, Bytes)>,
}

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
    /// Docker's word: `create`, `start`, `die`, `destroy`, `kill`, `oom`, `health_status: healthy`.
    pub action: String,
    /// The container as it is after it.
    pub container: Container,
}

/// The embedded runtime of one daemon.
pub struct Runtime {
    config: RuntimeConfig,
    images: Arc<ImageStore>,
    inner: FakeExecutor,
    events: broadcast::Sender<ContainerEvent>,
}

fn missing() -> Refusal {
    Refusal::new(Code::Unavailable, "the runtime is being built")
}

#[allow(missing_docs)]
impl Runtime {
    /// Takes over what a former daemon left in the two roots: running containers, networks, mounts.
    pub async fn open(config: RuntimeConfig, images: Arc<ImageStore>) -> Result<Arc<Self>, RuntimeError> {
        Ok(Arc::new(Self { config, images, inner: FakeExecutor::new(), events: broadcast::Sender::new(64) }))
    }
    pub fn images(&self) -> &Arc<ImageStore> {
        &self.images
    }
    pub fn config(&self) -> &RuntimeConfig {
        &self.config
    }
    pub fn containers(&self) -> Vec<Container> {
        Vec::new()
    }
    /// By full id.
    pub fn container(&self, _id: &str) -> Option<Container> {
        None
    }
    pub fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.events.subscribe()
    }
    /// Output of a container.
    pub async fn logs(&self, _id: &str, _query: LogQuery) -> Result<LogFollower, Refusal> {
        Err(missing())
    }
    /// Output of a task's container (for the log broker).
    pub async fn task_logs(&self, _task: &TaskId, _query: LogQuery) -> Result<LogFollower, Refusal> {
        Err(missing())
    }
    pub async fn top(&self, _id: &str, _arguments: &str) -> Result<ProcessTable, Refusal> {
        Err(missing())
    }
    pub async fn stats(&self, _id: &str) -> Result<ContainerStats, Refusal> {
        Err(missing())
    }
    pub async fn stop(&self, _id: &str, _signal: Option<&str>, _timeout: Option<Duration>) -> Result<(), Refusal> {
        Err(missing())
    }
    pub async fn kill(&self, _id: &str, _signal: &str) -> Result<(), Refusal> {
        Err(missing())
    }
    pub async fn create_exec(&self, _spec: ExecSpec) -> Result<String, Refusal> {
        Err(missing())
    }
    pub async fn start_exec(&self, _exec_id: &str, _detach: bool) -> Result<ExecSession, Refusal> {
        Err(missing())
    }
    pub async fn exec(&self, _exec_id: &str) -> Result<ExecState, Refusal> {
        Err(missing())
    }
    pub async fn resize_exec(&self, _exec_id: &str, _rows: u16, _columns: u16) -> Result<(), Refusal> {
        Err(missing())
    }
}

impl Executor for Runtime {
    fn controller(&self, order: TaskOrder) -> Arc<dyn Controller> {
        self.inner.controller(order)
    }

    fn known_tasks(&self) -> Vec<TaskId> {
        self.inner.known_tasks()
    }
}
