//! Who belongs to the quorum: joins, leaves, and what became of them. Raft takes one change at a time, so they queue.

use rand_core::RngCore;
use skep_consensus::{Member, MembershipChange, PeerMessage, removal_keeps_quorum};
use skep_model::pb::messages as m;
use skep_model::pb::types::NodeRole;
use skep_model::{Code, NodeId, Now, RaftId, Refusal};
use skep_pki::RoleAction;
use skep_store::Read as _;

use crate::effect::{Answer, Effect, RequestId};
use crate::removal::loss_of_quorum;
use crate::state::Manager;
use crate::waiting::{MembershipWait, QueuedMembership, WAITING_MAX};

impl Manager {
    /// A manager wants to be a member, at `address` (complete, and seen to answer a health check).
    ///
    /// A node that is to be a worker is refused: its certificate of a manager lives on for a while after a demotion, and
    /// it must not come back through that.
    pub fn join_raft(&mut self, request: RequestId, node: NodeId, address: String, now: Now, rng: &mut dyn RngCore) {
        if self.leading
            && let Some(known) = self.facts().node(&node)
            && known.spec.desired_role() != NodeRole::Manager
        {
            let message = format!("node {node} is to be a worker: promote it before it joins the managers");
            return self.reply(request, Err(Refusal::new(Code::FailedPrecondition, message)));
        }
        if !self.leading || self.may_join(request, &node, &address, now) {
            self.queue_membership(request, QueuedMembership::Join(request, node, address), rng);
        }
    }

    /// A manager wants to be a member no more.
    pub fn leave_raft(&mut self, request: RequestId, node: NodeId, rng: &mut dyn RngCore) {
        self.queue_membership(request, QueuedMembership::Leave(request, node), rng);
    }

    fn queue_membership(&mut self, request: RequestId, queued: QueuedMembership, rng: &mut dyn RngCore) {
        if !self.leading {
            let refusal = Refusal::new(Code::FailedPrecondition, "raft: this node is not the leader");
            return self.reply(request, Err(refusal));
        }
        if self.waiting.len() >= WAITING_MAX {
            let refusal = Refusal::new(Code::ResourceExhausted, "too many nodes wait to join; try again later");
            return self.reply(request, Err(refusal));
        }
        self.waiting.membership_queue.push_back(queued);
        self.next_membership(rng);
    }

    /// What the role manager wants of consensus; it looks at facts again, so that a refusal needs no answer.
    pub(crate) fn act_on_roles(&mut self, actions: Vec<RoleAction>, rng: &mut dyn RngCore) {
        for action in actions {
            let refused = match action {
                RoleAction::RemoveMember(id) => {
                    self.remove_member(id, None, rng);
                    None
                }
                RoleAction::TransferLeadership(to) => {
                    self.consensus.transfer_leadership(to).err().map(|error| error.to_string())
                }
            };
            if let Some(reason) = refused {
                self.effects.push(Effect::Warn(format!("a change of role has to wait: {reason}")));
            }
        }
    }

    /// Proposes the next change that waits, unless one is under way.
    pub(crate) fn next_membership(&mut self, rng: &mut dyn RngCore) {
        while self.leading && self.waiting.memberships.is_empty() && self.waiting.removals.is_empty() {
            let Some(queued) = self.waiting.membership_queue.pop_front() else { return };
            match queued {
                QueuedMembership::Join(request, node, address) => self.propose_join(request, node, address, rng),
                QueuedMembership::Leave(request, node) => self.propose_leave(request, &node, rng),
            }
        }
    }

    fn propose_join(&mut self, request: RequestId, node: NodeId, address: String, rng: &mut dyn RngCore) {
        if self.withholds_membership(&node) {
            let message = "another manager joined meanwhile, which has to go over to Docker's pace first: try again";
            return self.reply(request, Err(Refusal::new(Code::Unavailable, message)));
        }
        match self.membership().by_node(&node).cloned() {
            None => {
                let member = Member { raft_id: self.fresh_raft_id(rng), node_id: node, addr: address };
                let change = if self.learners_first() {
                    MembershipChange::AddLearner(member)
                } else {
                    MembershipChange::Add(member)
                };
                self.propose_membership(change, MembershipWait::Join(request), rng);
            }
            // A Docker Engine may ask with its log in hand: it is answered, or its new address is told to all.
            Some(known) if self.pace.is_docker(&node, self.facts()) && known.addr == address => {
                let answer = self.join_response(known.raft_id);
                self.reply(request, Ok(answer));
            }
            Some(known) if self.pace.is_docker(&node, self.facts()) => {
                let change = MembershipChange::Update(Member { addr: address, ..known });
                self.propose_membership(change, MembershipWait::Join(request), rng);
            }
            Some(known) => match self.check_replacement(&known, &address) {
                Ok(()) => {
                    let wait = MembershipWait::Replace(request, node, address);
                    self.remove_member(known.raft_id, Some(wait), rng);
                }
                Err(refusal) => self.reply(request, Err(refusal)),
            },
        }
    }

