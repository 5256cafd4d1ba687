//! Running the controller's verbs: at most one per task, each as a task of its own that can be given up.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_dispatch::worker::{Fault, Input, Observed, Outcome, Run, RunId, Verb};
use skep_executor::{Controller, ControllerError, Executor, NodeFacts, TaskOrder, TaskReport};
use skep_model::TaskId;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Controllers by task, and what they are doing.
pub(super) struct Verbs {
    executor: Arc<dyn Executor>,
    facts: Arc<NodeFacts>,
    inputs: mpsc::Sender<Input>,
    controllers: BTreeMap<TaskId, Arc<dyn Controller>>,
    running: BTreeMap<TaskId, (RunId, AbortHandle)>,
}

impl Verbs {
    pub(super) fn new(executor: Arc<dyn Executor>, facts: Arc<NodeFacts>, inputs: mpsc::Sender<Input>) -> Self {
        Self { executor, facts, inputs, controllers: BTreeMap::new(), running: BTreeMap::new() }
    }

    pub(super) fn run(&mut self, run: Run) {
        let order = self.order(&run);
        let controller =
            self.controllers.entry(run.task.clone()).or_insert_with(|| self.executor.controller(order.clone())).clone();
        let inputs = self.inputs.clone();
        let (task, number) = (run.task.clone(), run.run);
        let work = tokio::spawn(async move {
            let result = perform(controller.as_ref(), run.verb, order).await;
            let outcome = outcome(result, &controller.report());
            let done = Input::VerbDone { task: run.task, run: run.run, outcome };
            if inputs.send(done).await.is_err() {
                tracing::debug!("the agent's loop is gone");
            }
        });
        self.running.insert(task, (number, work.abort_handle()));
    }

    /// Gives a verb up; it is still answered.
    pub(super) fn cancel(&mut self, task: &TaskId, run: RunId) {
        let Some((_, work)) = self.running.get(task).filter(|(number, _)| *number == run) else { return };
        work.abort();
        let (inputs, task) = (self.inputs.clone(), task.clone());
        tokio::spawn(async move {
            let done = Input::VerbDone { task, run, outcome: Outcome::Cancelled };
            if inputs.send(done).await.is_err() {
                tracing::debug!("the agent's loop is gone");
            }
        });
    }

    pub(super) fn forget(&mut self, task: &TaskId) {
        self.controllers.remove(task);
        self.running.remove(task);
    }

    fn order(&self, run: &Run) -> TaskOrder {
        TaskOrder {
            task: Arc::clone(&run.snapshot),
            node: Arc::clone(&self.facts),
            secrets: run.dependencies.secrets.iter().map(|secret| (secret.id.clone(), Arc::clone(secret))).collect(),
            configs: run.dependencies.configs.iter().map(|config| (config.id.clone(), Arc::clone(config))).collect(),
            network_namespace: None,
        }
    }
}

impl Drop for Verbs {
    fn drop(&mut self) {
        // Containers go on: only our watching ends.
        for (_, work) in self.running.values() {
            work.abort();
        }
    }
}

async fn perform(controller: &dyn Controller, verb: Verb, order: TaskOrder) -> Result<(), ControllerError> {
    match verb {
        Verb::Update => controller.update(order).await,
        Verb::Prepare => controller.prepare().await,
        Verb::Start => controller.start().await,
        Verb::Wait => controller.wait().await,
        Verb::Shutdown => controller.shutdown().await,
        Verb::Terminate => controller.terminate().await,
        Verb::Remove => controller.remove().await,
    }
}

fn outcome(result: Result<(), ControllerError>, report: &TaskReport) -> Outcome {
    let observed = Observed { container: report.container.clone(), ports: report.ports.clone() };
    match result {
        Ok(()) => Outcome::Done(observed),
        Err(error) => {
            let fault = Fault { temporary: false, message: error.to_string(), exit_code: error.exit_code() };
            Outcome::Failed { fault, observed }
        }
    }
}
