//! What the shell tells the worker.

use skep_model::pb::messages::{AssignmentsMessage, HeartbeatResponse, SessionMessage};
use skep_model::pb::types::{ContainerStatus, NodeDescription, PortStatus};
use skep_model::{Refusal, TaskId, Verbatim};

/// One attempt to hold a session. Whatever belongs to an earlier attempt than the present one is ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Attempt(pub u64);

/// One opening of the stream of assignments within a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Opening(pub u64);

/// One execution of a verb. An answer to an earlier one is ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RunId(pub u64);

/// What the shell tells the worker.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// The time of `wake_at` has come (or: start).
    Tick,
    /// A message of the session stream.
    Session {
        /// Which session.
        attempt: Attempt,
        /// What the manager says.
        message: Box<SessionMessage>,
    },
    /// A message of the assignments stream.
    Assignments {
        /// Which session.
        attempt: Attempt,
        /// Which stream of it.
        opening: Opening,
        /// What this node shall run.
        message: AssignmentsMessage,
    },
    /// A heartbeat was answered.
    HeartbeatReply {
        /// Which session.
        attempt: Attempt,
        /// When the next one is expected.
        response: HeartbeatResponse,
    },
    /// The statuses last sent have arrived.
    StatusReply {
        /// Which session.
        attempt: Attempt,
    },
    /// A stream ended or a call failed: the session is over, whichever of its parts broke.
    Failed {
        /// Which session.
        attempt: Attempt,
        /// Why.
        refusal: Refusal,
    },
    /// The node's description changed (resources, labels, plugins, TLS).
    Described(Verbatim<NodeDescription>),
    /// Our trust root on disk was replaced with what a manager sent.
    RootSaved(bytes::Bytes),
    /// A verb ended.
    VerbDone {
        /// Of which task.
        task: TaskId,
        /// Which execution.
        run: RunId,
        /// How it ended.
        outcome: Outcome,
    },
    /// The node leaves the swarm: end every task, keep no session.
    Leave,
}

/// What a verb may tell of its container, whether it went well or not.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Observed {
    /// Id, pid and exit code.
    pub container: Option<ContainerStatus>,
    /// Host-mode ports as bound.
    pub ports: Option<PortStatus>,
}

/// How a verb ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// As wished. For `Wait`: the container ended with 0. For `Start`: it runs and, with a health check, is healthy.
    Done(Observed),
    /// It did not work.
    Failed {
        /// Why.
        fault: Fault,
        /// What is known of the container.
        observed: Observed,
    },
    /// Given up because the worker asked for it.
    Cancelled,
}

/// Why a verb failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Worth another try by itself; the task stays in its state.
    pub temporary: bool,
    /// For the user, as Docker words it, e.g. `task: non-zero exit (1)`.
    pub message: String,
    /// Of the container, if it ended.
    pub exit_code: Option<i32>,
}

impl Outcome {
    /// Success with nothing to tell.
    pub fn done() -> Self {
        Self::Done(Observed::default())
    }

    /// A final failure.
    pub fn failed(message: impl Into<String>) -> Self {
        let fault = Fault { temporary: false, message: message.into(), exit_code: None };
        Self::Failed { fault, observed: Observed::default() }
    }

    /// The container ended by itself with `exit_code`, in Docker's words.
    pub fn exited(exit_code: i32, observed: Observed) -> Self {
        if exit_code == 0 {
            return Self::Done(observed);
        }
        let message = format!("task: non-zero exit ({exit_code})");
        Self::Failed { fault: Fault { temporary: false, message, exit_code: Some(exit_code) }, observed }
    }
}
