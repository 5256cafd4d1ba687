//! One task that this node answers for.

use std::sync::Arc;

use skep_model::pb::types::task_status::RuntimeStatus;
use skep_model::{Now, Task, TaskState, Time};

use super::life;
use crate::worker::effect::Verb;
use crate::worker::input::{Fault, Observed, Outcome, RunId};

/// A verb on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Running {
    pub run: RunId,
    pub verb: Verb,
    pub cancelled: bool,
}

/// What is left to do for a task that is no longer assigned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Farewell {
    Shutdown,
    Terminate,
    Remove,
    Done,
}

/// One task that this node answers for.
#[derive(Debug)]
pub struct Managed {
    pub task: Arc<Task>,
    pub running: Option<Running>,
    pub farewell: Option<Farewell>,
    /// Assigned again while it was being removed: starts anew afterwards.
    pub again: Option<Arc<Task>>,
    /// The controller does not know the present definition yet.
    pub updated: bool,
    pub retry_at: Option<Time>,
    /// Not yet persisted as it is.
    pub unsaved: bool,
    /// The managers do not know its status yet.
    pub unreported: bool,
}

impl Managed {
    pub fn new(task: Arc<Task>) -> Self {
        Self {
            task,
            running: None,
            farewell: None,
            again: None,
            updated: false,
            retry_at: None,
            unsaved: false,
            unreported: false,
        }
    }

    /// A new state with its message.
    pub fn move_to(&mut self, now: Now, state: TaskState, message: &str) {
        let status = &mut Arc::make_mut(&mut self.task).status;
        status.set_state(state);
        message.clone_into(&mut status.message);
        status.err.clear();
        self.touch(now);
    }

    /// Takes the outcome of the verb that was running.
    pub fn finish(&mut self, now: Now, verb: Verb, outcome: Outcome, retry_at: Time) {
        if let Some(farewell) = self.farewell {
            self.finish_farewell(farewell, verb, &outcome, retry_at);
            return;
        }
        match outcome {
            Outcome::Cancelled => self.updated |= verb == Verb::Update,
            Outcome::Done(observed) => {
                if let Some((state, message)) = life::achieved(verb) {
                    self.move_to(now, state, message);
                } else if verb == Verb::Update && !self.task.status.err.is_empty() {
                    Arc::make_mut(&mut self.task).status.err.clear();
                    self.touch(now);
                }
                self.observe(now, observed, None);
            }
            Outcome::Failed { fault, observed } => self.fail(now, verb, fault, observed, retry_at),
        }
    }

    /// A final failure, or a temporary one that is told and tried again.
    pub fn fail(&mut self, now: Now, verb: Verb, fault: Fault, observed: Observed, retry_at: Time) {
        let status = &mut Arc::make_mut(&mut self.task).status;
        status.err = fault.message;
        // After an update that failed the container goes on as it was; the user sees why.
        match (verb, fault.temporary) {
            (Verb::Update, _) => {}
            (_, true) => self.retry_at = Some(retry_at),
            (_, false) => status.set_state(life::failure(status.state())),
        }
        self.observe(now, observed, fault.exit_code);
        self.touch(now);
    }

    /// What is known of the container, from STARTING on.
    fn observe(&mut self, now: Now, observed: Observed, exit_code: Option<i32>) {
        if self.task.state() < TaskState::Starting {
            return;
        }
        let status = &mut Arc::make_mut(&mut self.task).status;
        let before = (status.runtime_status.clone(), status.port_status.clone());
        if let Some(container) = observed.container {
            status.runtime_status = Some(RuntimeStatus::Container(container));
        }
        if let Some(exit_code) = exit_code {
            let RuntimeStatus::Container(container) =
                status.runtime_status.get_or_insert_with(|| RuntimeStatus::Container(Default::default()));
            container.exit_code = exit_code;
        }
        if observed.ports.is_some() {
            status.port_status = observed.ports;
        }
        if before != (status.runtime_status.clone(), status.port_status.clone()) {
            self.touch(now);
        }
    }

    /// Removal goes on whatever happens: a container that cannot be ended in good order is ended, and what cannot be
    /// deleted is tried again.
    fn finish_farewell(&mut self, farewell: Farewell, verb: Verb, outcome: &Outcome, retry_at: Time) {
        let done = matches!(outcome, Outcome::Done(_));
        self.farewell = Some(match (farewell, verb) {
            (Farewell::Shutdown, Verb::Shutdown) if done => Farewell::Remove,
            (Farewell::Shutdown, Verb::Shutdown) => Farewell::Terminate,
            (Farewell::Terminate, Verb::Terminate) => Farewell::Remove,
            (Farewell::Remove, Verb::Remove) if done => Farewell::Done,
            (Farewell::Remove, Verb::Remove) => {
                self.retry_at = Some(retry_at);
                Farewell::Remove
            }
            // A verb from before the removal.
            (farewell, _) => farewell,
        });
    }

    /// Stops answering for the task.
    pub fn take_leave(&mut self) {
        if self.farewell.is_none() {
            let made = (TaskState::Preparing..=TaskState::Running).contains(&self.task.state());
            self.farewell = Some(if made { Farewell::Shutdown } else { Farewell::Remove });
            self.retry_at = None;
        }
    }

    /// Nobody wants it any more, and it may still run.
    pub fn is_stopping(&self) -> bool {
        let leaves = match self.farewell {
            Some(farewell) => matches!(farewell, Farewell::Shutdown | Farewell::Terminate),
            None => self.task.desired_state >= TaskState::Shutdown,
        };
        leaves && (TaskState::Starting..=TaskState::Running).contains(&self.task.state())
    }

    fn touch(&mut self, now: Now) {
        Arc::make_mut(&mut self.task).status.timestamp = Some(now.wall.into());
        self.unsaved = true;
        self.unreported = true;
    }
}
