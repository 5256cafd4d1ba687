//! What the worker asks of the shell.

use std::sync::Arc;

use bytes::Bytes;
use skep_model::pb::messages::{AssignmentsRequest, HeartbeatRequest, SessionRequest, UpdateTaskStatusRequest};
use skep_model::pb::types::{EncryptionKey, Peer};
use skep_model::{Config, Node, Secret, Task, TaskId};

use super::input::{Attempt, Opening, RunId};

/// What the worker asks of the shell.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Connect to `peer` (an own connection per session) and open the session stream.
    OpenSession {
        /// Quote it with everything that comes of this session.
        attempt: Attempt,
        /// The manager to talk to.
        peer: Peer,
        /// What to ask.
        request: SessionRequest,
    },
    /// Drop the connection of that session with all its streams and calls; nothing needs to be answered.
    CloseSession {
        /// Which.
        attempt: Attempt,
    },
    /// Open a stream of assignments, in place of an earlier one.
    OpenAssignments {
        /// On which session.
        attempt: Attempt,
        /// Quote it with its messages.
        opening: Opening,
        /// What to ask.
        request: AssignmentsRequest,
    },
    /// Send a heartbeat; answer `HeartbeatReply` or `Failed`.
    Heartbeat {
        /// On which session.
        attempt: Attempt,
        /// What to send.
        request: HeartbeatRequest,
    },
    /// Send statuses; answer `StatusReply` or `Failed`.
    SendStatus {
        /// On which session.
        attempt: Attempt,
        /// What to send.
        request: UpdateTaskStatusRequest,
    },
    /// Keep the managers' addresses for the next start.
    SaveRemotes(Vec<Peer>),
    /// The cluster's trust root is another one: verify, save, and answer `RootSaved`.
    RootChanged(Bytes),
    /// Our own node object changed: role, certificate, availability, attachments.
    NodeChanged(Arc<Node>),
    /// Keys of the overlay networks.
    NetworkKeys(Vec<EncryptionKey>),
    /// Run a verb; answer `VerbDone`, whatever happens.
    Run(Run),
    /// Give up a verb that is running; it is still answered with `VerbDone`.
    Cancel {
        /// Of which task.
        task: TaskId,
        /// Which execution.
        run: RunId,
    },
    /// Write the task with its status, so that a restart continues there.
    Persist(Arc<Task>),
    /// Nothing is left of the task: drop what was written.
    Forget(TaskId),
}

/// What may be done to the container behind a task: SwarmKit's controller verbs. Each is idempotent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verb {
    /// The definition changed in ways that do not need another container.
    Update,
    /// Image, networks, mounts, container; not started. Done at once when it was prepared before.
    Prepare,
    /// Start, and wait until healthy. Done at once when it was started before.
    Start,
    /// Wait for the end.
    Wait,
    /// End it in good order: stop signal, grace period, kill.
    Shutdown,
    /// End it now.
    Terminate,
    /// Delete container, networks and files of it.
    Remove,
}

/// One execution of a verb.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// Quote both in `VerbDone`.
    pub task: TaskId,
    /// Which execution.
    pub run: RunId,
    /// What to do.
    pub verb: Verb,
    /// The task as it is now.
    pub snapshot: Arc<Task>,
    /// What its container spec refers to.
    pub dependencies: Dependencies,
}

/// Secrets and configs of one task.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Dependencies {
    /// In the order of the spec.
    pub secrets: Vec<Arc<Secret>>,
    /// In the order of the spec.
    pub configs: Vec<Arc<Config>>,
}
