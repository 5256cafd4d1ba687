//! The HTTP API's `Control`: answered by this manager's loop when it leads, handed to the leader when it does not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use skep_docker_api as api;
use skep_docker_api::{Answered, SwarmAction, SwarmEvent, SwarmObject, TaskList};
use skep_model::pb::messages::{SubscribeLogsMessage, SubscribeLogsRequest, list_tasks_request};
use skep_model::{Code, ControlKind, ControlRequest, Refusal};
use skep_rpc::Leader;
use skep_store::{Action, AnyObject, Event};
use tokio::sync::{mpsc, watch};

use crate::manager::Ask;
use crate::swarm::{Member, SwarmNode};

/// How long a write waits for a leader, or for leadership to have moved, before it is refused.
const LEADER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a read waits before it is answered from local state.
const STALE_PATIENCE: Duration = Duration::from_secs(2);
/// How long a follower waits for the log before the leader is asked for the answer itself.
const LOG_PATIENCE: Duration = Duration::from_secs(1);
/// Pause before what reached a manager that no longer leads is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Tries of a read while leadership moves.
const READ_TRIES: u32 = 20;
/// Changes that may wait for a watcher.
const WATCH_QUEUE: usize = 4096;
/// Log messages that may wait for a reader.
const LOG_QUEUE: usize = 256;

/// The swarm's control as the API sees it.
pub struct ControlPort {
    node: Arc<SwarmNode>,
    /// Where a read waited for a leader in vain: those after it do not, until something changes. Most commands read
    /// several times.
    leaderless: Mutex<Option<watch::Receiver<Leader>>>,
}

impl ControlPort {
    /// The API's view of a node.
    pub fn new(node: Arc<SwarmNode>) -> Self {
        Self { node, leaderless: Mutex::new(None) }
    }

    fn member(&self) -> Result<Arc<Member>, Refusal> {
        self.node.member().ok_or_else(crate::engine::not_a_manager)
    }

    /// Waits until somebody leads; `Leader::None` when nobody does in time.
    async fn leader(&self, member: &Member, patience: Duration) -> Result<Leader, Refusal> {
        let mut leader = member.leader().ok_or_else(crate::engine::a_worker)?;
        let elected = leader.wait_for(|leader| *leader != Leader::None);
        match tokio::time::timeout(patience, elected).await {
            Ok(Ok(leader)) => Ok(leader.clone()),
            Ok(Err(_)) => Err(crate::engine::a_worker()),
            Err(_) => Ok(Leader::None),
        }
    }

    /// As `leader`, for a read: waits once while there is none.
    async fn leader_to_read(&self, member: &Member) -> Result<Leader, Refusal> {
        let mut seen = member.leader().ok_or_else(crate::engine::a_worker)?;
        seen.mark_unchanged();
        let waited = {
            let leaderless = self.leaderless.lock().unwrap_or_else(PoisonError::into_inner);
            leaderless.as_ref().is_some_and(|last| last.same_channel(&seen) && matches!(last.has_changed(), Ok(false)))
        };
        let leader = self.leader(member, if waited { Duration::ZERO } else { STALE_PATIENCE }).await?;
        if leader == Leader::None && !waited {
            *self.leaderless.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        }
        Ok(leader)
    }

    async fn ask(&self, member: &Member, leader: &Leader, request: ControlRequest) -> Result<Answered, Refusal> {
        match leader {
            Leader::Other { address, .. } => {
                let response = member.clients().control(address, request).await?;
                Ok(Answered { response, stale: false })
            }
            Leader::Me | Leader::None => {
                let handle = member.manager_handle().ok_or_else(crate::engine::a_worker)?;
                let (response, stale) = handle.control(request).await?;
                Ok(Answered { response, stale })
            }
        }
    }

