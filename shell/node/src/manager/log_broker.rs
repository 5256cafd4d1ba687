//! The managers' half of the log broker: who wants which logs, which workers have them, and the merged stream.
//!
//! Runs on the leader. A node that is gone yields an error line at the end, never a hang (moby#33183, #41733).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skep_model::pb::messages as m;
use skep_model::{Code, ControlRequest, ControlResponse, NodeId, Refusal, Task, TaskId, TaskState, WallTime};
use skep_rpc::backend::Feed;
use skep_store::AnyObject;
use tokio::sync::{mpsc, oneshot};

use super::ask::{Ask, Handle};
use crate::clock::wall;

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
    /// Tasks whose output each node has.
    tasks: BTreeMap<NodeId, BTreeSet<TaskId>>,
    /// While it follows: nodes whose output is missing, and since when.
    missing: BTreeMap<NodeId, WallTime>,
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
        for subscription in state.subscriptions.values_mut() {
            let wanted = match subscription.missing.remove(&node) {
                Some(since) => Some(subscription.again(&node, since)),
                None => subscription.open.contains(&node).then(|| subscription.message.clone()),
            };
            // The queue is new and larger than the number of subscriptions.
            if wanted.is_some_and(|message| sender.try_send(Ok(message)).is_err()) {
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
        let tasks = self.tasks_of(&selector).await?;
        let nodes: Vec<NodeId> = tasks.keys().cloned().collect();
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
                tasks,
                missing: BTreeMap::new(),
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
                                self.state().task_seen(&id, node, task.id.clone());
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

    /// Nodes with output that is wanted, and the tasks that it is of.
    async fn tasks_of(&self, selector: &m::LogSelector) -> Result<BTreeMap<NodeId, BTreeSet<TaskId>>, Refusal> {
        let named = selector.node_ids.iter().filter_map(|id| NodeId::optional(id));
        let mut nodes: BTreeMap<NodeId, BTreeSet<TaskId>> = named.map(|node| (node, BTreeSet::new())).collect();
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
                if let Some(node) = selected_node(selector, &task) {
                    nodes.entry(node).or_default().insert(task.id.clone());
                }
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
    /// While a subscription follows: a task that may have output.
    fn task_seen(&mut self, id: &str, node: NodeId, task: TaskId) {
        if let Some(subscription) = self.subscriptions.get_mut(id) {
            subscription.tasks.entry(node.clone()).or_default().insert(task);
        }
        self.ask_node(id, node);
    }

    fn ask_node(&mut self, id: &str, node: NodeId) {
        let Some(subscription) = self.subscriptions.get_mut(id) else { return };
        if !subscription.asked.insert(node.clone()) {
            return;
        }
        let listener = self.listeners.get(&node);
        let message = match subscription.missing.get(&node).copied() {
            // It was told already; when the node comes back it is asked.
            Some(_) if listener.is_none() => return,
            Some(since) => {
                subscription.missing.remove(&node);
                subscription.again(&node, since)
            }
            None => subscription.message.clone(),
        };
        if listener.is_some_and(|listener| listener.sender.try_send(Ok(message)).is_ok()) {
            subscription.open.insert(node);
        } else {
            subscription.trouble(&node, format!("node {node} is not available"));
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
        if let Some(problem) = problem {
            subscription.trouble(node, problem);
        }
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

impl Subscription {
    /// What a node is asked that was asked before: only what it printed since it was lost.
    fn again(&mut self, node: &NodeId, since: WallTime) -> m::SubscriptionMessage {
        self.asked.insert(node.clone());
        self.open.insert(node.clone());
        let mut message = self.message.clone();
        let options = message.options.get_or_insert_default();
        options.tail = 0;
        options.since = Some(since.into());
        message
    }

    /// Logs that are missing. Who follows is told at once, by a line of each task that they are of, because the stream
    /// goes on; who does not is told at the end.
    fn trouble(&mut self, node: &NodeId, problem: String) {
        if !self.follow {
            self.problems.push(problem);
            return;
        }
        let now = wall();
        self.missing.insert(node.clone(), now);
        let services =
            self.message.selector.as_ref().map(|selector| selector.service_ids.as_slice()).unwrap_or_default();
        let service_id = services.first().cloned().unwrap_or_default();
        let line = |task: &TaskId| m::LogMessage {
            context: Some(m::LogContext {
                service_id: service_id.clone(),
                node_id: node.to_string(),
                task_id: task.to_string(),
            }),
            timestamp: Some(now.into()),
            stream: m::LogStream::Stderr.into(),
            data: format!("warning: incomplete log stream: {problem}\n").into_bytes().into(),
            attrs: Vec::new(),
        };
        let messages: Vec<_> = self.tasks.get(node).into_iter().flatten().map(line).collect();
        if !messages.is_empty() && self.reader.try_send(Ok(m::SubscribeLogsMessage { messages })).is_err() {
            tracing::debug!("a reader of logs could not be told: {problem}");
        }
    }
}