    /// A Skep asks to join only without a log. As a member it has lost it, and with it what it promised: whom it voted
    /// for, what it acknowledged. So the number that promised goes for good, and it comes as somebody new.
    fn check_replacement(&self, known: &Member, address: &str) -> Result<(), Refusal> {
        let refuse = |message: String| Err(Refusal::new(Code::FailedPrecondition, message));
        let id = known.raft_id;
        if id == self.member.raft_id {
            return refuse(format!(
                "node {} leads the managers: two nodes cannot share one identity; let the other leave and join anew",
                known.node_id
            ));
        }
        let reachable = self.reachable_members();
        if known.addr != address && reachable.contains(&id) {
            return refuse(format!(
                "node {} is a manager at {} already, which answers: let one of the two leave",
                known.node_id, known.addr
            ));
        }
        if !removal_keeps_quorum(&self.voters(), id, &self.staying_members()) {
            return refuse(format!(
                "node {} was a manager and has lost its log; without it the other managers have no quorum that could \
                 take its old place from it: start more of them first",
                known.node_id
            ));
        }
        Ok(())
    }

    fn propose_leave(&mut self, request: RequestId, node: &NodeId, rng: &mut dyn RngCore) {
        let Some(member) = self.membership().by_node(node).cloned() else {
            return self.waiting.leavers.push(request);
        };
        self.departing.insert(member.raft_id);
        if !removal_keeps_quorum(&self.voters(), member.raft_id, &self.staying_members()) {
            return self.reply(request, Err(loss_of_quorum()));
        }
        self.remove_member(member.raft_id, Some(MembershipWait::Leave(request)), rng);
    }

    pub(crate) fn propose_membership(&mut self, change: MembershipChange, wait: MembershipWait, rng: &mut dyn RngCore) {
        let number = Self::request_number(rng);
        match self.consensus.propose_membership(self.role.term, number, &change) {
            Ok(_) => {
                self.waiting.memberships.insert(number, wait);
            }
            Err(error) => {
                if let Some(request) = wait.request() {
                    self.reply(request, Err(error.into()));
                }
            }
        }
    }

    pub(crate) fn apply_membership(&mut self, number: u64, change: MembershipChange, rng: &mut dyn RngCore) {
        self.tell_members();
        self.pace.is_stale = true;
        self.dirty = true;
        match (self.waiting.memberships.remove(&number), change) {
            (
                Some(MembershipWait::Join(request)),
                MembershipChange::Add(member) | MembershipChange::AddLearner(member) | MembershipChange::Update(member),
            ) => {
                let answer = self.join_response(member.raft_id);
                self.reply(request, Ok(answer));
            }
            (Some(MembershipWait::Replace(request, node, address)), _) => {
                self.waiting.membership_queue.push_front(QueuedMembership::Join(request, node, address));
            }
            (Some(MembershipWait::Leave(request)), _) => self.waiting.leavers.push(request),
            _ => {}
        }
        self.next_membership(rng);
    }

    fn join_response(&self, raft_id: RaftId) -> Answer {
        Answer::Joined(m::JoinResponse {
            raft_id: raft_id.0,
            members: self.membership().iter().map(m::RaftMember::from).collect(),
            removed_members: self.membership().removed().iter().map(|id| id.0).collect(),
        })
    }

    fn fresh_raft_id(&self, rng: &mut dyn RngCore) -> RaftId {
        loop {
            let id = RaftId::random(rng);
            if self.membership().get(id).is_none() && !self.membership().is_removed(id) {
                return id;
            }
        }
    }

    /// A Raft message from the transport.
    pub fn peer_message(&mut self, message: PeerMessage) -> Result<(), Refusal> {
        self.consensus.step(message).map_err(Refusal::from)
    }

    /// A message from a member arrived: whatever became of messages to it, it is there.
    pub fn heard_from(&mut self, peer: RaftId) {
        self.unreachable.remove(&peer);
    }

    /// Whether a member can be reached now, as the transport sees it.
    pub fn peer_reachable(&mut self, peer: RaftId, reachable: bool, now: Now) {
        self.dirty = true;
        if reachable {
            self.unreachable.remove(&peer);
            self.active_since.entry(peer).or_insert(now.monotonic);
        } else {
            self.active_since.remove(&peer);
            self.unreachable.insert(peer);
            self.consensus.report_unreachable(peer);
        }
    }

    /// The outcome of sending a snapshot.
    pub fn snapshot_sent(&mut self, peer: RaftId, arrived: bool) {
        self.consensus.report_snapshot(peer, arrived);
    }

    /// The connection to a member was reset: if it leads, this one asks for votes at once.
    pub fn peer_connection_lost(&mut self, peer: RaftId, now: Now) {
        self.consensus.leader_connection_lost(now.monotonic, peer);
    }

    /// A write to disk failed; it will be tried again. Who waits for a commit is told that its fate is open: nobody
    /// knows when the disk takes anything again.
    pub fn persist_failed(&mut self, error: &str) {
        self.consensus.persist_failed();
        self.effects.push(Effect::Warn(format!("the raft log cannot be written, no change is accepted: {error}")));
        let message = format!("the raft log cannot be written: {error}; whether the change comes true is open");
        for (request, _) in std::mem::take(&mut self.waiting.commits).into_values().flat_map(|it| it.answers) {
            self.reply(request, Err(Refusal::new(Code::Unknown, message.clone())));
        }
    }

    /// Entries that `Effect::FetchLog` asked for.
    pub fn log_fetched(&mut self, low: u64, entries: &[skep_consensus::LogEntry]) {
        self.consensus.log_fetched(low, entries);
    }

    /// Hands leadership over before this manager stops, if somebody can take it.
    pub fn hand_over(&mut self) -> bool {
        let Some(successor) = self.consensus.successor().filter(|_| self.role.is_leader) else { return false };
        self.consensus.transfer_leadership(successor).is_ok()
    }
}
