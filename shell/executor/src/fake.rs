//! A runtime without containers: deterministic, in memory, scripted. For tests of upper floors.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use skep_model::TaskId;
use skep_model::pb::types::{ContainerStatus, PortStatus, task_spec};
use tokio::sync::watch;

use crate::controller::{Controller, Executor, TaskOrder, TaskReport};
use crate::error::{ControllerError, RuntimeError};

/// Exit code of a container ended by SIGTERM or SIGKILL.
const EXIT_CODE_TERMINATED: i32 = 143;
const EXIT_CODE_KILLED: i32 = 137;

/// How the pretend containers of an image behave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FakeScript {
    /// `prepare` fails with this reason.
    pub prepare_error: Option<String>,
    /// `start` fails with this message.
    pub start_error: Option<String>,
    /// The container ends by itself with this code as soon as it runs.
    pub exit_code: Option<i32>,
}

/// Where a pretend container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FakeState {
    /// Known, nothing done.
    New,
    /// Prepared.
    Prepared,
    /// Running.
    Running,
    /// Ended with a code.
    Exited(i32),
    /// Removed.
    Removed,
}

/// Makes pretend containers.
#[derive(Clone, Default)]
pub struct FakeExecutor {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    scripts: Mutex<BTreeMap<String, FakeScript>>,
    containers: Mutex<BTreeMap<TaskId, Arc<FakeController>>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeExecutor {
    /// An executor without scripts: every container prepares, starts and runs until it is told to stop.
    pub fn new() -> Self {
        Self::default()
    }

    /// How containers of `image` (as the spec names it) behave from now on.
    pub fn script(&self, image: &str, script: FakeScript) {
        held(&self.shared.scripts).insert(image.to_owned(), script);
    }

    /// Ends a running container from outside, as a crash would. False when it does not run.
    pub fn crash(&self, task: &TaskId, exit_code: i32) -> bool {
        let controller = held(&self.shared.containers).get(task).cloned();
        controller.is_some_and(|controller| controller.end(exit_code))
    }

    /// Where the task's container stands.
    pub fn state(&self, task: &TaskId) -> Option<FakeState> {
        held(&self.shared.containers).get(task).map(|controller| controller.now())
    }
}

impl Executor for FakeExecutor {
    fn controller(&self, order: TaskOrder) -> Arc<dyn Controller> {
        let mut containers = held(&self.shared.containers);
        let id = order.task.id.clone();
        let controller =
            containers.entry(id).or_insert_with(|| Arc::new(FakeController::new(order, Arc::clone(&self.shared))));
        Arc::clone(controller) as Arc<dyn Controller>
    }

    fn known_tasks(&self) -> Vec<TaskId> {
        held(&self.shared.containers).keys().cloned().collect()
    }
}

struct FakeController {
    order: Mutex<TaskOrder>,
    state: watch::Sender<FakeState>,
    shared: Arc<Shared>,
}

impl FakeController {
    fn new(order: TaskOrder, shared: Arc<Shared>) -> Self {
        Self { order: Mutex::new(order), state: watch::Sender::new(FakeState::New), shared }
    }

    fn now(&self) -> FakeState {
        *self.state.borrow()
    }

    fn image(&self) -> String {
        match &held(&self.order).task.spec.runtime {
            Some(task_spec::Runtime::Container(container)) => container.image.clone(),
            _ => String::new(),
        }
    }

    fn scripted(&self) -> FakeScript {
        held(&self.shared.scripts).get(&self.image()).cloned().unwrap_or_default()
    }

    /// True when it ran until now.
    fn end(&self, code: i32) -> bool {
        self.state.send_if_modified(|state| {
            let ran = *state == FakeState::Running;
            if ran {
                *state = FakeState::Exited(code);
            }
            ran
        })
    }
}

#[async_trait]
impl Controller for FakeController {
    async fn update(&self, order: TaskOrder) -> Result<(), ControllerError> {
        *held(&self.order) = order;
        Ok(())
    }

    async fn prepare(&self) -> Result<(), ControllerError> {
        if let Some(reason) = self.scripted().prepare_error {
            return Err(ControllerError::Image { reference: self.image(), reason });
        }
        self.state.send_if_modified(|state| {
            let fresh = *state == FakeState::New;
            if fresh {
                *state = FakeState::Prepared;
            }
            fresh
        });
        Ok(())
    }

    async fn start(&self) -> Result<(), ControllerError> {
        let script = self.scripted();
        if let Some(message) = script.start_error {
            return Err(RuntimeError::Start { message }.into());
        }
        match self.now() {
            FakeState::New | FakeState::Removed => {
                return Err(ControllerError::NotPrepared { task_id: held(&self.order).task.id.to_string() });
            }
            FakeState::Prepared => {
                self.state.send_replace(script.exit_code.map_or(FakeState::Running, FakeState::Exited));
            }
            FakeState::Running | FakeState::Exited(_) => {}
        }
        Ok(())
    }

    async fn wait(&self) -> Result<(), ControllerError> {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| matches!(state, FakeState::Exited(_) | FakeState::Removed)).await;
        match ended.map(|state| *state) {
            Ok(FakeState::Exited(0)) => Ok(()),
            Ok(FakeState::Exited(code)) => Err(ControllerError::Exit { code, cause: None }),
            Ok(_) => Err(ControllerError::NotPrepared { task_id: held(&self.order).task.id.to_string() }),
            Err(_) => Err(RuntimeError::Stopped { thread: "fake executor" }.into()),
        }
    }

    async fn shutdown(&self) -> Result<(), ControllerError> {
        self.end(EXIT_CODE_TERMINATED);
        Ok(())
    }

    async fn terminate(&self) -> Result<(), ControllerError> {
        self.end(EXIT_CODE_KILLED);
        Ok(())
    }

    async fn remove(&self) -> Result<(), ControllerError> {
        self.state.send_replace(FakeState::Removed);
        let id = held(&self.order).task.id.clone();
        held(&self.shared.containers).remove(&id);
        Ok(())
    }

    fn report(&self) -> TaskReport {
        let order = held(&self.order);
        let state = self.now();
        let container = (state != FakeState::New).then(|| ContainerStatus {
            container_id: order.task.id.to_string(),
            pid: if state == FakeState::Running { 1 } else { 0 },
            exit_code: if let FakeState::Exited(code) = state { code } else { 0 },
        });
        let ports = order.task.endpoint.as_ref().map(|endpoint| PortStatus { ports: endpoint.ports.clone() });
        TaskReport { container, ports: ports.filter(|status| !status.ports.is_empty()) }
    }
}

#[cfg(test)]
mod tests;
