//! A voter that is to go is taken out once those who stay have shown that they are there; who left hears of it once
//! those who stay know (`core/consensus/src/removal.rs` says why).

use std::time::Duration;

use rand_core::RngCore;
use skep_consensus::{MembershipChange, removal_keeps_quorum};
use skep_model::{Code, RaftId, Refusal, Time};

use crate::effect::{Answer, Effect};
use crate::state::Manager;
use crate::waiting::{MembershipWait, QueuedMembership};

/// How long those who stay may take to answer; below the 5 s after which the role manager asks again.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(3);

/// A voter that is to go.
#[derive(Debug)]
pub(crate) struct Removal {
    id: RaftId,
    /// Who asked for it, unless it was the role manager.
    pub wait: Option<MembershipWait>,
    until: Time,
    /// The entry that those who stay must hold first.
    probe: Option<u64>,
}

impl Manager {
    /// Takes a member out: at once if nobody counts it, else when those who stay have answered.
    pub(crate) fn remove_member(&mut self, id: RaftId, wait: Option<MembershipWait>, rng: &mut dyn RngCore) {
        if !self.voters().contains(&id) {
            return self.propose_removal(id, wait, rng);
        }
        if wait.is_some() || !self.waiting.removals.iter().any(|removal| removal.id == id) {
            let until = self.latest.after(REMOVAL_PATIENCE);
            self.waiting.removals.push_back(Removal { id, wait, until, probe: None });
        }
    }

    /// Goes on with removals, and answers who left. Whether anything was proposed or answered.
    pub(crate) fn settle_removals(&mut self, rng: &mut dyn RngCore) -> bool {
        let mut moved = self.answer_leavers();
        while self.leading
            && let Some(removal) = self.waiting.removals.front()
        {
            let (id, is_late) = (removal.id, removal.until < self.latest);
            match removal.probe {
                _ if self.membership().get(id).is_none() => self.end_removal(rng, Self::removed_already),
                Some(probe) if self.consensus.held_without(id, probe) => self.end_removal(rng, Self::remove_now),
                _ if is_late => self.end_removal(rng, Self::refuse_removal),
                Some(_) => break,
                // Refused while another change is under way: the next turn looks again.
                None => match self.consensus.probe(self.role.term) {
                    Ok(index) => self.waiting.removals.iter_mut().take(1).for_each(|front| front.probe = Some(index)),
                    Err(_) => break,
                },
            }
            moved = true;
        }
        moved
    }

    fn end_removal(&mut self, rng: &mut dyn RngCore, end: impl FnOnce(&mut Self, Removal, &mut dyn RngCore)) {
        if let Some(removal) = self.waiting.removals.pop_front() {
            end(self, removal, rng);
            self.next_membership(rng);
        }
    }

    fn remove_now(&mut self, removal: Removal, rng: &mut dyn RngCore) {
        if removal_keeps_quorum(&self.voters(), removal.id, &self.staying_members()) {
            self.propose_removal(removal.id, removal.wait, rng);
        } else {
            self.refuse_removal(removal, rng);
        }
    }

    fn propose_removal(&mut self, id: RaftId, wait: Option<MembershipWait>, rng: &mut dyn RngCore) {
        let change = MembershipChange::Remove(id);
        if let Some(wait) = wait {
            return self.propose_membership(change, wait, rng);
        }
        let number = Self::request_number(rng);
        if let Err(reason) = self.consensus.propose_membership(self.role.term, number, &change) {
            self.effects.push(Effect::Warn(format!("a change of role has to wait: {reason}")));
        }
    }

    /// Somebody else's request took it out.
    fn removed_already(&mut self, removal: Removal, _rng: &mut dyn RngCore) {
        match removal.wait {
            Some(MembershipWait::Leave(request)) => self.waiting.leavers.push(request),
            Some(MembershipWait::Replace(request, node, address)) => {
                self.waiting.membership_queue.push_front(QueuedMembership::Join(request, node, address));
            }
            Some(MembershipWait::Join(_) | MembershipWait::Learner) | None => {}
        }
    }

    fn refuse_removal(&mut self, removal: Removal, _rng: &mut dyn RngCore) {
        match removal.wait.as_ref().and_then(MembershipWait::request) {
            Some(request) => self.reply(request, Err(loss_of_quorum())),
            None => {
                let node = self.membership().get(removal.id).map(|member| member.node_id.to_string());
                let node = node.unwrap_or_default();
                let message =
                    format!("manager {node} stays in the quorum for now: too few of the other managers answer");
                self.effects.push(Effect::Warn(message));
            }
        }
    }

    /// Who left may forget its log once nobody can need its vote any more.
    fn answer_leavers(&mut self) -> bool {
        if self.waiting.leavers.is_empty() || self.membership().leaving().next().is_some() {
            return false;
        }
        for request in std::mem::take(&mut self.waiting.leavers) {
            self.reply(request, Ok(Answer::Left));
        }
        true
    }
}

/// SwarmKit's words.
pub(crate) fn loss_of_quorum() -> Refusal {
    let message = "can't remove member from the raft: this would result in a loss of quorum";
    Refusal::new(Code::FailedPrecondition, message)
}
