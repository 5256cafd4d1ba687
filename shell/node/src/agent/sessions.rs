//! Sessions with managers: each on a connection of its own, each stream a task that reports as inputs.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skep_dispatch::worker::{Attempt, Input, Opening};
use skep_model::pb::messages as m;
use skep_model::pb::types::Peer;
use skep_model::time::proto_duration;
use skep_model::{Code, NodeId, Refusal};
use skep_rpc::client::{Clients, DispatcherClient};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::warnings::Warnings;

/// A node introduces itself to the manager of its session this often.
const HELLO_INTERVAL: Duration = Duration::from_secs(60);

/// The one session that counts, and its tasks.
struct Session {
    attempt: Attempt,
    client: DispatcherClient,
    tasks: Vec<AbortHandle>,
    assignments: Option<AbortHandle>,
}

impl Drop for Session {
    fn drop(&mut self) {
        for task in self.tasks.drain(..).chain(self.assignments.take()) {
            task.abort();
        }
    }
}

/// Opens and closes sessions.
pub(super) struct Sessions {
    clients: Arc<Clients>,
    node: NodeId,
    warnings: Warnings,
    inputs: mpsc::Sender<Input>,
    current: Option<Session>,
}

impl Sessions {
    pub(super) fn new(clients: Arc<Clients>, node: NodeId, warnings: Warnings, inputs: mpsc::Sender<Input>) -> Self {
        Self { clients, node, warnings, inputs, current: None }
    }

    pub(super) fn client(&self, attempt: Attempt) -> Option<DispatcherClient> {
        self.current.as_ref().filter(|session| session.attempt == attempt).map(|session| session.client.clone())
    }

    pub(super) fn open(&mut self, attempt: Attempt, peer: &Peer, request: m::SessionRequest) {
        let inputs = self.inputs.clone();
        match self.clients.dispatcher(&peer.addr) {
            Ok(client) => {
                let greetings = greet(client.clone(), self.node.clone(), self.warnings.clone());
                let task = follow_session(client.clone(), attempt, request, inputs, greetings);
                let task = tokio::spawn(task).abort_handle();
                self.current = Some(Session { attempt, client, tasks: vec![task], assignments: None });
            }
            Err(refusal) => {
                self.current = None;
                tokio::spawn(async move { send(&inputs, Input::Failed { attempt, refusal }).await });
            }
        }
    }

    pub(super) fn close(&mut self, attempt: Attempt) {
        self.current.take_if(|session| session.attempt == attempt);
    }

    pub(super) fn open_assignments(&mut self, attempt: Attempt, opening: Opening, request: m::AssignmentsRequest) {
        let Some(session) = self.current.as_mut().filter(|session| session.attempt == attempt) else { return };
        if let Some(earlier) = session.assignments.take() {
            earlier.abort();
        }
        let task = follow_assignments(session.client.clone(), attempt, opening, request, self.inputs.clone());
        session.assignments = Some(tokio::spawn(task).abort_handle());
    }

    pub(super) fn heartbeat(&mut self, attempt: Attempt, request: m::HeartbeatRequest) {
        self.call(attempt, move |client, inputs| async move {
            let input = match client.heartbeat(request).await {
                Ok(period) => {
                    let response = m::HeartbeatResponse { period: Some(proto_duration(period)) };
                    Input::HeartbeatReply { attempt, response }
                }
                Err(refusal) => Input::Failed { attempt, refusal },
            };
            send(&inputs, input).await;
        });
    }

    pub(super) fn send_status(&mut self, attempt: Attempt, request: m::UpdateTaskStatusRequest) {
        self.call(attempt, move |client, inputs| async move {
            let input = match client.update_task_status(request).await {
                Ok(()) => Input::StatusReply { attempt },
                Err(refusal) => Input::Failed { attempt, refusal },
            };
            send(&inputs, input).await;
        });
    }

    fn call<F>(&mut self, attempt: Attempt, call: impl FnOnce(DispatcherClient, mpsc::Sender<Input>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(session) = self.current.as_mut().filter(|session| session.attempt == attempt) else { return };
        session.tasks.retain(|task| !task.is_finished());
        let task = tokio::spawn(call(session.client.clone(), self.inputs.clone()));
        session.tasks.push(task.abort_handle());
    }
}

async fn follow_session(
    client: DispatcherClient,
    attempt: Attempt,
    request: m::SessionRequest,
    inputs: mpsc::Sender<Input>,
    greetings: impl Future<Output = Infallible>,
) {
    let refusal = match client.session(request).await {
        Ok((first, mut stream)) => {
            send(&inputs, Input::Session { attempt, message: Box::new(first) }).await;
            let read = async {
                loop {
                    match stream.next().await {
                        Some(Ok(message)) => {
                            send(&inputs, Input::Session { attempt, message: Box::new(message) }).await
                        }
                        Some(Err(refusal)) => break refusal,
                        None => break Refusal::new(Code::Unavailable, "the manager ended the session"),
                    }
                }
            };
            tokio::select! {
                refusal = read => refusal,
                never = greetings => match never {},
            }
        }
        Err(refusal) => refusal,
    };
    tracing::debug!("the session ended: {refusal}");
    send(&inputs, Input::Failed { attempt, refusal }).await;
}

/// Tells the manager of a session that this node is Skep (so that it may be suspected early when its connection is
/// reset), and compares clocks, again and again: clocks drift, and are set.
async fn greet(client: DispatcherClient, node: NodeId, warnings: Warnings) -> Infallible {
    let mut times = tokio::time::interval(HELLO_INTERVAL);
    loop {
        times.tick().await;
        let asked = Instant::now();
        match client.hello(crate::host::greeting(&node)).await {
            Ok(Some(hello)) => {
                if let Some(manager) = NodeId::optional(&hello.node_id) {
                    warnings.clock(&manager, hello.wall_clock_ms, asked.elapsed());
                }
            }
            // A Docker Engine: there is nobody to tell.
            Ok(None) => std::future::pending().await,
            Err(refusal) => tracing::debug!("the manager was not told that this node is Skep: {refusal}"),
        }
    }
}

async fn follow_assignments(
    client: DispatcherClient,
    attempt: Attempt,
    opening: Opening,
    request: m::AssignmentsRequest,
    inputs: mpsc::Sender<Input>,
) {
    let refusal = match client.assignments(request).await {
        Ok(mut stream) => loop {
            match stream.next().await {
                Some(Ok(message)) => send(&inputs, Input::Assignments { attempt, opening, message }).await,
                Some(Err(refusal)) => break refusal,
                None => break Refusal::new(Code::Unavailable, "the manager ended the stream of assignments"),
            }
        },
        Err(refusal) => refusal,
    };
    send(&inputs, Input::Failed { attempt, refusal }).await;
}

async fn send(inputs: &mpsc::Sender<Input>, input: Input) {
    if inputs.send(input).await.is_err() {
        tracing::debug!("the agent's loop is gone");
    }
}
