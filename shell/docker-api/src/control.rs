//! What the API asks of the swarm's managers.

use std::sync::Arc;

use async_trait::async_trait;
use skep_model::pb::messages::{ListTasksRequest, SubscribeLogsMessage, SubscribeLogsRequest, list_tasks_request};
use skep_model::pb::objects as pb;
use skep_model::{
    Cluster, Code, Config, ControlCall, ControlRequest, ControlResponse, Kept, Network, Node, Refusal, Secret, Service,
    Task,
};
use tokio::sync::mpsc;

/// An answer, and whether it may be out of date.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The answer to the request.
    pub response: ControlResponse,
    /// Read from local state because there is no leader: told to the client in the header `Skep-Stale`.
    pub stale: bool,
}

/// The swarm's control vocabulary, answered by this manager or handed to the leader.
///
/// Called only while [`crate::Standing::Manager`] holds; the implementer refuses if that has just changed.
#[async_trait]
pub trait Control: Send + Sync + 'static {
    /// Carries out one request. Writes return when they are committed.
    async fn control(&self, request: ControlRequest) -> Result<Answered, Refusal>;

    /// The tasks that pass the filters. Those of this manager come as they are stored: a long list is written while it
    /// is sent.
    async fn tasks(&self, filters: list_tasks_request::Filters) -> Result<TaskList, Refusal>;

    /// Committed changes from now on. Ends when this node stops being a manager, or when the reader falls too far
    /// behind.
    async fn watch(&self) -> Result<mpsc::Receiver<SwarmEvent>, Refusal>;

    /// Output of tasks across the swarm. Ends when all sources have ended, or with an error as the last item.
    async fn subscribe_logs(
        &self,
        request: SubscribeLogsRequest,
    ) -> Result<mpsc::Receiver<Result<SubscribeLogsMessage, Refusal>>, Refusal>;
}

/// Asks and takes the one possible kind of answer out; the flag says that it may be stale.
pub async fn call<R: ControlCall>(control: &dyn Control, request: R) -> Result<(R::Response, bool), Refusal> {
    let answered = control.control(request.into()).await?;
    let response = R::response(answered.response)
        .ok_or_else(|| Refusal::new(Code::Internal, "the control request was answered with another kind of answer"))?;
    Ok((response, answered.stale))
}

/// A list of tasks, and whether it may be out of date.
#[derive(Debug)]
pub struct TaskList {
    /// The tasks.
    pub tasks: Tasks,
    /// See [`Answered::stale`].
    pub stale: bool,
}

/// Tasks as they came.
#[derive(Debug)]
pub enum Tasks {
    /// This manager's own: the first ones, and where the others come unless that was all.
    Stored {
        /// What there is at once.
        first: TaskPart,
        /// What follows. If it ends before a last part, the list was broken off.
        others: mpsc::Receiver<TaskPart>,
    },
    /// Another manager's.
    Sent(Vec<Kept<pb::Task>>),
}

/// Part of a list, as the tasks are stored.
#[derive(Clone, Debug)]
pub struct TaskPart {
    /// The tasks.
    pub tasks: Vec<Arc<Task>>,
    /// That is all.
    pub is_last: bool,
}

/// The list as an answer to the control request, for those who do not hold the facts.
pub async fn tasks_by_message(
    control: &dyn Control,
    filters: list_tasks_request::Filters,
) -> Result<TaskList, Refusal> {
    let (response, stale) = call(control, ListTasksRequest { filters: Some(filters) }).await?;
    Ok(TaskList { tasks: Tasks::Sent(response.tasks), stale })
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwarmAction {
    /// It is new.
    Create,
    /// It changed; the event carries the old state.
    Update,
    /// It is gone; the event carries its last state.
    Remove,
}

/// A committed change.
#[derive(Clone, Debug)]
pub struct SwarmEvent {
    /// What happened.
    pub action: SwarmAction,
    /// After the change; for `Remove`, before it.
    pub object: SwarmObject,
    /// Before an update.
    pub old: Option<SwarmObject>,
}

/// The kinds of object that changes are told of.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum SwarmObject {
    Node(Arc<Node>),
    Service(Arc<Service>),
    Task(Arc<Task>),
    Network(Arc<Network>),
    Cluster(Arc<Cluster>),
    Secret(Arc<Secret>),
    Config(Arc<Config>),
}
