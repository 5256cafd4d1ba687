//! The worker's loop: feeds the core's `Worker` and does what it asks: sessions, streams, verbs, small writes.
//!
//! It must never decide what to run or whom to call. Flow: streams and verbs run as tasks of their own and report as
//! inputs; effects are performed in order. Start reading at [`Agent::run`].

mod logs;
mod sessions;
mod verbs;

use std::sync::Arc;

use bytes::Bytes;
use skep_dispatch::worker::{Attempt, Effect, Input, Start, Worker};
use skep_executor::{Executor, NodeFacts};
use skep_model::pb::types::{NodeDescription, Peer};
use skep_model::{Code, Node, Task, TaskId, Verbatim};
use skep_rpc::client::Clients;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::tasks::TaskRecords;
use crate::warnings::Warnings;

/// Inputs that may wait for the loop before whoever has them waits.
const INPUT_QUEUE: usize = 1024;
/// News that may wait for the node before the loop waits.
const NEWS_QUEUE: usize = 64;

/// What the agent's loop works with.
pub struct Parts {
    /// Calls to managers.
    pub clients: Arc<Clients>,
    /// Runs containers.
    pub executor: Arc<dyn Executor>,
    /// Reads their output.
    pub runtime: Arc<skep_executor::Runtime>,
    /// Where tasks are written down.
    pub records: TaskRecords,
    /// This node, for templates.
    pub facts: Arc<NodeFacts>,
    /// The two clocks.
    pub clock: Clock,
    /// Where it is noted that a manager's clock differs.
    pub warnings: Warnings,
}

/// What the node must know of its session.
#[derive(Clone, Debug)]
pub enum News {
    /// Managers to keep for the next start.
    Remotes(Vec<Peer>),
    /// The cluster's trust root is another one: verify, save, and tell `Handle::root_saved`.
    Root(Bytes),
    /// Our own node object.
    Node(Arc<Node>),
}

/// The session as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SessionState {
    /// Manager and session id, while there is one.
    pub session: Option<(Peer, String)>,
    /// Managers that are known.
    pub remotes: Vec<Peer>,
    /// Tasks on this node.
    pub tasks: Vec<TaskId>,
    /// Why managers refuse this node, while they do and there is no session.
    pub denied: Option<String>,
}

/// How the node talks to the loop. Dropping it ends the loop; containers go on.
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    state: watch::Receiver<SessionState>,
    join: tokio::task::JoinHandle<()>,
}

impl Handle {
    /// The session as it stands, and as it changes.
    pub fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    /// This node describes itself anew.
    pub async fn described(&self, description: NodeDescription) {
        self.tell(Input::Described(Verbatim::new(description))).await;
    }

    /// The trust root that `News::Root` told is saved and in use.
    pub async fn root_saved(&self, root: Bytes) {
        self.tell(Input::RootSaved(root)).await;
    }

    /// Ends every task of this node and waits until nothing is left of them.
    pub async fn leave(&self) {
        self.tell(Input::Leave).await;
        let mut state = self.state.clone();
        // An error means that the loop is gone, and nothing more will happen.
        let gone = state.wait_for(|state| state.tasks.is_empty()).await;
        drop(gone);
    }

    /// Ends the loop and waits for it.
    pub async fn stop(self) {
        drop(self.inputs);
        self.join.abort();
        match self.join.await {
            Ok(()) => {}
            Err(error) if error.is_cancelled() => {}
            Err(error) => tracing::error!("the agent's loop failed: {error}"),
        }
    }

    async fn tell(&self, input: Input) {
        if self.inputs.send(input).await.is_err() {
            tracing::debug!("the agent's loop is gone");
        }
    }
}

/// Starts the loop.
pub fn spawn(parts: Parts, start: Start) -> (Handle, mpsc::Receiver<News>) {
    let (inputs, queue) = mpsc::channel(INPUT_QUEUE);
    let (news, told) = mpsc::channel(NEWS_QUEUE);
    let (state, watched) = watch::channel(SessionState::default());
    let agent = Agent {
        sessions: sessions::Sessions::new(
            Arc::clone(&parts.clients),
            parts.facts.id.clone(),
            parts.warnings.clone(),
            inputs.clone(),
        ),
        verbs: verbs::Verbs::new(Arc::clone(&parts.executor), Arc::clone(&parts.facts), inputs.clone()),
        worker: Worker::new(start),
        parts,
        news,
        state,
        queue,
        logs: None,
        denied: None,
    };
    let join = tokio::spawn(agent.run());
    (Handle { inputs, state: watched, join }, told)
}