    /// Tasks as this manager holds them. A follower asks its leader how far it must have applied the log, and lists
    /// them itself; nothing where a Docker Engine leads, or the log does not come.
    async fn stored_tasks(
        &self,
        member: &Member,
        leader: &Leader,
        filters: &list_tasks_request::Filters,
    ) -> Result<Option<TaskList>, Refusal> {
        let handle = member.manager_handle().ok_or_else(crate::engine::not_a_manager)?;
        let Leader::Other { address, .. } = leader else { return handle.tasks(filters.clone(), None).await.map(Some) };
        let Some(applied) = member.clients().read_point(address).await? else { return Ok(None) };
        match tokio::time::timeout(LOG_PATIENCE, handle.tasks(filters.clone(), Some(applied))).await {
            Ok(listed) => listed.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// A read may be repeated, so a change of leader under way is not the caller's trouble.
    async fn read(&self, request: ControlRequest) -> Result<Answered, Refusal> {
        let member = self.member()?;
        let mut last = Refusal::no_leader();
        for _ in 0..READ_TRIES {
            let leader = self.leader_to_read(&member).await?;
            match self.ask(&member, &leader, request.clone()).await {
                Ok(answered) => return Ok(answered),
                // It waited for one: what is not found without it stays unknown.
                Err(refusal) if leader == Leader::None && refusal == Refusal::no_leader() => return Err(refusal),
                Err(refusal) if is_passing(&refusal) => last = refusal,
                Err(refusal) => return Err(refusal),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Err(last)
    }

    /// A write is asked again only of a manager that said it does not lead: it says so of what was not carried out and
    /// never will be. When an answer is lost, nobody knows whether the write came true.
    async fn write(&self, request: ControlRequest) -> Result<Answered, Refusal> {
        let member = self.member()?;
        let until = Instant::now() + LEADER_PATIENCE;
        loop {
            let leader = self.leader(&member, until.saturating_duration_since(Instant::now())).await?;
            if leader == Leader::None {
                return Err(Refusal::no_leader());
            }
            match self.ask(&member, &leader, request.clone()).await {
                Err(refusal) if refusal == Refusal::no_leader() && Instant::now() < until => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                answered => return answered,
            }
        }
    }
}

/// Nothing is wrong with the question: leadership is moving.
fn is_passing(refusal: &Refusal) -> bool {
    *refusal == Refusal::no_leader() || matches!(refusal.code, Code::Unavailable | Code::Aborted)
}

#[async_trait]
impl api::Control for ControlPort {
    async fn control(&self, request: ControlRequest) -> Result<Answered, Refusal> {
        match request.kind() {
            ControlKind::Read => self.read(request).await,
            ControlKind::Write => self.write(request).await,
        }
    }

    async fn tasks(&self, filters: list_tasks_request::Filters) -> Result<TaskList, Refusal> {
        let member = self.member()?;
        let leader = self.leader_to_read(&member).await?;
        match self.stored_tasks(&member, &leader, &filters).await {
            Ok(Some(list)) => return Ok(list),
            Ok(None) => {}
            Err(refusal) if is_passing(&refusal) => {}
            Err(refusal) => return Err(refusal),
        }
        api::tasks_by_message(self, filters).await
    }

    async fn watch(&self) -> Result<mpsc::Receiver<SwarmEvent>, Refusal> {
        let handle = self.node.manager().ok_or_else(crate::engine::not_a_manager)?;
        let (batches, mut committed) = mpsc::channel::<Arc<Vec<Event>>>(WATCH_QUEUE);
        handle.tell(Ask::Watch(batches))?;
        let (sender, receiver) = mpsc::channel(WATCH_QUEUE);
        tokio::spawn(async move {
            while let Some(events) = committed.recv().await {
                for event in events.iter().filter_map(swarm_event) {
                    if sender.send(event).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(receiver)
    }

    async fn subscribe_logs(
        &self,
        request: SubscribeLogsRequest,
    ) -> Result<mpsc::Receiver<Result<SubscribeLogsMessage, Refusal>>, Refusal> {
        let member = self.member()?;
        match self.leader(&member, LEADER_PATIENCE).await? {
            Leader::None => Err(Refusal::no_leader()),
            Leader::Me => {
                let broker = member.broker().ok_or_else(crate::engine::a_worker)?;
                broker.subscribe(request).await
            }
            Leader::Other { address, .. } => {
                let mut incoming = member.clients().subscribe_logs(&address, request).await?;
                let (sender, receiver) = mpsc::channel(LOG_QUEUE);
                tokio::spawn(async move {
                    loop {
                        tokio::select! {
                            message = incoming.next() => match message {
                                Some(message) => if sender.send(message).await.is_err() { return },
                                None => return,
                            },
                            () = sender.closed() => return,
                        }
                    }
                });
                Ok(receiver)
            }
        }
    }
}

fn swarm_event(event: &Event) -> Option<SwarmEvent> {
    let action = match event.action {
        Action::Create => SwarmAction::Create,
        Action::Update => SwarmAction::Update,
        Action::Remove => SwarmAction::Remove,
    };
    Some(SwarmEvent { action, object: object(&event.object)?, old: event.old.as_ref().and_then(object) })
}

fn object(object: &AnyObject) -> Option<SwarmObject> {
    Some(match object {
        AnyObject::Node(node) => SwarmObject::Node(Arc::clone(node)),
        AnyObject::Service(service) => SwarmObject::Service(Arc::clone(service)),
        AnyObject::Task(task) => SwarmObject::Task(Arc::clone(task)),
        AnyObject::Network(network) => SwarmObject::Network(Arc::clone(network)),
        AnyObject::Cluster(cluster) => SwarmObject::Cluster(Arc::clone(cluster)),
        AnyObject::Secret(secret) => SwarmObject::Secret(Arc::clone(secret)),
        AnyObject::Config(config) => SwarmObject::Config(Arc::clone(config)),
        AnyObject::Resource(_) | AnyObject::Extension(_) | AnyObject::Volume(_) => return None,
    })
}
