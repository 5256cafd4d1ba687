//! What is asked of the manager's loop, and the handle that asks.

use bytes::Bytes;
use skep_consensus::{Mode, PeerMessage, SnapshotPoint};
use skep_disk::{DataKey, PreparedSnapshot};
use skep_docker_api::{TaskList, TaskPart, Tasks};
use skep_manager::{
    Answer, DriverFailure, FetchId, Finding, NewRoot, RootRequest, SecretValue, SignFailure, Signing, Status, StreamId,
};
use skep_model::pb::messages as m;
use skep_model::pb::skep;
use skep_model::{Caller, Code, ControlRequest, ControlResponse, Make, NodeId, RaftId, Refusal};
use skep_rpc::backend::{ConnectionId, Ending};
use skep_store::Event;
use std::sync::{Arc, RwLock};
use tokio::sync::{mpsc, oneshot, watch};

use super::board::Board;
use super::queue::{Asks, NotTaken};

/// Parts of a list that wait for its reader; one that has more is broken off. Each is of 8,192 tasks, if all are wanted.
const LIST_PARTS_MAX: usize = 1024;

/// An answer that is awaited.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// One ask.
pub enum Ask {
    /// A Raft message of another member.
    Peer(Box<PeerMessage>),
    /// Whether a member can be reached.
    Reachable(RaftId, bool),
    /// A snapshot was sent, or not.
    SnapshotSent(RaftId, bool),
    /// The connection to a member was reset.
    PeerLost(RaftId),
    /// What a node said it is.
    Met(NodeId, Make),
    /// A member's answer to the question for its pace.
    PaceAnswered(RaftId, Option<Mode>),
    /// Anything answered by `Answer`.
    Request(Request, Reply<Answer>),
    /// A list of tasks, once the log is applied so far, if it says how far. The answer has the first ones; others follow
    /// into the sender.
    List(m::list_tasks_request::Filters, Option<u64>, mpsc::Sender<TaskPart>, Reply<Answer>),
    /// A worker registers; messages go into the sender.
    Session(Caller, ConnectionId, m::SessionRequest, mpsc::Sender<Result<m::SessionMessage, Refusal>>, Reply<()>),
    /// A worker lives.
    Heartbeat(Caller, m::HeartbeatRequest, Reply<m::HeartbeatResponse>),
    /// A worker reports.
    TaskStatus(Caller, m::UpdateTaskStatusRequest, Reply<()>),
    /// A worker asks what to run.
    Assignments(
        Caller,
        ConnectionId,
        m::AssignmentsRequest,
        mpsc::Sender<Result<m::AssignmentsMessage, Refusal>>,
        Reply<()>,
    ),
    /// A node says goodbye.
    Leave(Caller, skep::LeaveRequest, Reply<()>),
    /// A worker's feed was dropped by the transport.
    FeedClosed(StreamId),
    /// A caller's connection is gone.
    ConnectionClosed(ConnectionId, Ending),
    /// A snapshot was encoded, and lies in its file if it could be written; or it could not be encoded.
    SnapshotEncoded(SnapshotPoint, Option<(Bytes, Option<PreparedSnapshot>)>),
    /// A certificate was signed, or could not be.
    Signed(Box<Signing>, Result<Bytes, SignFailure>),
    /// A root that was asked for was made, or could not be.
    RootMade(Box<RootRequest>, Result<NewRoot, String>),
    /// Something that settings of the cluster depend on was found out.
    Inquired(u64, Finding),
    /// A secret's driver answered.
    SecretFetched(FetchId, Result<SecretValue, DriverFailure>),
    /// This node's own certificate request, to be signed with the swarm's key: nobody else can when it has expired.
    SignOwn(Bytes, Reply<Bytes>),
    /// Puts the raft log under another key.
    RotateKey(DataKey, Reply<()>),
    /// Committed changes from now on.
    Watch(mpsc::Sender<Arc<Vec<Event>>>),
    /// Hands leadership over, if this manager leads and somebody can take it.
    HandOver(oneshot::Sender<bool>),
    /// Ends the loop.
    Stop,
}

/// Requests with an `Answer`.
pub enum Request {
    /// A user's command.
    Control(ControlRequest),
    /// A follower asks how far it must have applied the log.
    ReadPoint,
    /// A manager becomes a member.
    Join(NodeId, String),
    /// A manager is a member no more.
    Leave(NodeId),
    /// A node asks for a certificate, and says what it is.
    Issue(Option<Caller>, Make, m::IssueNodeCertificateRequest),
    /// A node waits for it.
    CertificateStatus(m::NodeCertificateStatusRequest),
    /// The leader asks for this manager's pace, once so much is applied.
    Pace(u64),
}

/// Asks the loop. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) asks: Asks,
    pub(super) board: Arc<RwLock<Board>>,
    pub(super) status: watch::Receiver<Status>,
}

impl Handle {
    /// Puts an ask into the queue; refused when it is full or the loop is gone.
    pub fn tell(&self, ask: Ask) -> Result<(), Refusal> {
        self.asks.put(ask).map_err(|reason| match reason {
            NotTaken::Full => Refusal::new(Code::ResourceExhausted, "the manager has too much to do; try again later"),
            NotTaken::Ended => stopped(),
        })
    }

    /// Puts an ask into the queue however full it is: for what the loop waits for.
    pub(super) fn tell_surely(&self, ask: Ask) -> Result<(), Refusal> {
        self.asks.put_surely(ask).map_err(|_| stopped())
    }

    /// Ends the loop, after what was asked before.
    pub fn stop(&self) {
        // An error means that the loop has ended already.
        let told = self.asks.put_surely(Ask::Stop).is_ok();
        tracing::debug!(told, "the manager's loop is to end");
    }

    /// Asks and waits for the answer.
    pub async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> Ask) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.tell(make(reply))?;
        answer.await.map_err(|_| stopped())?
    }

    /// A request with an `Answer`.
    pub async fn request(&self, request: Request) -> Result<Answer, Refusal> {
        self.ask(|reply| Ask::Request(request, reply)).await
    }

    /// A user's command, carried out here; whether the answer may be stale.
    pub async fn control(&self, request: ControlRequest) -> Result<(ControlResponse, bool), Refusal> {
        match self.request(Request::Control(request)).await? {
            Answer::Control { response, stale } => Ok((*response, stale)),
            other => Err(Refusal::new(Code::Internal, format!("a command was answered with {other:?}"))),
        }
    }

    /// The tasks that pass the filters, as they are stored here once everything up to `applied` is; whether they may be out
    /// of date. They are current if the leader said so much just now.
    pub async fn tasks(
        &self,
        filters: m::list_tasks_request::Filters,
        applied: Option<u64>,
    ) -> Result<TaskList, Refusal> {
        let (sender, others) = mpsc::channel(LIST_PARTS_MAX);
        match self.ask(|reply| Ask::List(filters, applied, sender, reply)).await? {
            Answer::Tasks { tasks, stale, is_last } => {
                Ok(TaskList { tasks: Tasks::Stored { first: TaskPart { tasks, is_last }, others }, stale })
            }
            other => Err(Refusal::new(Code::Internal, format!("a list of tasks was answered with {other:?}"))),
        }
    }

    /// Who leads, and how far this manager is.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// What other threads may read without asking.
    pub fn read<T>(&self, look: impl FnOnce(&Board) -> T) -> T {
        look(&self.board.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

fn stopped() -> Refusal {
    Refusal::new(Code::Unavailable, "the manager is stopping")
}