struct Agent {
    parts: Parts,
    worker: Worker,
    sessions: sessions::Sessions,
    verbs: verbs::Verbs,
    news: mpsc::Sender<News>,
    state: watch::Sender<SessionState>,
    queue: mpsc::Receiver<Input>,
    logs: Option<(Attempt, tokio::task::AbortHandle)>,
    denied: Option<String>,
}

impl Agent {
    async fn run(mut self) {
        let mut input = Some(Input::Tick);
        loop {
            let next = input.take().unwrap_or(Input::Tick);
            if let Input::Failed { refusal, .. } = &next
                && refusal.code == Code::PermissionDenied
            {
                self.denied = Some(refusal.message.clone());
            }
            let effects = self.worker.step(self.parts.clock.now(), &mut self.parts.clock.rng(), next);
            for effect in effects {
                self.perform(effect).await;
            }
            self.publish();
            let wake = self.worker.wake_at().map(|at| self.parts.clock.instant(at));
            tokio::select! {
                received = self.queue.recv() => match received {
                    Some(received) => input = Some(received),
                    None => return,
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    async fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::OpenSession { attempt, peer, request } => self.sessions.open(attempt, &peer, request),
            Effect::CloseSession { attempt } => self.sessions.close(attempt),
            Effect::OpenAssignments { attempt, opening, request } => {
                self.sessions.open_assignments(attempt, opening, request);
                self.listen_for_logs(attempt);
            }
            Effect::Heartbeat { attempt, request } => self.sessions.heartbeat(attempt, request),
            Effect::SendStatus { attempt, request } => self.sessions.send_status(attempt, request),
            Effect::SaveRemotes(peers) => self.tell(News::Remotes(peers)).await,
            Effect::RootChanged(root) => self.tell(News::Root(root)).await,
            Effect::NodeChanged(node) => self.tell(News::Node(node)).await,
            // Nothing here uses them before the overlay networks' data plane exists.
            Effect::NetworkKeys(_) => {}
            Effect::Run(run) => self.verbs.run(run),
            Effect::Cancel { task, run } => self.verbs.cancel(&task, run),
            Effect::Persist(task) => self.persist(&task),
            Effect::Forget(task) => {
                self.verbs.forget(&task);
                if let Err(error) = tokio::task::block_in_place(|| self.parts.records.remove(&task)) {
                    tracing::warn!("task {task} could not be struck from disk: {error}");
                }
            }
        }
    }

    fn persist(&self, task: &Task) {
        // Without it a restarted daemon asks its manager anew; the containers themselves are found by their shims.
        if let Err(error) = tokio::task::block_in_place(|| self.parts.records.put(task)) {
            tracing::warn!("task {} could not be written to disk: {error}", task.id);
        }
    }

    fn listen_for_logs(&mut self, attempt: Attempt) {
        if self.logs.as_ref().is_some_and(|(listening, _)| *listening == attempt) {
            return;
        }
        let Some(client) = self.sessions.client(attempt) else { return };
        if let Some((_, earlier)) = self.logs.take() {
            earlier.abort();
        }
        let listener = logs::listen(client, Arc::clone(&self.parts.runtime), Arc::clone(&self.parts.facts));
        self.logs = Some((attempt, tokio::spawn(listener).abort_handle()));
    }

    async fn tell(&self, news: News) {
        if self.news.send(news).await.is_err() {
            tracing::debug!("nobody listens to the agent's news any more");
        }
    }

    fn publish(&mut self) {
        let session = self.worker.session().map(|(_, peer, id)| (peer.clone(), id.to_owned()));
        if session.is_some() {
            self.denied = None;
        }
        let tasks = self.worker.tasks().map(|task| task.id.clone()).collect();
        let state = SessionState { session, remotes: self.worker.remotes(), tasks, denied: self.denied.clone() };
        self.state.send_if_modified(|current| {
            let changed = *current != state;
            if changed {
                *current = state;
            }
            changed
        });
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some((_, listener)) = self.logs.take() {
            listener.abort();
        }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
