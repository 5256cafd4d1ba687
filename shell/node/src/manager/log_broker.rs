//! The managers' half of the log broker: who wants which logs, which workers have them, and the merged stream.
//!
//! Runs on the leader. A node that is gone yields an error line at the end, never a hang (moby#33183, #41733).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skep_model::pb::messages as m;
use skep_model::{Code, ControlRequest, ControlResponse, NodeId, Refusal, Task, TaskState};
use skep_rpc::backend::Feed;
use skep_store::AnyObject;
use tokio::sync::{mpsc, oneshot};

use super::ask::{Ask, Handle};

/// Messages that may wait for a reader of logs before the worker that sends them waits.
const READER_QUEUE: usize = 256;
/// Subscriptions that may wait for a worker.
const LISTENER_QUEUE: usize = 256;
/// Subscriptions at the same time; further ones are refused.
const SUBSCRIPTIONS_MAX: usize = 512;
/// Changes that may wait for a following subscription.
const WATCH_QUEUE: usize = 1024;

/// Shared by the transport's calls.
#[derive(Clone)]
pub struct LogBroker {
    manager: Handle,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    last: u64,
    listeners: BTreeMap<NodeId, Listener>,
    subscriptions: BTreeMap<String, Subscription>,
}

struct Listener {
    number: u64,
    sender: mpsc::Sender<Result<m::SubscriptionMessage, Refusal>>,
}

struct Subscription {
    message: m::SubscriptionMessage,
    reader: mpsc::Sender<Result<m::SubscribeLogsMessage, Refusal>>,
    follow: bool,
    /// Nodes that were asked.
    asked: BTreeSet<NodeId>,
    /// Of those, the ones that have not ended yet.
    open: BTreeSet<NodeId>,
    problems: Vec<String>,
    /// Dropped with the subscription: whoever watches over it holds the reader open and must end with it.
    _alive: oneshot::Sender<()>,
}

