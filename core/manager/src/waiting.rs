//! Requests that wait: for a commit, for a confirmed read, for a certificate.

use std::collections::{BTreeMap, VecDeque};

use skep_model::pb::messages::{IssueNodeCertificateRequest, NodeCertificateStatusRequest, list_tasks_request};
use skep_model::{Caller, ControlRequest, ControlResponse, Make, NodeId, Refusal, Time};
use skep_pki::{Findings, Inquiry, Signing};

use crate::effect::{Answer, RequestId};
use crate::removal::Removal;

/// Requests that may wait for a quorum at the same time; further ones are refused.
pub(crate) const WAITING_MAX: usize = 16_384;

/// A change of membership that was proposed for somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MembershipWait {
    /// A node joins; the answer names all members.
    Join(RequestId),
    /// A node joins that was a member and has lost its log: its old number goes first.
    Replace(RequestId, NodeId, String),
    /// A node leaves by itself.
    Leave(RequestId),
    /// A learner becomes a voter, or goes again: nobody waits for it.
    Learner,
}

impl MembershipWait {
    /// Who is to be answered.
    pub(crate) fn request(&self) -> Option<RequestId> {
        match self {
            Self::Join(request) | Self::Replace(request, ..) | Self::Leave(request) => Some(*request),
            Self::Learner => None,
        }
    }
}

/// Writes that were proposed for somebody, and what they are to be answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proposed {
    /// Where the entry lies in the log, once it does.
    pub index: u64,
    /// Whom to answer what, when it is committed.
    pub answers: Vec<(RequestId, Answer)>,
}

/// A write that waits for the end of a handover.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub request: RequestId,
    pub write: HeldWrite,
    pub until: Time,
}

/// See `Held`.
#[derive(Clone, Debug)]
pub(crate) enum HeldWrite {
    /// A user's.
    Control(ControlRequest),
    /// A node's request for a certificate.
    Certificate(Option<Caller>, Make, Box<IssueNodeCertificateRequest>),
}

/// A user's write that waits for something to be found out about the swarm's CAs.
#[derive(Debug)]
pub(crate) struct Inquiring {
    pub request: RequestId,
    pub command: ControlRequest,
    /// What is known by now.
    pub findings: Findings,
    /// What is being asked.
    pub inquiry: Inquiry,
}

/// What waits until this manager is known to lead still.
#[derive(Clone, Debug)]
pub(crate) enum ReadWait {
    /// To be read then, or read already: what was read counts if nothing has changed by then.
    Query(Box<ControlRequest>, Option<Box<PreparedRead>>),
    /// Tasks, to be listed then.
    Tasks(Box<list_tasks_request::Filters>),
    /// Another manager's read: it is told how far it must have applied the log.
    Point,
    /// Decided upon what this manager holds for the facts, without a change that would have to be committed.
    Decided(Box<Result<Answer, Refusal>>),
}

/// A list of tasks that was confirmed elsewhere: due once this manager has applied so much.
#[derive(Debug)]
pub(crate) struct ListLater {
    pub applied: u64,
    pub request: RequestId,
    pub filters: list_tasks_request::Filters,
}

/// An answer that was made while its confirmation was on the way.
#[derive(Clone, Debug)]
pub(crate) struct PreparedRead {
    /// The last entry that it was read after.
    pub applied: u64,
    pub result: Result<ControlResponse, Refusal>,
}

/// All that waits.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// By entry id: what this leader has proposed.
    pub commits: BTreeMap<u64, Proposed>,
    /// By entry id: what it proposed before it lost leadership, and until when the log may tell what became of it.
    pub open: BTreeMap<u64, (Proposed, Time)>,
    /// Writes that came during a handover, oldest first.
    pub held: VecDeque<Held>,
    /// Writes that wait for a finding, by its number.
    pub inquiring: BTreeMap<u64, Inquiring>,
    /// By read number.
    pub reads: BTreeMap<u64, (RequestId, ReadWait)>,
    /// Lists of tasks that wait for the log.
    pub lists: Vec<ListLater>,
    /// By the request id of the change.
    pub memberships: BTreeMap<u64, MembershipWait>,
    /// Voters that are to go, oldest first (`removal.rs`).
    pub removals: VecDeque<Removal>,
    /// Who left, and must not hear it yet.
    pub leavers: Vec<RequestId>,
    /// Joins and leaves that wait for the change before them.
    pub membership_queue: VecDeque<QueuedMembership>,
    /// Certificates asked for.
    pub certificates: Vec<(RequestId, NodeCertificateStatusRequest)>,
    /// Certificates being signed.
    pub signing: BTreeMap<NodeId, Signing>,
}

/// A change of membership that waits for its turn: Raft takes one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueuedMembership {
    /// Join, from the address.
    Join(RequestId, NodeId, String),
    /// Leave.
    Leave(RequestId, NodeId),
}

impl Waiting {
    /// Leadership is lost: everybody is told who asked for something that was not proposed, `refusal`, or for a change of
    /// membership that was, `unsure`. What became of proposed writes the log will tell, until `until`.
    pub(crate) fn give_up(
        &mut self,
        refusal: &Refusal,
        unsure: &Refusal,
        until: Time,
    ) -> Vec<(RequestId, Result<Answer, Refusal>)> {
        let all = std::mem::take(self);
        self.open = all.open;
        self.lists = all.lists;
        self.open.extend(all.commits.into_iter().map(|(id, proposed)| (id, (proposed, until))));
        let mut proposed: Vec<RequestId> = all.memberships.values().filter_map(MembershipWait::request).collect();
        proposed.extend(all.leavers);
        let mut others: Vec<RequestId> = all.reads.into_values().map(|(request, _)| request).collect();
        others.extend(all.held.into_iter().map(|held| held.request));
        others.extend(all.inquiring.into_values().map(|inquiring| inquiring.request));
        others.extend(all.membership_queue.into_iter().map(|queued| match queued {
            QueuedMembership::Join(request, ..) | QueuedMembership::Leave(request, _) => request,
        }));
        let removals = all.removals.iter().filter_map(|removal| removal.wait.as_ref()?.request());
        others.extend(removals);
        others.extend(all.certificates.into_iter().map(|(request, _)| request));
        let proposed = proposed.into_iter().map(|request| (request, Err(unsure.clone())));
        proposed.chain(others.into_iter().map(|request| (request, Err(refusal.clone())))).collect()
    }

    /// How many wait for a quorum.
    pub(crate) fn len(&self) -> usize {
        self.commits.len()
            + self.open.len()
            + self.held.len()
            + self.inquiring.len()
            + self.reads.len()
            + self.membership_queue.len()
            + self.removals.len()
            + self.leavers.len()
            + self.lists.len()
    }
}
