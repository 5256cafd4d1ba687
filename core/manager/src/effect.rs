//! What a manager wants done, as values.

use std::sync::Arc;

use skep_consensus::{LogRange, Member, Mode, PeerMessage, Persist, Role};
use skep_dispatch::manager::Effect as DispatchEffect;
use skep_model::pb::messages as m;
use skep_model::{ControlResponse, RaftId, Refusal, Task};
use skep_pki::{Inquiry, RootRequest, Signing};
use skep_store::Event;

use crate::snapshot::SnapshotJob;

/// A request that waits for its answer; numbered by the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RequestId(pub u64);

/// An answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To `control`.
    Control {
        /// What was asked for.
        response: Box<ControlResponse>,
        /// Read from local state without a leader: it may be out of date.
        stale: bool,
    },
    /// To `list_tasks`: the first of them.
    Tasks {
        /// As they are stored.
        tasks: Vec<Arc<Task>>,
        /// Nothing follows as `Effect::MoreTasks`.
        is_last: bool,
        /// Read from local state without a leader: it may be out of date.
        stale: bool,
    },
    /// To `read_point`: everything acknowledged before the question lies at or before this index of the log.
    ReadPoint(u64),
    /// To `join_raft`.
    Joined(m::JoinResponse),
    /// To `leave_raft`.
    Left,
    /// To `issue_certificate`.
    Issued(m::IssueNodeCertificateResponse),
    /// To `certificate_status`.
    Certificate(Box<m::NodeCertificateStatusResponse>),
    /// To `asked_for_pace`.
    Pace(Mode),
}

/// What to do, in this order. A follower that answers nobody has few of them.
#[derive(Debug)]
pub enum Effect {
    /// Give a Raft message to the transport.
    Send(PeerMessage),
    /// Write to disk; then call `Manager::persisted`.
    Persist(Persist),
    /// Read entries from disk; then call `Manager::log_fetched`.
    FetchLog(LogRange),
    /// Encode a snapshot, away from the manager; then call `Manager::snapshot_encoded`.
    EncodeSnapshot(Box<SnapshotJob>),
    /// Answer a request.
    Reply {
        /// Which.
        request: RequestId,
        /// What.
        result: Result<Answer, Refusal>,
    },
    /// Give more of a list to whom its first tasks were given; `Manager::end_list` if nobody wants it any more.
    MoreTasks {
        /// Whom.
        request: RequestId,
        /// As they were stored when the list began.
        tasks: Vec<Arc<Task>>,
        /// That is all.
        is_last: bool,
    },
    /// Talk to a worker.
    Dispatch(DispatchEffect),
    /// Sign; then call `Manager::signed`.
    Sign(Signing),
    /// Make a root; then call `Manager::root_made`.
    MakeRoot(RootRequest),
    /// Find something out about the swarm's CAs; then call `Manager::inquired` with the number.
    Inquire(u64, Inquiry),
    /// Facts changed: for watchers. In commit order.
    Changed {
        /// Where the entry stands in the log.
        index: u64,
        /// What it changed, change by change.
        events: Vec<Event>,
    },
    /// All facts were replaced by the leader's snapshot.
    Replaced,
    /// The members changed: for the transport.
    Members(Vec<Member>),
    /// Who leads changed.
    Role(Role),
    /// This manager goes at another pace from now on.
    Pace(Mode),
    /// Ask a member at which pace it goes, once it has applied so much; then call `Manager::pace_answered`.
    AskPace {
        /// Whom.
        member: RaftId,
        /// Where it listens.
        address: String,
        /// An index in the log.
        applied: u64,
    },
    /// Something is wrong that no caller is waiting to hear: for the log.
    Warn(String),
    /// This manager cannot go on: perform nothing after this, write nothing more, and say so to the operator.
    Fatal(String),
}