impl LogBroker {
    /// A broker without subscriptions.
    pub fn new(manager: Handle) -> Self {
        Self { manager, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker wants to know which logs are wanted.
    pub fn listen(&self, node: NodeId) -> Feed<m::SubscriptionMessage> {
        let (sender, receiver) = mpsc::channel(LISTENER_QUEUE);
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        for subscription in state.subscriptions.values().filter(|subscription| subscription.open.contains(&node)) {
            // The queue is new and larger than the number of subscriptions.
            if sender.try_send(Ok(subscription.message.clone())).is_err() {
                break;
            }
        }
        let closed = sender.clone();
        state.listeners.insert(node.clone(), Listener { number, sender });
        drop(state);
        let broker = self.clone();
        tokio::spawn(async move {
            closed.closed().await;
            broker.listener_gone(&node, number);
        });
        receiver
    }

    fn listener_gone(&self, node: &NodeId, number: u64) {
        let mut state = self.state();
        if state.listeners.get(node).is_none_or(|listener| listener.number != number) {
            return;
        }
        state.listeners.remove(node);
        let ids: Vec<String> = state.subscriptions.keys().cloned().collect();
        for id in ids {
            state.node_ended(&id, node, Some(format!("node {node} disconnected unexpectedly")));
        }
    }

    /// A worker sends what was asked for.
    pub async fn publish(&self, node: &NodeId, mut messages: Feed<m::PublishLogsMessage>) -> Result<(), Refusal> {
        let mut known = None;
        while let Some(message) = messages.recv().await {
            let message = message?;
            if message
                .messages
                .iter()
                .any(|line| line.context.as_ref().is_none_or(|context| context.node_id != node.as_str()))
            {
                return Err(Refusal::new(Code::PermissionDenied, "logs may be published for the own node alone"));
            }
            let reader = {
                let state = self.state();
                state.subscriptions.get(&message.subscription_id).map(|subscription| subscription.reader.clone())
            };
            let Some(reader) = reader else {
                return Err(Refusal::new(Code::NotFound, "log subscription not found"));
            };
            let id = message.subscription_id.clone();
            if !message.messages.is_empty()
                && reader.send(Ok(m::SubscribeLogsMessage { messages: message.messages })).await.is_err()
            {
                self.end(&id);
                return Ok(());
            }
            if message.close {
                self.state().node_ended(&id, node, None);
                return Ok(());
            }
            known = Some(id);
        }
        if let Some(id) = known {
            self.state().node_ended(&id, node, Some(format!("node {node} stopped sending logs")));
        }
        Ok(())
    }

    /// Somebody wants logs.
    pub async fn subscribe(&self, request: m::SubscribeLogsRequest) -> Result<Feed<m::SubscribeLogsMessage>, Refusal> {
        let selector = request.selector.clone().unwrap_or_default();
        let options = request.options.clone().unwrap_or_default();
        // Changes are watched before the present is read, so that nothing falls between.
        let (changes, watched) = mpsc::channel(WATCH_QUEUE);
        if options.follow {
            self.manager.tell(Ask::Watch(changes))?;
        }
        let nodes = self.nodes_with(&selector).await?;
        let (reader, feed) = mpsc::channel(READER_QUEUE);
        let (alive, ended) = oneshot::channel();
        let id = {
            let mut state = self.state();
            if state.subscriptions.len() >= SUBSCRIPTIONS_MAX {
                let message = format!("{SUBSCRIPTIONS_MAX} readers of logs are open already; close some and try again");
                return Err(Refusal::new(Code::ResourceExhausted, message));
            }
            state.last += 1;
            let id = format!("logs-{}", state.last);
            let message = m::SubscriptionMessage {
                id: id.clone(),
                selector: Some(selector.clone()),
                options: Some(options.clone()),
                close: false,
            };
            let subscription = Subscription {
                message,
                reader: reader.clone(),
                follow: options.follow,
                asked: BTreeSet::new(),
                open: BTreeSet::new(),
                problems: Vec::new(),
                _alive: alive,
            };
            state.subscriptions.insert(id.clone(), subscription);
            for node in nodes {
                state.ask_node(&id, node);
            }
            state.finish_if_done(&id);
            id
        };
        let broker = self.clone();
        tokio::spawn(async move { broker.watch_over(id, selector, reader, watched, ended).await });
        Ok(feed)
    }

    /// Ends a subscription when its reader goes; asks nodes that get new tasks while it follows.
    async fn watch_over(
        &self,
        id: String,
        selector: m::LogSelector,
        reader: mpsc::Sender<Result<m::SubscribeLogsMessage, Refusal>>,
        mut changes: mpsc::Receiver<Arc<Vec<skep_store::Event>>>,
        mut ended: oneshot::Receiver<()>,
    ) {
        let mut watching = true;
        loop {
            tokio::select! {
                () = reader.closed() => break,
                _ = &mut ended => return,
                events = changes.recv(), if watching => match events {
                    None => watching = false,
                    Some(events) => {
                        for event in events.iter() {
                            if let AnyObject::Task(task) = &event.object
                                && let Some(node) = selected_node(&selector, task)
                            {
                                self.state().ask_node(&id, node);
                            }
                        }
                    }
                },
            }
        }
        self.end(&id);
    }

    fn end(&self, id: &str) {
        let mut state = self.state();
        let Some(subscription) = state.subscriptions.remove(id) else { return };
        for node in &subscription.open {
            let Some(listener) = state.listeners.get(node) else { continue };
            let close = m::SubscriptionMessage { close: true, ..subscription.message.clone() };
            if listener.sender.try_send(Ok(close)).is_err() {
                tracing::debug!("node {node} could not be told that its logs are not wanted any more");
            }
        }
    }

    async fn nodes_with(&self, selector: &m::LogSelector) -> Result<BTreeSet<NodeId>, Refusal> {
        let mut nodes: BTreeSet<NodeId> = selector.node_ids.iter().filter_map(|id| NodeId::optional(id)).collect();
        let filters = [
            m::list_tasks_request::Filters { service_ids: selector.service_ids.clone(), ..Default::default() },
            m::list_tasks_request::Filters { id_prefixes: selector.task_ids.clone(), ..Default::default() },
        ];
        for filters in filters {
            if filters.service_ids.is_empty() && filters.id_prefixes.is_empty() {
                continue;
            }
            let request = m::ListTasksRequest { filters: Some(filters) };
            let (response, _) = self.manager.control(ControlRequest::ListTasks(request)).await?;
            let ControlResponse::ListTasks(response) = response else { continue };
            for task in response.tasks.into_iter().filter_map(|task| Task::try_from(task).ok()) {
                nodes.extend(selected_node(selector, &task));
            }
        }
        Ok(nodes)
    }
}

/// The node that has output of this task, if it is one of those wanted.
fn selected_node(selector: &m::LogSelector, task: &Task) -> Option<NodeId> {
    let service = task.service_id.as_ref().map(ToString::to_string).unwrap_or_default();
    let wanted = selector.service_ids.contains(&service) || selector.task_ids.iter().any(|id| *id == task.id.as_str());
    // Before it starts a task has no output; a node that never had it running has none either.
    let may_have_output = task.state() >= TaskState::Starting && task.state() != TaskState::Rejected;
    task.node_id.clone().filter(|_| wanted && may_have_output && task.state() != TaskState::Orphaned)
}

impl State {
    fn ask_node(&mut self, id: &str, node: NodeId) {
        let Some(subscription) = self.subscriptions.get_mut(id) else { return };
        if !subscription.asked.insert(node.clone()) {
            return;
        }
        let asked = self
            .listeners
            .get(&node)
            .is_some_and(|listener| listener.sender.try_send(Ok(subscription.message.clone())).is_ok());
        if asked {
            subscription.open.insert(node);
        } else {
            subscription.problems.push(format!("node {node} is not available"));
        }
    }

    fn node_ended(&mut self, id: &str, node: &NodeId, problem: Option<String>) {
        let Some(subscription) = self.subscriptions.get_mut(id) else { return };
        if !subscription.open.remove(node) {
            return;
        }
        if subscription.follow {
            // It may come back with more.
            subscription.asked.remove(node);
        }
        subscription.problems.extend(problem);
        self.finish_if_done(id);
    }

    fn finish_if_done(&mut self, id: &str) {
        let done =
            self.subscriptions.get(id).is_some_and(|subscription| subscription.open.is_empty() && !subscription.follow);
        if !done {
            return;
        }
        let Some(subscription) = self.subscriptions.remove(id) else { return };
        if subscription.problems.is_empty() {
            return;
        }
        let message = format!(
            "warning: incomplete log stream. some logs could not be retrieved for the following reasons: {}",
            subscription.problems.join(", ")
        );
        let reader = subscription.reader;
        tokio::spawn(async move {
            if reader.send(Err(Refusal::new(Code::Unknown, message))).await.is_err() {
                tracing::debug!("the reader of logs had gone");
            }
        });
    }
}
